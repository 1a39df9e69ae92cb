package peer

import (
	"context"
	"errors"
	"io"
	"net/url"
	"strings"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/publisher"
)

// uploads is the broker as the publisher sees it. What is missing there is made once a call finds it missing: the first version
// of all may come before the first peer.
type uploads struct {
	*broker
	ensure jetstream.EnsureConfig
}

var (
	_ publisher.Stores = uploads{}
	_ publisher.Bus    = uploads{}
)

// with calls f with the connection, and once more after what f found missing was made.
func (u uploads) with(ctx context.Context, f func(*jetstream.Client) error) error {
	client, err := u.use()
	if err != nil {
		return err
	}
	err = f(client)
	if !errors.Is(err, jetstream.ErrNotFound) || u.ensure.BindOnly {
		return offline(err)
	}
	if _, err := client.Ensure(ctx, u.ensure); err != nil {
		return offline(err)
	}
	return offline(f(client))
}

// Absent implements [publisher.Stores].
func (u uploads) Absent(ctx context.Context, store string, hashes []bucket.Hash) (absent []bucket.Hash, err error) {
	err = u.with(ctx, func(c *jetstream.Client) error {
		absent, err = c.Absent(ctx, store, hashes)
		return err
	})
	return absent, err
}

// Put implements [publisher.Stores].
func (u uploads) Put(ctx context.Context, store string, h bucket.Hash, size int64, r io.Reader) error {
	client, err := u.use() // r is read once, and whether the store is there was asked before
	if err != nil {
		return err
	}
	return offline(client.PutObject(ctx, store, h, size, r))
}

// PutMany implements [publisher.Stores].
func (u uploads) PutMany(ctx context.Context, store string, blobs []blobstore.Small) error {
	objects := make([]jetstream.Small, len(blobs))
	for i, b := range blobs {
		objects[i] = jetstream.Small{Hash: b.Hash, Bytes: b.Data}
	}
	return u.with(ctx, func(c *jetstream.Client) error { return c.PutObjects(ctx, store, objects) })
}

// Announce implements [publisher.Bus].
func (u uploads) Announce(ctx context.Context, a bucket.Announcement) (duplicate bool, err error) {
	err = u.with(ctx, func(c *jetstream.Client) error {
		duplicate, err = c.Announce(ctx, a)
		return err
	})
	return duplicate, err
}

// Heads implements [publisher.Bus].
func (u uploads) Heads(ctx context.Context, id bucket.ID) ([]bucket.Announcement, error) {
	client, err := u.use()
	if err != nil {
		return nil, err
	}
	heads, err := announced(ctx, client, id)
	return heads, offline(err)
}

// announced tells what the publisher does as the consumer tells what it does.
func (e *events) announced(peer bucket.PublicKey) func(bucket.ID, bucket.Head, []bucket.Link) {
	return func(id bucket.ID, head bucket.Head, others []bucket.Link) {
		e.Emit(consumer.Event{
			At: time.Now().UTC(), Kind: consumer.EventAnnounced, BucketID: id, PeerID: peer, Link: head.Link, Height: head.Height, Heads: others,
		})
	}
}

// withoutCredentials returns a URL, or several separated by commas, without users, passwords and tokens.
func withoutCredentials(urls string) string {
	all := strings.Split(urls, ",")
	for i, s := range all {
		if u, err := url.Parse(strings.TrimSpace(s)); err == nil && u.User != nil {
			u.User = nil
			all[i] = u.String()
		}
	}
	return strings.Join(all, ",")
}
