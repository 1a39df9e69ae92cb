package local

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"headwater/blobstore"
	"headwater/bucket"
)

// Has implements [blobstore.Reader].
func (c *Client) Has(ctx context.Context, h bucket.Hash) (has bool, err error) {
	err = c.ask(ctx, request{Call: callHas, Hash: h}, nil, &has)
	return has, err
}

// Get implements [blobstore.Reader]. ctx covers the reading too. A blob of more than 128 KiB keeps a connection until it is
// read to its end or closed.
func (c *Client) Get(ctx context.Context, h bucket.Hash) (*blobstore.Blob, error) {
	body, err := c.open(ctx, request{Call: callGet, Hash: h})
	if err != nil {
		return nil, err
	}
	size := body.left
	if size > chunkSize {
		return blobstore.NewBlob(h, size, body), nil
	}
	b, err := readPayload(body, int(size), nil)
	if err != nil {
		return nil, fmt.Errorf("get blob %s: %w", h, err)
	}
	return blobstore.NewBlob(h, size, io.NopCloser(bytes.NewReader(b))), nil
}

// Manifest implements [Content].
func (c *Client) Manifest(ctx context.Context, link bucket.Link) ([]byte, error) {
	return c.askBytes(ctx, request{Call: callManifest, Link: link}, bucket.MaxManifestSize)
}

// Find implements [History].
func (c *Client) Find(ctx context.Context, name string) (ids []bucket.ID, err error) {
	err = c.ask(ctx, request{Call: callFind, Name: name}, nil, &ids)
	return ids, err
}

// Look implements [History].
func (c *Client) Look(ctx context.Context, id bucket.ID, bus bool) (v View, err error) {
	err = c.ask(ctx, request{Call: callLook, Bucket: id, Bus: bus}, nil, &v)
	return v, err
}

// Ancestor implements [History].
func (c *Client) Ancestor(ctx context.Context, q AncestorQuery) (h bucket.Head, err error) {
	err = c.ask(ctx, request{Call: callAncestor, Query: &q}, nil, &h)
	return h, err
}

// Carried implements [History]. The pins come ascending, each once.
func (c *Client) Carried(ctx context.Context, id bucket.ID, tips []bucket.Link) (bucket.Pins, error) {
	b, err := c.askBytes(ctx, request{Call: callCarried, Bucket: id, Links: tips}, bucket.MaxPinsSize)
	if err != nil {
		return nil, err
	}
	return bucket.ParsePins(b)
}

// Log implements [History].
func (c *Client) Log(ctx context.Context, id bucket.ID, before bucket.Head, limit int) (p LogPage, err error) {
	err = c.ask(ctx, request{Call: callLog, Bucket: id, Before: before, Limit: limit}, nil, &p)
	return p, err
}

// Keep implements [Maker].
func (c *Client) Keep(ctx context.Context, manifest []byte) error {
	q := request{Call: callKeep, Size: int64(len(manifest))}
	if q.inline() {
		return c.ask(ctx, q, manifest, nil)
	}
	return c.sendLarge(ctx, q, bytes.NewReader(manifest), nil)
}

// Announce implements [Maker].
func (c *Client) Announce(ctx context.Context, id bucket.ID, link bucket.Link) (duplicate bool, err error) {
	err = c.ask(ctx, request{Call: callAnnounce, Bucket: id, Link: link}, nil, &duplicate)
	return duplicate, err
}

// Status implements [Teller].
func (c *Client) Status(ctx context.Context, id, after bucket.ID, limit int) (s Status, err error) {
	err = c.ask(ctx, request{Call: callStatus, Bucket: id, After: after, Limit: limit}, nil, &s)
	return s, err
}

// Takeover asks a command that holds the directory to give it up at its next durable point, and returns when it has agreed. A
// running peer does not: [ErrRefused].
func (c *Client) Takeover(ctx context.Context) error {
	return c.ask(ctx, request{Call: callTakeover}, nil, nil)
}

// Await implements [Maker].
func (c *Client) Await(ctx context.Context, id bucket.ID, link bucket.Link, report func(UploadProgress)) error {
	q := request{Call: callAwait, Bucket: id, Link: link, Report: report != nil}
	return c.follow(ctx, q, nil, func(event []byte) error {
		var p UploadProgress
		if err := decode(event, &p); err != nil {
			return err
		}
		if report != nil {
			report(p)
		}
		return nil
	})
}

// Watch implements [Teller].
func (c *Client) Watch(ctx context.Context, started func(), handle func(event []byte)) error {
	return c.follow(ctx, request{Call: callWatch}, started, func(event []byte) error {
		handle(bytes.Clone(event))
		return nil
	})
}

// follow makes a call during which the holder sends events. It returns with the answer.
func (c *Client) follow(ctx context.Context, q request, ready func(), handle func([]byte) error) error {
	x, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer x.finish(false)
	if err := x.send(&q, nil); err != nil {
		return err
	}
	for {
		t, payload, err := x.receive()
		if err != nil {
			return err
		}
		switch t {
		case frameReady:
			if ready != nil {
				ready()
			}
		case frameEvent:
			if err := handle(payload); err != nil {
				return err
			}
		default:
			err := x.accept(t, payload, nil)
			x.finish(err == nil)
			return err
		}
	}
}
