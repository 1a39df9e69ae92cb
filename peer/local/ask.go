package local

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"headwater/blobstore"
	"headwater/bucket"
)

// Has implements [blobstore.Reader].
func (c *Client) Has(ctx context.Context, h bucket.Hash) (has bool, err error) {
	err = c.ask(ctx, "has", request{Hash: h}, &has)
	return has, err
}

// Get implements [blobstore.Reader]. ctx covers the reading too. A large blob is read from the holder's file, if that can be opened
// from here; else one of more than 128 KiB keeps a connection until it is closed.
func (c *Client) Get(ctx context.Context, h bucket.Hash) (*blobstore.Blob, error) {
	a, err := c.open(ctx, http.MethodGet, pathBlobs+"/"+h.String()+"?"+fileQuery, nil, 0)
	if err != nil {
		return nil, err
	}
	name := a.Header.Get(fileHeader)
	if name == "" {
		return c.blob(h, a)
	}
	_ = a.Close() // it is empty
	if blob := c.openFile(ctx, h, name); blob != nil {
		return blob, nil
	}
	return c.getSent(ctx, h)
}

// getSent gets a blob over the socket.
func (c *Client) getSent(ctx context.Context, h bucket.Hash) (*blobstore.Blob, error) {
	a, err := c.open(ctx, http.MethodGet, pathBlobs+"/"+h.String(), nil, 0)
	if err != nil {
		return nil, err
	}
	return c.blob(h, a)
}

// openFile opens the holder's own file of a blob, or returns nil. If its bytes turn out wrong the holder is made to read them too,
// so that it no longer holds the blob.
func (c *Client) openFile(ctx context.Context, h bucket.Hash, name string) *blobstore.Blob {
	name, err := url.PathUnescape(name)
	if err != nil {
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil // another file system than the holder's, perhaps
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		_ = f.Close()
		return nil
	}
	blob := blobstore.NewBlob(h, info.Size(), &heldFile{f, ctx})
	blob.OnCorrupt(func() {
		if sent, err := c.getSent(ctx, h); err == nil {
			_, _ = io.Copy(io.Discard, sent)
			_ = sent.Close()
		}
	})
	return blob
}

// heldFile is a file of the holder that is being read.
type heldFile struct {
	*os.File
	ctx context.Context // of the call that Get made
}

func (f *heldFile) Read(p []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

// blob is the blob that an answer brings.
func (c *Client) blob(h bucket.Hash, a *answer) (*blobstore.Blob, error) {
	size, err := strconv.ParseInt(a.Header.Get(sizeHeader), 10, 64)
	if err != nil || size < 0 {
		return nil, errors.Join(fmt.Errorf("%w: a blob without a size", errProtocol), a.Close())
	}
	if size > chunkSize {
		return blobstore.NewBlob(h, size, a), nil
	}
	defer a.Close()
	b, err := a.all(size) // to its end, so that the connection can serve another call
	if err == nil && int64(len(b)) < size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("get blob %s: %w", h, err)
	}
	return blobstore.NewBlob(h, size, io.NopCloser(bytes.NewReader(b))), nil
}

// Put implements [Content]. A small blob goes with the call; r of a large one is not read if the holder has it.
func (c *Client) Put(ctx context.Context, h bucket.Hash, size int64, r io.Reader) error {
	if 0 < size && size <= smallBlob {
		return c.putSmall(ctx, h, size, r)
	}
	return c.send(ctx, http.MethodPut, pathBlobs+"/"+h.String(), size, r, nil)
}

// Add implements [Content].
func (c *Client) Add(ctx context.Context, size int64, r io.Reader) (h bucket.Hash, err error) {
	err = c.send(ctx, http.MethodPost, pathBlobs, size, r, &h)
	return h, err
}

// Keep implements [Maker].
func (c *Client) Keep(ctx context.Context, manifest []byte) error {
	return c.send(ctx, http.MethodPost, pathManifests, int64(len(manifest)), bytes.NewReader(manifest), nil)
}

