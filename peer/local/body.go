package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"headwater/blobstore"
)

// answer is what the holder answers to a call. It is read by one goroutine, and closed.
type answer struct {
	*http.Response
	ctx  context.Context // of the call
	done func()
}

// Read reads the body. The holder may end it with an error.
func (a *answer) Read(p []byte) (int, error) {
	n, err := a.Body.Read(p)
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, io.EOF) {
		return n, failed(a.ctx, err)
	}
	if t := a.Trailer.Get(errorTrailer); t != "" {
		var w wireError
		if err := json.Unmarshal([]byte(t), &w); err != nil {
			return n, fmt.Errorf("%w: %w", errProtocol, err)
		}
		return n, w.err()
	}
	return n, io.EOF
}

// Close ends the call.
func (a *answer) Close() error {
	defer a.done()
	return a.Body.Close()
}

// all reads the whole body, of at most limit bytes.
func (a *answer) all(limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(a, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%w: more than %d bytes", blobstore.ErrTooLarge, limit)
	}
	return b, err
}

// decode reads the body to its end, so that the connection can serve another call: as JSON, into v if that is not nil.
func (a *answer) decode(v any) error {
	b, err := a.all(maxAnswer)
	if err != nil {
		return err
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	return nil
}

// source is the body of a request: exactly size bytes of r. It remembers what was wrong with r.
type source struct {
	r     io.Reader
	left  int64
	begun bool
	err   error
	mu    sync.Mutex // held to read
}

// Read reads from r. Its last bytes are passed on only if nothing follows.
func (s *source) Read(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.begun = true; {
	case s.err != nil:
		return 0, s.err
	case s.left == 0:
		return 0, io.EOF
	}
	n, err = s.r.Read(p[:min(int64(len(p)), s.left)])
	switch s.left -= int64(n); {
	case s.left == 0:
		s.err = s.atEnd()
	case errors.Is(err, io.EOF):
		s.err = fmt.Errorf("%w: fewer bytes than were announced: %w", blobstore.ErrMismatch, io.ErrUnexpectedEOF)
	default:
		s.err = err
	}
	if s.err != nil {
		return 0, s.err
	}
	return n, nil
}

// atEnd checks that nothing follows.
func (s *source) atEnd() error {
	var one [1]byte
	n, err := io.ReadFull(s.r, one[:])
	switch {
	case n > 0:
		return fmt.Errorf("%w: more bytes than were announced", blobstore.ErrMismatch)
	case errors.Is(err, io.EOF):
		return nil
	}
	return err
}

// stop waits until nobody reads from r any more, lets nobody begin again, and returns what was wrong with r, and whether anything
// was read.
func (s *source) stop() (begun bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	begun, err = s.begun, s.err
	s.err = net.ErrClosed
	return begun, err
}
