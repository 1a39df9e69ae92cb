package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"headwater/bucket"
	"headwater/logstore"
)

// maxLooked is the most announced heads that one Look works on.
const maxLooked = 256

// Reasons why an announced head is not taken that are no refusals.
var (
	// ErrDiverged: its chain begins with another genesis than ours.
	ErrDiverged = errors.New("the chain begins with another genesis")
	// ErrNotShared: this peer is not among the shares of it.
	ErrNotShared = errors.New("not shared with us")
)

// Ignored is an announced head that was not taken into the log.
type Ignored struct {
	bucket.Head                  // its height is as told, 0 if it is not told
	Peer        bucket.PublicKey // who announced it
	// Err says why: a [*bucket.Refusal], [ErrDiverged], [ErrNotShared], or that something could not be fetched.
	Err error
}

// Look works on announced heads of a bucket as if they had been delivered just now, in their order, members of the bucket
// first, and returns those that were not taken. Nothing is set aside. What was taken is durable on return. The error is that of
// ctx or of the log. Safe for concurrent use, also without Run.
func (c *Consumer) Look(ctx context.Context, id bucket.ID, announced []bucket.Announcement) (ignored []Ignored, err error) {
	announced, err = c.membersFirst(ctx, id, announced)
	if err != nil {
		return nil, err
	}
	for _, a := range announced {
		err := c.look(ctx, id, a)
		if ctx.Err() != nil {
			return ignored, ctx.Err()
		}
		if err != nil {
			i := Ignored{Head: bucket.Head{Link: a.Link}, Peer: a.Peer, Err: err}
			if a.Height != nil {
				i.Height = *a.Height
			}
			ignored = append(ignored, i)
		}
	}
	return ignored, nil
}

// membersFirst returns as many heads as are worked on: those of peers with a share in the newest version first.
func (c *Consumer) membersFirst(ctx context.Context, id bucket.ID, all []bucket.Announcement) ([]bucket.Announcement, error) {
	b, err := c.Log.Bucket(ctx, id)
	if err != nil && !errors.Is(err, logstore.ErrNotFound) {
		return nil, err
	}
	if !b.Known.IsZero() {
		if head, err := c.fetchManifest(ctx, nil, b.Known.Link); err == nil {
			all = slices.Clone(all)
			slices.SortStableFunc(all, func(x, y bucket.Announcement) int {
				_, xMember := head.Share(x.Peer)
				_, yMember := head.Share(y.Peer)
				switch {
				case xMember == yMember:
					return 0
				case xMember:
					return -1
				}
				return 1
			})
		}
	}
	return all[:min(len(all), maxLooked)], nil
}

// look takes one announced head into the log, or says why not.
func (c *Consumer) look(ctx context.Context, id bucket.ID, a bucket.Announcement) error {
	a.Bucket = id
	if _, err := c.Log.Entry(ctx, id, a.Link); !errors.Is(err, logstore.ErrNotFound) {
		return err
	}
	m := Message{Kind: KindHeads, Bucket: id, Peer: a.Peer}
	ctx, cancel := context.WithTimeout(ctx, c.SyncTimeout)
	defer cancel()
	r, err := c.sync(ctx, m, a)
	c.board.looked(id)
	if err != nil {
		return err
	}
	switch r.class {
	case ClassDiverged:
		return fmt.Errorf("%w: %s", ErrDiverged, r.event.Reason)
	case ClassNotShared:
		return fmt.Errorf("%w: peer %s is not among the shares of version %s", ErrNotShared, c.Peer, a.Link)
	case ClassApplied:
		c.emit(m, EventApplied, r.event)
	}
	return nil
}

// AppendOwn appends a version that was made here: once its rules hold against its predecessor it is durable, in one step with its
// outbox entry. held counts its pins if all are held; else, with nil, a pin job is recorded for those that are not. A version
// that does not follow on the known head any more is logstore.ErrStale. Whether the broker answers does not matter. Safe for
// concurrent use, also without Run.
func (c *Consumer) AppendOwn(ctx context.Context, v *bucket.Version, held *logstore.PinCount) error {
	prev, err := c.before(ctx, v)
	if err != nil {
		return err
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
	if err := c.Log.AppendOwn(ctx, entryOf(v), job, held); err != nil {
		return err
	}
	if job != nil {
		c.publishHead(ctx, v.Bucket)
	}
	c.Events.Emit(Event{
		At: c.Now().UTC(), Kind: EventApplied, BucketID: v.Bucket, PeerID: c.Peer, Link: v.Link, Height: v.Height, Versions: 1,
	})
	return nil
}

// before returns the version before one that is made here, which the log has to have; nil for a genesis.
func (c *Consumer) before(ctx context.Context, v *bucket.Version) (*bucket.Version, error) {
	if v.Previous.IsZero() {
		return nil, nil
	}
	if _, err := c.Log.Entry(ctx, v.Bucket, v.Previous); err != nil {
		return nil, fmt.Errorf("what version %s follows on: %w", v.Link, err)
	}
	return c.fetchManifest(ctx, c.ManifestStores, v.Previous)
}

// Hold holds one blob when it returns: it fetches it from the configured stores unless it is held. [ErrNotFound], or why a store
// could not be asked. Safe for concurrent use, also without Run.
func (c *Consumer) Hold(ctx context.Context, h bucket.Hash) error {
	_, err := c.hold(ctx, h, slices.Concat(c.BlobStores, c.ManifestStores), new(transfer), true)
	return err
}

// Manifest returns a version, from our own manifests or the configured stores. [ErrNotFound]. Safe for concurrent use, also
// without Run.
func (c *Consumer) Manifest(ctx context.Context, link bucket.Link) (*bucket.Version, error) {
	return c.fetchManifest(ctx, c.ManifestStores, link)
}
