package main

import (
	"bytes"
	"context"
	"io"
	"os"
)

// await calls f and returns what it returns, or the error of ctx once that ends: f may wait for ever, such as for the other end of
// a pipe, and the system has no way to interrupt it. Its goroutine then stays until the process ends, which is soon.
func await[A any](ctx context.Context, f func() (A, error)) (A, error) {
	if err := ctx.Err(); err != nil {
		return *new(A), err
	}
	type result struct {
		a   A
		err error
	}
	done := make(chan result, 1)
	go func() {
		a, err := f()
		done <- result{a, err}
	}()
	select {
	case r := <-done:
		return r.a, r.err
	case <-ctx.Done():
		return *new(A), ctx.Err()
	}
}

// interruptible reads from, or writes to, what may block, until ctx ends. It hands no buffer of its caller to a call that may
// outlive it. Not safe for concurrent use.
type interruptible struct {
	ctx context.Context //nolint:containedctx // of the one command that the process carries out
	r   io.Reader
	w   io.Writer
}

// blockSize is how many bytes are read at a time.
const blockSize = 64 << 10

// Read implements [io.Reader].
func (i interruptible) Read(p []byte) (int, error) {
	b, err := await(i.ctx, func() ([]byte, error) {
		b := make([]byte, min(len(p), blockSize))
		n, err := i.r.Read(b)
		return b[:n], err
	})
	return copy(p, b), err
}

// Write implements [io.Writer].
func (i interruptible) Write(p []byte) (int, error) {
	b := bytes.Clone(p)
	return await(i.ctx, func() (int, error) { return i.w.Write(b) })
}

// openFile opens a file for reading, which may be a pipe that nobody has opened for writing yet. Reads end with ctx, unless it is
// a regular file.
func openFile(ctx context.Context, name string) (*os.File, io.Reader, error) {
	f, err := await(ctx, func() (*os.File, error) { return os.Open(name) })
	if err != nil {
		return nil, nil, err
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		return f, f, nil
	}
	return f, interruptible{ctx: ctx, r: f}, nil
}
