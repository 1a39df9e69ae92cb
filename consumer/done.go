package consumer

import (
	"context"
	"sync"

	"headwater/bucket"
)

// maxDone is the most buckets for which doneHeads remembers a head: some 100 bytes each.
const maxDone = 10_000

// doneHeads remembers one head of each bucket that is done with, since many peers announce it: it is in the log and complete,
// for good, and no condition of its bucket waits for an announcement of it. Safe for concurrent use.
type doneHeads struct {
	mu      sync.Mutex
	all     map[bucket.ID]bucket.Head
	changes uint64 // counts forget
}

func (d *doneHeads) get(id bucket.ID) (head bucket.Head, changes uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all[id], d.changes
}

// add remembers a head, unless a condition was recorded since get.
func (d *doneHeads) add(id bucket.ID, head bucket.Head, changes uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if changes != d.changes {
		return
	}
	if d.all == nil || len(d.all) >= maxDone {
		d.all = map[bucket.ID]bucket.Head{}
	}
	d.all[id] = head
}

// forget is called once a condition was recorded.
func (d *doneHeads) forget(id bucket.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.all, id)
	d.changes++
}

// repeats settles an announcement of a head that is done with, and reports whether it did: this takes no worker and no look into
// the log, however many peers announce it.
func (c *Consumer) repeats(ctx context.Context, d Delivery) bool {
	m := d.Message()
	head, _ := c.done.get(m.Bucket)
	if m.Kind != KindHeads || head.IsZero() {
		return false
	}
	a, err := readAnnouncement(m)
	if err != nil || a.Link != head.Link || len(a.Heads) > 0 || checkHeight(a, head.Height) != nil {
		return false
	}
	c.settle(ctx, d, result{outcome: ClassDuplicate, event: Event{Link: head.Link, Height: head.Height}}, nil)
	return true
}
