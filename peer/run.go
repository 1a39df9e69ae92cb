package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cenkalti/backoff/v4"
	"golang.org/x/sync/errgroup"

	"headwater/consumer"
	"headwater/durable"
	"headwater/jetstream"
	"headwater/logstore"
	"headwater/peer/local"
)

// Run does a peer's work until ctx ends, then returns nil: it hears what others announce, downloads what the versions need,
// uploads and announces what was made here, and answers questions on the bus. A broker that does not answer is waited for. ready,
// if not nil, is called once the peer consumes, with the URL of the server. It fails if the broker's settings cannot be used, or
// if the peer is closed. One Run at a time.
func (p *Peer) Run(ctx context.Context, ready func(url string)) error {
	if !p.running.TryLock() {
		return ErrRunning
	}
	defer p.running.Unlock()
	p.isRunning.Store(true)
	defer p.isRunning.Store(false)
	ctx, done, err := p.calls.wait(ctx)
	if err != nil {
		return err
	}
	defer done()
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() error { return p.stores.log.Trim(inner) })
	g.Go(func() error { return p.consume(inner, g, ready) })
	err = g.Wait()
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}

// consume waits for the broker, makes what is missing there, and takes deliveries until ctx ends.
func (p *Peer) consume(ctx context.Context, g *errgroup.Group, ready func(string)) error {
	ensure := p.cfg.Ensure
	ensure.Peer = p.ID()
	client, err := p.ensured(ctx, ensure)
	if err != nil {
		return err
	}
	if err := keepSettings(p.cfg.Dir, p.settings()); err != nil { // not before: they may be mistyped
		return err
	}
	if err := client.Reclaim(ctx, ensure); err != nil { // the directory's lock says that no other process works for this peer
		return err
	}
	if err := p.hearVerifiedBefore(ctx); err != nil {
		return err
	}
	if err := p.oweNewBroker(ctx, true); err != nil {
		p.cfg.Logger.Warn("whether the broker is a new one is not known yet", "error", err)
		p.connected() // asked again
	}
	g.Go(func() error { return p.publisher.Run(ctx) })
	g.Go(func() error { return p.watchBroker(ctx) })
	heads, err := client.NewSource(jetstream.SourceConfig{Kind: consumer.KindHeads, Ensure: ensure})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	pins, err := client.NewSource(jetstream.SourceConfig{Kind: consumer.KindPins, Ensure: ensure})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	p.events.tell(client.Events(p.ID()))
	defer p.events.tell(nil)
	g.Go(func() error { return p.answer(ctx, client) })
	g.Go(func() error {
		if err := p.reachable(ctx, client); err != nil {
			return err
		}
		if ready != nil {
			ready(client.URL())
		}
		return nil
	})
	p.hears.Store(true)
	err = p.consumer.Run(ctx, consumer.Sources{Announcements: []consumer.Source{heads}, PinJobs: []consumer.Source{pins}})
	p.hears.Store(false)
	p.giveBack(ctx, heads, pins)
	return err
}

