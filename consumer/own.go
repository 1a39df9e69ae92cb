package consumer

import (
	"context"
	"errors"
	"fmt"

	"headwater/bucket"
	"headwater/logstore"
)

// AppendOwn checks a version that was made here against its predecessor, and appends it durably, in one step with its outbox entry.
// held counts its pins if all are held; if it is nil, a pin job is recorded for those that are not. The error is logstore.ErrStale
// if the version does not follow on the known head. If the version is refused, nothing of it is kept that a rebuild could find.
// Whether the broker answers does not matter. Safe for concurrent use, also without Run.
func (c *Consumer) AppendOwn(ctx context.Context, v *bucket.Version, held *logstore.PinCount) error {
	prev, err := c.before(ctx, v)
	if err != nil {
		return fmt.Errorf("append version %s, which follows on %q: %w", v.Link, v.Previous, err)
	}
	if err := c.Rules.Succeed(v.Bucket, prev, v); err != nil {
		return err
	}
	if err := putVersions(ctx, c.Manifests, []*bucket.Version{v}); err != nil {
		return err
	}
	var job *logstore.Job
	if held == nil {
		job = jobFor(v, nil)
	}
	err = c.Log.AppendOwn(ctx, entryOf(v), job, held)
	if errors.Is(err, logstore.ErrStale) || errors.Is(err, logstore.ErrDiskFull) { // nothing was written
		err = errors.Join(err, c.Manifests.Delete(context.WithoutCancel(ctx), v.Link.Hash()))
	}
	if err != nil {
		return err
	}
	if job != nil {
		c.publishLater(ctx, v.Bucket, v.Head())
	}
	c.emit(Message{Bucket: v.Bucket}, EventApplied, Event{Link: v.Link, Height: v.Height, Versions: 1})
	return nil
}

// before returns the version before one that is made here, nil for a genesis. That must be the log's known head, unless the log has
// the one made here.
func (c *Consumer) before(ctx context.Context, v *bucket.Version) (*bucket.Version, error) {
	b, err := c.Log.Bucket(ctx, v.Bucket)
	if err != nil && !errors.Is(err, logstore.ErrNotFound) {
		return nil, err
	}
	if b.Known.Link != v.Previous {
		_, err := c.Log.Entry(ctx, v.Bucket, v.Head())
		if errors.Is(err, logstore.ErrNotFound) {
			return nil, logstore.ErrStale
		}
		if err != nil {
			return nil, err
		}
	}
	if v.Previous.IsZero() {
		return nil, nil
	}
	return c.chain.Manifest(ctx, nil, v.Previous)
}
