package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
)

// refuse answers with an error. A call that ended because the holder ends is [ErrLost].
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	b, _ := json.Marshal(wire(r.Context(), err)) // never fails
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(http.StatusInternalServerError)
	_, _ = w.Write(b) // the client may be gone
}

// reply answers with v, unless the call failed.
func reply(w http.ResponseWriter, v any, err error) error {
	if err != nil {
		return err
	}
	b, err := json.Marshal(v)
	if err == nil && len(b) > maxAnswer {
		err = fmt.Errorf("an answer of %d bytes; at most %d are allowed", len(b), maxAnswer)
	}
	if err == nil {
		_, _ = w.Write(b) // the client may be gone
	}
	return err
}

func (s *server) hello(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, hello{Protocol: Protocol, Info: s.info}, nil)
}

// get answers with a blob.
func (s *server) get(w http.ResponseWriter, r *http.Request) error {
	h, err := bucket.ParseHash(r.PathValue("hash"))
	if err != nil {
		return err
	}
	blob, err := s.holder.Get(r.Context(), h)
	if err != nil {
		return err
	}
	defer blob.Close()
	if blob.File() != "" && r.URL.Query().Has(fileQuery) {
		if name, err := filepath.Abs(blob.File()); err == nil {
			w.Header().Set(fileHeader, url.PathEscape(name))
			return nil
		}
	}
	buf := s.buffers.Get().(*[chunkSize]byte)
	defer s.buffers.Put(buf)
	size := strconv.FormatInt(blob.Size(), 10)
	w.Header().Set(sizeHeader, size)
	if blob.Size() <= chunkSize {
		b := buf[:blob.Size()]
		if _, err := io.ReadFull(blob, b); err != nil {
			return err
		}
		w.Header().Set("Content-Length", size)
		_, _ = w.Write(b) // the client may be gone
		return nil
	}
	w.Header().Set("Trailer", errorTrailer)
	w.WriteHeader(http.StatusOK)
	if err := passOn(w, blob, buf[:]); err != nil {
		b, _ := json.Marshal(wire(r.Context(), err)) // never fails
		w.Header().Set(errorTrailer, string(b))
	}
	return nil
}

// passOn sends a blob, and returns why it could not be read. A client that is gone wants no answer.
func passOn(w io.Writer, blob *blobstore.Blob, buf []byte) error {
	for left := blob.Size(); left > 0; {
		n, err := io.ReadFull(blob, buf[:min(left, int64(len(buf)))])
		if err != nil {
			return err
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

// receive makes a call with the body of its request. Reads of the body end with the call.
func receive(w http.ResponseWriter, r *http.Request, f func(size int64, body io.Reader) (any, error)) error {
	c := http.NewResponseController(w)
	defer context.AfterFunc(r.Context(), func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })() // never fails
	body := &requestBody{Request: r}
	v, err := f(r.ContentLength, body)
	if err == nil || !body.begun {
		return reply(w, v, err)
	}
	// A client that is still sending learns of the error only while the connection is open.
	_ = c.EnableFullDuplex() // never fails in HTTP/1
	refuse(w, r, err)
	_ = c.Flush()
	_ = c.SetReadDeadline(time.Now().Add(stopGrace))
	_, _ = io.Copy(io.Discard, body)
	return nil
}

// requestBody is the body of a request, and says why it was cut short.
type requestBody struct {
	*http.Request
	begun bool
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.begun = true
	n, err := b.Body.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // an unexpected end is another one
		if err = context.Cause(b.Context()); err == nil {
			err = errClientGone
		}
	}
	return n, err
}

func (s *server) put(w http.ResponseWriter, r *http.Request) error {
	h, err := bucket.ParseHash(r.PathValue("hash"))
	if err != nil {
		return err
	}
	return receive(w, r, func(size int64, body io.Reader) (any, error) { return nil, s.holder.Put(r.Context(), h, size, body) })
}

func (s *server) add(w http.ResponseWriter, r *http.Request) error {
	return receive(w, r, func(size int64, body io.Reader) (any, error) { return s.holder.Add(r.Context(), size, body) })
}

func (s *server) keep(w http.ResponseWriter, r *http.Request) error {
	return receive(w, r, func(size int64, body io.Reader) (any, error) {
		if size > bucket.MaxManifestSize {
			return nil, bucket.Refuse(bucket.TooLarge, bucket.Link{}, "a manifest of %d bytes; the limit is %d", size, bucket.MaxManifestSize)
		}
		manifest, err := io.ReadAll(io.LimitReader(body, bucket.MaxManifestSize))
		if err != nil {
			return nil, err
		}
		return nil, s.holder.Keep(r.Context(), manifest)
	})
}

func (s *server) manifest(w http.ResponseWriter, r *http.Request) error {
	link, err := bucket.ParseLink(r.PathValue("link"))
	if err != nil {
		return err
	}
	b, err := s.holder.Manifest(r.Context(), link)
	if err == nil {
		_, _ = w.Write(b) // the client may be gone
	}
	return err
}

// call makes a call by its name, with its argument.
func (s *server) call(w http.ResponseWriter, r *http.Request) error {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest)) // to its end: only then is it noticed that a client leaves
	if err != nil {
		return err
	}
	var q request
	if err := json.Unmarshal(b, &q); err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	switch name := r.PathValue("call"); name {
	case "await":
		return s.await(w, r, q)
	case "watch":
		return s.watch(w, r)
	default:
		v, err := s.ask(r.Context(), name, q)
		return reply(w, v, err)
	}
}

