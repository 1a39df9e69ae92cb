package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	// maxClients is the most connections that are served at a time.
	maxClients = 1024
	// helloTimeout is how long a client may take to say what it speaks.
	helloTimeout = 10 * time.Second
	// stopGrace is how long a client that does not read can hold up the end of a holder.
	stopGrace = 500 * time.Millisecond
	// acceptPause is how long no connection is taken after one could not be: mostly for want of file descriptors.
	acceptPause = 50 * time.Millisecond
)

// errClientGone is why a call ends whose client closed the connection.
var errClientGone = fmt.Errorf("the process that asked is gone: %w", context.Canceled)

// server is a holder and those who are connected to it.
type server struct {
	holder  Holder
	info    Info
	yield   func()
	slots   chan struct{} // one for each connection
	buffers sync.Pool     // of *[chunkSize]byte
}

// Serve answers the processes that connect to l until ctx ends or l is closed; then it returns nil, after the calls under way
// were cancelled and have ended, and with l closed. Those who wait for an answer then get [ErrLost], those who ask later [ErrGone].
// h must not keep the reader of Put or the functions it is given beyond the call. yield is called, possibly several times, if
// another process asks for the directory: it is to be given up at the next durable point, and yield returns at once; nil, of a
// running peer, refuses those who ask.
func Serve(ctx context.Context, l net.Listener, h Holder, info Info, yield func()) error {
	s := &server{holder: h, info: info, yield: yield, slots: make(chan struct{}, maxClients)}
	s.buffers.New = func() any { return new([chunkSize]byte) }
	serving, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		cancel(ErrLost)
		_ = l.Close() // and once more below
	})
	defer stop()
	var clients sync.WaitGroup
	err := s.accept(serving, l, &clients)
	cancel(ErrLost)
	clients.Wait()
	return errors.Join(err, l.Close())
}

// accept takes connections until ctx ends or the listener is closed.
func (s *server) accept(ctx context.Context, l net.Listener, clients *sync.WaitGroup) error {
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			if err == nil {
				conn.Close()
			}
			return nil
		case err != nil:
			pause(ctx, acceptPause)
		default:
			s.admit(ctx, conn, clients)
		}
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// admit serves a connection if there is room for it.
func (s *server) admit(ctx context.Context, conn net.Conn, clients *sync.WaitGroup) {
	select {
	case s.slots <- struct{}{}:
		clients.Go(func() {
			defer func() { <-s.slots }()
			c := &serverConn{server: s, conn: conn, r: bufio.NewReaderSize(conn, readBuffer), in: make(chan frame, 1)}
			c.serve(ctx)
		})
	default:
		refusal := hello{Protocol: Protocol, Info: s.info, Refused: fmt.Sprintf("it serves %d connections already", maxClients)}
		if b, err := appendJSON(nil, frameHello, refusal); err == nil {
			conn.SetWriteDeadline(time.Now().Add(stopGrace))
			_, _ = conn.Write(b) // it is of use to the client alone
		}
		conn.Close()
	}
}

// readBuffer holds a small call and its body; larger pieces are read past it.
const readBuffer = 16 << 10

// frame is a frame that was read.
type frame struct {
	t       frameType
	payload []byte
	home    *[chunkSize]byte // the pooled memory that payload is in; nil for none
}

// serverConn is one connection of a client. One goroutine reads frames, so that it is noticed at once if the client is gone; the
// other one does the calls.
type serverConn struct {
	*server
	conn net.Conn
	r    *bufio.Reader
	in   chan frame // closed when nothing more can be read

	mu     sync.Mutex // held to write
	out    []byte
	broken error // why nothing can be written any more
}

// serve answers calls until the client is gone or ctx ends.
func (c *serverConn) serve(ctx context.Context) {
	defer c.conn.Close()
	c.conn.SetReadDeadline(time.Now().Add(helloTimeout))
	// A client that does not read must not hold up the end.
	defer context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Now().Add(stopGrace)) })()
	if !c.greet() {
		return
	}
	stopped := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer cancel(errClientGone)
		defer close(c.in)
		c.read(ctx)
	})
	defer reader.Wait()
	defer c.conn.Close()
	defer cancel(errClientGone)
	for c.broken == nil {
		select {
		case <-stopped.Done():
			c.send(frameBye, nil)
			return
		case f, ok := <-c.in:
			if !ok {
				return
			}
			if stopped.Err() != nil {
				continue // it was not begun: bye
			}
			if err := c.answer(ctx, f); err != nil {
				return
			}
		}
	}
}

// greet exchanges hellos and reports whether both ends speak the same.
func (c *serverConn) greet() bool {
	h, err := readHello(c.r)
	if err != nil {
		return false
	}
	mine := hello{Protocol: Protocol, Info: c.info}
	if h.Protocol != Protocol {
		mine.Refused = "another version of the protocol"
	}
	c.sendJSON(frameHello, mine)
	c.conn.SetReadDeadline(time.Time{})
	return c.broken == nil && mine.Refused == ""
}

// readHello reads the hello of the other end.
func readHello(r *bufio.Reader) (h hello, err error) {
	t, size, err := readHeader(r)
	if err != nil {
		return h, err
	}
	if t == frameBye {
		return h, ErrGone
	}
	if t != frameHello {
		return h, fmt.Errorf("%w: frame %d instead of a hello", errFrame, t)
	}
	b, err := readPayload(r, size, nil)
	if err != nil {
		return h, err
	}
	return h, decode(b, &h)
}

// read passes on frames until the connection or ctx ends.
func (c *serverConn) read(ctx context.Context) {
	for {
		f, err := c.readFrame()
		if err != nil {
			return
		}
		select {
		case c.in <- f:
		case <-ctx.Done():
			c.free(f)
			return
		}
	}
}

// readFrame reads a frame. Memory is taken for one that has begun to come only.
func (c *serverConn) readFrame() (frame, error) {
	t, size, err := readHeader(c.r)
	if err != nil {
		return frame{}, err
	}
	if t != frameRequest && t != frameData {
		return frame{}, fmt.Errorf("%w: frame %d of a client", errFrame, t)
	}
	f := frame{t: t}
	var buf []byte
	if size <= chunkSize {
		f.home = c.buffers.Get().(*[chunkSize]byte)
		buf = f.home[:0]
	}
	f.payload, err = readPayload(c.r, size, buf)
	if err != nil {
		c.free(f)
	}
	return f, err
}

// free gives back the memory of a frame.
func (c *serverConn) free(f frame) {
	if f.home != nil {
		c.buffers.Put(f.home)
	}
}

// send writes a frame. What fails is remembered: the connection is of no use then.
func (c *serverConn) send(t frameType, payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = appendFrame(c.out[:0], t, payload)
	c.flush()
}

// sendJSON writes a frame whose payload is v.
func (c *serverConn) sendJSON(t frameType, v any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := appendJSON(c.out[:0], t, v)
	if err != nil { // of our own making: too large
		b, err = appendJSON(c.out[:0], frameError, toWire(err))
	}
	if err != nil {
		c.broken = err
		return
	}
	c.out = b
	c.flush()
}

// flush writes what stands in out. mu is held.
func (c *serverConn) flush() {
	if c.broken == nil {
		_, c.broken = c.conn.Write(c.out)
	}
}
