package publisher

import (
	"context"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v4"

	"headwater/bucket"
)

// idle is how long Run waits if nothing is due. It is woken before.
const idle = time.Hour

// work is what the publisher knows of one bucket. Its fields are guarded by the publisher's lock.
type work struct {
	busy     chan struct{} // closed when the work is done; nil if nobody works it off
	due      time.Time     // when Run has to work it off; zero if it need not
	retry    backoff.BackOff
	err      error // of the last try
	progress Progress
	watchers map[chan struct{}]struct{} // are told of progress
}

// of returns the work of a bucket; the lock is held.
func (p *Publisher) of(id bucket.ID) *work {
	w := p.buckets[id]
	if w == nil {
		w = &work{watchers: map[chan struct{}]struct{}{}}
		p.buckets[id] = w
	}
	return w
}

// begin takes the bucket; the lock is held, and nobody else has it.
func (w *work) begin() {
	w.busy, w.due = make(chan struct{}), time.Time{}
}

// next takes a bucket that is due and that nobody works off, the one that waits longest. If there is none, wait is the time
// until one is due, at most idle.
func (p *Publisher) next(now time.Time) (id bucket.ID, due *work, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait = idle
	for i, w := range p.buckets {
		switch {
		case w.busy != nil || w.due.IsZero():
		case w.due.After(now):
			wait = min(wait, w.due.Sub(now))
		case due == nil || w.due.Before(due.due):
			id, due = i, w
		}
	}
	if due != nil {
		due.begin()
	}
	return id, due, wait
}

// workOff works off a bucket that was taken, once there is room, and gives it back.
func (p *Publisher) workOff(ctx context.Context, id bucket.ID, w *work) error {
	err := take(ctx, p.atWork)
	if err == nil {
		err = p.rounds(ctx, id, w)
		give(p.atWork)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		w.err, w.retry = nil, nil
	case ctx.Err() != nil: // for another Run or Publish to go on with
		w.due = time.Now()
	default:
		p.later(id, w, err)
	}
	close(w.busy)
	w.busy = nil
	p.forget(id, w)
	p.look()
	return err
}

// later notes why a bucket failed, and when it is due again, unless it is due before that; the lock is held.
func (p *Publisher) later(id bucket.ID, w *work, err error) {
	level := slog.LevelDebug // it has been told
	if w.err == nil {
		level = slog.LevelWarn
	}
	w.err = err
	if w.retry == nil {
		w.retry = backoff.NewExponentialBackOff(backoff.WithInitialInterval(p.cfg.RetryMin), backoff.WithMaxInterval(p.cfg.RetryMax),
			backoff.WithMaxElapsedTime(0))
	}
	pause := w.retry.NextBackOff()
	if w.due.IsZero() {
		w.due = time.Now().Add(pause)
	}
	p.cfg.Logger.Log(context.Background(), level, "upload failed", "bucket", id, "err", err,
		"retry_in", max(0, time.Until(w.due).Round(time.Millisecond)))
}

// forget drops a bucket of which there is nothing to remember; the lock is held.
func (p *Publisher) forget(id bucket.ID, w *work) {
	if w.busy == nil && w.due.IsZero() && w.err == nil && len(w.watchers) == 0 && p.buckets[id] == w {
		delete(p.buckets, id)
	}
}

func (p *Publisher) unwatch(id bucket.ID, w *work, changed chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(w.watchers, changed)
	p.forget(id, w)
}

// note changes the progress and tells those who watch.
func (p *Publisher) note(w *work, change func(*Progress)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&w.progress)
	for c := range w.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func (p *Publisher) progress(w *work) Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	return w.progress
}
