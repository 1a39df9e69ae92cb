package chain

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"
)

// A version in memory is counted twice its size: once as it came, once decoded. An object that is not decoded yet counts the
// same, so that decoding changes nothing.
const counted = 2

// memory is how many bytes all catch-ups together may hold. Nobody waits for it, so that no two can wait for each other: a
// catch-up that gets none goes on with a floor, and puts away what it holds. Safe for concurrent use.
type memory struct{ free atomic.Int64 }

// floor is how many bytes of objects a catch-up may ask for, and may hold of versions, when the memory is used up.
const floor = 256 << 10

// share is what one catch-up holds of the memory. Safe for concurrent use.
type share struct {
	m    *memory
	held atomic.Int64
}

// reserve takes the memory for at most want bytes of objects; up to a floor of them are granted in any case.
func (s *share) reserve(want int) (granted int) {
	for {
		free := s.m.free.Load()
		granted = max(min(want, int(free/counted)), min(want, floor))
		if s.m.free.CompareAndSwap(free, free-int64(counted*granted)) {
			s.held.Add(int64(counted * granted))
			return granted
		}
	}
}

// take accounts for n bytes of versions, whether there is room or not.
func (s *share) take(n int) { s.give(-n) }

func (s *share) give(n int) {
	s.held.Add(int64(-counted * n))
	s.m.free.Add(int64(counted * n))
}

// full reports whether n bytes of versions are more than may be held.
func (s *share) full(n int) bool { return n > floor && s.m.free.Load() <= 0 }

func (s *share) close() { s.m.free.Add(s.held.Swap(0)) }

// processors is what decoding and verifying may use: all of them. While a short catch-up is under way, which needs no more than
// a moment, long stretches use no more than half of them, for half of the time. Safe for concurrent use.
type processors struct {
	all, half chan struct{} // tokens of those that long stretches use
	short     atomic.Int32  // catch-ups under way that are short
}

func newProcessors() *processors {
	n := runtime.GOMAXPROCS(0)
	return &processors{all: make(chan struct{}, n), half: make(chan struct{}, max(1, n/2))}
}

// long does a step of a long stretch, which should take about a millisecond. Once ctx has ended, it does not wait any more.
func (p *processors) long(ctx context.Context, step func()) {
	tokens, busy := p.all, p.short.Load() > 0
	if busy {
		tokens = p.half
	}
	select {
	case tokens <- struct{}{}:
		defer func() { <-tokens }()
	case <-ctx.Done():
		step()
		return
	}
	start := time.Now()
	step()
	if !busy {
		return
	}
	rest := time.NewTimer(time.Since(start))
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-ctx.Done():
	}
}
