package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

// Ensure makes the streams, the object stores and the peer's durables that are missing, and never changes what exists: it
// returns how that differs from what Headwater would have made. Any number of processes may call it at once.
//
// With BindOnly nothing is made: if something is missing the error is [ErrMissing], which lists each asset with the nats
// command that makes it. Other errors: [ErrNotPermitted], [ErrUnreachable], [ErrTimeout], or what the server says.
func (c *Client) Ensure(ctx context.Context, cfg EnsureConfig) ([]Difference, error) {
	var found []Difference
	var missing []string
	want := c.names.assets(cfg)
	for _, s := range want.streams {
		have, err := c.ensureStream(ctx, s, cfg.BindOnly)
		if cfg.BindOnly && errors.Is(err, ErrNotFound) {
			missing = append(missing, c.addStreamCommand(s))
			continue
		}
		if err != nil {
			return found, fmt.Errorf("stream %s: %w", s.Name, noJetStream(err))
		}
		found = append(found, c.streamDifferences(s, have)...)
	}
	for _, d := range want.durables {
		have, err := c.ensureDurable(ctx, d, cfg.BindOnly)
		if cfg.BindOnly && errors.Is(err, ErrNotFound) {
			missing = append(missing, c.addDurableCommand(d))
			continue
		}
		if err != nil {
			return found, fmt.Errorf("durable %s on %s: %w", d.config.Durable, d.stream, noJetStream(err))
		}
		found = append(found, c.durableDifferences(d, have)...)
	}
	if missing != nil {
		return found, fmt.Errorf("%w; make them with\n\t%s", ErrMissing, strings.Join(missing, "\n\t"))
	}
	return found, nil
}

// ensureStream returns the configuration of a stream as it is on the server, after making it if it was missing.
func (c *Client) ensureStream(ctx context.Context, want natsjs.StreamConfig, bindOnly bool) (natsjs.StreamConfig, error) {
	look := func() (streamInfo, error) { return c.streamInfo(ctx, c.at(want.Name)) }
	info, err := ensure(look, func() error { return c.createStream(ctx, want) }, bindOnly)
	return info.Config, err
}

// ensureDurable is ensureStream for a durable.
func (c *Client) ensureDurable(ctx context.Context, want durable, bindOnly bool) (durableInfo, error) {
	look := func() (durableInfo, error) { return c.durableInfo(ctx, want.stream, want.config.Durable) }
	return ensure(look, func() error { return c.createDurable(ctx, want.stream, want.config) }, bindOnly)
}

// ensure returns what look finds, after making it if it was missing. What another process made a moment earlier may have other
// settings than ours: so it looks again.
func ensure[T any](look func() (T, error), create func() error, bindOnly bool) (T, error) {
	found, err := look()
	if err == nil || bindOnly || !errors.Is(err, ErrNotFound) {
		return found, err
	}
	if err := create(); err != nil {
		return found, err
	}
	return look()
}
