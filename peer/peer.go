package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"headwater/bucket"
	"headwater/consumer"
	"headwater/durable"
	"headwater/peer/local"
	"headwater/publisher"
)

// Peer holds a directory. It is made by [Open], which starts what connects to the broker and what answers other processes;
// [Peer.Run] does a peer's work. Safe for concurrent use.
type Peer struct {
	*Session
	cfg       Config
	lock      *durable.Lock
	stores    *stores
	broker    *broker
	consumer  *consumer.Consumer
	publisher *publisher.Publisher
	events    *events
	calls     gate     // of the session and of other processes
	unmerged  sync.Map // by a tip's link: the newest head below which no version has merged it
	started   time.Time

	running    sync.Mutex // held while Run runs
	isRunning  atomic.Bool
	hears      atomic.Bool            // Run takes deliveries
	deaf       atomic.Pointer[string] // why Run does not hear yet
	online     chan struct{}          // filled each time that there is a connection
	cancel     context.CancelFunc     // ends what Open has started
	background sync.WaitGroup
	yield      chan struct{} // closed when another process is to take over, or nothing is left to be taken over
	giveUp     func()        // closes yield
}

// Open takes a peer's directory and everything in it. The identity must be there: see [EnsureIdentity]. If another process holds
// the directory the error is a [*durable.HeldError] that names it; the role "run" takes over from any command at the
// command's next durable point, and gets [ErrRunning] if a peer runs already. [ErrNoIdentity], [ErrFormat], [ErrUsage].
// A broker that does not answer is no error. The caller closes the peer.
func Open(ctx context.Context, cfg Config) (*Peer, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	id, err := ReadIdentity(cfg.Dir)
	if err != nil {
		return nil, err
	}
	lock, err := take(ctx, cfg)
	if err != nil {
		return nil, err
	}
	p, err := open(ctx, cfg, id)
	if err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	p.lock = lock
	if err := p.start(); err != nil {
		return nil, errors.Join(err, p.Close(ctx))
	}
	return p, nil
}

func lockFile(dir string) string { return filepath.Join(dir, "lock") }

// takeoverTimeout is how long a run waits for a command to come to its next durable point.
const takeoverTimeout = 30 * time.Second

// take locks the directory. A run asks a command that holds it to let go.
func take(ctx context.Context, cfg Config) (*durable.Lock, error) {
	holder := durable.Self(cfg.Role)
	waiting, cancel := context.WithTimeout(ctx, takeoverTimeout)
	defer cancel()
	for asked := (durable.Holder{}); ; {
		lock, err := durable.Acquire(lockFile(cfg.Dir), holder)
		held, isHeld := errors.AsType[*durable.HeldError](err)
		switch {
		case !isHeld || cfg.Role != RoleRun:
			return lock, err
		case held.Holder.Role == RoleRun:
			return nil, runs(cfg.Dir, held.Holder)
		case held.Holder != asked: // another command may have been faster than we
			agreed, err := askForDir(waiting, cfg.Dir)
			if err != nil {
				return nil, fmt.Errorf("take over %s from process %d: %w", cfg.Dir, held.Holder.PID, err)
			}
			if agreed {
				asked = held.Holder
			}
		}
		if !pause(waiting, moment) {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, &local.HungError{Dir: cfg.Dir, Timeout: takeoverTimeout, PID: held.Holder.PID, Since: held.Holder.Since}
		}
	}
}

// askForDir asks the command that holds a directory to give it up. It reports whether it has agreed; one that ends just then, or
// does not listen yet, is no error.
func askForDir(ctx context.Context, dir string) (agreed bool, err error) {
	client, err := local.Dial(ctx, dir, 0)
	if err == nil {
		err = errors.Join(client.Takeover(ctx), client.Close())
	}
	if errors.Is(err, local.ErrNoHolder) || errors.Is(err, local.ErrGone) || errors.Is(err, local.ErrLost) {
		return false, nil
	}
	return err == nil, err
}

// moment is the pause before something is looked at again.
const moment = 10 * time.Millisecond

// pause waits. It reports whether ctx has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Running returns [ErrRunning], naming the process, if a peer runs on a directory.
func Running(dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	h, held, err := durable.ReadHolder(lockFile(abs))
	if err != nil || !held || h.Role != RoleRun {
		return err
	}
	return runs(abs, h)
}

func runs(dir string, h durable.Holder) error {
	return fmt.Errorf("%s is held by another process: %w: process %d, since %s", dir, ErrRunning, h.PID, h.Since.Local().Format(time.DateTime))
}

// RoleRun is the role of a running peer, beside which no other may run.
const RoleRun = "run"

