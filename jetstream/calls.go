package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// calls are the requests that wait for an answer. NATS reports what it forbids to the connection as a whole, some time
// after the request was sent, and never answers that request; here the report finds the requests it is about and ends
// them.
type calls struct {
	mu      sync.Mutex
	waiting map[*call]struct{}
	inbox   string // prefix of the subjects on which answers arrive
	denied  error  // not nil: answers cannot arrive
	ended   error  // not nil: nothing is asked any more
}

// call is one waiting request, or a group of them.
type call struct {
	subject string // that the request is sent to, or listens on; empty for none that could be forbidden
	cancel  context.CancelCauseFunc
	lasting bool // goes on when the connection breaks
}

func newCalls(inbox string) *calls {
	return &calls{waiting: map[*call]struct{}{}, inbox: inbox}
}

func (w *calls) setInbox(prefix string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if prefix != "" {
		w.inbox = prefix
	}
}

// add returns a context that ends, with its cause, when the server forbids the subject, or when the connection breaks unless
// the call is lasting, such as a subscription. The function must be called when the waiting is over.
func (w *calls) add(ctx context.Context, subject string, lasting bool) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	k := &call{subject, cancel, lasting}
	w.mu.Lock()
	defer w.mu.Unlock()
	if denied := cmp.Or(w.ended, w.denied); denied != nil {
		cancel(denied)
	}
	w.waiting[k] = struct{}{}
	return ctx, func() {
		w.mu.Lock()
		delete(w.waiting, k)
		w.mu.Unlock()
		cancel(nil)
	}
}

// deny ends the calls that a permission violation is about. If the inbox is forbidden, these are all calls, and all to come.
func (w *calls) deny(err error) {
	subject, publish := violation(err)
	err = fmt.Errorf("%w: subscribe to %s", ErrNotPermitted, subject)
	if publish {
		err = fmt.Errorf("%w: publish to %s", ErrNotPermitted, subject)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	all := !publish && strings.HasPrefix(subject, w.inbox+".")
	if all {
		w.denied = err
	}
	for k := range w.waiting {
		if all || subject != "" && k.subject == subject {
			k.cancel(err)
		}
	}
}

// isInbox reports whether answers arrive on a subject.
func (w *calls) isInbox(subject string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.HasPrefix(subject, w.inbox+".")
}

// allowInbox forgets that the inbox was forbidden: the server looks anew after a reconnect.
func (w *calls) allowInbox() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.denied = nil
}

// fail ends all calls but the lasting ones.
func (w *calls) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k := range w.waiting {
		if !k.lasting {
			k.cancel(err)
		}
	}
}

// end ends all calls, the lasting ones too, and those to come.
func (w *calls) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = err
	for k := range w.waiting {
		k.cancel(err)
	}
}

// bounded returns a context for one request on subject: it ends after the request limit, and as [calls.add] says.
func (c *Client) bounded(ctx context.Context, subject string) (context.Context, func()) {
	return c.boundedFor(ctx, c.limit, subject)
}

func (c *Client) boundedFor(ctx context.Context, limit time.Duration, subject string) (context.Context, func()) {
	ctx, done := c.calls.add(ctx, subject, false)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w: waited %s", ErrTimeout, limit))
	return ctx, func() { cancel(); done() }
}

// request sends one message and waits for the one answer. Errors: [ErrUnreachable], [ErrTimeout], [ErrNotPermitted],
// [ErrPayload], errNoResponders, or parent's.
func (c *Client) request(parent context.Context, m *nats.Msg) (*nats.Msg, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	ctx, done := c.bounded(parent, m.Subject)
	defer done()
	answer, err := c.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return nil, c.silence(c.callError(parent, ctx, err), m.Subject)
	}
	return answer, nil
}

// callError says in this package's words why a call failed. It waited with ctx, which [Client.bounded] made from parent.
func (c *Client) callError(parent, ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, nats.ErrTimeout)) {
		if parent.Err() != nil {
			return context.Cause(parent)
		}
		return context.Cause(ctx)
	}
	_, broke := errors.AsType[*net.OpError](err) // while writing
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return errNoResponders
	case errors.Is(err, nats.ErrTimeout):
		return ErrTimeout
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadHeaderMsg):
		return fmt.Errorf("%w: %w", ErrPayload, err)
	case broke, errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrDisconnected),
		errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining),
		errors.Is(err, nats.ErrConnectionReconnecting):
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return err
}
