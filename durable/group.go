package durable

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// GroupConfig says what a [Group] does with what its callers bring.
type GroupConfig[T any] struct {
	// Commit makes the items of a batch durable, oldest first; it never runs twice at a time. Its error is returned to every
	// caller of the batch. If items can fare differently, T is a pointer to something in which Commit leaves the result.
	// ctx ends once the contexts of all callers of the batch have ended: nobody wants the batch any more.
	Commit func(ctx context.Context, batch []T) error

	// Weigh returns what an item adds to its batch; nil counts 1 and no size.
	Weigh func(item T) (count, size int)

	// Limits of a batch; zero is none. An item that is larger by itself makes a batch of its own.
	MaxCount, MaxSize int
}

// Group lets callers that come at the same time share a commit: one write and sync, one transaction, one request. What comes
// while a commit is under way goes into the next one, in the order it came.
//
// No goroutine stands behind it. The first caller to come commits, and hands over to the oldest of those that came meanwhile,
// so that each caller commits at most once, and its own item with it. There is nothing to close: once all calls have
// returned nothing is under way.
//
// There is one rule for a context that ends. Before Commit is given the item, the item is withdrawn, has no effect, and
// nobody else notices. After that the call waits for Commit and returns its error: nobody is told that something failed
// which then happens, and on return the memory that an item refers to is the caller's again.
//
// All methods are safe for concurrent use.
type Group[T any] struct {
	cfg   GroupConfig[T]
	mu    sync.Mutex
	busy  bool         // somebody commits, or was asked to
	queue []*member[T] // who waits, oldest first
}

// member is a caller and its item.
type member[T any] struct {
	item  T
	turn  chan struct{} // closed once it is the caller's turn to commit, or its batch is committed
	lead  bool          // set before turn is closed: the caller commits
	batch *batch        // that its item was taken into
	err   error         // set before turn is closed: what became of the batch
}

// batch counts the callers who still want it.
type batch struct {
	ctx    context.Context // of the commit, which lasts as long as the batch
	cancel context.CancelFunc
	wanted atomic.Int64
}

// leave is called at most once for each caller, when its context ends.
func (b *batch) leave() {
	if b.wanted.Add(-1) == 0 {
		b.cancel()
	}
}

// NewGroup returns a Group. Commit is required.
func NewGroup[T any](cfg GroupConfig[T]) *Group[T] {
	if cfg.Weigh == nil {
		cfg.Weigh = func(T) (count, size int) { return 1, 0 }
	}
	return &Group[T]{cfg: cfg}
}

// Do commits item, together with those of other callers, and returns the error of that commit. If ctx ends before the commit
// began, it returns the error of ctx, and nothing was done.
func (g *Group[T]) Do(ctx context.Context, item T) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m := g.join(item)
	select {
	case <-m.turn:
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		if g.withdraw(m) {
			return err
		}
		m.batch.leave()
		<-m.turn
		return m.err
	}
	if m.lead {
		return g.commit(ctx, m)
	}
	return m.err
}

func (g *Group[T]) join(item T) *member[T] {
	m := &member[T]{item: item, turn: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queue = append(g.queue, m)
	if !g.busy {
		g.handOver()
	}
	return m
}

// handOver asks the oldest caller to commit, if there is one. g.mu is held.
func (g *Group[T]) handOver() {
	g.busy = len(g.queue) > 0
	if g.busy {
		m := g.queue[0]
		m.lead = true
		close(m.turn)
	}
}

// withdraw takes a caller off the queue; false means that its item is in a batch.
func (g *Group[T]) withdraw(m *member[T]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.queue, m)
	if i < 0 {
		return false
	}
	g.queue = slices.Delete(g.queue, i, i+1)
	if m.lead {
		g.handOver()
	}
	return true
}

// commit commits what has gathered; own is the oldest of it.
func (g *Group[T]) commit(ctx context.Context, own *member[T]) error {
	members, b := g.take(ctx)
	items := make([]T, len(members))
	for i, m := range members {
		items[i] = m.item
	}
	stop := context.AfterFunc(ctx, b.leave)
	err := g.cfg.Commit(b.ctx, items)
	stop()
	b.cancel()

	g.mu.Lock()
	g.handOver()
	g.mu.Unlock()
	for _, m := range members {
		if m != own {
			m.err = err
			close(m.turn)
		}
	}
	return err
}

// take takes off the queue what one batch holds.
func (g *Group[T]) take(ctx context.Context) ([]*member[T], *batch) {
	b := &batch{}
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	g.mu.Lock()
	defer g.mu.Unlock()
	n, count, size := 0, 0, 0
	for ; n < len(g.queue); n++ {
		c, s := g.cfg.Weigh(g.queue[n].item)
		count, size = count+c, size+s
		if n > 0 && (g.cfg.MaxCount > 0 && count > g.cfg.MaxCount || g.cfg.MaxSize > 0 && size > g.cfg.MaxSize) {
			break
		}
		g.queue[n].batch = b
	}
	b.wanted.Store(int64(n))
	members := slices.Clone(g.queue[:n])
	g.queue = slices.Delete(g.queue, 0, n)
	return members, b
}
