package consumer

import (
	"context"
	"sync"
	"time"

	"headwater/bucket"
)

// maxWaiting is how many deliveries may wait in one bucket's lane. One more is given back for a moment, so that a bucket
// with many announcers and a long catch-up does not gather deliveries without bound.
// It is a fraction of what a durable hands out without an answer, so that the other buckets are still heard.
const maxWaiting = 256

// busyDelay is for how long a delivery goes back where its bucket's lane is full: 50 ms at first, doubling up to 6.4 s, since
// known heads are dealt with in no time, and a long catch-up is not.
func busyDelay(deliveries uint64) time.Duration {
	return 50 * time.Millisecond << min(max(deliveries, 1)-1, 7)
}

// lanes hands deliveries to workers: one worker per bucket at a time, at most width at once. A delivery for a bucket that is
// being worked on waits in the bucket's lane without taking a slot, so one busy bucket holds up no other. The lease of all
// that is held, in work or waiting, is extended in one place.
type lanes struct {
	slots   chan struct{}
	workers sync.WaitGroup

	mu   sync.Mutex
	busy map[bucket.ID][]Delivery // waiting, in order of arrival; a present key has a worker
	held map[Delivery]struct{}
}

func newLanes(width int) *lanes {
	return &lanes{
		slots: make(chan struct{}, width), busy: map[bucket.ID][]Delivery{}, held: map[Delivery]struct{}{},
	}
}

// acquire waits for a free slot.
func (l *lanes) acquire(ctx context.Context) error {
	select {
	case l.slots <- struct{}{}:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// release gives a slot free that dispatch was not called for.
func (l *lanes) release() { <-l.slots }

// wait returns when no worker is left.
func (l *lanes) wait() { l.workers.Wait() }

// dispatch takes over a slot and a delivery: it starts the bucket's worker, or lets the delivery wait for the one that runs.
func (l *lanes) dispatch(ctx context.Context, d Delivery, work func(Delivery)) {
	id := d.Message().Bucket
	l.mu.Lock()
	waiting, isBusy := l.busy[id]
	if !isBusy {
		l.busy[id] = nil
		l.held[d] = struct{}{}
		l.workers.Add(1)
		l.mu.Unlock()
		go l.drain(id, d, work)
		return
	}
	full := len(waiting) >= maxWaiting
	if !full {
		l.busy[id] = append(waiting, d)
		l.held[d] = struct{}{}
	}
	l.mu.Unlock()
	l.release()
	if full {
		// An error leaves the message to its lease: later, but not lost.
		_ = d.Retry(ctx, busyDelay(d.Message().Deliveries))
	}
}

// drain works on a bucket until nothing waits for it, then gives the slot free. After the context of work has ended, work
// returns at once, having given the delivery back, so the lane empties by itself.
func (l *lanes) drain(id bucket.ID, d Delivery, work func(Delivery)) {
	defer l.workers.Done()
	defer l.release()
	for {
		work(d)
		l.mu.Lock()
		delete(l.held, d)
		waiting := l.busy[id]
		if len(waiting) == 0 {
			delete(l.busy, id)
			l.mu.Unlock()
			return
		}
		d, l.busy[id] = waiting[0], waiting[1:]
		l.mu.Unlock()
	}
}

// superseded says whether a newer announcement of the same announcer waits behind m in its lane.
func (l *lanes) superseded(m Message) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.busy[m.Bucket] {
		if o := d.Message(); o.Subject == m.Subject && o.Sequence > m.Sequence {
			return true
		}
	}
	return false
}

// keepLeases extends the lease of everything held, every interval, until ctx ends.
func (l *lanes) keepLeases(ctx context.Context, interval time.Duration) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		l.mu.Lock()
		held := make([]Delivery, 0, len(l.held))
		for d := range l.held {
			held = append(held, d)
		}
		l.mu.Unlock()
		for _, d := range held {
			// One that cannot be extended is delivered again, and found done by then.
			_ = d.Extend(ctx)
		}
	}
}
