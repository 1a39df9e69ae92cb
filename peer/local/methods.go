package local

import (
	"context"
	"encoding/json"

	"headwater/bucket"
)

// Has implements [blobstore.Reader].
func (c *Client) Has(ctx context.Context, h bucket.Hash) (bool, error) {
	return ask[bool](ctx, c, request{Method: "has", Hash: h})
}

// Manifest implements [Content].
func (c *Client) Manifest(ctx context.Context, link bucket.Link) ([]byte, error) {
	return ask[[]byte](ctx, c, request{Method: "manifest", Link: link})
}

// Find implements [History].
func (c *Client) Find(ctx context.Context, name string) ([]bucket.ID, error) {
	return ask[[]bucket.ID](ctx, c, request{Method: "find", Name: name})
}

// Look implements [History].
func (c *Client) Look(ctx context.Context, id bucket.ID, bus bool) (View, error) {
	return ask[View](ctx, c, request{Method: "look", Bucket: id, Bus: bus})
}

// Ancestor implements [History].
func (c *Client) Ancestor(ctx context.Context, q AncestorQuery) (bucket.Head, error) {
	return ask[bucket.Head](ctx, c, request{Method: "ancestor", Ancestor: &q})
}

// Carried implements [History].
func (c *Client) Carried(ctx context.Context, id bucket.ID, tips []bucket.Link) (bucket.Pins, error) {
	return ask[bucket.Pins](ctx, c, request{Method: "carried", Bucket: id, Links: tips})
}

// Log implements [History].
func (c *Client) Log(ctx context.Context, id bucket.ID, before bucket.Head, limit int) (LogPage, error) {
	return ask[LogPage](ctx, c, request{Method: "log", Bucket: id, Before: before, Limit: limit})
}

// Keep implements [Maker].
func (c *Client) Keep(ctx context.Context, manifest []byte) (Kept, error) {
	return ask[Kept](ctx, c, request{Method: "keep", Manifest: manifest})
}

// Announce implements [Maker].
func (c *Client) Announce(ctx context.Context, id bucket.ID, link bucket.Link) (duplicate bool, err error) {
	return ask[bool](ctx, c, request{Method: "announce", Bucket: id, Link: link})
}

// Await implements [Maker].
func (c *Client) Await(ctx context.Context, id bucket.ID, link bucket.Link, report func(UploadProgress)) error {
	k, err := c.begin(ctx, request{Method: methodAwait, Bucket: id, Link: link})
	if err != nil {
		return err
	}
	return k.answer(nil, func(content []byte) {
		var p UploadProgress
		if report != nil && json.Unmarshal(content, &p) == nil {
			report(p)
		}
	})
}

// Status implements [Teller].
func (c *Client) Status(ctx context.Context, id, after bucket.ID, limit int) (Status, error) {
	return ask[Status](ctx, c, request{Method: "status", Bucket: id, After: after, Limit: limit})
}

// Watch implements [Teller].
func (c *Client) Watch(ctx context.Context, started func(), handle func(event []byte)) error {
	k, err := c.begin(ctx, request{Method: methodWatch})
	if err != nil {
		return err
	}
	return k.answer(nil, func(content []byte) {
		switch {
		case string(content) != "null":
			handle(content)
		case started != nil:
			started()
		}
	})
}