// send makes a call with the size bytes of r, and decodes the answer into v, if that is not nil. Nobody reads from r on return.
func (c *Client) send(ctx context.Context, method, path string, size int64, r io.Reader, v any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if size < 0 {
		return fmt.Errorf("%w: %d bytes", blobstore.ErrMismatch, size)
	}
	s := &source{r: r, left: size}
	var body io.Reader = s
	if size == 0 {
		body = http.NoBody
		if err := s.atEnd(); err != nil {
			return err
		}
	}
	a, err := c.open(ctx, method, path, body, size)
	if err == nil {
		err = a.decode(v)
		_ = a.Close()
	}
	if begun, wrong := s.stop(); wrong != nil && ctx.Err() == nil {
		return fmt.Errorf("send %d bytes: %w", size, wrong)
	} else if _, answered := errors.AsType[*remoteError](err); !answered && !begun && errors.Is(err, ErrLost) {
		return fmt.Errorf("%w: %s", ErrGone, err.Error())
	}
	return err
}

// Manifest implements [Content].
func (c *Client) Manifest(ctx context.Context, link bucket.Link) ([]byte, error) {
	a, err := c.open(ctx, http.MethodGet, pathManifests+"/"+link.String(), nil, 0)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	return a.all(bucket.MaxManifestSize)
}

// Find implements [History].
func (c *Client) Find(ctx context.Context, name string) (ids []bucket.ID, err error) {
	err = c.ask(ctx, "find", request{Name: name}, &ids)
	return ids, err
}

// Look implements [History].
func (c *Client) Look(ctx context.Context, id bucket.ID, bus bool) (v View, err error) {
	err = c.ask(ctx, "look", request{Bucket: id, Bus: bus}, &v)
	return v, err
}

// Ancestor implements [History].
func (c *Client) Ancestor(ctx context.Context, q AncestorQuery) (h bucket.Head, err error) {
	err = c.ask(ctx, "ancestor", request{Query: &q}, &h)
	return h, err
}

// Carried implements [History]. The pins come ascending, each once.
func (c *Client) Carried(ctx context.Context, id bucket.ID, tips []bucket.Link) (bucket.Pins, error) {
	var pins []byte
	if err := c.ask(ctx, "carried", request{Bucket: id, Links: tips}, &pins); err != nil {
		return nil, err
	}
	return bucket.ParsePins(pins)
}

// Log implements [History].
func (c *Client) Log(ctx context.Context, id bucket.ID, before bucket.Head, limit int) (p LogPage, err error) {
	err = c.ask(ctx, "log", request{Bucket: id, Before: before, Limit: limit}, &p)
	return p, err
}

// Announce implements [Maker].
func (c *Client) Announce(ctx context.Context, id bucket.ID, link bucket.Link) (duplicate bool, err error) {
	err = c.ask(ctx, "announce", request{Bucket: id, Link: link}, &duplicate)
	return duplicate, err
}

// Status implements [Teller].
func (c *Client) Status(ctx context.Context, id, after bucket.ID, limit int) (s Status, err error) {
	err = c.ask(ctx, "status", request{Bucket: id, After: after, Limit: limit}, &s)
	return s, err
}

// Takeover asks a command that holds the directory to give it up at its next durable point, and returns when it has agreed. A
// running peer does not: [ErrRefused].
func (c *Client) Takeover(ctx context.Context) error { return c.ask(ctx, "takeover", request{}, nil) }

// Await implements [Maker].
func (c *Client) Await(ctx context.Context, id bucket.ID, link bucket.Link, report func(UploadProgress)) error {
	q := request{Bucket: id, Link: link, Report: report != nil}
	return c.follow(ctx, "await", q, nil, func(event []byte) {
		var p UploadProgress
		if json.Unmarshal(event, &p) == nil && report != nil {
			report(p)
		}
	})
}

// Watch implements [Teller].
func (c *Client) Watch(ctx context.Context, started func(), handle func(event []byte)) error {
	return c.follow(ctx, "watch", request{}, started, handle)
}

// follow makes a call that is answered with events, each of which handle may keep.
func (c *Client) follow(ctx context.Context, call string, q request, ready func(), handle func([]byte)) error {
	arg, err := json.Marshal(q)
	if err != nil {
		return err
	}
	a, err := c.open(ctx, http.MethodPost, root+call, bytes.NewReader(arg), int64(len(arg)))
	if err != nil {
		return err
	}
	defer a.Close()
	lines := bufio.NewScanner(a)
	lines.Buffer(nil, maxEvent+4<<10)
	for lines.Scan() {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return fmt.Errorf("%w: %w", errProtocol, err)
		}
		switch {
		case l.Error != nil:
			return l.Error.err()
		case l.Ready && ready != nil:
			ready()
		case l.Event != nil:
			handle(l.Event)
		}
	}
	return lines.Err()
}
