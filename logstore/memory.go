package logstore

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"headwater/bucket"
)

var _ Store = (*Memory)(nil)

// Memory is a log that lives as long as the process: for tests, and to compare with. It keeps the whole contract except
// durability.
type Memory struct {
	mu        sync.RWMutex
	closed    bool
	buckets   map[bucket.ID]*memoryBucket
	ids       []bucket.ID // ascending
	strangers int
}

// memoryBucket is a [ledger] of one bucket.
type memoryBucket struct {
	Bucket
	entries map[bucket.Head]Entry
	heads   []bucket.Head // ascending
	outbox  map[bucket.Head]Job
	tips    map[bucket.Head]bool // reports whether the tip is merged
	uploads map[bucket.Head]Upload
}

// NewMemory returns an empty log.
func NewMemory() *Memory { return &Memory{buckets: make(map[bucket.ID]*memoryBucket)} }

// use runs f under the lock, for reading or writing, while the log is open.
func (m *Memory) use(ctx context.Context, write bool, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if write {
		m.mu.Lock()
		defer m.mu.Unlock()
	} else {
		m.mu.RLock()
		defer m.mu.RUnlock()
	}
	if m.closed {
		return ErrClosed
	}
	return f()
}

// bucket returns the bucket of that ID, or an empty one that is not kept yet.
func (m *Memory) bucket(id bucket.ID) *memoryBucket {
	if b := m.buckets[id]; b != nil {
		return b
	}
	return &memoryBucket{
		Bucket:  Bucket{ID: id},
		entries: make(map[bucket.Head]Entry), outbox: make(map[bucket.Head]Job),
		tips: make(map[bucket.Head]bool), uploads: make(map[bucket.Head]Upload),
	}
}

// keep puts b among the buckets, or takes it out if nothing is known of it.
func (m *Memory) keep(b *memoryBucket) {
	i, found := slices.BinarySearchFunc(m.ids, b.ID, compareIDs)
	switch {
	case b.isEmpty() && found:
		m.ids = slices.Delete(m.ids, i, i+1)
		delete(m.buckets, b.ID)
	case !b.isEmpty() && !found:
		m.ids = slices.Insert(m.ids, i, b.ID)
		m.buckets[b.ID] = b
	}
}

// Append is described at [Appender].
func (m *Memory) Append(ctx context.Context, stretch []Entry, job *Job, newestOnly bool) (added []Entry, err error) {
	if err := checkAppend(stretch, job); err != nil || len(stretch) == 0 {
		return nil, err
	}
	id := stretch[0].Bucket
	added, err = m.append(ctx, id, func(b *memoryBucket) (appendPlan, error) {
		return planAppend(ctx, b, b.Bucket, stretch, job, newestOnly, time.Now())
	})
	return added, failed(err, "append to bucket %s", id)
}

// append plans an append and carries it out.
func (m *Memory) append(
	ctx context.Context, id bucket.ID, plan func(b *memoryBucket) (appendPlan, error),
) (added []Entry, err error) {
	err = m.use(ctx, true, func() error {
		b := m.bucket(id)
		p, err := plan(b)
		if err != nil || len(p.fresh) == 0 {
			return err
		}
		if b.isStranger() {
			m.strangers--
		}
		b.apply(p)
		m.keep(b)
		added = p.fresh
		return nil
	})
	return added, err
}

// apply carries a plan out.
func (b *memoryBucket) apply(p appendPlan) {
	p.begin(&b.Bucket)
	delete(b.tips, p.follows(0))
	b.tips[p.fresh[len(p.fresh)-1].Head()] = false
	for _, e := range p.fresh {
		if p.own {
			b.uploads[e.Head()] = Upload{Bucket: e.Bucket, Link: e.Link, Height: e.Height}
		}
		b.add(e)
		b.entries[e.Head()] = e
		i, _ := slices.BinarySearchFunc(b.heads, e.Head(), bucket.Head.Compare)
		b.heads = slices.Insert(b.heads, i, e.Head())
	}
	for _, h := range p.replaced {
		delete(b.outbox, h)
	}
	if p.job == nil {
		return
	}
	b.outbox[p.job.Head()] = *p.job
	for _, e := range p.every() {
		b.outbox[e.Head()] = jobFor(e, p.job)
	}
}

