package peer

import (
	"context"
	"errors"
	"io"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/publisher"
)

var (
	_ consumer.Objects     = (*broker)(nil)
	_ consumer.Jobs        = (*broker)(nil)
	_ consumer.DeadLetters = (*broker)(nil)
	_ publisher.Stores     = (*broker)(nil)
	_ publisher.Bus        = (*broker)(nil)
)

// Get implements [consumer.Objects].
func (b *broker) Get(ctx context.Context, store string, h bucket.Hash, fresh bool) (io.ReadCloser, int64, error) {
	c, err := b.use()
	if err != nil {
		return nil, 0, err
	}
	return c.Objects().Get(ctx, store, h, fresh)
}

// GetMany implements [consumer.Objects].
func (b *broker) GetMany(
	ctx context.Context, store string, hashes []bucket.Hash, take func(bucket.Hash, []byte) error,
) error {
	c, err := b.use()
	if err != nil {
		return err
	}
	return c.Objects().GetMany(ctx, store, hashes, take)
}

// PublishJob implements [consumer.Jobs].
func (b *broker) PublishJob(ctx context.Context, job bucket.PinJob, attempt uint32) (duplicate bool, err error) {
	c, err := b.use()
	if err != nil {
		return false, err
	}
	return c.Jobs(b.me).PublishJob(ctx, job, attempt)
}

// QueuedJobs implements [consumer.Jobs].
func (b *broker) QueuedJobs(ctx context.Context) (map[bucket.ID]uint64, error) {
	c, err := b.use()
	if err != nil {
		return nil, err
	}
	return c.Jobs(b.me).QueuedJobs(ctx)
}

// Bury implements [consumer.DeadLetters].
func (b *broker) Bury(ctx context.Context, m consumer.Message, class, reason string) error {
	c, err := b.use()
	if err != nil {
		return err
	}
	return c.DeadLetters(b.me).Bury(ctx, m, class, reason)
}

// with calls f with the connection. If f finds something missing, with makes it and calls f once more: the very first version
// may come before the first peer.
func (b *broker) with(ctx context.Context, ensure jetstream.EnsureConfig, f func(*jetstream.Client) error) error {
	client, err := b.use()
	if err != nil {
		return err
	}
	err = f(client)
	if !errors.Is(err, jetstream.ErrNotFound) || ensure.BindOnly {
		return offline(err)
	}
	if _, err := client.Ensure(ctx, ensure); err != nil {
		return offline(err)
	}
	return offline(f(client))
}

// Absent implements [publisher.Stores].
func (b *broker) Absent(ctx context.Context, store string, hashes []bucket.Hash) (absent []bucket.Hash, err error) {
	err = b.with(ctx, b.ensure, func(c *jetstream.Client) error {
		absent, err = c.Absent(ctx, store, hashes)
		return err
	})
	return absent, err
}

// Put implements [publisher.Stores].
func (b *broker) Put(ctx context.Context, store string, h bucket.Hash, size int64, r io.Reader) error {
	client, err := b.use() // r is read once, and whether the store is there was asked before
	if err != nil {
		return err
	}
	return offline(client.PutAbsent(ctx, store, h, size, r))
}

// PutMany implements [publisher.Stores].
func (b *broker) PutMany(ctx context.Context, store string, blobs []blobstore.Small) error {
	return b.with(ctx, b.ensure, func(c *jetstream.Client) error { return c.PutObjects(ctx, store, blobs) })
}

// Announce implements [publisher.Bus].
func (b *broker) Announce(ctx context.Context, a bucket.Announcement) (duplicate bool, err error) {
	err = b.with(ctx, b.ensure, func(c *jetstream.Client) error {
		duplicate, err = c.Announce(ctx, a)
		return err
	})
	return duplicate, err
}

// Heads implements [publisher.Bus].
func (b *broker) Heads(ctx context.Context, id bucket.ID) ([]bucket.Announcement, error) {
	client, err := b.use()
	if err != nil {
		return nil, err
	}
	heads, err := announced(ctx, client, id)
	return heads, offline(err)
}
