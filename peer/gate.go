package peer

import (
	"context"
	"errors"
	"sync"
	"time"

	"headwater/peer/local"
)

// gate counts calls under way, so that what they use is closed after the last one has ended. The zero gate is open. Safe for
// concurrent use.
type gate struct {
	mu      sync.Mutex
	closed  bool
	calls   sync.WaitGroup
	waiters map[*context.CancelCauseFunc]struct{} // of calls that wait for something
}

// enter counts a call until done is called. After shut it is local.ErrGone.
func (g *gate) enter() (done func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, local.ErrGone
	}
	g.calls.Add(1)
	return sync.OnceFunc(g.calls.Done), nil
}

// wait is enter for a call that waits for something: the context that it returns ends when the gate is shut, with
// local.ErrGone for its cause.
func (g *gate) wait(ctx context.Context) (context.Context, func(), error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, nil, local.ErrGone
	}
	g.calls.Add(1)
	leave := sync.OnceFunc(g.calls.Done)
	ctx, cancel := context.WithCancelCause(ctx)
	if g.waiters == nil {
		g.waiters = map[*context.CancelCauseFunc]struct{}{}
	}
	g.waiters[&cancel] = struct{}{}
	return ctx, func() {
		g.mu.Lock()
		delete(g.waiters, &cancel)
		g.mu.Unlock()
		cancel(nil)
		leave()
	}, nil
}

// ended returns err, or the reason if a call of [gate.wait] failed because the gate was shut.
func ended(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), local.ErrGone) {
		return local.ErrGone
	}
	return err
}

// shut lets no call in any more, and returns when the last one has ended, or after a grace: somebody may have stopped in the
// middle of reading a blob. It reports whether the gate was open.
func (g *gate) shut(grace time.Duration) bool {
	g.mu.Lock()
	wasOpen := !g.closed
	g.closed = true
	for cancel := range g.waiters {
		(*cancel)(local.ErrGone)
	}
	g.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		g.calls.Wait()
		close(ended)
	}()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
	return wasOpen
}
