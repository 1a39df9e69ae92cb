package consumer

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"headwater/chain"
)

// Consumer is the peer's working half. It is made by [New]. What does not need deliveries works without [Consumer.Run]. Safe for
// concurrent use.
type Consumer struct {
	Config
	board *board
	chain *chain.Engine
	turns turns // one announcement of a bucket at a time
	done  doneHeads
}

// New checks the configuration and fills in its defaults. It starts nothing.
func New(cfg Config) (*Consumer, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	engine, err := chain.New(chain.Config{
		Peer: cfg.Peer, Visit: cfg.Visit, Log: cfg.Log, Manifests: cfg.Manifests, Objects: cfg.Objects, Stores: cfg.ManifestStores,
		Rules: cfg.Rules, Dir: cfg.StageDir, DiskLimit: cfg.StageLimit, Memory: cfg.Memory, MaxVersions: cfg.MaxVersions,
		FetchTimeout: cfg.FetchTimeout, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("consumer: %w", err)
	}
	return &Consumer{Config: cfg, board: newBoard(), chain: engine}, nil
}

// Sources are where deliveries come from. Each is read by a loop of its own; all of one kind feed the same queue.
type Sources struct{ Announcements, PinJobs []Source }

// Run publishes what the outbox holds, and then takes deliveries until ctx ends or a source is closed. When it returns, its
// workers are gone, and every delivery it took is settled: done, or given back. It returns nil if ctx was cancelled, and an
// error if a source was closed or failed, or if the outbox could not be read. It is called once.
func (c *Consumer) Run(ctx context.Context, from Sources) error {
	if err := c.runOutbox(ctx); err != nil {
		return c.ended(err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.keepJobs(ctx) })
	heads := c.runLoop(ctx, g, from.Announcements, c.Buckets, c.handleAnnouncement)
	pins := c.runLoop(ctx, g, from.PinJobs, c.PinJobsMax, c.handlePinJob)
	err := g.Wait()
	heads.wait()
	pins.wait()
	return c.ended(err)
}

// ended is what Run returns: being asked to stop is no error.
func (c *Consumer) ended(err error) error {
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("consumer: %w", err)
	}
	return nil
}

// runLoop adds to g the loops that feed one kind of message to one queue. The caller waits for the queue when g is done.
func (c *Consumer) runLoop(ctx context.Context, g *errgroup.Group, sources []Source, width int, h handler) *queue {
	var q *queue
	q = newQueue(width, func(ctx context.Context, d Delivery) { c.work(ctx, d, q, h) })
	g.Go(func() error { return q.keepLeases(ctx, c.LeaseInterval) })
	for _, s := range sources {
		g.Go(func() error {
			for {
				d, err := s.Next(ctx)
				if err != nil {
					return err
				}
				if !c.repeats(ctx, d) {
					q.add(ctx, d)
				}
			}
		})
	}
	return q
}

// handler does the work that a message asks for. What it returns says how to settle the message.
type handler func(ctx context.Context, m Message) (result, error)

func (c *Consumer) work(ctx context.Context, d Delivery, q *queue, h handler) {
	m := d.Message()
	if m.Kind == KindHeads && q.superseded(m) {
		c.settle(ctx, d, result{outcome: ClassStale}, ctx.Err())
		return
	}
	work, cancel := context.WithTimeout(ctx, c.SyncTimeout)
	defer cancel()
	r, err := result{}, ctx.Err()
	if err == nil {
		r, err = h(work, m)
	}
	c.settle(ctx, d, r, err)
}
