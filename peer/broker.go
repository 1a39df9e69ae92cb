package peer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"headwater/bucket"
	"headwater/durable"
	"headwater/jetstream"
	"headwater/peer/local"
)

// broker is the way to the broker, whether that can be reached at this moment or not. It implements the ports of consumer and
// publisher: without a connection each call fails with [ErrOffline]. Safe for concurrent use.
type broker struct {
	me     bucket.PublicKey
	cfg    jetstream.Config
	ensure jetstream.EnsureConfig // what an upload makes if it is missing
	stores [2][]string            // manifests, blobs
	tried  chan struct{}          // closed after the first attempt to connect
	online func()                 // told each time that there is a connection

	mu     sync.Mutex
	client *jetstream.Client // nil before the first connection
	err    error             // why there is none
	since  time.Time         // of that
}

// Broker completes the settings of a broker: if cfg names none, it is the one that the last run on the directory used.
// [ErrOffline] if there is none, or if it was a server in a peer that does not run.
func Broker(dir string, cfg jetstream.Config) (jetstream.Config, error) {
	if cfg.URL != "" || cfg.Context != "" || cfg.Conn != nil {
		return cfg, nil
	}
	last, err := readSettings(dir)
	if err != nil {
		return cfg, err
	}
	if last.URL == "" && last.Context == "" {
		return cfg, fmt.Errorf("%w: no peer runs on %s, and none did; start one with 'headwater run', or name a server with "+
			"--nats or --context", ErrOffline, dir)
	}
	if h, held, err := durable.ReadHolder(lockFile(dir)); last.Embedded && (err != nil || !held || h.Role != RoleRun) {
		return cfg, fmt.Errorf("%w: no peer runs on %s, and the server was in it; start it with 'headwater run'", ErrOffline, dir)
	}
	cfg.URL, cfg.Context = last.URL, last.Context
	cfg.Domain, cfg.Prefix = cmp.Or(cfg.Domain, last.Domain), cmp.Or(cfg.Prefix, last.Prefix)
	return cfg, nil
}

// newBroker returns the way to the broker that the configuration names, or else that the last run on the directory used.
func newBroker(cfg Config, me bucket.PublicKey, online func()) (*broker, error) {
	b := &broker{me: me, cfg: cfg.NATS, ensure: cfg.Ensure, tried: make(chan struct{}), online: online, since: time.Now()}
	var err error
	if b.cfg, err = Broker(cfg.Dir, cfg.NATS); errors.Is(err, ErrOffline) {
		b.err = err
		close(b.tried)
	} else if err != nil {
		return nil, err
	}
	b.cfg.Logger, b.cfg.OnConnected, b.cfg.Writer = cfg.Logger, online, me
	names := jetstream.Names{Prefix: b.cfg.Prefix}
	b.stores = [2][]string{orDefault(cfg.ManifestStores, names.ManifestStore()), orDefault(cfg.BlobStores, names.BlobStore())}
	return b, nil
}

func orDefault(list []string, name string) []string {
	if len(list) == 0 {
		return []string{name}
	}
	return list
}

// connect keeps trying to connect until it succeeds or ctx ends. From then on the connection is restored by itself.
func (b *broker) connect(ctx context.Context) {
	select {
	case <-b.tried:
		return // there is nothing to connect to
	default:
	}
	wait := retries(ctx, 5*time.Second)
	for first := true; ctx.Err() == nil; first = false {
		client, err := jetstream.Dial(ctx, b.cfg)
		b.mu.Lock()
		b.client, b.err, b.since = client, err, time.Now()
		b.mu.Unlock()
		if err == nil {
			b.online() // before anybody has the connection
		}
		if first {
			close(b.tried)
		}
		if err == nil {
			return
		}
		pause(ctx, wait.NextBackOff())
	}
}

