package jetstream

import (
	"context"
	"fmt"

	"headwater/bucket"
	"headwater/consumer"
)

// EventFilter says which events are meant. Zero fields match any.
type EventFilter struct {
	Peer   bucket.PublicKey
	Bucket bucket.ID
	Kind   consumer.EventKind
}

// Watch calls handle with each event that matches, one at a time, in the order in which each peer told them, until ctx
// ends, whose error it returns. handle owns the bytes, which are JSON unless somebody lies, and may call back. Events that
// were told before, while there was no connection, or faster than handle takes them are missed. started, if it is not
// nil, is called once no event is missed any more. [ErrNotPermitted] if the server forbids listening.
func (c *Client) Watch(ctx context.Context, f EventFilter, started func(), handle func(event []byte)) error {
	subject := c.names.EventsOf(f.Peer, f.Bucket, f.Kind)
	guard, done := c.calls.add(ctx, subject, true)
	defer done()
	sub, err := c.nc.SubscribeSync(subject)
	if err != nil {
		return fmt.Errorf("watch events: %w", c.callError(ctx, guard, err))
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := c.flush(guard); err != nil {
		return fmt.Errorf("watch events: %w", err)
	}
	if started != nil {
		started()
	}
	for {
		m, err := sub.NextMsgWithContext(guard)
		switch {
		case err == nil:
			handle(m.Data)
		case ctx.Err() != nil:
			return ctx.Err()
		case guard.Err() != nil || !sub.IsValid():
			return fmt.Errorf("watch events: %w", c.callError(ctx, guard, err))
		default:
			c.log.Warn("events were missed", "error", err)
		}
	}
}
