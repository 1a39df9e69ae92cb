package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// link is what is known of the connection.
type link struct {
	onConnected func()
	statuses    chan nats.Status // of a connection that was given; nil if it is the client's own
	ended       chan struct{}    // closed when there is no connection any more, and will be none

	mu        sync.Mutex
	connected bool
	since     time.Time
	closing   bool // by Close: nobody is told
	over      bool // ended is closed
}

func newLink(cfg Config) link {
	return link{onConnected: cfg.OnConnected, ended: make(chan struct{}), connected: true, since: time.Now()}
}

// set notes a change, and reports whether it is one that somebody has to be told of.
func (l *link) set(connected bool) (tell bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.connected == connected || l.over {
		return false
	}
	l.connected, l.since = connected, time.Now()
	return !l.closing
}

// finish notes that the connection is gone for good.
func (l *link) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.over = true
		close(l.ended)
	}
}

// borrow takes the connection that was given, which can be down at this moment.
func (c *Client) borrow(cfg Config) error {
	if cfg.URL+cfg.Context+cfg.Creds+cfg.NKey+cfg.Name+cfg.InboxPrefix != "" || cfg.TLS != (TLS{}) {
		return errors.New("a connection is given, and so is how to connect: want one of them")
	}
	if cfg.Conn.IsClosed() {
		return fmt.Errorf("%w: the connection that was given is closed", ErrUnreachable)
	}
	c.nc = cfg.Conn
	c.link.statuses = c.nc.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	if !c.nc.IsConnected() {
		c.link.set(false)
	}
	go c.follow()
	return nil
}

// follow hears of the changes of a connection that was given, until that is closed or Close ends it, which waits for it.
func (c *Client) follow() {
	defer c.onClosed(nil)
	for s := range c.link.statuses {
		switch s {
		case nats.CONNECTED:
			c.onReconnect(c.nc)
		case nats.CLOSED:
			c.onDisconnect(c.nc, nats.ErrConnectionClosed)
			return
		default:
			c.onDisconnect(c.nc, c.nc.LastError())
		}
	}
}

func (c *Client) onDisconnect(_ *nats.Conn, err error) {
	lost := fmt.Errorf("%w: the connection broke", ErrUnreachable)
	if err != nil {
		lost = fmt.Errorf("%w: %w", lost, err)
	}
	c.calls.fail(lost)
	if c.link.set(false) {
		c.log.Warn("connection to NATS lost, reconnecting", "error", lost)
	}
}

func (c *Client) onReconnect(nc *nats.Conn) {
	c.calls.allowInbox()
	for _, m := range []*memory{&c.foreign, &c.atomics, &c.singles, &c.leaders} {
		m.forget()
	}
	if !c.link.set(true) {
		return
	}
	c.log.Info("connected to NATS again", "server", nc.ConnectedUrlRedacted())
	if c.link.onConnected != nil {
		c.link.onConnected()
	}
}

// onClosed ends all that still waits.
func (c *Client) onClosed(*nats.Conn) {
	c.link.set(false)
	c.calls.end(fmt.Errorf("%w: the connection is closed", ErrUnreachable))
	c.link.finish()
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

// Since reports whether there is a connection, and since when that is so.
func (c *Client) Since() (connected bool, since time.Time) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	return c.link.connected, c.link.since
}

// ready is nil if something can be sent now. A connection that was given may keep what is sent without a server, and send it
// much later; ours does not.
func (c *Client) ready() error {
	select {
	case <-c.link.ended:
		return fmt.Errorf("%w: the client is closed", ErrUnreachable)
	default:
	}
	if c.link.statuses != nil && !c.nc.IsConnected() {
		return fmt.Errorf("%w: the connection is down", ErrUnreachable)
	}
	return nil
}

// silence says what no answer means to err, an error of a request on subject: over a connection that was given, the server may
// have told its owner alone that the request is forbidden.
func (c *Client) silence(err error, subject string) error {
	if c.link.statuses == nil || !errors.Is(err, ErrTimeout) {
		return err
	}
	last := c.nc.LastError()
	if !errors.Is(last, nats.ErrPermissionViolation) {
		return err
	}
	about, publish := violation(last)
	if publish && about == subject || !publish && c.calls.isInbox(about) {
		return fmt.Errorf("%w: %s", ErrNotPermitted, about)
	}
	return err
}

// violation returns the subject that a permission violation is about, and whether publishing to it is what is forbidden.
func violation(err error) (subject string, publish bool) {
	text := err.Error()
	_, rest, _ := strings.Cut(text, `"`)
	subject, _, _ = strings.Cut(rest, `"`)
	return subject, strings.Contains(text, "for Publish")
}

// Close sends what is still to be sent, ends every request and what listens, and closes the connection, unless that was
// given. Close sources first. It returns when that is done or ctx ends, whichever is first; the client is closed either
// way. Closing twice does nothing.
func (c *Client) Close(ctx context.Context) error {
	c.link.mu.Lock()
	over := c.link.over
	c.link.closing = true
	c.link.mu.Unlock()
	if over {
		return nil
	}
	err := c.leave(ctx)
	select {
	case <-c.link.ended:
		return err
	case <-ctx.Done():
		if c.link.statuses == nil {
			c.nc.Close()
		}
		c.onClosed(nil) // whoever hears of changes may be busy still
		return fmt.Errorf("close the connection to NATS: %w", ctx.Err())
	}
}

// leave begins to close the connection, or leaves one that was given to its owner.
func (c *Client) leave(ctx context.Context) (err error) {
	if c.link.statuses == nil {
		if err := c.nc.Drain(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			c.nc.Close()
		}
		return nil
	}
	if c.ready() == nil {
		err = c.flush(ctx)
	}
	c.nc.RemoveStatusListener(c.link.statuses)
	return err
}
