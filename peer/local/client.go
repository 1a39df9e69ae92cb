package local

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"headwater/durable"
)

const (
	// maxConns is the most calls of one client at a time; more wait. Watches, waits, and large blobs that are being read are
	// among them.
	maxConns = 64
	// maxIdle is the most connections that are kept for later calls, and idleTimeout for how long.
	maxIdle     = 32
	idleTimeout = 30 * time.Second
	// helloTimeout is how long a holder may take to take the first connection and say hello.
	helloTimeout = 5 * time.Second
	// continueTimeout is how long a holder may take to ask for a large body; it may be busy, and ctx can end sooner.
	continueTimeout = time.Hour
	connBuffer      = 64 << 10 // bytes, each way
)

// Client is the [Holder] that another process is. Up to 64 calls are under way at a time; further ones wait. Safe for concurrent
// use. Besides what a Holder returns, calls return [ErrGone], [ErrLost], and [net.ErrClosed] after Close.
type Client struct {
	info  Info
	http  http.Client
	small *durable.Group[*smallPut]

	mu    sync.Mutex
	calls map[*context.CancelCauseFunc]struct{} // under way; nil after Close
}

var _ Holder = (*Client)(nil)

// Dial connects to the process that holds a peer's directory, and waits for its answer up to timeout (zero: 5 s). [ErrNoHolder];
// [ErrRefused] if it speaks another version of the protocol; [*HungError].
func Dial(ctx context.Context, dir string, timeout time.Duration) (*Client, error) {
	c := &Client{calls: map[*context.CancelCauseFunc]struct{}{}}
	c.small = c.groupSmall()
	c.http.Transport = &http.Transport{
		DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return dialSocket(ctx, dir) },
		MaxConnsPerHost:       maxConns,
		MaxIdleConnsPerHost:   maxIdle,
		IdleConnTimeout:       idleTimeout,
		ExpectContinueTimeout: continueTimeout,
		DisableCompression:    true,
		ReadBufferSize:        connBuffer,
		WriteBufferSize:       connBuffer,
	}
	timeout = cmp.Or(timeout, helloTimeout)
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := c.greet(limited)
	switch {
	case err == nil:
		return c, nil
	case ctx.Err() != nil:
		err = ctx.Err()
	case limited.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded), isBusy(err):
		err = &HungError{Dir: dir, Timeout: timeout}
	case errors.Is(err, ErrGone), errors.Is(err, ErrLost):
		err = fmt.Errorf("%w: %w", ErrNoHolder, err)
	}
	_ = c.Close()
	return nil, fmt.Errorf("speak with the process that holds %s: %w", dir, err)
}

// greet asks the holder who it is.
func (c *Client) greet(ctx context.Context) error {
	var h hello
	if err := c.do(ctx, http.MethodGet, pathHello, nil, &h); err != nil {
		return err
	}
	if h.Protocol != Protocol {
		return fmt.Errorf("%w: process %d (program %s) speaks version %d of the protocol, and this program version %d: "+
			"use the same program, or end and start that process", ErrRefused, h.Info.PID, h.Info.Version, h.Protocol, Protocol)
	}
	c.info = h.Info
	return nil
}

// Info returns what the holder said of itself.
func (c *Client) Info() Info { return c.info }

// Close closes all connections. Calls under way end with [net.ErrClosed].
func (c *Client) Close() error {
	c.mu.Lock()
	calls := c.calls
	c.calls = nil
	c.mu.Unlock()
	for cancel := range calls {
		(*cancel)(net.ErrClosed)
	}
	c.http.CloseIdleConnections()
	return nil
}

// begin returns the context of a call, which ends with the client too. done is called once the answer was read.
func (c *Client) begin(ctx context.Context) (_ context.Context, done func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		return nil, nil, net.ErrClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	c.calls[&cancel] = struct{}{}
	return ctx, func() {
		c.mu.Lock()
		delete(c.calls, &cancel)
		c.mu.Unlock()
		cancel(nil)
	}, nil
}

// open makes a call, with a body of size bytes. It ends when the caller closes the answer.
func (c *Client) open(ctx context.Context, method, path string, body io.Reader, size int64) (*answer, error) {
	q, err := http.NewRequest(method, "http://headwater"+path, body)
	if err != nil {
		return nil, err
	}
	q.Header["Idempotency-Key"] = nil // not sent; lets a call whose connection was closed before it began be sent on another one
	q.ContentLength = size
	if size > chunkSize {
		q.Header.Set("Expect", "100-continue")
	}
	call, done, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(q.WithContext(call))
	if err != nil {
		err = failed(call, err)
		done()
		return nil, err
	}
	a := &answer{ctx: call, done: done, Response: resp}
	if resp.StatusCode == http.StatusOK {
		return a, nil
	}
	defer a.Close()
	var w wireError
	if err := a.decode(&w); err != nil || w.Text == "" {
		return nil, fmt.Errorf("%w: it answers %s", ErrRefused, resp.Status)
	}
	return nil, w.err()
}

// failed says why the connection of a call failed.
func failed(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, ErrNoHolder):
		return fmt.Errorf("%w: %w", ErrGone, err)
	case isBusy(err):
		return err
	}
	// Only the text: an io.EOF of the connection must not look like the end of a body.
	return fmt.Errorf("%w: %s", ErrLost, err.Error())
}

// do makes a call with an argument of JSON, if q is not nil, and decodes the answer into v, if that is not nil.
func (c *Client) do(ctx context.Context, method, path string, q *request, v any) error {
	var body io.Reader
	var size int64
	if q != nil {
		b, err := json.Marshal(q)
		if err != nil {
			return err
		}
		body, size = bytes.NewReader(b), int64(len(b))
	}
	a, err := c.open(ctx, method, path, body, size)
	if err != nil {
		return err
	}
	defer a.Close()
	return a.decode(v)
}

// ask is do for a call by its name.
func (c *Client) ask(ctx context.Context, call string, q request, v any) error {
	return c.do(ctx, http.MethodPost, root+call, &q, v)
}
