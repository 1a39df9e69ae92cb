package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/natscontext"
)

// DefaultURL is where a server is looked for when neither URL nor context is given.
const DefaultURL = "nats://127.0.0.1:4222"

// DefaultRequestLimit is how long one request waits for its answer.
const DefaultRequestLimit = 5 * time.Second

// How a connection is kept.
const (
	dialLimit     = 2 * time.Second // for one server
	pingInterval  = 20 * time.Second
	reconnectWait = time.Second
)

// Config says how to reach the broker. The zero Config is [DefaultURL] without credentials.
type Config struct {
	URL     string // one or more URLs, separated by commas; wins over the context's. Empty: the context's, or DefaultURL
	Context string // name of a context of the nats command, or an absolute path to one. Empty: none
	Creds   string // file with a user's JWT and seed. Empty: none
	NKey    string // file with an nkey seed. Empty: none
	TLS     TLS

	Name        string // of the connection, for people who look at the server. Empty: "headwater"
	Prefix      string // see Names
	Domain      string // JetStream domain. Empty: the context's, or none
	InboxPrefix string // where answers are awaited. Empty: the context's, or the usual one

	// Conn is a connection that the caller has already, and keeps: none is made, all fields above but Prefix and Domain mean
	// nothing, and Close leaves it open. Its own handlers stay as they are; so a request that the server forbids ends with
	// ErrTimeout, not at once with ErrNotPermitted.
	Conn *nats.Conn

	// OnConnected, if not nil, is told each time that a broken connection is restored. It must not block.
	OnConnected func()
	// Wait makes Dial try again until its context ends where no server answers.
	Wait bool
	// RequestLimit bounds each request, beside its context. 0: DefaultRequestLimit.
	RequestLimit time.Duration
	// Logger hears of disconnections, reconnections and what the server forbids. Nil: nobody does.
	Logger *slog.Logger
}

// TLS says how to trust the server and be trusted. Paths of PEM files; empty: the system's roots, and no certificate.
type TLS struct {
	CA, Cert, Key string
	First         bool // do the handshake before the server's greeting
}

// Client is one connection to the broker. Safe for concurrent use.
type Client struct {
	nc      *nats.Conn
	js      natsjs.JetStream
	names   Names
	api     string // prefix of the JetStream API
	limit   time.Duration
	log     *slog.Logger
	calls   *calls
	layouts layouts
	atomics memory        // streams that take batches of messages
	singles memory        // streams that answer no batched gets
	leaders memory        // streams that allow no direct gets: only their leader answers
	closed  chan struct{} // closed with the connection
	closing sync.Once

	state struct {
		sync.Mutex
		connected bool
		since     time.Time
	}
	onConnected func() // told of each reconnection; nil for none

	adopted   bool           // somebody else keeps the connection
	following sync.WaitGroup // of what follows how it stands
}

// Dial connects. It fails with [ErrUnreachable] where no server answers (with Wait: when ctx ends, ctx's error beside it),
// with [ErrNotPermitted] where a server refuses the credentials, and with another error where the configuration cannot be
// used. Once it returned a Client, the connection is restored by itself, for ever, until [Client.Close].
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	c := &Client{
		names:  Names{Prefix: cfg.Prefix},
		limit:  cmp.Or(cfg.RequestLimit, DefaultRequestLimit),
		log:    cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)),
		closed: make(chan struct{}), onConnected: cfg.OnConnected,
	}
	if err := c.names.Validate(); err != nil {
		return nil, err
	}
	if strings.Trim(cfg.Domain, nameChars) != "" {
		return nil, fmt.Errorf("JetStream domain %.80q: want letters, digits, _ and -", cfg.Domain)
	}
	c.calls = newCalls(cmp.Or(cfg.InboxPrefix, inboxPrefix))
	settings := natscontext.Settings{}
	var err error
	if cfg.Conn != nil {
		err = c.adopt(cfg.Conn)
	} else {
		settings, err = c.connectRetrying(ctx, cfg)
	}
	if err != nil {
		return nil, err
	}
	c.calls.setInbox(c.nc.Opts.InboxPrefix)
	c.api = apiPrefix(cmp.Or(cfg.Domain, settings.JSDomain))
	if cfg.Domain == "" && settings.JSAPIPrefix != "" {
		c.api = strings.TrimSuffix(settings.JSAPIPrefix, ".")
	}
	if c.js, err = natsjs.NewWithAPIPrefix(c.nc, c.api); err != nil {
		return nil, errors.Join(fmt.Errorf("connect: %w", err), c.Close(ctx))
	}
	c.note(true)
	return c, nil
}

