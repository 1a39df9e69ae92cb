package logstore

import (
	"context"
	"iter"
	"slices"

	"headwater/bucket"
)

// Job is described at [Jobs].
func (m *Memory) Job(ctx context.Context, id bucket.ID, h bucket.Head) (j Job, err error) {
	err = m.use(ctx, false, func() error {
		var ok bool
		if j, ok = m.bucket(id).outbox[h]; !ok {
			return ErrNotFound
		}
		j = j.clone()
		return nil
	})
	return j, failed(err, "read job %s of bucket %s", h.Link, id)
}

// Jobs is described at [Jobs].
func (m *Memory) Jobs(ctx context.Context) iter.Seq2[Job, error] {
	return memoryOutbox(ctx, m, bucket.ID{}, func(b *memoryBucket) map[bucket.Head]Job { return b.outbox })
}

// memoryOutbox yields what the function of returns for one bucket, or, for the zero ID, for all.
func memoryOutbox[T placed[T]](
	ctx context.Context, m *Memory, id bucket.ID, of func(*memoryBucket) map[bucket.Head]T,
) iter.Seq2[T, error] {
	return pages(ctx, place{}, T.place, func(after place, n int) (page []T, err error) {
		err = m.use(ctx, false, func() error {
			i, _ := slices.BinarySearchFunc(m.ids, after.bucket, compareIDs)
			for _, each := range m.ids[i:] {
				if len(page) < n && (id.IsZero() || each == id) {
					page = append(page, behind(of(m.buckets[each]), after)...)
				}
			}
			page = page[:min(n, len(page))]
			return nil
		})
		return page, failed(err, "list the outbox")
	})
}

// behind returns those of one bucket's items that stand behind a place, in head order.
func behind[T placed[T]](all map[bucket.Head]T, after place) (some []T) {
	for _, t := range all {
		if at := t.place(); at.bucket != after.bucket || at.head.Compare(after.head) > 0 {
			some = append(some, t.clone())
		}
	}
	slices.SortFunc(some, func(x, y T) int { return x.place().head.Compare(y.place().head) })
	return some
}

// SetJob is described at [Jobs].
func (m *Memory) SetJob(ctx context.Context, id bucket.ID, h bucket.Head, s JobState) error {
	err := m.use(ctx, true, func() error {
		j, ok := m.bucket(id).outbox[h]
		if !ok {
			return ErrNotFound
		}
		j, err := j.moved(s)
		if err != nil {
			return err
		}
		m.buckets[id].outbox[h] = j
		return nil
	})
	return failed(err, "move job %s of bucket %s", h.Link, id)
}

// Complete is described at [Jobs].
func (m *Memory) Complete(ctx context.Context, id bucket.ID, h bucket.Head, pins PinCount, announced bool) error {
	err := m.use(ctx, true, func() error {
		b := m.bucket(id)
		e, ok := b.entries[h]
		if !ok {
			return ErrNotFound
		}
		delete(b.outbox, h)
		if announced {
			b.announced(h)
		}
		if e.Complete {
			return nil
		}
		e.Complete = true
		b.entries[h] = e
		b.complete(e.Head(), pins)
		return nil
	})
	return failed(err, "complete version %s of bucket %s", h.Link, id)
}

// Drop is described at [Jobs].
func (m *Memory) Drop(ctx context.Context, id bucket.ID, h bucket.Head) error {
	err := m.use(ctx, true, func() error {
		delete(m.bucket(id).outbox, h)
		return nil
	})
	return failed(err, "drop job %s of bucket %s", h.Link, id)
}

// SetCondition is described at [Conditions].
func (m *Memory) SetCondition(ctx context.Context, id bucket.ID, c Condition) error {
	err := m.use(ctx, true, func() error {
		b := m.bucket(id)
		was := b.isStranger()
		if b.isEmpty() && !c.IsZero() && m.strangers >= MaxStrangers {
			return ErrTooMany
		}
		if b.Condition = (Condition{}); !c.IsZero() {
			b.Condition = c.kept()
		}
		if is := b.isStranger(); is && !was {
			m.strangers++
		} else if was && !is {
			m.strangers--
		}
		m.keep(b)
		return nil
	})
	return failed(err, "set the condition of bucket %s", id)
}
