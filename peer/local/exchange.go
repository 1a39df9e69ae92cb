package local

import (
	"context"
	"errors"
	"fmt"
	"net"

	"headwater/blobstore"
)

// exchange is one call on a connection. It is used by one goroutine, and ended by finish.
type exchange struct {
	client  *Client
	conn    *clientConn
	err     func() error // of the call's context
	stop    func() bool  // of what closes the connection if the context ends
	sent    bool         // the request is on its way
	spoiled bool         // the connection cannot serve another call
	done    bool
}

// begin gets a connection for a call.
func (c *Client) begin(ctx context.Context) (*exchange, error) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		<-c.slots
		return nil, err
	}
	conn, err := c.acquire(ctx)
	if err != nil {
		<-c.slots
		return nil, err
	}
	return &exchange{client: c, conn: conn, err: ctx.Err, stop: context.AfterFunc(ctx, func() { conn.Close() })}, nil
}

// finish ends a call. inStep: both ends are done with it, so that the connection can serve another one.
func (x *exchange) finish(inStep bool) {
	if x.done {
		return
	}
	x.done = true
	if x.stop() && inStep && !x.spoiled {
		x.client.release(x.conn)
	} else {
		x.client.drop(x.conn)
	}
	<-x.client.slots
}

// failed says why the connection failed, and ends the call.
func (x *exchange) failed(err error) error {
	ctxErr := x.err()
	x.finish(false)
	switch {
	case ctxErr != nil:
		return ctxErr
	case x.client.isClosed():
		return net.ErrClosed
	case errors.Is(err, errFrame):
		return err
	case !x.sent: // a request that is not whole is not begun
		return fmt.Errorf("%w: %s", ErrGone, err.Error())
	}
	// Only the text: an io.EOF of the connection must not look like the end of a body.
	return fmt.Errorf("%w: %s", ErrLost, err.Error())
}

// send sends a request, and its body if that goes with it.
func (x *exchange) send(q *request, body []byte) error {
	out, err := appendJSON(x.conn.out[:0], frameRequest, q)
	if err != nil {
		x.finish(true)
		return err
	}
	if len(body) > 0 {
		out = appendFrame(out, frameData, body)
	}
	x.conn.out = out
	if _, err := x.conn.Write(out); err != nil {
		// A holder that is giving the directory up may have said so.
		if t, _, readErr := readHeader(x.conn.r); readErr == nil && t == frameBye {
			err = ErrGone
		}
		return x.failed(err)
	}
	x.sent = true
	return nil
}

// receive reads the next frame; its payload is good until the next call. An error of the holder ends the call.
func (x *exchange) receive() (frameType, []byte, error) { return x.take(x.read()) }

// read reads a frame that is not part of a body.
func (x *exchange) read() (t frameType, payload []byte, err error) {
	t, size, err := readHeader(x.conn.r)
	if err == nil && t == frameData {
		err = fmt.Errorf("%w: data instead of an answer", errFrame)
	}
	if err == nil {
		payload, err = readPayload(x.conn.r, size, x.conn.in)
	}
	if x.conn.in = payload; cap(payload) > chunkSize {
		x.conn.in = nil // one large answer is no reason to keep the memory
	}
	return t, payload, err
}

// take ends the call if a frame, or the lack of one, does so.
func (x *exchange) take(t frameType, payload []byte, err error) (frameType, []byte, error) {
	switch {
	case err != nil:
		return 0, nil, x.failed(err)
	case t == frameError:
		return 0, nil, x.remote(payload)
	case t == frameBye:
		x.finish(false)
		return 0, nil, ErrGone
	}
	return t, payload, nil
}

// remote ends the call with the error that a payload holds.
func (x *exchange) remote(payload []byte) error {
	var w wireError
	if err := decode(payload, &w); err != nil {
		return x.failed(err)
	}
	x.finish(true)
	return w.err()
}

// answer reads the answer into v, which may be nil; the call has not ended.
func (x *exchange) answer(v any) error {
	t, payload, err := x.receive()
	if err != nil {
		return err
	}
	return x.accept(t, payload, v)
}

// accept takes a frame as the answer.
func (x *exchange) accept(t frameType, payload []byte, v any) error {
	if t != frameAnswer {
		return x.failed(fmt.Errorf("%w: frame %d instead of an answer", errFrame, t))
	}
	if v == nil {
		return nil
	}
	if err := decode(payload, v); err != nil {
		return x.failed(err)
	}
	return nil
}

// ask makes a call whose body, if it has one, goes with the request, and whose answer is one value.
func (c *Client) ask(ctx context.Context, q request, body []byte, v any) error {
	x, err := c.begin(ctx)
	if err != nil {
		return err
	}
	if err := x.send(&q, body); err != nil {
		return err
	}
	if err := x.answer(v); err != nil {
		return err
	}
	x.finish(true)
	return nil
}

// askBytes makes a call that is answered with a body of at most limit bytes.
func (c *Client) askBytes(ctx context.Context, q request, limit int64) ([]byte, error) {
	body, err := c.open(ctx, q)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if body.left > limit {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", blobstore.ErrTooLarge, body.left, limit)
	}
	return readPayload(body, int(body.left), nil)
}

// open makes a call that is answered with a body.
func (c *Client) open(ctx context.Context, q request) (*answerBody, error) {
	x, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	if err := x.send(&q, nil); err != nil {
		return nil, err
	}
	var s sized
	if err := x.answer(&s); err != nil {
		return nil, err
	}
	if s.Size < 0 {
		return nil, x.failed(fmt.Errorf("%w: a body of %d bytes", errFrame, s.Size))
	}
	b := &answerBody{x: x, left: s.Size}
	if s.Size == 0 {
		x.finish(true)
	}
	return b, nil
}