// adopt uses a connection that somebody else keeps, and follows how it stands until the client is closed.
func (c *Client) adopt(nc *nats.Conn) error {
	if nc.IsClosed() {
		return fmt.Errorf("%w: the connection that was handed in is closed", ErrUnreachable)
	}
	c.nc, c.adopted = nc, true
	changes := nc.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	c.following.Go(func() {
		defer nc.RemoveStatusListener(changes)
		for {
			select {
			case <-c.closed:
				return
			case status, ok := <-changes:
				switch {
				case !ok:
					return
				case status == nats.CONNECTED:
					c.onReconnect(nc)
				default:
					c.onDisconnect(nc, nil)
				}
			}
		}
	})
	return nil
}

// note takes note of how the connection stands from now on.
func (c *Client) note(connected bool) {
	c.state.Lock()
	defer c.state.Unlock()
	c.state.connected, c.state.since = connected, time.Now()
}

// Since reports whether there is a connection, and since when that is so.
func (c *Client) Since() (connected bool, since time.Time) {
	c.state.Lock()
	defer c.state.Unlock()
	return c.state.connected, c.state.since
}

// connectRetrying connects, once or until it succeeds or ctx ends.
func (c *Client) connectRetrying(ctx context.Context, cfg Config) (natscontext.Settings, error) {
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond),
		backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	var last error
	settings, err := backoff.RetryNotifyWithData(func() (natscontext.Settings, error) {
		var s natscontext.Settings
		if s, last = c.connect(ctx, cfg); last != nil && (!cfg.Wait || !errors.Is(last, ErrUnreachable)) {
			return s, backoff.Permanent(last)
		}
		return s, last
	}, backoff.WithContext(policy, ctx), func(err error, d time.Duration) {
		c.log.Warn("no NATS server yet", "error", err, "next_try", d.Round(time.Millisecond))
	})
	if err != nil && ctx.Err() != nil && last != nil && !errors.Is(err, last) {
		return settings, fmt.Errorf("%w: %w", last, ctx.Err())
	}
	return settings, err
}

// connect tries each server once.
func (c *Client) connect(ctx context.Context, cfg Config) (s natscontext.Settings, err error) {
	if err := ctx.Err(); err != nil {
		return s, err
	}
	opts, err := c.options(ctx, cfg)
	if err != nil {
		return s, err
	}
	where := cfg.URL
	if cfg.Context != "" {
		c.nc, s, err = natscontext.Connect(cfg.Context, opts...)
		where = cmp.Or(where, s.URL, "context "+cfg.Context)
	} else {
		where = cmp.Or(where, DefaultURL)
		c.nc, err = nats.Connect(where, opts...)
	}
	if err != nil {
		return s, fmt.Errorf("connect to %s: %w", where, dialError(err))
	}
	return s, nil
}

// dialError says which kind of failure err is.
func dialError(err error) error {
	// Not net.Error: what the system says about a file that is missing is one too.
	_, isNet := errors.AsType[*net.OpError](err)
	_, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked),
		errors.Is(err, nats.ErrAccountAuthExpired), errors.Is(err, nats.ErrPermissionViolation):
		return fmt.Errorf("%w: %w", ErrNotPermitted, err)
	case isNet, isDNS, errors.Is(err, io.EOF), errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrTimeout),
		errors.Is(err, nats.ErrNoInfoReceived), errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrStaleConnection):
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return err
}

