package logstore

import (
	"context"
	"sync"

	"headwater/bucket"
)

// turns lets one call at a time change a bucket.
type turns struct {
	mu      sync.Mutex
	buckets map[bucket.ID]*turn
}

// turn is the token of one bucket.
type turn struct {
	free  chan struct{} // holds one value while nobody has the turn
	users int           // those that have it or wait for it
}

// wait waits for the bucket's turn until ctx ends, and returns what gives the turn back.
func (t *turns) wait(ctx context.Context, id bucket.ID) (done func(), err error) {
	t.mu.Lock()
	b := t.buckets[id]
	if b == nil {
		b = &turn{free: make(chan struct{}, 1)}
		b.free <- struct{}{}
		t.buckets[id] = b
	}
	b.users++
	t.mu.Unlock()
	select {
	case <-b.free:
		return func() {
			b.free <- struct{}{}
			t.leave(id, b)
		}, nil
	case <-ctx.Done():
		t.leave(id, b)
		return nil, ctx.Err()
	}
}

// leave forgets a token that nobody uses.
func (t *turns) leave(id bucket.ID, b *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if b.users--; b.users == 0 {
		delete(t.buckets, id)
	}
}