// ask makes the calls that have one answer.
func (s *server) ask(ctx context.Context, call string, q request) (any, error) {
	switch call {
	case "has":
		return s.holder.Has(ctx, q.Hash)
	case "find":
		return s.holder.Find(ctx, q.Name)
	case "look":
		return s.holder.Look(ctx, q.Bucket, q.Bus)
	case "ancestor":
		if q.Query == nil {
			return nil, fmt.Errorf("%w: a query is missing", errProtocol)
		}
		return s.holder.Ancestor(ctx, *q.Query)
	case "carried":
		pins, err := s.holder.Carried(ctx, q.Bucket, q.Links)
		return pins.Encode(), err
	case "log":
		return s.holder.Log(ctx, q.Bucket, q.Before, q.Limit)
	case "announce":
		return s.holder.Announce(ctx, q.Bucket, q.Link)
	case "status":
		return s.holder.Status(ctx, q.Bucket, q.After, q.Limit)
	case "takeover":
		if s.yield == nil {
			return nil, fmt.Errorf("%w: process %d (%s) does not give the directory up", ErrRefused, s.info.PID, s.info.Role)
		}
		s.yield()
		return nil, nil
	}
	return nil, fmt.Errorf("%w: it has no call %.40q", ErrRefused, call)
}

// events sends lines as they come.
type events struct {
	mu sync.Mutex
	w  http.ResponseWriter
}

func (e *events) send(l line) {
	b, err := json.Marshal(l)
	if err != nil || len(b) > maxEvent {
		return // a watcher may miss events
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	_, _ = e.w.Write(append(b, '\n')) // the call ends if the client is gone
	_ = http.NewResponseController(e.w).Flush()
}

func (s *server) await(w http.ResponseWriter, r *http.Request, q request) error {
	e := &events{w: w}
	var report func(UploadProgress)
	if q.Report {
		report = func(p UploadProgress) {
			b, _ := json.Marshal(p) // never fails
			e.send(line{Event: b})
		}
	}
	e.last(r.Context(), s.holder.Await(r.Context(), q.Bucket, q.Link, report))
	return nil
}

func (s *server) watch(w http.ResponseWriter, r *http.Request) error {
	e := &events{w: w}
	err := s.holder.Watch(r.Context(), func() { e.send(line{Ready: true}) }, func(event []byte) {
		e.send(line{Event: bytes.TrimSpace(event)})
	})
	if err == nil {
		err = errors.New("the watch ended")
	}
	e.last(r.Context(), err)
	return nil
}

// last ends the answer.
func (e *events) last(ctx context.Context, err error) {
	var l line
	if err != nil {
		w := wire(ctx, err)
		l.Error = &w
	}
	e.send(l)
}
