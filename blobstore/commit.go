package blobstore

import (
	"context"
	"errors"
	"fmt"

	"headwater/bucket"
)

// writeSize is how many bytes of records a commit collects before it writes them out.
const writeSize = 4 << 20

// opKind says what an op does to the segments.
type opKind byte

const (
	opPut    opKind = iota // append the blob, unless it is held
	opDelete               // bury the blob, if it is held
	opDrop                 // bury it only if it is still the one at the place: its bytes are wrong
	opMove                 // append it again only if it is still the one at the place: its segment is being rewritten
)

// place is where a record stands.
type place struct{ segment, offset uint32 }

// op is one change to the small blobs. Commits decide and apply them one at a time, so they need no lock.
type op struct {
	kind opKind
	hash bucket.Hash
	data []byte // of a blob to append
	at   place
}

// request is what one caller wants done, and its error.
type request struct {
	ops []op
	err error
}

// change is a word that a commit is about to publish, and the one it makes void.
type change struct {
	entry
	old     *segment // nil: there was none
	oldWord word
}

// batch is a commit at work: records that are encoded, written, but not yet seen by anybody else.
type batch struct {
	d       *Disk
	buf     []byte // encoded, not written; begins at end
	end     int64  // of what is written in the active segment
	changes []change
	last    map[bucket.Hash]int // the newest change for each hash
}

// submit applies ops to the small blobs, together with those of other callers; they are durable on return. If ctx ends before
// anybody has begun on them, they are not applied.
func (d *Disk) submit(ctx context.Context, ops ...op) error {
	if len(ops) == 0 {
		return nil
	}
	req := &request{ops: ops}
	if err := d.group.Do(ctx, req); err != nil {
		return err
	}
	return req.err
}

// commit applies requests in their order and gives each its error. After an error every request that is not durable yet fails
// with it: a disk that has failed once is not asked again for the others. Once begun, commit does not stop halfway.
func (d *Disk) commit(_ context.Context, reqs []*request) error {
	b := &batch{d: d, buf: d.scratch[:0], end: d.active.size, last: make(map[bucket.Hash]int)}
	durable := 0 // requests whose every op is synced
	err := func() error {
		for i, req := range reqs {
			for _, o := range req.ops {
				if err := b.makeRoom(func() { durable = i }); err != nil {
					return err
				}
				if err := b.apply(o); err != nil {
					return err
				}
			}
		}
		return b.flush()
	}()
	if err == nil {
		durable = len(reqs)
	} else {
		b.abort()
	}
	if cap(b.buf) <= 2*writeSize {
		d.scratch = b.buf
	}
	for _, req := range reqs[durable:] {
		req.err = err
	}
	return nil
}

// makeRoom makes sure that the active segment takes one more record: a full one is synced and sealed first.
func (b *batch) makeRoom(synced func()) error {
	a := b.d.active
	full := b.end+int64(len(b.buf)) >= b.d.segmentSize || len(a.words)+len(b.last) >= maxRecords
	if full || b.d.retire {
		if err := b.flush(); err != nil {
			return err
		}
		synced()
		if err := b.d.rotate(); err != nil {
			return err
		}
		b.end = b.d.active.size
		return nil
	}
	if len(b.buf) >= writeSize {
		return b.write()
	}
	return nil
}

// current returns the newest word about h, seen from inside the batch.
func (b *batch) current(h bucket.Hash) (*segment, word, error) {
	if i, ok := b.last[h]; ok {
		return b.d.active, b.changes[i].word, nil
	}
	s, w, err := b.d.lookup(h)
	if s != nil {
		s.release() // only its number and its counts are used from here
	}
	return s, w, err
}

// apply decides what an op does, now that no other can come between, and encodes it.
func (b *batch) apply(o op) error {
	s, w, err := b.current(o.hash)
	if err != nil {
		return err
	}
	held := s != nil && !w.gone
	here := s != nil && o.at == place{s.id, w.offset}
	switch {
	case o.kind == opPut && !held:
		b.append(record{kind: kindBlob, length: uint32(len(o.data)), hash: o.hash}, o.data, s, w)
	case o.kind == opDelete && held, o.kind == opDrop && held && here:
		b.append(record{kind: kindTomb, length: w.length, origin: s.id, hash: o.hash}, nil, s, w)
	case o.kind == opMove && held && here:
		b.append(record{kind: kindBlob, length: w.length, origin: s.id, hash: o.hash}, o.data, s, w)
	case o.kind == opMove && here:
		return b.moveTomb(o, s, w)
	}
	return nil
}

// moveTomb appends a tombstone again if an older segment still has a record that it hides.
func (b *batch) moveTomb(o op, s *segment, w word) error {
	older, err := b.d.olderHolder(o.hash, s.id)
	if err != nil || older == 0 {
		return err
	}
	b.append(record{kind: kindTomb, length: w.length, origin: older, hash: o.hash}, nil, s, w)
	return nil
}

func (b *batch) append(r record, data []byte, old *segment, oldWord word) {
	at := b.end + int64(len(b.buf))
	b.buf = b.d.stamp(b.d.active.id).append(b.buf, at, r)
	b.buf = append(b.buf, data...)
	w := word{offset: uint32(at), length: r.length, origin: r.origin, gone: r.kind == kindTomb}
	b.last[r.hash] = len(b.changes)
	b.changes = append(b.changes, change{entry{r.hash, w}, old, oldWord})
}

// write writes what is encoded, without a sync.
func (b *batch) write() error {
	if _, err := b.d.active.file.WriteAt(b.buf, b.end); err != nil {
		return fmt.Errorf("write segment %d: %w", b.d.active.id, err)
	}
	b.end += int64(len(b.buf))
	b.buf = b.buf[:0]
	return nil
}

// flush writes and syncs, and only then lets others see the new words.
func (b *batch) flush() error {
	if len(b.changes) == 0 {
		return nil
	}
	if err := b.write(); err != nil {
		return err
	}
	d, a := b.d, b.d.active
	if err := a.file.Sync(); err != nil {
		d.retire = true // nobody knows what a failed sync did to the pages: nothing more goes into this file
		return fmt.Errorf("sync segment %d: %w", a.id, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range b.changes {
		if c.old != nil {
			d.supersede(c.old, c.oldWord)
		}
		a.words[c.hash] = c.word
		d.account(a, c.word)
	}
	a.size = b.end
	b.changes = b.changes[:0]
	clear(b.last)
	return nil
}

// abort takes failed records off the file again. If that fails too, they stay behind what is known to be durable, and the
// segment is retired, so that nothing is written behind them.
func (b *batch) abort() {
	d, a := b.d, b.d.active
	if err := errors.Join(a.file.Truncate(a.size), a.file.Sync()); err != nil {
		d.retire = true
		d.log.Warn("a failed write could not be taken back; the segment is retired", "segment", a.id, "error", err)
	}
}
