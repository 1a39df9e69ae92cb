package local

import (
	"context"
	"fmt"
	"io"
	"slices"
)

// grow makes b longer by n bytes, whatever they are.
func grow(b []byte, n int) []byte { return slices.Grow(b, n)[:len(b)+n] }

// requestBody is what follows on a request. It lives no longer than the call.
type requestBody struct {
	ctx   context.Context
	conn  *serverConn
	left  int64 // bytes that were not taken from a frame
	ready bool  // the client sends, or has sent
	frame frame // the one being read
	rest  []byte
	err   error
}

// Read reads the body, for which it first tells the client that it is wanted.
func (b *requestBody) Read(p []byte) (int, error) {
	for len(b.rest) == 0 && b.err == nil {
		b.next()
	}
	if b.err != nil {
		return 0, b.err
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// next takes the next frame of the body.
func (b *requestBody) next() {
	b.conn.free(b.frame)
	b.frame = frame{}
	if b.left <= 0 {
		b.err = io.EOF
		return
	}
	if !b.ready {
		b.ready = true
		b.conn.send(frameReady, nil)
	}
	select {
	case f, ok := <-b.conn.in:
		b.take(f, ok)
	case <-b.ctx.Done():
		b.err = context.Cause(b.ctx)
	}
}

// take makes f the frame being read.
func (b *requestBody) take(f frame, ok bool) {
	switch {
	case !ok:
		b.err = errClientGone
	case f.t != frameData || len(f.payload) == 0 || int64(len(f.payload)) > b.left:
		b.err = fmt.Errorf("%w: frame %d of %d bytes, where %d bytes of a body are left", errFrame, f.t, len(f.payload), b.left)
		b.conn.free(f)
	default:
		b.left -= int64(len(f.payload))
		b.frame, b.rest = f, f.payload
	}
}

// drain takes what the call left of the body, so that the next request can be read. Its error means that there is none.
func (b *requestBody) drain() error {
	if !b.ready {
		return nil
	}
	for b.err == nil {
		b.next()
	}
	b.conn.free(b.frame)
	b.frame, b.rest = frame{}, nil
	if b.err == io.EOF { //nolint:errorlint // it is the one that next sets
		return nil
	}
	return b.err
}
