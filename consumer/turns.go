package consumer

import (
	"context"
	"sync"

	"headwater/bucket"
)

// turns lets one goroutine at a time work on a bucket. The zero value is ready. Safe for concurrent use.
type turns struct {
	mu  sync.Mutex
	all map[bucket.ID]*turn
}

type turn struct {
	free chan struct{} // holds a token while nobody works
	n    int           // who works or waits
}

// wait returns when it is the caller's turn, which ends when done is called.
func (t *turns) wait(ctx context.Context, id bucket.ID) (done func(), err error) {
	t.mu.Lock()
	if t.all == nil {
		t.all = map[bucket.ID]*turn{}
	}
	own := t.all[id]
	if own == nil {
		own = &turn{free: make(chan struct{}, 1)}
		own.free <- struct{}{}
		t.all[id] = own
	}
	own.n++
	t.mu.Unlock()
	select {
	case <-own.free:
		return func() {
			own.free <- struct{}{}
			t.leave(id, own)
		}, nil
	case <-ctx.Done():
		t.leave(id, own)
		return nil, ctx.Err()
	}
}

func (t *turns) leave(id bucket.ID, own *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if own.n--; own.n == 0 {
		delete(t.all, id)
	}
}