// retries is the backoff for trying something until it works or ctx ends, with growing pauses of up to about longest.
func retries(ctx context.Context, longest time.Duration) backoff.BackOffContext {
	return backoff.WithContext(backoff.NewExponentialBackOff(backoff.WithInitialInterval(10*time.Millisecond),
		backoff.WithMaxInterval(longest), backoff.WithMaxElapsedTime(0)), ctx)
}

// wait returns the connection, at the latest when the first attempt to get one has failed, or after [lookTimeout].
func (b *broker) wait(ctx context.Context) (*jetstream.Client, error) {
	timer := time.NewTimer(lookTimeout)
	defer timer.Stop()
	select {
	case <-b.tried:
	case <-timer.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return b.use()
}

// use returns the connection, or [ErrOffline] with the reason.
func (b *broker) use() (*jetstream.Client, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.client == nil && b.err == nil:
		return nil, fmt.Errorf("%w: not connected yet", ErrOffline)
	case b.client == nil && errors.Is(b.err, ErrOffline):
		return nil, b.err
	case b.client == nil:
		return nil, fmt.Errorf("%w: %w", ErrOffline, b.err)
	case !b.client.Connected():
		return nil, fmt.Errorf("%w: the connection to %s is down", ErrOffline, b.cfg.URL)
	}
	return b.client, nil
}

// wrong returns why there can be no connection with these settings, however long one waits: a context or a file that they name is
// not there, or cannot be read. nil if that is not so.
func (b *broker) wrong() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, passing := range []error{ErrOffline, jetstream.ErrUnreachable, jetstream.ErrNotPermitted, jetstream.ErrTimeout, context.Canceled} {
		if errors.Is(b.err, passing) {
			return nil
		}
	}
	return b.err
}

// state is how the connection stands.
func (b *broker) state() local.Broker {
	client, err := b.use()
	s := local.Broker{Connected: err == nil}
	b.mu.Lock()
	since := b.since
	c := b.client
	b.mu.Unlock()
	if c != nil {
		_, since = c.Since()
	}
	if s.Since = &since; err != nil {
		s.Error = err.Error()
	} else {
		s.URL = client.URL()
	}
	return s
}

// close ends the connection.
func (b *broker) close(ctx context.Context) error {
	b.mu.Lock()
	client := b.client
	b.mu.Unlock()
	if client == nil {
		return nil
	}
	return client.Close(ctx)
}

// offline makes the error of a request that did not reach the broker an [ErrOffline], once.
func offline(err error) error {
	if errors.Is(err, jetstream.ErrUnreachable) && !errors.Is(err, ErrOffline) {
		return fmt.Errorf("%w: %w", ErrOffline, err)
	}
	return err
}

// What follows keeps how a run reached the broker, for the commands on its directory.

func settingsFile(dir string) string { return filepath.Join(dir, "broker.json") }

func readSettings(dir string) (s local.BrokerSettings, err error) {
	b, err := os.ReadFile(settingsFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, fmt.Errorf("read how the last run reached the broker (%s): %w", settingsFile(dir), err)
	}
	return s, nil
}

// keepSettings leaves a run's settings for the commands on the directory.
func keepSettings(dir string, s local.BrokerSettings) error {
	b, err := json.Marshal(s)
	if err == nil {
		err = durable.WriteFile(settingsFile(dir), b)
	}
	if err != nil {
		return fmt.Errorf("leave the broker's address for other commands: %w", err)
	}
	return nil
}

func settingsOf(c jetstream.Config, embedded bool) local.BrokerSettings {
	return local.BrokerSettings{URL: withoutCredentials(c.URL), Context: c.Context, Domain: c.Domain, Prefix: cmp.Or(c.Prefix, jetstream.DefaultPrefix), Embedded: embedded}
}

// withoutCredentials returns a URL, or several separated by commas, without users, passwords and tokens.
func withoutCredentials(urls string) string {
	all := strings.Split(urls, ",")
	for i, s := range all {
		if u, err := url.Parse(strings.TrimSpace(s)); err == nil && u.User != nil {
			u.User = nil
			all[i] = u.String()
		}
	}
	return strings.Join(all, ",")
}
