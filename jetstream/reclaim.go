package jetstream

import (
	"context"
	"errors"
	"fmt"
)

// Reclaim makes anew the durables that wait for an answer: what a process of this peer held when it died is delivered again at
// once, not when its lease runs out. Call it before the peer's sources are read, and never while another process works for the
// peer. Everything on the streams that is not acknowledged, or still stands there, is delivered once more, which costs a
// look-up each.
//
// A durable that somebody else made, or set up differently, is left alone. So is every one with BindOnly, and one that
// the server does not let this user delete: then the leases run out. Errors: [ErrUnreachable], [ErrTimeout], or what the
// server says.
func (c *Client) Reclaim(ctx context.Context, cfg EnsureConfig) error {
	if cfg.BindOnly {
		return nil
	}
	for _, d := range c.names.assets(cfg).durables {
		if err := c.reclaim(ctx, d); err != nil && !errors.Is(err, ErrNotPermitted) && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("reclaim durable %s on %s: %w", d.config.Durable, d.stream, err)
		}
	}
	return nil
}

func (c *Client) reclaim(ctx context.Context, d durable) error {
	info, err := c.durableInfo(ctx, d.stream, d.config.Durable)
	if err != nil || info.NumAckPending == 0 {
		return err
	}
	if info.Config.Metadata[metadataKey] != c.names.prefix() || len(c.durableDifferences(d, info)) > 0 {
		return nil
	}
	if err := c.apiCall(ctx, c.api, "CONSUMER.DELETE."+d.stream+"."+d.config.Durable, nil, nil); err != nil {
		return err
	}
	c.log.Info("a process held deliveries when it died; they are delivered again", "durable", d.config.Durable, "held", info.NumAckPending)
	return c.createDurable(ctx, d.stream, d.config)
}
