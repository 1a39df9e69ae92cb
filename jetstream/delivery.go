package jetstream

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"headwater/consumer"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

// maxReason bounds the reason of a termination: it travels in an advisory.
const maxReason = 256

// delivery is a message with its lease.
//
// Acknowledging a pin job waits for the server's word: the work was long, and the job must not come back. An announcement
// is acknowledged without waiting, except for the first after binding, which proves that acknowledgements get through at
// all. Losing such an acknowledgement takes a connection that breaks at that moment; the announcement is then delivered
// once more and found to be a duplicate, for the price of one look into the log. Waiting each time would cost every
// announcement a round trip, see BenchmarkSource.
type delivery struct {
	s       *Source
	msg     natsjs.Msg
	message consumer.Message
	settled atomic.Bool
}

func (s *Source) delivery(msg natsjs.Msg) *delivery {
	m := consumer.Message{Kind: s.cfg.Kind, Subject: msg.Subject(), Header: msg.Headers(), Body: msg.Data()}
	if s.cfg.Kind == consumer.KindPins {
		m.Peer, m.Bucket, _ = s.c.names.ParsePins(m.Subject)
	} else {
		m.Bucket, m.Peer, _ = s.c.names.ParseHead(m.Subject)
	}
	if meta, err := msg.Metadata(); err == nil {
		m.Sequence, m.Deliveries = meta.Sequence.Stream, meta.NumDelivered
	}
	return &delivery{s: s, msg: msg, message: m}
}

func (d *delivery) Message() consumer.Message { return d.message }

func (d *delivery) Ack(ctx context.Context) error {
	return d.settle("acknowledge", func() error {
		m := &nats.Msg{Subject: d.msg.Reply(), Data: []byte("+ACK")}
		if d.s.cfg.Kind != consumer.KindPins && d.s.proven.Load() {
			return d.s.c.publish(m)
		}
		_, err := d.s.c.request(ctx, m)
		if err == nil {
			d.s.proven.Store(true)
		}
		return err
	})
}

func (d *delivery) Retry(_ context.Context, delay time.Duration) error {
	return d.settle("give back", func() error {
		if delay <= 0 {
			return d.msg.Nak()
		}
		return d.msg.NakWithDelay(delay)
	})
}

func (d *delivery) Terminate(_ context.Context, reason string) error {
	return d.settle("terminate", func() error {
		if reason = clip(reason, maxReason); reason == "" {
			return d.msg.Term()
		}
		return d.msg.TermWithReason(reason)
	})
}

func (d *delivery) Extend(context.Context) error {
	if d.settled.Load() {
		return nil
	}
	if err := d.msg.InProgress(); err != nil {
		return d.failed("extend the lease of", err)
	}
	return nil
}

// settle does what settles the delivery, once; if that fails, another attempt may follow.
func (d *delivery) settle(what string, do func() error) error {
	if !d.settled.CompareAndSwap(false, true) {
		return nil
	}
	if err := do(); err != nil {
		d.settled.Store(false)
		return d.failed(what, err)
	}
	return nil
}

func (d *delivery) failed(what string, err error) error {
	err = d.s.c.callError(context.Background(), context.Background(), err)
	return fmt.Errorf("%s %s message %d: %w", what, d.message.Kind, d.message.Sequence, err)
}

// publish sends a message without waiting for anything.
func (c *Client) publish(m *nats.Msg) error {
	if err := c.ready(); err != nil {
		return err
	}
	if err := c.nc.PublishMsg(m); err != nil {
		return c.callError(context.Background(), context.Background(), err)
	}
	return nil
}
