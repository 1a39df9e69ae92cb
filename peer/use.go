package peer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"headwater/durable"
	"headwater/peer/local"
)

// Use works on a directory whoever holds it: through the process that holds it, or, if none does, by holding it itself for as long
// as the session lasts. If the holder goes away, or a running peer takes over, the session goes on through the next one. It
// fails as [Open] does; with [ErrOtherBroker] if the holder works with another broker than the one that cfg names; and with
// local.ErrHung, naming the process, if the holder does not answer. The caller closes the session.
func Use(ctx context.Context, cfg Config) (*Session, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	id, err := ReadIdentity(cfg.Dir)
	if err != nil {
		return nil, err
	}
	r := &roaming{cfg: cfg}
	if _, err := r.holder(ctx); err != nil {
		return nil, err
	}
	return newSession(r, id, cfg, r.close), nil
}

// roaming is the [local.Holder] of a session that goes on when a holder goes away: a call that the old holder had not begun is
// made again with the next one.
type roaming struct {
	cfg Config

	mu      sync.Mutex
	current local.Holder
	drop    func(context.Context) error   // closes what is behind current
	old     []func(context.Context) error // of holders that are gone: other calls may be about to learn that
	yielded time.Time                     // when the directory was given to a running peer
	closed  bool
	handing sync.WaitGroup // of a directory that is given to a running peer
}

var _ local.Holder = (*roaming)(nil)

// findTimeout is how long a holder of the directory is waited for that cannot be reached since it is about to open its socket or
// to close.
const findTimeout = 10 * time.Second

// holder returns whoever holds the directory now.
func (r *roaming) holder(ctx context.Context) (local.Holder, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, net.ErrClosed
	}
	if r.current != nil {
		return r.current, nil
	}
	for deadline := time.Now().Add(findTimeout); ; {
		err := r.find(ctx)
		if err == nil {
			return r.current, nil
		}
		held, isHeld := errors.AsType[*durable.HeldError](err)
		if !isHeld {
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, &local.HungError{Dir: r.cfg.Dir, Timeout: findTimeout, PID: held.Holder.PID, Since: held.Holder.Since}
		}
		if !pause(ctx, moment) {
			return nil, ctx.Err()
		}
	}
}

// yieldTime is how long a session that gave the directory to a running peer leaves it to the peer.
const yieldTime = findTimeout / 2

// find looks once: for a holder that answers, and else takes the directory. A [*durable.HeldError] is worth another look.
func (r *roaming) find(ctx context.Context) error {
	client, err := local.Dial(ctx, r.cfg.Dir, 0)
	switch {
	case err == nil:
		if err := r.sameBroker(client.Info()); err != nil {
			return errors.Join(err, client.Close())
		}
		r.current, r.drop = client, func(context.Context) error { return client.Close() }
		return nil
	case errors.Is(err, local.ErrHung):
		return r.hung(err)
	case !errors.Is(err, local.ErrNoHolder):
		return err
	case time.Since(r.yielded) < yieldTime:
		return &durable.HeldError{}
	}
	own, err := Open(ctx, r.cfg)
	if err != nil {
		return err
	}
	r.current, r.drop = held{own}, own.Close
	r.handing.Go(func() { r.handOver(own) })
	return nil
}

// hung names the process that does not answer.
func (r *roaming) hung(err error) error {
	hung, ok := errors.AsType[*local.HungError](err)
	if !ok || hung.PID != 0 {
		return err
	}
	h, held, readErr := durable.ReadHolder(lockFile(r.cfg.Dir))
	if readErr != nil || !held {
		return err
	}
	return &local.HungError{Dir: hung.Dir, Timeout: hung.Timeout, PID: h.PID, Since: h.Since}
}

// sameBroker refuses a holder that works with another broker, other stores or other rules than those that were asked for: it alone
// reads and writes the stores.
func (r *roaming) sameBroker(holder local.Info) error {
	want, have := settingsOf(r.cfg.NATS, false), holder.Broker
	have.Embedded = false
	if want.Context == "" && want.URL == "" || r.cfg.NATS.Conn != nil {
		want.URL = have.URL
	}
	want.Context, want.Domain = cmp.Or(want.Context, have.Context), cmp.Or(want.Domain, have.Domain)
	want.Prefix = cmp.Or(r.cfg.NATS.Prefix, have.Prefix)
	refuse := func(flags, does string, args ...any) error {
		return fmt.Errorf("%w: process %d (%s) %s; leave %s out, or stop it first", ErrOtherBroker, holder.PID, holder.Role,
			fmt.Sprintf(does, args...), flags)
	}
	other := func(want, have []string) bool { return len(want) > 0 && !slices.Equal(want, have) }
	switch {
	case other(r.cfg.ManifestStores, holder.ManifestStores):
		return refuse("--manifest-store", "uses the manifest stores %q, not %q", holder.ManifestStores, r.cfg.ManifestStores)
	case other(r.cfg.BlobStores, holder.BlobStores):
		return refuse("--blob-store", "uses the blob stores %q, not %q", holder.BlobStores, r.cfg.BlobStores)
	case r.cfg.AllowUnsigned && !holder.AllowUnsigned:
		return refuse("--allow-unsigned", "accepts no unsigned versions")
	case want != have:
		return refuse("--nats, --context, --domain and --prefix", "uses %s, not %s", brokerText(have), brokerText(want))
	}
	return nil
}

func brokerText(s local.BrokerSettings) string {
	if s.URL == "" && s.Context == "" {
		return "no broker"
	}
	text := cmp.Or(s.URL, "context "+s.Context)
	if s.Domain != "" {
		text += ", domain " + s.Domain
	}
	if s.Prefix != "" {
		text += ", prefix " + s.Prefix
	}
	return text
}

// handOver gives the directory up when a running peer asks for it. Calls under way come to their end; the next ones go to the peer.
func (r *roaming) handOver(own *Peer) {
	<-own.yield
	r.mu.Lock()
	if h, ok := r.current.(held); ok && h.Peer == own {
		r.current, r.drop, r.yielded = nil, nil, time.Now()
	}
	r.mu.Unlock()
	if err := own.Close(context.Background()); err != nil {
		r.cfg.Logger.Warn("the directory was not closed well", "error", err)
	}
}

// lost forgets a holder that has gone.
func (r *roaming) lost(h local.Holder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != h {
		return
	}
	if _, own := h.(held); !own { // our own is closed by whoever gave it up
		r.old = append(r.old, r.drop)
	}
	r.current, r.drop = nil, nil
}

// close ends the session.
func (r *roaming) close(ctx context.Context) error {
	r.mu.Lock()
	drop, old := r.drop, r.old
	r.current, r.drop, r.old, r.closed = nil, nil, nil, true
	r.mu.Unlock()
	var err error
	if drop != nil {
		err = drop(ctx)
	}
	for _, drop := range old {
		_ = drop(ctx) // it is gone
	}
	r.handing.Wait()
	return err
}
