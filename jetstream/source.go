package jetstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"headwater/consumer"

	"github.com/cenkalti/backoff/v4"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

// How deliveries are asked for: many at once, since nats.go loses track of a request now and then (its issue 1622), about one in
// ten thousand. That is noticed after two heartbeats.
const (
	pullMessages  = 256
	pullExpiry    = 30 * time.Second
	pullHeartbeat = 5 * time.Second
)

// SourceConfig says which deliveries are wanted.
type SourceConfig struct {
	Kind consumer.Kind // required
	// Ensure holds the peer (required), and how its durable is made again if somebody deleted it.
	Ensure EnsureConfig
}

// Source yields the deliveries of a peer's durable. Whatever ends the subscription on the server (a deleted durable or
// stream, a new leader, a broken connection) makes [Source.Next] take longer, never fail; a missing durable is made
// again, unless the configuration says BindOnly: then it waits until somebody else makes it.
type Source struct {
	c      *Client
	cfg    SourceConfig
	want   durable
	closed chan struct{}
	once   sync.Once

	next  sync.Mutex // held while Next runs, and by Close after that
	pause *backoff.ExponentialBackOff
	tried bool // there was an attempt to bind already: wait before another

	mu       sync.Mutex
	messages natsjs.MessagesContext // nil while not bound

	proven atomic.Bool // an acknowledgement got through since binding
}

var _ consumer.Source = (*Source)(nil)

// NewSource returns the source of a peer's deliveries of a kind. It sends nothing: the first [Source.Next] does. Close it
// before the client.
func (c *Client) NewSource(cfg SourceConfig) (*Source, error) {
	if cfg.Kind != consumer.KindHeads && cfg.Kind != consumer.KindPins {
		return nil, fmt.Errorf("source: there is no kind %q of deliveries", cfg.Kind)
	}
	if cfg.Ensure.Peer.IsZero() {
		return nil, fmt.Errorf("source of %s: whose it is, is missing", cfg.Kind)
	}
	return &Source{c: c, cfg: cfg, want: c.names.durable(cfg.Kind, cfg.Ensure), closed: make(chan struct{}),
		pause: backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond),
			backoff.WithMaxInterval(15*time.Second), backoff.WithMaxElapsedTime(0))}, nil
}

// Next waits for a delivery: see [consumer.Source].
func (s *Source) Next(ctx context.Context) (consumer.Delivery, error) {
	s.next.Lock()
	defer s.next.Unlock()
	for {
		messages, err := s.bound(ctx)
		if err != nil {
			return nil, err
		}
		msg, err := messages.Next(natsjs.NextContext(ctx))
		if err == nil {
			s.pause.Reset()
			return s.delivery(msg), nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s.judge(ctx, messages, err)
	}
}

// bound returns the running subscription, after making one if there is none.
func (s *Source) bound(ctx context.Context) (natsjs.MessagesContext, error) {
	s.mu.Lock()
	messages := s.messages
	s.mu.Unlock()
	for messages == nil {
		if err := s.wait(ctx); err != nil {
			return nil, err
		}
		var err error
		if messages, err = s.bind(ctx); err != nil {
			s.c.log.Warn("cannot receive yet", "durable", s.want.config.Durable, "error", err)
		}
	}
	select {
	case <-s.closed:
		return nil, consumer.ErrClosed
	default:
		return messages, ctx.Err()
	}
}

// wait pauses before every attempt to bind but the first.
func (s *Source) wait(ctx context.Context) error {
	delay := time.Duration(0)
	if s.tried {
		delay = s.pause.NextBackOff()
	}
	s.tried = true
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
		return consumer.ErrClosed
	}
}

// bind makes sure that the durable exists and subscribes to it.
func (s *Source) bind(ctx context.Context) (natsjs.MessagesContext, error) {
	_, err := s.c.ensureDurable(ctx, s.want, s.cfg.Ensure.BindOnly)
	if hasCode(err, codeStreamNotFound) && !s.cfg.Ensure.BindOnly {
		if _, err = s.c.Ensure(ctx, s.cfg.Ensure); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	bounded, done := s.c.bounded(ctx, "")
	defer done()
	d, err := s.c.js.Consumer(bounded, s.want.stream, s.want.config.Durable)
	if err != nil {
		return nil, s.c.callError(ctx, bounded, err)
	}
	messages, err := d.Messages(natsjs.PullMaxMessages(pullMessages), natsjs.PullExpiry(pullExpiry),
		natsjs.PullHeartbeat(pullHeartbeat))
	if err != nil {
		return nil, fmt.Errorf("durable %s: %w", s.want.config.Durable, err)
	}
	s.proven.Store(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		messages.Stop()
	default:
		s.messages = messages
	}
	return messages, nil
}

// judge decides what an error of the subscription means: that the client's library goes on by itself, or that it is over.
func (s *Source) judge(ctx context.Context, messages natsjs.MessagesContext, err error) {
	if errors.Is(err, natsjs.ErrNoHeartbeat) {
		// Disconnected, no leader, or nothing there to ask: only the last needs us.
		_, infoErr := s.c.durableInfo(ctx, s.want.stream, s.want.config.Durable)
		s.c.log.Warn("no sign of life from the durable", "durable", s.want.config.Durable, "error", infoErr)
		if !errors.Is(infoErr, ErrNotFound) {
			return
		}
	} else if !errors.Is(err, natsjs.ErrMsgIteratorClosed) {
		s.c.log.Warn("subscription ended, making it again", "durable", s.want.config.Durable, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed: // Close gives back what it still holds.
	default:
		messages.Stop()
		s.messages = nil
	}
}

// Close ends the source: a waiting Next returns [consumer.ErrClosed], and what was delivered but not handed out is given
// back, so that it can be delivered again at once. Deliveries that were handed out can still be settled. It returns when
// that is sent, or when ctx ends. Closing twice does nothing.
func (s *Source) Close(ctx context.Context) error {
	first := false
	s.once.Do(func() { first = true; close(s.closed) })
	if !first {
		return nil
	}
	s.mu.Lock()
	messages := s.messages
	s.mu.Unlock()
	if messages == nil {
		return nil
	}
	messages.Drain()
	s.next.Lock()
	defer s.next.Unlock()
	for {
		msg, err := messages.Next(natsjs.NextContext(ctx))
		switch {
		case err == nil:
			_ = msg.Nak() // a lost one comes back after its lease
		case errors.Is(err, natsjs.ErrMsgIteratorClosed):
			return s.c.flush(ctx)
		case ctx.Err() != nil:
			return fmt.Errorf("close the source of %s: %w", s.cfg.Kind, ctx.Err())
		}
	}
}

// flush returns when the server has read everything that was sent before, or ctx or the request limit ends.
func (c *Client) flush(ctx context.Context) error {
	bounded, done := c.bounded(ctx, "")
	defer done()
	if err := c.nc.FlushWithContext(bounded); err != nil {
		return c.callError(ctx, bounded, err)
	}
	return nil
}
