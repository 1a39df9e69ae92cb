package blobstore

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"

	"headwater/bucket"
)

// All implements [Lister]. Small blobs come as they were held at the beginning; reading them takes a few hundred KiB of memory
// and one pass over the indexes.
func (d *Disk) All(ctx context.Context) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		if err := d.calls.begin(ctx); err != nil {
			yield(Info{}, fmt.Errorf("list blobs: %w", err))
			return
		}
		defer d.calls.end()
		more, err := d.allSmall(ctx, yield)
		if more && err == nil {
			err = d.allLarge(ctx, yield)
		}
		if err != nil {
			yield(Info{}, fmt.Errorf("list blobs: %w", err))
		}
	}
}

// allSmall merges the words of all segments in the order of their hashes; of several words the newest counts. more is false
// if the loop has ended itself.
func (d *Disk) allSmall(ctx context.Context, yield func(Info, error) bool) (more bool, err error) {
	m := d.startMerge()
	defer m.stop()
	for {
		e, ok, err := m.next()
		if err != nil || !ok {
			return true, err
		}
		if err := ctx.Err(); err != nil {
			return true, err
		}
		if !e.gone && !yield(Info{e.hash, int64(e.length)}, nil) {
			return false, nil
		}
	}
}

func (d *Disk) allLarge(ctx context.Context, yield func(Info, error) bool) error {
	for i := range 256 {
		names, err := os.ReadDir(d.path(dirLarge, shardName(byte(i))))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			h, err := bucket.ParseHash(e.Name())
			if err != nil || h[0] != byte(i) {
				continue // not ours
			}
			size, held, err := d.heldLarge(h)
			if err != nil {
				return err
			}
			if held && !yield(Info{h, size}, nil) {
				return nil
			}
		}
	}
	return nil
}

// merge walks through several sorted lists of entries at once.
type merge struct {
	cursors  []*cursor // a heap
	retained []*segment
	err      error
	last     bucket.Hash
	started  bool
}

// cursor is one of the lists: the head of it, and where the rest comes from.
type cursor struct {
	entry
	age    int // 0 is the newest
	rest   []entry
	block  []entry // what rest is cut from
	index  *index  // nil for the active segment
	at     uint32
	buffer []byte
}

// startMerge takes hold of all segments as they are now.
func (d *Disk) startMerge() *merge {
	d.mu.RLock()
	active := &cursor{rest: entries(d.active.words)}
	cursors := []*cursor{active}
	m := &merge{}
	for i, s := range d.sealed {
		if s.retain() { // always: it is listed
			m.retained = append(m.retained, s)
			cursors = append(cursors, &cursor{age: i + 1, index: s.index})
		}
	}
	d.mu.RUnlock()
	slices.SortFunc(active.rest, compareEntries)
	for _, c := range cursors {
		ok, err := c.advance()
		m.err = errors.Join(m.err, err)
		if ok {
			m.cursors = append(m.cursors, c)
		}
	}
	heap.Init(m)
	return m
}

func (m *merge) stop() {
	for _, s := range m.retained {
		s.release()
	}
}

// next returns the newest entry of the next hash.
func (m *merge) next() (entry, bool, error) {
	for m.err == nil && len(m.cursors) > 0 {
		c := m.cursors[0]
		e := c.entry
		ok, err := c.advance()
		if err != nil {
			m.err = err
			break
		}
		if ok {
			heap.Fix(m, 0)
		} else {
			heap.Pop(m)
		}
		if m.started && e.hash == m.last {
			continue
		}
		m.started, m.last = true, e.hash
		return e, true, nil
	}
	return entry{}, false, m.err
}

// advance moves to the next entry, if there is one.
func (c *cursor) advance() (bool, error) {
	if len(c.rest) == 0 && c.index != nil && c.at < c.index.count {
		to := min(c.at+512, c.index.count)
		b, err := c.index.read(c.at, to, c.buffer)
		if err != nil {
			return false, err
		}
		c.at, c.buffer = to, b
		for c.block = c.block[:0]; len(b) > 0; b = b[entrySize:] {
			c.block = append(c.block, parseEntry(b))
		}
		c.rest = c.block
	}
	if len(c.rest) == 0 {
		return false, nil
	}
	c.entry, c.rest = c.rest[0], c.rest[1:]
	return true, nil
}

// Len, Less, Swap, Push and Pop implement heap.Interface: by hash, then the newest first.
func (m *merge) Len() int { return len(m.cursors) }

// Less orders two cursors.
func (m *merge) Less(i, j int) bool {
	a, b := m.cursors[i], m.cursors[j]
	if c := compareEntries(a.entry, b.entry); c != 0 {
		return c < 0
	}
	return a.age < b.age
}

// Swap swaps two cursors.
func (m *merge) Swap(i, j int) { m.cursors[i], m.cursors[j] = m.cursors[j], m.cursors[i] }

// Push is never used: no list joins later.
func (m *merge) Push(x any) { m.cursors = append(m.cursors, x.(*cursor)) }

// Pop takes the last cursor off.
func (m *merge) Pop() any {
	c := m.cursors[len(m.cursors)-1]
	m.cursors = m.cursors[:len(m.cursors)-1]
	return c
}
