package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"headwater/bucket"

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
	// Conn is a connection that the program has already. It stays its owner's: the client adds subscriptions to it, takes
	// them away again in [Client.Close], and neither closes or drains it nor replaces its handlers. What says how to connect
	// (URL, Context, Creds, NKey, TLS, Name, InboxPrefix) must be empty then. What the server forbids is reported after
	// RequestLimit, not at once, since the server tells only the owner's error handler. Nil: connect.
	Conn *nats.Conn

	URL     string // one or more URLs, separated by commas; wins over the context's. Empty: the context's, or DefaultURL
	Context string // name of a context of the nats command, or an absolute path to one. Empty: none
	Creds   string // file with a user's JWT and seed. Empty: none
	NKey    string // file with an nkey seed. Empty: none
	TLS     TLS

	Name        string // of the connection, for people who look at the server. Empty: "headwater"
	Prefix      string // see Names
	Domain      string // JetStream domain. Empty: the context's, or none
	InboxPrefix string // where answers are awaited. Empty: the context's, or the usual one

	// Writer is whose uploads of large objects go on where they stopped: see [Client.PutObject]. One process at a time may put
	// objects under its name. Zero: none go on.
	Writer bucket.PublicKey

	// Wait makes Dial try again until its context ends if no server answers.
	Wait bool
	// OnConnected is called when the connection is there again after it was lost, not by Dial. It must return soon: nothing else
	// is heard meanwhile. Nil: nobody is.
	OnConnected func()
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

// Client is what is said over one connection to the broker. Safe for concurrent use.
type Client struct {
	nc      *nats.Conn
	link    link
	js      natsjs.JetStream
	names   Names
	api     string // prefix of the JetStream API
	limit   time.Duration
	log     *slog.Logger
	writer  bucket.PublicKey
	puts    sync.Map // tokens of the writer that are in use
	calls   *calls
	foreign memory // streams of stores whose objects lately stood under tokens that are not made from their hashes
	atomics memory // streams that take batches of messages
	singles memory // streams that answer no batched gets
	leaders memory // streams that allow no direct gets: only their leader answers
}

// Dial connects, or takes the connection that it is given. Without Wait it fails with [ErrUnreachable] at once if the
// connection is refused, and after 4 s at the latest for each server that says nothing; with Wait it does so when ctx ends,
// with ctx's error beside it. It fails with [ErrNotPermitted] if a server refuses the credentials, and with another error if
// the configuration cannot be used. Once it has returned a Client, the connection is restored by itself, for ever, until
// [Client.Close]; one that was given, by its owner's settings.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	c := &Client{
		names: Names{Prefix: cfg.Prefix},
		limit: cmp.Or(cfg.RequestLimit, DefaultRequestLimit),
		log:   cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)),
		link:  newLink(cfg),

		writer: cfg.Writer,
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c.calls = newCalls(cmp.Or(cfg.InboxPrefix, inboxPrefix))
	var settings natscontext.Settings
	var err error
	if cfg.Conn != nil {
		err = c.borrow(cfg)
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
	return c, nil
}

// Names returns the names that this client uses.
func (c *Client) Names() Names { return c.names }

// URL returns the server that the client is connected to, without credentials; empty while there is none.
func (c *Client) URL() string { return c.nc.ConnectedUrlRedacted() }

// Connected reports whether there is a connection at this moment.
func (c *Client) Connected() bool { return c.nc.IsConnected() }
