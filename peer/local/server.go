package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// maxCalls is the most calls that are served at a time.
	maxCalls = 1024
	// headerTimeout is how long a client may take to say what it asks, and idleServed how long it may ask for nothing.
	headerTimeout = 10 * time.Second
	idleServed    = 2 * idleTimeout
	// stopGrace is how long a client that does not read can hold up the end of a holder.
	stopGrace = 500 * time.Millisecond
)

// errClientGone is why a call ends whose client closed the connection.
var errClientGone = fmt.Errorf("the process that asked is gone: %w", context.Canceled)

// Serve answers the processes that connect to l until ctx ends or l is closed; then it returns nil, after the calls under way were
// cancelled and have ended, and with l closed. Those who wait for an answer then get [ErrLost], those who ask later [ErrGone]. h
// must not keep the reader of Put or the functions it is given beyond the call. yield is called, possibly several times, if
// another process asks for the directory. It returns at once, and the caller of Serve gives the directory up at the next durable
// point. A running peer passes nil, which refuses those who ask.
func Serve(ctx context.Context, l net.Listener, h Holder, info Info, yield func()) error {
	calls, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	s := &server{holder: h, info: info, yield: yield}
	s.buffers.New = func() any { return new([chunkSize]byte) }
	hs := &http.Server{
		Handler: s.handler(), BaseContext: func(net.Listener) context.Context { return calls },
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleServed, ErrorLog: log.New(io.Discard, "", 0), // clients come and go
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() }) // and once more below
	err := hs.Serve(l)
	stop()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	cancel(ErrLost)
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer done()
	if hs.Shutdown(grace) != nil {
		_ = hs.Close() // of connections that nobody reads
	}
	s.end()
	return errors.Join(err, l.Close())
}

// server is a holder and those who ask it.
type server struct {
	holder  Holder
	info    Info
	yield   func()
	buffers sync.Pool // of *[chunkSize]byte

	mu    sync.Mutex
	count int
	ended bool
	calls sync.WaitGroup
}

// begin counts a call until done is called. [ErrRefused], and [ErrGone] after end.
func (s *server) begin() (done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return nil, ErrGone
	case s.count == maxCalls:
		return nil, fmt.Errorf("%w: process %d serves %d calls already", ErrRefused, s.info.PID, maxCalls)
	}
	s.count++
	s.calls.Add(1)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.count--
		s.calls.Done()
	}, nil
}

// end lets no call begin, and waits for those that have.
func (s *server) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.calls.Wait()
}

// handler answers requests. An error that a call returns is not answered yet.
func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	for path, f := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET " + pathHello:                 s.hello,
		"GET " + pathBlobs + "/{hash}":     s.get,
		"PUT " + pathBlobs + "/{hash}":     s.put,
		"PUT " + pathBlobs:                 s.putMany,
		"POST " + pathBlobs:                s.add,
		"GET " + pathManifests + "/{link}": s.manifest,
		"POST " + pathManifests:            s.keep,
		"POST " + root + "{call}":          s.call,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			done, err := s.begin()
			if err == nil {
				defer done()
				err = f(w, r)
			}
			if err != nil {
				refuse(w, r, err)
			}
		})
	}
	return mux
}

// wire returns an error as it crosses the socket. A call that ended because the holder ends is [ErrLost].
func wire(ctx context.Context, err error) wireError {
	if errors.Is(context.Cause(ctx), ErrLost) && errors.Is(err, context.Canceled) {
		err = ErrLost
	}
	return toWire(err)
}
