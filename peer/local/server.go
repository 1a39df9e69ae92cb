package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"headwater/bucket"
)

// Info is what a holder says of itself to whoever connects.
type Info struct {
	Protocol int              `json:"protocol"`
	PeerID   bucket.PublicKey `json:"peer_id"`
	PID      int              `json:"pid"`
	Since    time.Time        `json:"since"`
	Role     string           `json:"role"` // "run", or a command's name
	Version  string           `json:"version"`
	Broker   Settings         `json:"broker"`
}

// Settings say how a holder reaches the broker, without credentials.
type Settings struct {
	URL      string `json:"url,omitempty"`
	Context  string `json:"context,omitempty"`
	Domain   string `json:"domain,omitempty"`
	Prefix   string `json:"prefix,omitempty"`
	Embedded bool   `json:"embedded,omitempty"` // a server in the holder's process
}

// hello is the first frame of a client.
type hello struct {
	Protocol int    `json:"protocol"`
	Version  string `json:"version"`
}

// Serve answers whoever connects until ctx ends, and closes l. When it returns, every call has ended. takeover, if not nil, is
// called when another process is to hold the directory in this one's place; if it is nil that is [ErrRefused].
func Serve(ctx context.Context, l net.Listener, h Holder, info Info, takeover func()) error {
	info.Protocol = protocol
	s := &server{h: h, info: info, takeover: takeover}
	var conns sync.WaitGroup
	defer conns.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept on the peer's socket: %w", errors.Join(err, l.Close()))
		}
		conns.Go(func() {
			defer c.Close()
			s.converse(ctx, newConn(c))
		})
	}
}

type server struct {
	h        Holder
	info     Info
	takeover func()
}

// converse answers the calls of one connection until either side ends it.
func (s *server) converse(ctx context.Context, c *conn) {
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Now()) })
	defer stop()
	if err := s.greet(c); err != nil {
		return
	}
	for {
		kind, content, err := c.receive()
		var q request
		if err != nil || kind != frameRequest || json.Unmarshal(content, &q) != nil {
			return
		}
		if err := s.call(ctx, c, q); err != nil {
			return
		}
	}
}

// greet compares the versions of both ends.
func (s *server) greet(c *conn) error {
	kind, content, err := c.receive()
	var their hello
	if err == nil && (kind != frameHello || json.Unmarshal(content, &their) != nil) {
		err = errFrame
	}
	if err != nil {
		return err
	}
	if their.Protocol != protocol {
		err := fmt.Errorf("%w: process %d is Headwater %s, which speaks version %d; the command is %s and speaks %d", ErrRefused,
			s.info.PID, s.info.Version, protocol, their.Version, their.Protocol)
		return errors.Join(err, c.send(frameError, encodeError(err)))
	}
	return c.send(frameHello, s.info)
}

// call carries out one call. Its error ends the connection.
func (s *server) call(ctx context.Context, c *conn, q request) error {
	if q.Method == methodPut {
		return s.put(ctx, c, q)
	}
	ctx, done := untilClosed(ctx, c)
	defer done()
	if q.Method == methodGet {
		return s.get(ctx, c, q)
	}
	var answer any
	var err error
	switch method := methods[q.Method]; {
	case method != nil:
		answer, err = method(ctx, s.h, q)
	case q.Method == methodAwait:
		err = s.h.Await(ctx, q.Bucket, q.Link, func(p UploadProgress) { _ = c.send(frameEvent, p) }) // the end tells what is wrong
	case q.Method == methodWatch:
		err = s.h.Watch(ctx, func() { _ = c.send(frameEvent, nil) }, func(e []byte) { _ = c.send(frameEvent, json.RawMessage(e)) })
	case q.Method == methodTakeover && s.takeover != nil:
		s.takeover()
	case q.Method == methodTakeover:
		err = fmt.Errorf("%w: process %d is a running peer", ErrRefused, s.info.PID)
	default:
		err = fmt.Errorf("%w: no method %.40q", ErrRefused, q.Method)
	}
	return finish(c, answer, err)
}

// finish sends how a call ended.
func finish(c *conn, answer any, err error) error {
	if err != nil {
		return c.send(frameError, encodeError(err))
	}
	return c.send(frameAnswer, answer)
}

// untilClosed returns a context that ends when the other end closes the connection, as it sends nothing before it has an answer.
func untilClosed(serving context.Context, c *conn) (context.Context, func()) {
	ctx, cancel := context.WithCancel(serving)
	var watching sync.WaitGroup
	watching.Go(func() {
		if _, err := c.r.Peek(1); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			cancel()
		}
	})
	return ctx, func() {
		c.SetReadDeadline(time.Now()) // ends the watching
		watching.Wait()
		c.SetReadDeadline(time.Time{})
		if serving.Err() != nil { // which has set a deadline that was just removed
			c.SetDeadline(time.Now())
		}
		cancel()
	}
}

// get sends a blob.
func (s *server) get(ctx context.Context, c *conn, q request) error {
	blob, err := s.h.Get(ctx, q.Hash)
	if err != nil {
		return finish(c, nil, err)
	}
	defer blob.Close()
	stop := context.AfterFunc(ctx, func() { c.SetWriteDeadline(time.Now()) })
	defer stop()
	if err := c.send(frameAnswer, blob.Size()); err != nil {
		return err
	}
	if err := c.sendData(blob); err != nil {
		return finish(c, nil, err)
	}
	if err := c.put(frameEnd, nil); err != nil {
		return err
	}
	return c.w.Flush()
}

// put takes a blob.
func (s *server) put(ctx context.Context, c *conn, q request) error {
	if has, err := s.h.Has(ctx, q.Hash); has || err != nil {
		return finish(c, nil, err)
	}
	if err := c.send(frameGoOn, struct{}{}); err != nil {
		return err
	}
	data := &dataReader{c: c}
	err := s.h.Put(ctx, q.Hash, q.Size, data)
	if _, drainErr := io.Copy(io.Discard, data); drainErr != nil { // what the holder did not read, another one having been faster
		return drainErr
	}
	return finish(c, nil, err)
}
