package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
)

// answerBody is what follows on an answer. It ends the call when it has ended, or is closed.
type answerBody struct {
	x     *exchange
	left  int64 // bytes of the body
	frame int   // bytes of the frame being read
	err   error
}

// Read reads the body. The holder may end it with an error.
func (b *answerBody) Read(p []byte) (int, error) {
	if b.err == nil && b.left == 0 {
		return 0, io.EOF
	}
	if b.err == nil && b.frame == 0 {
		b.err = b.next()
	}
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	n, err := b.x.conn.r.Read(p[:min(len(p), b.frame)])
	b.frame -= n
	b.left -= int64(n)
	if err != nil {
		b.err = b.x.failed(err)
	} else if b.left == 0 {
		b.x.finish(true)
	}
	return n, b.err
}

// next reads the header of the next frame.
func (b *answerBody) next() error {
	t, size, err := readHeader(b.x.conn.r)
	if err != nil {
		return b.x.failed(err)
	}
	switch {
	case t == frameError:
		payload, err := readPayload(b.x.conn.r, size, nil)
		if err != nil {
			return b.x.failed(err)
		}
		return b.x.remote(payload)
	case t != frameData || size == 0 || int64(size) > b.left:
		return b.x.failed(fmt.Errorf("%w: frame %d of %d bytes, where %d bytes of a body are left", errFrame, t, size, b.left))
	}
	b.frame = size
	return nil
}

// Close ends the call.
func (b *answerBody) Close() error {
	b.x.finish(false)
	return nil
}

// Put implements [Content]. A small blob goes with the call; r of a large one is not read if the holder has it.
func (c *Client) Put(ctx context.Context, h bucket.Hash, size int64, r io.Reader) error {
	err := c.put(ctx, request{Call: callPut, Hash: h, Size: size}, r, nil)
	if _, remote := errors.AsType[*remoteError](err); err == nil || remote {
		return err // it names the blob
	}
	return fmt.Errorf("put blob %s: %w", h, err)
}

// Add implements [Content].
func (c *Client) Add(ctx context.Context, size int64, r io.Reader) (h bucket.Hash, err error) {
	err = c.put(ctx, request{Call: callAdd, Size: size}, r, &h)
	if _, remote := errors.AsType[*remoteError](err); err == nil || remote {
		return h, err
	}
	return h, fmt.Errorf("add blob: %w", err)
}

// put sends the bytes of a blob, and decodes the answer into v.
func (c *Client) put(ctx context.Context, q request, r io.Reader, v any) error {
	if q.Size < 0 {
		return fmt.Errorf("%w: no blob has %d bytes", blobstore.ErrMismatch, q.Size)
	}
	if !q.inline() {
		return c.sendLarge(ctx, q, r, v)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	body := make([]byte, q.Size)
	if err := readPart(r, body, true); err != nil {
		return err
	}
	return c.ask(ctx, q, body, v)
}

// readPart fills b from r, and looks that nothing follows if b is the last part.
func readPart(r io.Reader, b []byte, last bool) error {
	if _, err := io.ReadFull(r, b); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: fewer bytes than were announced: %w", blobstore.ErrMismatch, io.ErrUnexpectedEOF)
	} else if err != nil {
		return err
	}
	if !last {
		return nil
	}
	var one [1]byte
	n, err := io.ReadFull(r, one[:])
	if n > 0 {
		return fmt.Errorf("%w: more bytes than were announced", blobstore.ErrMismatch)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// sendLarge makes a call whose body is sent when the holder is ready for it.
func (c *Client) sendLarge(ctx context.Context, q request, r io.Reader, v any) error {
	x, err := c.begin(ctx)
	if err != nil {
		return err
	}
	if err := x.send(&q, nil); err != nil {
		return err
	}
	t, payload, err := x.receive()
	if err != nil {
		return err
	}
	if t != frameReady {
		err := x.accept(t, payload, v)
		x.finish(err == nil)
		return err
	}
	return x.stream(r, q.Size, v)
}

// reply is a frame that came, or why none did.
type reply struct {
	t       frameType
	payload []byte
	err     error
}

// stream sends a body while it listens for the answer, which comes early if the holder wants no more.
func (x *exchange) stream(r io.Reader, size int64, v any) error {
	answered := make(chan reply, 1)
	go func() {
		t, payload, err := x.read()
		x.conn.SetWriteDeadline(time.Unix(1, 0)) // nobody takes what is not sent yet
		answered <- reply{t, payload, err}
	}()
	readErr, writeErr := x.sendBody(r, size)
	if readErr != nil {
		x.conn.Close()
	}
	a := <-answered
	if readErr != nil {
		if err := x.err(); err != nil {
			readErr = err
		}
		x.finish(false)
		return readErr
	}
	x.spoiled = writeErr != nil
	x.conn.SetWriteDeadline(time.Time{})
	t, payload, err := x.take(a.t, a.payload, a.err)
	if err != nil {
		return err
	}
	err = x.accept(t, payload, v)
	x.finish(err == nil)
	return err
}

// sendBody sends what r has to say, in frames. It tells apart whose fault an error is.
func (x *exchange) sendBody(r io.Reader, size int64) (readErr, writeErr error) {
	out := grow(x.conn.out[:0], headerSize+chunkSize)
	x.conn.out = out
	for left := size; left > 0; {
		n := int(min(left, chunkSize))
		left -= int64(n)
		putHeader(out, frameData, n)
		if err := readPart(r, out[headerSize:headerSize+n], left == 0); err != nil {
			return err, nil
		}
		if _, err := x.conn.Write(out[:headerSize+n]); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