// open puts the peer together.
func open(ctx context.Context, cfg Config, id bucket.Identity) (p *Peer, err error) {
	p = &Peer{cfg: cfg, started: time.Now(), yield: make(chan struct{}), online: make(chan struct{}, 1), events: newEvents(cfg.Events)}
	p.giveUp = sync.OnceFunc(func() { close(p.yield) })
	defer func() {
		if err != nil && p.stores != nil {
			err = errors.Join(err, p.stores.Close())
		}
	}()
	if p.stores, err = openStores(ctx, id.PublicKey(), cfg); err != nil {
		return p, err
	}
	if p.broker, err = newBroker(cfg, id.PublicKey(), p.connected); err != nil {
		return p, err
	}
	if p.consumer, err = p.newConsumer(id.PublicKey()); err != nil {
		return p, err
	}
	if p.publisher, err = p.newPublisher(id.PublicKey()); err != nil {
		return p, err
	}
	p.Session = newSession(held{p}, id, cfg, p.Close)
	return p, nil
}

func (p *Peer) newConsumer(me bucket.PublicKey) (*consumer.Consumer, error) {
	l := p.cfg.Limits
	return consumer.New(consumer.Config{
		Peer: me, Log: p.stores.log, Manifests: p.stores.manifests, Blobs: p.stores.blobs,
		Objects: p.broker, Jobs: p.broker, DeadLetters: p.broker, Events: p.events,
		ManifestStores: p.broker.stores[0], BlobStores: p.broker.stores[1],
		Rules: p.cfg.rules(), AllVersions: p.cfg.AllVersions,
		Buckets: l.Buckets, PinJobsMax: l.PinJobs, Fetches: l.Fetches,
		MaxVersions: l.MaxVersions, FetchTimeout: l.FetchTimeout, SyncTimeout: l.SyncTimeout,
		RetryLimit: l.RetryLimit, RetryMin: l.RetryMin, RetryMax: l.RetryMax,
		StageDir: p.stageDir(), StageLimit: l.StageLimit, Logger: p.cfg.Logger,
	})
}

// connected is told each time that there is a connection.
func (p *Peer) connected() {
	p.publisher.Connected()
	p.isOnline()
}

func (p *Peer) isOnline() {
	select {
	case p.online <- struct{}{}:
	default:
	}
}

func (p *Peer) stageDir() string { return filepath.Join(p.cfg.Dir, "stage") }

func (p *Peer) newPublisher(me bucket.PublicKey) (*publisher.Publisher, error) {
	return publisher.New(publisher.Config{
		Peer: me, Log: p.stores.log, Manifests: p.stores.manifests, Blobs: p.stores.blobs, Stores: p.broker, Bus: p.broker,
		Announced: p.events.announcements(me), ManifestStore: p.broker.stores[0][0], BlobStore: p.broker.stores[1][0], Logger: p.cfg.Logger,
	})
}

// start connects to the broker and opens the socket.
func (p *Peer) start() error {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	l, err := local.Listen(p.cfg.Dir)
	if err != nil {
		return err
	}
	p.background.Go(func() { p.broker.connect(ctx) })
	p.background.Go(func() { p.serve(ctx, l) })
	return nil
}

// serve answers other processes until ctx ends.
func (p *Peer) serve(ctx context.Context, l net.Listener) {
	info := local.Info{
		PeerID: p.ID(), PID: os.Getpid(), Since: p.started, Role: p.cfg.Role, Version: p.cfg.Version, Broker: p.settings(),
		ManifestStores: p.broker.stores[0], BlobStores: p.broker.stores[1], AllowUnsigned: p.cfg.AllowUnsigned,
	}
	var yield func() // a running peer does not
	if p.cfg.Role != RoleRun {
		yield = p.giveUp
	}
	if err := local.Serve(ctx, l, held{p}, info, yield); err != nil && ctx.Err() == nil {
		p.cfg.Logger.Error("other processes are not answered any more", "error", err)
	}
}

// Close ends what the peer does, waits until it is done, and gives the directory free. Calls that are under way have some seconds
// to come to their end; those that wait for an announcement are told that the peer is gone. Closing twice does nothing.
func (p *Peer) Close(ctx context.Context) error {
	if !p.calls.shut(closeTimeout) {
		return nil
	}
	p.giveUp()
	if p.cancel != nil {
		p.cancel()
	}
	p.background.Wait()
	p.running.Lock() // Run has ended
	defer p.running.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := p.broker.close(ctx); err != nil {
		p.cfg.Logger.Warn("the connection did not end well; what was not settled is delivered again", "error", err)
	}
	err := p.stores.Close()
	if p.lock != nil {
		err = errors.Join(err, p.lock.Release())
	}
	return err
}

// closeTimeout bounds the wait for the end of calls, and for that of the connection.
const closeTimeout = 5 * time.Second
