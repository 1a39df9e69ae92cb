package consumer

import (
	"context"
	"sync/atomic"
	"time"
)

// pace keeps long catch-ups from holding up short work: checking signatures waits for nothing, so that it would take all
// processors, and each step of everything else would wait for one of them. Safe for concurrent use.
type pace struct {
	short atomic.Int32  // announcements in work that are no long catch-ups
	slots chan struct{} // what all long catch-ups together may use while there are such
}

// newPace lets long catch-ups use half of the processors for half of the time while there is short work, and all otherwise.
func newPace() *pace {
	return &pace{slots: make(chan struct{}, max(1, verifiers()/2))}
}

// work notes that an announcement is in work until done is called. Pin jobs do not count: they mostly wait for the network.
func (p *pace) work() (done func()) {
	p.short.Add(1)
	return func() { p.short.Add(-1) }
}

// long notes that an announcement in work is a long catch-up until done is called.
func (p *pace) long() (done func()) {
	p.short.Add(-1)
	return func() { p.short.Add(1) }
}

// run does some milliseconds of a long catch-up's computing. Where there is short work it waits for a slot before, and as long
// as that took after it.
func (p *pace) run(ctx context.Context, compute func()) {
	if p.short.Load() == 0 {
		compute()
		return
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		compute() // somebody waits for the result
		return
	}
	defer func() { <-p.slots }()
	start := time.Now()
	compute()
	rest := time.NewTimer(time.Since(start))
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-ctx.Done():
	}
}
