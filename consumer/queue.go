package consumer

import (
	"context"
	"sync"
	"time"

	"headwater/bucket"
)

// Limits on the deliveries that are held: in all, and of one bucket. What is beyond them is given back for a moment.
const (
	// maxHeld is as many as a durable hands out without an answer, so that none has to wait in the client's buffer, where
	// nobody extends its lease.
	maxHeld      = 1024
	maxHeldBytes = 32 << 20
	maxWaiting   = 256
)

// busyDelay is for how long a delivery is given back if there is no room for it: 50 ms at first, doubling up to 6.4 s, since
// known heads are dealt with in no time, and a long catch-up is not.
func busyDelay(deliveries uint64) time.Duration {
	return 50 * time.Millisecond << min(max(deliveries, 1)-1, 7)
}

// queue hands deliveries to workers: one of a bucket at a time, and at most width at once. A bucket that is being worked on holds
// up no other: its deliveries wait without a worker. The leases of all that is held, in work or waiting, are extended in one
// place. Safe for concurrent use.
type queue struct {
	width   int
	work    func(context.Context, Delivery)
	workers sync.WaitGroup

	mu      sync.Mutex
	running int
	waiting map[bucket.ID][]Delivery // in order of arrival; a bucket that is there is in work, or stands in line
	line    []bucket.ID              // buckets that wait for a worker
	held    map[Delivery]struct{}
	bytes   int // of the bodies of those
}

func newQueue(width int, work func(context.Context, Delivery)) *queue {
	return &queue{width: width, work: work, waiting: map[bucket.ID][]Delivery{}, held: map[Delivery]struct{}{}}
}

func (q *queue) wait() { q.workers.Wait() }

// add takes over a delivery: it starts a worker, or lets it wait for one, or gives it back.
func (q *queue) add(ctx context.Context, d Delivery) {
	m := d.Message()
	q.mu.Lock()
	others, busy := q.waiting[m.Bucket]
	if len(q.held) >= maxHeld || q.bytes >= maxHeldBytes || len(others) >= maxWaiting {
		q.mu.Unlock()
		// An error leaves the message to its lease: later, but not lost.
		_ = d.Retry(ctx, busyDelay(m.Deliveries))
		return
	}
	q.held[d] = struct{}{}
	q.bytes += len(m.Body)
	q.waiting[m.Bucket] = append(others, d)
	free := !busy && q.running < q.width
	switch {
	case free:
		q.running++
	case !busy:
		q.line = append(q.line, m.Bucket)
	}
	q.mu.Unlock()
	if free {
		q.workers.Go(func() { q.run(ctx, m.Bucket) })
	}
}

// run is a worker. After the context of work has ended, work returns at once, having given the delivery back, so that the queue
// empties by itself.
func (q *queue) run(ctx context.Context, id bucket.ID) {
	for {
		q.mu.Lock()
		d := q.waiting[id][0]
		q.waiting[id] = q.waiting[id][1:]
		q.mu.Unlock()
		q.work(ctx, d)
		var more bool
		if id, more = q.next(id, d); !more {
			return
		}
	}
}

// next notes that a delivery is settled, and returns the bucket to work on next: those in line take turns.
func (q *queue) next(id bucket.ID, done Delivery) (next bucket.ID, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.held, done)
	q.bytes -= len(done.Message().Body)
	if len(q.waiting[id]) > 0 {
		q.line = append(q.line, id)
	} else {
		delete(q.waiting, id)
	}
	if len(q.line) == 0 {
		q.running--
		return id, false
	}
	next, q.line = q.line[0], q.line[1:]
	return next, true
}

// superseded reports whether a newer announcement of the same announcer waits behind m.
func (q *queue) superseded(m Message) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, d := range q.waiting[m.Bucket] {
		if o := d.Message(); o.Subject == m.Subject && o.Sequence > m.Sequence {
			return true
		}
	}
	return false
}

// keepLeases extends the lease of everything held, every interval, until ctx ends.
func (q *queue) keepLeases(ctx context.Context, interval time.Duration) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		q.mu.Lock()
		held := make([]Delivery, 0, len(q.held))
		for d := range q.held {
			held = append(held, d)
		}
		q.mu.Unlock()
		for _, d := range held {
			// One that cannot be extended is delivered again, and found done by then.
			_ = d.Extend(ctx)
		}
	}
}
