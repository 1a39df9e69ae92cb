package consumer

import (
	"context"
	"sync"

	"headwater/bucket"
)

// turns lets one goroutine at a time work on a bucket. The zero value is ready. Safe for concurrent use.
type turns struct {
	mu   sync.Mutex
	busy map[bucket.ID]chan struct{} // closed when the turn ends
}

// wait returns when it is the caller's turn, which ends when done is called.
func (t *turns) wait(ctx context.Context, id bucket.ID) (done func(), err error) {
	for {
		t.mu.Lock()
		end, busy := t.busy[id]
		if !busy {
			if t.busy == nil {
				t.busy = map[bucket.ID]chan struct{}{}
			}
			end = make(chan struct{})
			t.busy[id] = end
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				defer t.mu.Unlock()
				delete(t.busy, id)
				close(end)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-end:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