// options turns cfg into options of the connection.
func (c *Client) options(ctx context.Context, cfg Config) ([]nats.Option, error) {
	opts := []nats.Option{
		nats.Name(cmp.Or(cfg.Name, "headwater")),
		nats.Timeout(dialTimeout(ctx, cfg.URL)),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait/2, reconnectWait),
		nats.PingInterval(pingInterval),
		nats.IgnoreAuthErrorAbort(),
		// A publish while disconnected fails at once instead of being kept in memory and perhaps lost.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(c.onDisconnect),
		nats.ReconnectHandler(c.onReconnect),
		nats.ClosedHandler(func(*nats.Conn) { c.closing.Do(func() { close(c.closed) }) }),
		nats.ErrorHandler(c.onError),
		nats.LameDuckModeHandler(func(nc *nats.Conn) {
			c.log.Info("NATS server is about to stop", "server", nc.ConnectedUrlRedacted())
		}),
	}
	if cfg.Context != "" && cfg.URL != "" {
		opts = append(opts, servers(cfg.URL))
	}
	if cfg.Creds != "" {
		opts = append(opts, nats.UserCredentials(cfg.Creds))
	}
	if cfg.NKey != "" {
		o, err := nats.NkeyOptionFromSeed(cfg.NKey)
		if err != nil {
			return nil, fmt.Errorf("nkey seed %s: %w", cfg.NKey, err)
		}
		opts = append(opts, o)
	}
	if cfg.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(cfg.InboxPrefix))
	}
	return append(opts, cfg.TLS.options()...), nil
}

func (t TLS) options() (opts []nats.Option) {
	if t.CA != "" {
		opts = append(opts, nats.RootCAs(t.CA))
	}
	if t.Cert != "" || t.Key != "" {
		opts = append(opts, nats.ClientCert(t.Cert, t.Key))
	}
	if t.First {
		opts = append(opts, nats.TLSHandshakeFirst())
	}
	return opts
}

// servers overrides the servers of a context.
func servers(urls string) nats.Option {
	return func(o *nats.Options) error {
		o.Url, o.Servers = "", nil
		for u := range strings.SplitSeq(urls, ",") {
			o.Servers = append(o.Servers, strings.TrimSpace(u))
		}
		return nil
	}
}

// dialTimeout shares the time that ctx leaves among the servers, each of which takes it at most twice: to connect, and to
// be greeted.
func dialTimeout(ctx context.Context, urls string) time.Duration {
	end, ok := ctx.Deadline()
	if !ok {
		return dialLimit
	}
	tries := 2 * (1 + strings.Count(urls, ","))
	return max(min(dialLimit, time.Until(end)/time.Duration(tries)), 10*time.Millisecond)
}

func (c *Client) onDisconnect(nc *nats.Conn, err error) {
	c.note(false)
	c.calls.fail(fmt.Errorf("%w: the connection broke", ErrUnreachable))
	if err != nil {
		c.log.Warn("connection to NATS lost, reconnecting", "error", err)
	}
}

func (c *Client) onReconnect(nc *nats.Conn) {
	c.calls.allowInbox()
	for _, m := range []*memory{&c.atomics, &c.singles, &c.leaders} {
		m.forget()
	}
	c.log.Info("connected to NATS again", "server", nc.ConnectedUrlRedacted())
	c.note(true)
	if c.onConnected != nil {
		c.onConnected()
	}
}

func (c *Client) onError(_ *nats.Conn, sub *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrPermissionViolation) {
		c.calls.deny(err)
	}
	attrs := []any{"error", err}
	if sub != nil {
		attrs = append(attrs, "subject", sub.Subject)
	}
	c.log.Warn("NATS reports an error", attrs...)
}

// Names returns the names that this client uses.
func (c *Client) Names() Names { return c.names }

// URL returns the server that the client is connected to, without credentials; empty while there is none.
func (c *Client) URL() string { return c.nc.ConnectedUrlRedacted() }

// Connected says whether there is a connection at this moment.
func (c *Client) Connected() bool { return c.nc.IsConnected() }

// Close sends what is still to be sent, ends every subscription and closes the connection, unless it was handed in. It returns
// when that is done or ctx ends, whichever is first; the connection is closed either way. Closing twice does nothing.
func (c *Client) Close(ctx context.Context) error {
	if c.adopted {
		c.closing.Do(func() { close(c.closed) })
		c.following.Wait()
		return nil
	}
	if c.nc.IsClosed() {
		return nil
	}
	if err := c.nc.Drain(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		c.nc.Close()
	}
	select {
	case <-c.closed:
		return nil
	case <-ctx.Done():
		c.nc.Close()
		return fmt.Errorf("close the connection to NATS: %w", ctx.Err())
	}
}
