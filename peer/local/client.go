package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
)

// ErrHung: the process that holds the directory takes the connection, and does not answer.
var ErrHung = errors.New("the process that holds the directory does not answer")

// maxIdle is how many connections a client keeps that no call needs at the moment.
const maxIdle = 64

// DialOptions say how long a holder is waited for. The zero value is as programs need it.
type DialOptions struct {
	Version string        // of the program, for the holder's messages
	Timeout time.Duration // for the holder's first words; 0: 5 s
}

// Client is a [Holder] behind the socket of a peer's directory. Safe for concurrent use: each call has a connection of its own.
type Client struct {
	dir  string
	o    DialOptions
	info Info

	mu     sync.Mutex
	idle   []*conn
	closed bool
}

var _ Holder = (*Client)(nil)

// Dial connects to whoever holds a directory. [ErrNoHolder]; [ErrHung]; [ErrRefused] if it speaks another version.
func Dial(ctx context.Context, dir string, o DialOptions) (*Client, error) {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	c := &Client{dir: dir, o: o}
	first, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	c.idle = []*conn{first}
	return c, nil
}

// Info returns what the holder said of itself.
func (c *Client) Info() Info { return c.info }

// connect makes a connection and exchanges greetings.
func (c *Client) connect(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	var raw net.Conn
	err := withShortPath(c.dir, func(path string) (err error) {
		raw, err = new(net.Dialer).DialContext(ctx, "unix", path)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%w: %s", ErrNoHolder, c.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the process that holds %s: %w", c.dir, err)
	}
	conn := newConn(raw)
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	err = conn.send(frameHello, hello{protocol, c.o.Version})
	if err == nil {
		err = c.greeted(conn)
	}
	if err != nil {
		raw.Close()
		return nil, c.dialError(err)
	}
	return conn, conn.SetDeadline(time.Time{})
}

func (c *Client) greeted(conn *conn) error {
	kind, content, err := conn.receive()
	if err != nil {
		return err
	}
	if kind == frameError {
		return decodeError(content)
	}
	var info Info
	if kind != frameHello || json.Unmarshal(content, &info) != nil {
		return errFrame
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.info = info
	return nil
}

// dialError says what it means that there was no greeting.
func (c *Client) dialError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w within %s: %s", ErrHung, c.o.Timeout, c.dir)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("%w: %s", ErrNoHolder, c.dir) // it was about to close
	}
	return err
}

// call is one call under way.
type call struct {
	c    *Client
	conn *conn
	stop func() bool
	ctx  context.Context //nolint:containedctx // of the one call that this is
}

// begin sends a request. Its first answer is still to be read.
func (c *Client) begin(ctx context.Context, q request) (*call, error) {
	for {
		conn, fresh, err := c.take(ctx)
		if err != nil {
			return nil, gone(err)
		}
		k := &call{c: c, conn: conn, ctx: ctx, stop: context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })}
		if err = conn.send(frameRequest, q); err == nil {
			_, err = conn.r.Peek(1)
		}
		if err == nil {
			return k, nil
		}
		k.drop()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if fresh {
			return nil, gone(err)
		} // one that was idle may have been closed meanwhile: take another one
	}
}

// gone says that the holder is not there any more.
func gone(err error) error {
	if errors.Is(err, ErrNoHolder) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

// take returns a connection; fresh reports that it was just made.
func (c *Client) take(ctx context.Context) (k *conn, fresh bool, err error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, false, net.ErrClosed
	}
	if n := len(c.idle); n > 0 {
		k, c.idle = c.idle[n-1], c.idle[:n-1]
		c.mu.Unlock()
		return k, false, nil
	}
	c.mu.Unlock()
	k, err = c.connect(ctx)
	return k, true, err
}

// done gives the connection back, for the next call.
func (k *call) done() {
	if !k.stop() {
		k.conn.Close()
		return
	}
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if k.c.closed || len(k.c.idle) >= maxIdle {
		k.conn.Close()
		return
	}
	k.c.idle = append(k.c.idle, k.conn)
}

