package blobstore

import (
	"context"
	"errors"
	"os"
	"slices"

	"headwater/bucket"
	"headwater/durable"
)

// compact rewrites sealed segments that are more than half dead until none is left. One caller at a time does; the others
// leave it to that one. It ends, because a rewrite removes more than it appends.
func (d *Disk) compact(ctx context.Context) {
	if !d.compacting.TryLock() {
		return
	}
	defer d.compacting.Unlock()
	for ctx.Err() == nil {
		s := d.mostlyDead()
		if s == nil {
			return
		}
		err := d.rewrite(ctx, s)
		s.release()
		if err != nil && ctx.Err() == nil {
			d.log.Warn("a segment could not be rewritten", "segment", s.id, "error", err)
			d.mu.Lock()
			s.stuck = true
			d.mu.Unlock()
		}
	}
}

// mostlyDead returns a segment worth a rewrite, retained, or nil.
func (d *Disk) mostlyDead() *segment {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, s := range d.sealed {
		if !s.stuck && 2*s.dead() > s.size-int64(preambleSize) && s.retain() {
			return s
		}
	}
	return nil
}

// rewrite appends what still means something in s to the active segment, and removes s once that is durable. Dying in between
// leaves records twice, which does no harm: the newer word counts, and both say the same.
func (d *Disk) rewrite(ctx context.Context, s *segment) error {
	var ops []op
	size := int64(0)
	var buf []byte
	for from := uint32(0); from < s.index.count; {
		to := min(from+512, s.index.count)
		var err error
		if buf, err = s.index.read(from, to, buf); err != nil {
			return err
		}
		for b := buf; len(b) > 0; b = b[entrySize:] {
			o, needed, err := d.move(s, parseEntry(b))
			if err != nil {
				return err
			}
			if needed {
				ops = append(ops, o)
				size += headerSize + int64(len(o.data))
			}
			if size >= writeSize {
				if err := d.submit(ctx, ops...); err != nil {
					return err
				}
				ops, size = ops[:0], 0
			}
		}
		from = to
	}
	if err := d.submit(ctx, ops...); err != nil {
		return err
	}
	return d.remove(s)
}

// move returns the op that carries an entry of s over. needed is false if nothing is left to carry: a newer word has made
// it void, or the bytes are damaged.
func (d *Disk) move(s *segment, e entry) (o op, needed bool, err error) {
	now, w, err := d.lookup(e.hash)
	if err != nil || now == nil {
		return op{}, false, err
	}
	now.release()
	if now != s || w != e.word {
		return op{}, false, nil
	}
	o = op{kind: opMove, hash: e.hash, at: place{s.id, e.offset}}
	if e.gone {
		return o, true, nil
	}
	o.data, err = s.body(e.word)
	if err != nil {
		return op{}, false, err
	}
	if bucket.Sum(o.data) != e.hash {
		d.log.Warn("a small blob is damaged and no longer held", "hash", e.hash, "segment", s.id, "offset", e.offset)
		d.count(func(c *Damage) { c.Small++ })
		return op{}, false, nil
	}
	return o, true, nil
}

// remove takes a segment that nobody needs off the list and off the disk. Those who read from it can go on.
func (d *Disk) remove(s *segment) error {
	d.mu.Lock()
	i := slices.Index(d.sealed, s)
	d.sealed = slices.Delete(slices.Clone(d.sealed), i, i+1)
	delete(d.segments, s.id)
	for _, o := range d.segments { // tombstones for what lay in s mean nothing any more
		o.live -= o.tombs[s.id]
		delete(o.tombs, s.id)
	}
	d.mu.Unlock()
	// The segment goes first: an index without one is swept on open, a segment without one would be scanned. One sync for each
	// segment removed: a tombstone must not go before what it buries.
	s.release()
	return errors.Join(os.Remove(s.name+segmentExt), os.Remove(s.name+indexExt), durable.SyncDir(d.path(dirSmall)))
}

// olderHolder returns the newest segment older than id that has a record of h, or 0.
func (d *Disk) olderHolder(h bucket.Hash, id uint32) (uint32, error) {
	d.mu.RLock()
	sealed := d.sealed
	d.mu.RUnlock()
	for _, s := range sealed {
		if s.id >= id || !s.retain() {
			continue
		}
		w, ok, err := s.index.find(h, &d.buffers)
		s.release()
		if err != nil {
			return 0, err
		}
		if ok && !w.gone {
			return s.id, nil
		}
	}
	return 0, nil
}