// giveBack returns what the sources hold to the broker.
func (p *Peer) giveBack(ctx context.Context, sources ...*jetstream.Source) {
	timeout := closeTimeout
	if _, err := p.broker.use(); err != nil {
		timeout = 0 // nobody can be told
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	for _, s := range sources {
		if err := s.Close(ctx); err != nil {
			p.cfg.Logger.Warn("deliveries not given back; they come again when their lease runs out", "error", err)
		}
	}
}

// ensured waits for the broker and makes what is missing there, and says what is there with other settings.
func (p *Peer) ensured(ctx context.Context, ensure jetstream.EnsureConfig) (client *jetstream.Client, err error) {
	differences, err := backoff.RetryNotifyWithData(func() ([]jetstream.Difference, error) {
		if client, err = p.broker.wait(ctx); err != nil {
			if wrong := p.broker.wrong(); wrong != nil {
				return nil, backoff.Permanent(fmt.Errorf("%w: %w", ErrUsage, wrong))
			}
			return nil, err
		}
		d, err := client.Ensure(ctx, ensure)
		if err != nil && !errors.Is(err, jetstream.ErrUnreachable) && !errors.Is(err, jetstream.ErrTimeout) {
			return d, backoff.Permanent(err)
		}
		return d, err
	}, retries(ctx, 5*time.Second), func(err error, in time.Duration) {
		p.deaf.Store(new(err.Error()))
		if in > time.Second {
			p.cfg.Logger.Warn("the broker does not answer yet", "error", err, "retry", in.Round(time.Millisecond))
		}
	})
	for _, d := range differences {
		log := p.cfg.Logger.Warn
		if d.Breaks {
			log = p.cfg.Logger.Error
		}
		log("the server has another setting", "asset", d.Asset, "setting", d.Setting, "want", d.Want, "have", d.Have, "fix", d.Fix)
	}
	return client, err
}

func toldFile(dir string) string { return filepath.Join(dir, "told") }

// oweNewBroker checks whether the stream of announcements is still the one that this peer told of its heads. Another one, of
// another broker or of one that lost everything, is owed all that is complete here or was made here: objects and announcements. If
// the process dies on the way some of it is owed, and the next look begins again. If create is set, a stream that is not there is
// made, as for an upload.
func (p *Peer) oweNewBroker(ctx context.Context, create bool) error {
	ensure := p.cfg.Ensure
	ensure.BindOnly = ensure.BindOnly || !create
	var since time.Time
	err := p.broker.with(ctx, ensure, func(c *jetstream.Client) (err error) {
		since, err = c.HeadsSince(ctx)
		return err
	})
	if errors.Is(err, jetstream.ErrNotPermitted) {
		return nil // without permission to ask, it cannot be known
	}
	none := !create && errors.Is(err, jetstream.ErrNotFound)
	if err != nil && !none {
		return err
	}
	now := []byte(since.UTC().Format(time.RFC3339Nano) + "\n")
	before, err := os.ReadFile(toldFile(p.cfg.Dir))
	first := errors.Is(err, fs.ErrNotExist) // nobody knows whom an older program's commands told
	if err != nil && !first {
		return fmt.Errorf("read which broker was told: %w", err)
	}
	if bytes.Equal(before, now) || first && none {
		return nil
	}
	if !first {
		p.cfg.Logger.Warn("the broker is a new one; what is held here is uploaded and announced again", "stream_made", since)
	}
	if err := p.oweAll(ctx, !first); err != nil || none {
		return err // without a stream there is nothing to note yet
	}
	if err := durable.WriteFile(toldFile(p.cfg.Dir), now); err != nil {
		return fmt.Errorf("note which broker was told: %w", err)
	}
	return nil
}

// lookAtBroker does [Peer.oweNewBroker] for a command that has a connection, once for each connection; if a peer runs, that does
// it instead. A failure is logged, and hinders no command.
func (p *Peer) lookAtBroker(ctx context.Context, create bool) {
	if p.isRunning.Load() {
		return
	}
	select {
	case <-p.online:
	default:
		return
	}
	if err := p.oweNewBroker(ctx, create); err != nil {
		p.cfg.Logger.Warn("whether the broker is a new one is not known yet", "error", err)
		p.isOnline()
	}
}

// watchBroker looks at the stream of announcements again each time that the connection comes back.
func (p *Peer) watchBroker(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.online:
		}
		if err := backoff.Retry(func() error { return p.oweNewBroker(ctx, true) }, retries(ctx, 30*time.Second)); err != nil {
			return err
		}
		p.publisher.Connected()
	}
}

// oweAll records an upload for every end of a branch that was made here, and, if others is set, for those that are complete here.
func (p *Peer) oweAll(ctx context.Context, others bool) error {
	return p.stores.eachTip(ctx, func(t logstore.Tip, e logstore.Entry) error {
		if owed := e.Author == p.ID() || others && e.Complete; t.Merged || !owed {
			return nil
		}
		return p.stores.log.AddUpload(ctx, e.Bucket, e.Head())
	})
}

// reachable returns once the peer answers its own question through the broker.
func (p *Peer) reachable(ctx context.Context, client *jetstream.Client) error {
	return backoff.Retry(func() error {
		_, err := client.Ask(ctx, p.ID(), QuestionStatus, []byte(`{"limit":1}`))
		if err != nil && !errors.Is(err, jetstream.ErrNoPeer) && !errors.Is(err, jetstream.ErrTimeout) {
			return backoff.Permanent(fmt.Errorf("ask myself: %w", err))
		}
		return err
	}, retries(ctx, time.Second))
}

// settings are the broker's, as other processes are told them.
func (p *Peer) settings() local.BrokerSettings { return settingsOf(p.broker.cfg, p.cfg.Embedded) }
