package worktree

import (
	"context"
	"iter"
	"sync"

	"headwater/tree"

	"golang.org/x/sync/semaphore"
)

// How much is worked on at the same time. Stores are often far away, so most of the time is waiting.
const (
	workers = 16 // that fetch files
	// putters put files: as many are stored in one step if the store can do that.
	putters = 256
	// memory is the bytes that files in work may take together; workers wait for it.
	memory = 32 << 20
	// largeCost is what a streamed file takes.
	largeCost = 12 << 20
)

// cost is about what a file of some size takes in memory while it is worked on.
func cost(size int64) int64 {
	if size > tree.SmallFile {
		return largeCost
	}
	return 2*size + 64<<10
}

// each calls do once with every value of a sequence, up to workers at a time, as long as what they cost together fits into
// memory. After an error, or the end of ctx, no more values are asked for, and do's context is cancelled; the first error is
// returned. Workers are few and last, so that their stacks grow only once.
func each[T any](ctx context.Context, workers int, all iter.Seq[T], cost func(T) int64, do func(context.Context, T) error) error {
	type task struct {
		v    T
		cost int64
	}
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tasks := make(chan task)
	room := semaphore.NewWeighted(memory)
	work := func(t task) {
		if err := do(inner, t.v); err != nil {
			cancel(err) // the first one counts
		}
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for t := range tasks {
				work(t)
				room.Release(t.cost)
			}
		})
	}
	for v := range all {
		t := task{v, cost(v)}
		if room.Acquire(inner, t.cost) != nil {
			work(t) // sees the end of its context
			break
		}
		tasks <- t
	}
	close(tasks)
	wg.Wait()
	return context.Cause(inner)
}
