package blobstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"

	"headwater/bucket"
	"headwater/durable"
)

const (
	segmentExt = ".seg"
	indexExt   = ".idx"
)

// segment is one append-only file of records. The newest is the active one, which alone is written and has its words in
// memory; the others are sealed. Fields other than the first block are guarded by Disk.mu, except that index never changes
// once set and file never at all.
type segment struct {
	id   uint32
	name string // path without extension
	refs atomic.Int64

	file  file
	index *index               // sealed only
	words map[bucket.Hash]word // active only
	size  int64                // durable bytes
	live  int64                // bytes of records that still mean something
	tombs map[uint32]int64     // of live: bytes of tombstones, by the segment that holds what they bury
	stuck bool                 // a rewrite failed; not tried again before the next open
}

func newSegment(id uint32, name string, f file) *segment {
	s := &segment{id: id, name: name, file: f, size: int64(preambleSize), tombs: make(map[uint32]int64)}
	s.refs.Store(1)
	return s
}

// retain keeps the files open until release; false means that they are closed already, or about to be.
func (s *segment) retain() bool {
	for {
		n := s.refs.Load()
		if n == 0 {
			return false
		}
		if s.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release closes the files when the last holder calls it. The list that a segment stands in is a holder too. What was
// acknowledged is synced, so an error of closing says nothing that anybody could act on.
func (s *segment) release() {
	if s.refs.Add(-1) > 0 {
		return
	}
	_ = s.file.Close()
	if s.index != nil {
		_ = s.index.file.Close()
	}
}

// body returns the bytes of a blob, unverified: only those that are there if the end of the file cuts it off.
func (s *segment) body(w word) ([]byte, error) {
	b := make([]byte, w.length)
	n, err := s.file.ReadAt(b, int64(w.offset)+headerSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read segment %d: %w", s.id, err)
	}
	return b[:n], nil
}

// dead returns the bytes of records that mean nothing any more.
func (s *segment) dead() int64 { return s.size - int64(preambleSize) - s.live }

// entries returns words as a list, not sorted.
func entries(words map[bucket.Hash]word) []entry {
	list := make([]entry, 0, len(words))
	for h, w := range words {
		list = append(list, entry{h, w})
	}
	return list
}

// list puts a new segment in front. Disk.mu is held, or nobody else knows the store yet.
func (d *Disk) list(s *segment) {
	d.segments[s.id] = s
	if d.active != nil {
		d.sealed = append([]*segment{d.active}, d.sealed...)
	}
	d.active = s
}

// account adds a word to what its segment counts as live. A tombstone is live as long as the segment exists that holds
// what it buries. Disk.mu is held.
func (d *Disk) account(s *segment, w word) {
	if !w.gone {
		s.live += w.size()
		return
	}
	if w.origin != s.id && d.segments[w.origin] != nil {
		s.live += headerSize
		s.tombs[w.origin] += headerSize
	}
}

// supersede takes a word off that count again, when a newer one makes it void. Disk.mu is held.
func (d *Disk) supersede(s *segment, w word) {
	switch {
	case !w.gone:
		s.live = max(0, s.live-w.size())
	case s.tombs[w.origin] >= headerSize:
		s.tombs[w.origin] -= headerSize
		s.live -= headerSize
	}
}

// lookup returns the newest word about h and its segment, which the caller releases; no segment means no word.
func (d *Disk) lookup(h bucket.Hash) (*segment, word, error) {
	for {
		d.mu.RLock()
		active, sealed := d.active, d.sealed
		w, ok := active.words[h]
		if ok && !active.retain() {
			ok = false // not while it is listed
		}
		d.mu.RUnlock()
		if ok {
			return active, w, nil
		}
		s, w, again, err := d.lookupSealed(h, sealed)
		if !again {
			return s, w, err
		}
	}
}

// lookupSealed looks through sealed segments, newest first. again means that one is gone meanwhile: call it again with a
// fresh list, since what lived in that one has moved to the active segment.
func (d *Disk) lookupSealed(h bucket.Hash, sealed []*segment) (s *segment, w word, again bool, err error) {
	for _, s := range sealed {
		if !s.index.filter.mayHave(h) {
			continue
		}
		if !s.retain() {
			return nil, word{}, true, nil
		}
		w, ok, err := s.index.find(h, &d.buffers)
		if ok {
			return s, w, false, nil
		}
		s.release()
		if err != nil {
			return nil, word{}, false, fmt.Errorf("segment %d: %w", s.id, err)
		}
	}
	return nil, word{}, false, nil
}

// rotate seals the active segment and begins a new one. Only a commit calls it, with everything written synced.
func (d *Disk) rotate() error {
	s := d.active
	x, err := d.sealIndex(s, entries(s.words))
	if err != nil {
		return fmt.Errorf("seal segment %d: %w", s.id, err)
	}
	next, err := d.createSegment(s.id + 1)
	if err != nil {
		return fmt.Errorf("begin segment %d: %w", s.id+1, errors.Join(err, x.file.Close()))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s.index, s.words = x, nil
	d.list(next)
	d.retire = false
	return nil
}

// sealIndex sorts the entries of a segment, writes its index file, durably, and returns the index.
func (d *Disk) sealIndex(s *segment, entries []entry) (*index, error) {
	slices.SortFunc(entries, compareEntries)
	err := d.replace(s.name+indexExt, func(w io.Writer) error { return writeIndex(w, d.stamp(s.id), s.size, entries) })
	if err != nil {
		return nil, err
	}
	f, err := d.open(s.name+indexExt, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	x := newIndex(f, uint32(len(entries)))
	x.fill(entries)
	return x, nil
}

// createSegment makes an empty segment, durably.
func (d *Disk) createSegment(id uint32) (*segment, error) {
	name := d.segmentName(id)
	f, err := d.open(name+segmentExt, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteAt(preamble(d.salt), 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = durable.SyncDir(d.path(dirSmall))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(name+segmentExt))
	}
	s := newSegment(id, name, f)
	s.words = make(map[bucket.Hash]word)
	return s, nil
}
