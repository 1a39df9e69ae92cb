package publisher

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"headwater/bucket"
)

const (
	// sideBySide is how many buckets are worked off at once, for Run and Publish together.
	sideBySide = 8
	// transfers is how many batches, and how many streams, are on their way to the stores at once.
	transfers = 3
)

// Publisher works off what a peer owes the broker. All methods are safe for concurrent use. What it remembers is for speed
// and for status alone: what is owed stands in the log.
type Publisher struct {
	cfg              Config
	atWork           chan struct{} // a token for each bucket
	batches, streams chan struct{} // a token for each that is on its way

	wake    chan struct{} // tells Run to look again
	mu      sync.Mutex
	all     bool // the whole outbox must be read
	buckets map[bucket.ID]*work
	packed  map[bucket.ID]packed // how far the chains that were announced lately are packed
}

// New returns a publisher. It starts nothing.
func New(c Config) (*Publisher, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return &Publisher{
		cfg: c, atWork: make(chan struct{}, sideBySide), batches: make(chan struct{}, transfers),
		streams: make(chan struct{}, transfers), wake: make(chan struct{}, 1), buckets: map[bucket.ID]*work{}, packed: map[bucket.ID]packed{},
	}, nil
}

// Run works off the outbox until ctx ends: all of it at the start and after [Publisher.Connected], a bucket after
// [Publisher.Wake], and after a failure again and again, with growing pauses. It returns ctx's error, or that of a log that
// cannot be read, once all work has ended. Only one Run at a time.
func (p *Publisher) Run(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(sideBySide)
	defer g.Wait() //nolint:errcheck // failures are kept with the buckets
	p.Connected()
	for ctx.Err() == nil {
		if err := p.readOutbox(ctx); err != nil {
			return fmt.Errorf("work off the outbox: %w", err)
		}
		id, w, wait := p.next(time.Now())
		if w != nil {
			g.Go(func() error {
				_ = p.workOff(ctx, id, w)
				return nil
			})
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
	return ctx.Err()
}

// Wake makes Run work off a bucket soon: a version was recorded in its outbox.
func (p *Publisher) Wake(id bucket.ID) {
	p.mu.Lock()
	p.of(id).due = time.Now()
	p.mu.Unlock()
	p.look()
}

// Connected makes Run work off everything soon: the broker answers again.
func (p *Publisher) Connected() {
	p.mu.Lock()
	p.all = true
	p.mu.Unlock()
	p.look()
}

// look wakes Run.
func (p *Publisher) look() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// readOutbox makes every bucket that owes something due, if that was asked for.
func (p *Publisher) readOutbox(ctx context.Context) error {
	p.mu.Lock()
	all := p.all
	p.all = false
	p.mu.Unlock()
	if !all {
		return nil
	}
	for u, err := range p.cfg.Log.Uploads(ctx, bucket.ID{}) {
		if err != nil {
			return err
		}
		p.mu.Lock()
		w := p.of(u.Bucket)
		w.due, w.retry = time.Now(), nil
		p.mu.Unlock()
	}
	return nil
}

// Publish works off one bucket now, and waits for that, with or without a Run. If it is being worked off already, Publish waits for
// that, and does what is left; if many others are, it waits for one of those. report, if not nil, is told how far it is, in the
// caller's goroutine; it may miss steps, and is told the end. Publish returns nil once the bucket owes nothing, and else why it
// still does: the bucket stays in the outbox. If ctx ends, a Run goes on with it. Older versions follow after the announcement: a
// caller that waits for that alone may watch for it in the reports and end ctx.
func (p *Publisher) Publish(ctx context.Context, id bucket.ID, report func(Progress)) error {
	if report == nil {
		report = func(Progress) {}
	}
	changed := make(chan struct{}, 1)
	p.mu.Lock()
	w := p.of(id)
	w.watchers[changed] = struct{}{}
	p.mu.Unlock()
	defer p.unwatch(id, w, changed)
	done := make(chan error, 1)
	go func() { done <- p.join(ctx, id, w) }()
	for {
		select {
		case err := <-done:
			report(p.progress(w))
			return err
		case <-changed:
			report(p.progress(w))
		}
	}
}

// join works off a bucket once nobody else does.
func (p *Publisher) join(ctx context.Context, id bucket.ID, w *work) error {
	for {
		p.mu.Lock()
		busy := w.busy
		if busy == nil {
			w.begin()
			p.mu.Unlock()
			return p.workOff(ctx, id, w)
		}
		p.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-busy:
		}
	}
}

// LastError returns why the last try to work off a bucket failed, and when Run tries again: nil if it did not fail.
func (p *Publisher) LastError(id bucket.ID) (next time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.buckets[id]; w != nil && w.err != nil {
		return w.due, w.err
	}
	return time.Time{}, nil
}
