package consumer

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"headwater/bucket"
	"headwater/chain"
	"headwater/logstore"
)

// maxLooked is the most announced heads that one Look works on.
const maxLooked = 256

// Reasons other than refusals why an announced head is not taken: see package chain.
var (
	ErrDiverged  = chain.ErrDiverged
	ErrNotShared = chain.ErrNotShared
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
		a.Bucket = id
		err := c.look(ctx, a)
		if ctx.Err() != nil {
			return ignored, ctx.Err()
		}
		if err != nil {
			ignored = append(ignored, Ignored{Head: announcedHead(a), Peer: a.Peer, Err: err})
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
	if b.Known.IsZero() {
		return all[:min(len(all), maxLooked)], nil
	}
	if head, err := c.chain.Manifest(ctx, nil, b.Known.Link); err == nil {
		rank := func(a bucket.Announcement) int {
			if _, member := head.Share(a.Peer); member {
				return 0
			}
			return 1
		}
		all = slices.Clone(all)
		slices.SortStableFunc(all, func(x, y bucket.Announcement) int { return cmp.Compare(rank(x), rank(y)) })
	}
	return all[:min(len(all), maxLooked)], nil
}

// look takes one announced head into the log, or says why not.
func (c *Consumer) look(ctx context.Context, a bucket.Announcement) error {
	if _, err := c.Find(ctx, a.Bucket, announcedHead(a)); !errors.Is(err, logstore.ErrNotFound) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.SyncTimeout)
	defer cancel()
	m := Message{Kind: KindHeads, Bucket: a.Bucket, Peer: a.Peer}
	r, err := c.takeHead(ctx, m, a)
	if err != nil {
		return err
	}
	if r.outcome == ClassApplied {
		c.board.applied(m)
		c.emit(m, EventApplied, r.event)
	}
	return r.why
}

// Hold fetches one blob from the configured stores, unless it is held already. If it cannot be had, the errors are those of
// [chain.Fetcher.Stream]. Safe for concurrent use, also without Run.
func (c *Consumer) Hold(ctx context.Context, h bucket.Hash) error {
	_, err := c.hold(ctx, h, slices.Concat(c.BlobStores, c.ManifestStores), new(transfer), true)
	return err
}

// Manifest returns a version, from our own manifests or the configured stores. The errors are those of [chain.Engine.Manifest].
// Safe for concurrent use, also without Run.
func (c *Consumer) Manifest(ctx context.Context, link bucket.Link) (*bucket.Version, error) {
	return c.chain.Manifest(ctx, nil, link)
}
