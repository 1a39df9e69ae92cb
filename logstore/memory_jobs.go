package logstore

import (
	"context"
	"iter"
	"slices"

	"headwater/bucket"
)

// Job is described at [Jobs].
func (m *Memory) Job(ctx context.Context, id bucket.ID, link bucket.Link) (j Job, err error) {
	err = m.use(ctx, false, func() error {
		var ok bool
		if j, ok = m.bucket(id).outbox[link]; !ok {
			return ErrNotFound
		}
		j = j.clone()
		return nil
	})
	return j, failed(err, "read job %s of bucket %s", link, id)
}

// Jobs is described at [Jobs].
func (m *Memory) Jobs(ctx context.Context) iter.Seq2[Job, error] {
	return pages(ctx, place{}, Job.place, func(after place, n int) (page []Job, err error) {
		err = m.use(ctx, false, func() error {
			i, _ := slices.BinarySearchFunc(m.ids, after.bucket, compareIDs)
			for _, id := range m.ids[i:] {
				page = append(page, m.buckets[id].jobsAfter(after)...)
				if len(page) >= n {
					break
				}
			}
			page = page[:min(n, len(page))]
			return nil
		})
		return page, failed(err, "list jobs")
	})
}

// jobsAfter returns the bucket's jobs behind the cursor, by head order.
func (b *memoryBucket) jobsAfter(after place) []Job {
	var jobs []Job
	for _, j := range b.outbox {
		if b.ID != after.bucket || j.place().head.Compare(after.head) > 0 {
			jobs = append(jobs, j.clone())
		}
	}
	slices.SortFunc(jobs, func(x, y Job) int { return x.place().head.Compare(y.place().head) })
	return jobs
}

// SetJob is described at [Jobs].
func (m *Memory) SetJob(ctx context.Context, id bucket.ID, link bucket.Link, s JobState) error {
	err := m.use(ctx, true, func() error {
		j, ok := m.bucket(id).outbox[link]
		if !ok {
			return ErrNotFound
		}
		j, err := j.moved(s)
		if err != nil {
			return err
		}
		m.buckets[id].outbox[link] = j
		return nil
	})
	return failed(err, "move job %s of bucket %s", link, id)
}

// Complete is described at [Jobs].
func (m *Memory) Complete(ctx context.Context, id bucket.ID, link bucket.Link, pins PinCount) error {
	err := m.use(ctx, true, func() error {
		b := m.bucket(id)
		e, ok := b.entries[link]
		if !ok {
			return ErrNotFound
		}
		delete(b.outbox, link)
		if e.Complete {
			return nil
		}
		e.Complete = true
		b.entries[link] = e
		b.complete(e.Head(), pins)
		return nil
	})
	return failed(err, "complete version %s of bucket %s", link, id)
}

// Drop is described at [Jobs].
func (m *Memory) Drop(ctx context.Context, id bucket.ID, link bucket.Link) error {
	err := m.use(ctx, true, func() error {
		delete(m.bucket(id).outbox, link)
		return nil
	})
	return failed(err, "drop job %s of bucket %s", link, id)
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