func (b *memoryBucket) has(h bucket.Head) (bool, error) {
	_, ok := b.entries[h]
	return ok, nil
}

func (b *memoryBucket) previous(h bucket.Head) (bucket.Link, error) {
	return b.entries[h].Previous, nil
}

func (b *memoryBucket) succeeded(height uint64, previous bucket.Link) (bool, error) {
	return slices.ContainsFunc(b.at(height), func(h bucket.Head) bool { return b.entries[h].Previous == previous }), nil
}

func (b *memoryBucket) jobs() ([]Job, error) {
	jobs := make([]Job, 0, len(b.outbox))
	for _, j := range b.outbox {
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// at returns the heads of one height, ascending.
func (b *memoryBucket) at(height uint64) []bucket.Head {
	from := b.before(bucket.Head{Height: height})
	to := from
	for to < len(b.heads) && b.heads[to].Height == height {
		to++
	}
	return b.heads[from:to]
}

// before returns how many heads come before h; a head without link comes before all others of its height.
func (b *memoryBucket) before(h bucket.Head) int {
	i, _ := slices.BinarySearchFunc(b.heads, h, func(x, y bucket.Head) int {
		return cmp.Or(cmp.Compare(x.Height, y.Height), x.Link.Compare(y.Link))
	})
	return i
}

// Bucket is described at [Reader].
func (m *Memory) Bucket(ctx context.Context, id bucket.ID) (row Bucket, err error) {
	err = m.use(ctx, false, func() error {
		if m.buckets[id] == nil {
			return ErrNotFound
		}
		row = m.buckets[id].Bucket
		return nil
	})
	return row, failed(err, "read bucket %s", id)
}

// Entry is described at [Reader].
func (m *Memory) Entry(ctx context.Context, id bucket.ID, h bucket.Head) (e Entry, err error) {
	err = m.use(ctx, false, func() error {
		var ok bool
		if e, ok = m.bucket(id).entries[h]; !ok {
			return ErrNotFound
		}
		return nil
	})
	return e, failed(err, "read version %s at height %d of bucket %s", h.Link, h.Height, id)
}

// Heads is described at [Reader].
func (m *Memory) Heads(ctx context.Context, id bucket.ID, height uint64) (links []bucket.Link, err error) {
	err = m.use(ctx, false, func() error {
		for _, h := range m.bucket(id).at(height) {
			links = append(links, h.Link)
		}
		return nil
	})
	return links, failed(err, "read height %d of bucket %s", height, id)
}

// Buckets is described at [Reader].
func (m *Memory) Buckets(ctx context.Context, after bucket.ID) iter.Seq2[Bucket, error] {
	return pages(ctx, after, func(b Bucket) bucket.ID { return b.ID }, func(after bucket.ID, n int) (page []Bucket, err error) {
		err = m.use(ctx, false, func() error {
			i, found := slices.BinarySearchFunc(m.ids, after, compareIDs)
			if found {
				i++
			}
			for _, id := range m.ids[i:min(i+n, len(m.ids))] {
				page = append(page, m.buckets[id].Bucket)
			}
			return nil
		})
		return page, failed(err, "list buckets")
	})
}

// Walk is described at [Reader].
func (m *Memory) Walk(ctx context.Context, id bucket.ID, before bucket.Head) iter.Seq2[Entry, error] {
	return pages(ctx, before, Entry.Head, func(before bucket.Head, n int) (page []Entry, err error) {
		err = m.use(ctx, false, func() error {
			b := m.bucket(id)
			i := len(b.heads)
			if !before.IsZero() {
				i = b.before(before)
			}
			for ; i > 0 && len(page) < n; i-- {
				page = append(page, b.entries[b.heads[i-1]])
			}
			return nil
		})
		return page, failed(err, "walk bucket %s", id)
	})
}

// Close is described at [Store].
func (m *Memory) Close() error {
	return failed(m.use(context.Background(), true, func() error {
		m.closed = true
		return nil
	}), "close the log")
}
