package local

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// maxConns is the most calls of one client at a time; more wait. Watches, waits, and large blobs that are being read are
	// among them.
	maxConns = 64
	// maxIdle is the most connections that are kept for later calls, and idleTimeout for how long.
	maxIdle     = 32
	idleTimeout = 30 * time.Second
	// answerTimeout is how long a holder may take to take a connection and say hello.
	answerTimeout = 5 * time.Second
	// patience is how many times as long a further connection may take: the holder did answer, so it may well be busy.
	patience = 6
)

// Client is the [Holder] that another process is. Up to 64 calls are under way at a time; further ones wait. Safe for concurrent
// use. Beside what a Holder returns, calls return [ErrGone], [ErrLost], [ErrHung], and [net.ErrClosed] after Close.
type Client struct {
	dir   string
	limit time.Duration // for an answer to a new connection
	info  Info
	slots chan struct{} // one for each call under way

	mu     sync.Mutex
	conns  map[*clientConn]struct{}
	idle   []*clientConn // the one that was used last at the end
	closed bool
}

var _ Holder = (*Client)(nil)

// clientConn is a connection on which hellos were exchanged.
type clientConn struct {
	net.Conn
	r    *bufio.Reader
	out  []byte // the frames being sent
	in   []byte // the payload that was read last
	used time.Time
}

// Dial connects to the process that holds a peer's directory, which may take so long to answer a new connection (zero: 5 s).
// [ErrNoHolder]; [ErrRefused] if it speaks another version of the protocol; [*HungError].
func Dial(ctx context.Context, dir string, timeout time.Duration) (*Client, error) {
	c := &Client{
		dir: dir, limit: cmp.Or(timeout, answerTimeout), slots: make(chan struct{}, maxConns), conns: map[*clientConn]struct{}{},
	}
	conn, h, err := c.connect(ctx, c.limit)
	if errors.Is(err, ErrGone) {
		err = fmt.Errorf("%w: %w", ErrNoHolder, err)
	}
	if err != nil {
		return nil, fmt.Errorf("speak with the process that holds %s: %w", dir, err)
	}
	c.info = h.Info
	c.conns[conn] = struct{}{}
	c.release(conn)
	return c, nil
}

// Info returns what the holder said of itself.
func (c *Client) Info() Info { return c.info }

// Close closes all connections. Calls under way end with [net.ErrClosed].
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed, c.idle = true, nil
	for conn := range c.conns {
		conn.Close()
	}
	clear(c.conns)
	return nil
}

// connect makes a connection. If the holder takes it and does not answer in time, that is a [*HungError].
func (c *Client) connect(ctx context.Context, timeout time.Duration) (*clientConn, hello, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	nc, err := dialSocket(limited, c.dir)
	if err != nil {
		return nil, hello{}, c.noAnswer(ctx, limited, timeout, err)
	}
	stop := context.AfterFunc(limited, func() { nc.Close() })
	conn := &clientConn{Conn: nc, r: bufio.NewReaderSize(nc, readBuffer)}
	h, err := conn.greet()
	if !stop() && err == nil {
		err = limited.Err()
	}
	if err != nil {
		nc.Close()
		return nil, h, c.noAnswer(ctx, limited, timeout, err)
	}
	return conn, h, nil
}

// noAnswer is why no connection could be made.
func (c *Client) noAnswer(ctx, limited context.Context, timeout time.Duration, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded), isBusy(err):
		return &HungError{Dir: c.dir, Timeout: timeout}
	}
	return err
}

// greet exchanges hellos.
func (c *clientConn) greet() (h hello, err error) {
	if c.out, err = appendJSON(nil, frameHello, hello{Protocol: Protocol}); err != nil {
		return h, err
	}
	if _, err = c.Write(c.out); err == nil {
		h, err = readHello(c.r)
	}
	switch {
	case errors.Is(err, errFrame):
		return h, fmt.Errorf("%w: %w", ErrRefused, err)
	case err != nil:
		return h, fmt.Errorf("%w: %w", ErrGone, err)
	case h.Protocol != Protocol:
		return h, fmt.Errorf("%w: process %d (program %s) speaks version %d of the protocol, and this program version %d: "+
			"use the same program, or end and start that process", ErrRefused, h.Info.PID, h.Info.Version, h.Protocol, Protocol)
	case h.Refused != "":
		return h, fmt.Errorf("%w: process %d: %s", ErrRefused, h.Info.PID, h.Refused)
	}
	return h, nil
}

// acquire returns a connection for one call: one that is idle, or a new one.
func (c *Client) acquire(ctx context.Context) (*clientConn, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, net.ErrClosed
	}
	if n := len(c.idle); n > 0 {
		conn := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		return conn, nil
	}
	c.mu.Unlock()
	conn, _, err := c.connect(ctx, patience*c.limit)
	if errors.Is(err, ErrNoHolder) {
		err = fmt.Errorf("%w: %w", ErrGone, err)
	}
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		conn.Close()
		return nil, net.ErrClosed
	}
	c.conns[conn] = struct{}{}
	return conn, nil
}

// release keeps a connection for later calls, and closes those that were idle for too long.
func (c *Client) release(conn *clientConn) {
	now := time.Now()
	conn.used = now
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return // Close has closed it
	}
	if len(c.idle) == maxIdle {
		c.discard(conn)
		return
	}
	c.idle = append(c.idle, conn)
	old := 0
	for ; now.Sub(c.idle[old].used) > idleTimeout; old++ {
		c.discard(c.idle[old])
	}
	c.idle = c.idle[:copy(c.idle, c.idle[old:])]
}

// drop closes a connection that is of no further use.
func (c *Client) drop(conn *clientConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.discard(conn)
}

// discard closes a connection. mu is held.
func (c *Client) discard(conn *clientConn) {
	conn.Close()
	delete(c.conns, conn)
}

// isClosed reports whether Close was called.
func (c *Client) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}