// drop ends a call that did not come to its end.
func (k *call) drop() {
	k.stop()
	k.conn.Close()
}

// failed ends the call with an error of the connection.
func (k *call) failed(err error) error {
	k.drop()
	if cause := context.Cause(k.ctx); cause != nil {
		return cause
	}
	return gone(err)
}

// answer reads events up to the answer, and decodes it into v.
func (k *call) answer(v any, event func([]byte)) error {
	for {
		kind, content, err := k.conn.receive()
		switch {
		case err != nil:
			return k.failed(err)
		case kind == frameError:
			k.done()
			return decodeError(content)
		case kind == frameEvent && event != nil:
			event(content)
			continue
		case kind != frameAnswer:
			return k.failed(errFrame)
		}
		if err := decode(content, v); err != nil {
			return k.failed(fmt.Errorf("%w: %w", errFrame, err))
		}
		k.done()
		return nil
	}
}

// ask is a call of one request and one answer.
func ask[A any](ctx context.Context, c *Client, q request) (a A, err error) {
	k, err := c.begin(ctx, q)
	if err != nil {
		return a, err
	}
	return a, k.answer(&a, nil)
}

// Close closes all connections, and so ends every call. Closing twice does nothing.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, k := range c.idle {
		k.Close()
	}
	c.idle = nil
	return nil
}

// Takeover asks a command that holds the directory to give it up at its next durable point, and returns when it has agreed. A
// running peer does not: [ErrRefused].
func (c *Client) Takeover(ctx context.Context) error {
	_, err := ask[any](ctx, c, request{Method: methodTakeover})
	return err
}

// Get implements [blobstore.Reader].
func (c *Client) Get(ctx context.Context, h bucket.Hash) (*blobstore.Blob, error) {
	k, err := c.begin(ctx, request{Method: methodGet, Hash: h})
	if err != nil {
		return nil, err
	}
	kind, content, err := k.conn.receive()
	var size int64
	switch {
	case err != nil:
		return nil, k.failed(err)
	case kind == frameError:
		k.done()
		return nil, decodeError(content)
	case kind != frameAnswer || json.Unmarshal(content, &size) != nil:
		return nil, k.failed(errFrame)
	}
	return blobstore.NewBlob(h, size, &download{k: k, data: dataReader{c: k.conn}}), nil
}

// download is the bytes of a blob on their way. Closed before its end, it ends the call.
type download struct {
	k    *call
	data dataReader
	once sync.Once
}

func (d *download) Read(p []byte) (int, error) {
	n, err := d.data.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(d.k.ctx); cause != nil {
			err = cause
		}
	}
	return n, err
}

func (d *download) Close() error {
	d.once.Do(func() {
		if d.data.err == nil && d.data.left == 0 {
			d.data.next() // the reader knew the size, and did not look for the end
		}
		if errors.Is(d.data.err, io.EOF) {
			d.k.done()
		} else {
			d.k.drop()
		}
	})
	return nil
}

// Put implements [Content].
func (c *Client) Put(ctx context.Context, h bucket.Hash, size int64, r io.Reader) error {
	k, err := c.begin(ctx, request{Method: methodPut, Hash: h, Size: size})
	if err != nil {
		return err
	}
	kind, content, err := k.conn.receive()
	switch {
	case err != nil:
		return k.failed(err)
	case kind == frameAnswer:
		k.done()
		return nil // it is held
	case kind == frameError:
		k.done()
		return decodeError(content)
	case kind != frameGoOn:
		return k.failed(errFrame)
	}
	if err := k.conn.sendData(r); err != nil {
		if sent, ok := errors.AsType[*sendError](err); ok {
			return fmt.Errorf("put blob %s: the process that holds the directory went away: %w", h, k.failed(sent.error))
		}
		k.drop()
		return err
	}
	if err := k.conn.put(frameEnd, nil); err == nil {
		err = k.conn.w.Flush()
	}
	if err != nil {
		return k.failed(err)
	}
	return k.answer(nil, nil)
}
