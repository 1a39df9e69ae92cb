package peer

import (
	"context"
	"errors"
	"fmt"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/logstore"
	"headwater/peer/local"
)

// Ancestor implements [local.History].
func (h held) Ancestor(ctx context.Context, q local.AncestorQuery) (bucket.Head, error) {
	done, err := h.calls.enter()
	if err != nil {
		return bucket.Head{}, err
	}
	defer done()
	var found logstore.Entry
	switch {
	case q.Height != nil:
		found, err = h.atHeight(ctx, q.Bucket, q.Of, *q.Height)
	case !q.Link.IsZero() && q.Of.IsZero():
		found, err = h.named(ctx, q.Bucket, q.Link)
	case !q.Link.IsZero():
		if found, err = h.named(ctx, q.Bucket, q.Link); err == nil {
			found, err = h.atHeight(ctx, q.Bucket, q.Of, found.Height)
		}
		if err == nil && found.Link != q.Link {
			err = logstore.ErrNotFound
		}
	default:
		found, err = h.back(ctx, q.Bucket, q.Of, func(e logstore.Entry) bool { return e.Published || e.Height == 0 })
		if err == nil && !found.Published {
			err = logstore.ErrNotFound
		}
	}
	if errors.Is(err, logstore.ErrNotFound) {
		err = noVersion(q)
	}
	return found.Head(), err
}

// named returns the version that somebody names by its link alone. If its manifest was lost, which says its height, the log is walked.
// [logstore.ErrNotFound].
func (p *Peer) named(ctx context.Context, id bucket.ID, link bucket.Link) (logstore.Entry, error) {
	e, err := p.consumer.Find(ctx, id, bucket.Head{Link: link})
	if !errors.Is(err, logstore.ErrNotFound) {
		return e, err
	}
	if _, readErr := blobstore.ReadAll(ctx, p.stores.manifests, link.Hash(), bucket.MaxManifestSize); readErr == nil {
		return e, err
	}
	for e, walkErr := range p.stores.log.Walk(ctx, id, bucket.Head{}) {
		if walkErr != nil || e.Link == link {
			return e, walkErr
		}
	}
	return e, err
}

// noVersion says which version does not exist.
func noVersion(q local.AncestorQuery) error {
	switch {
	case q.Height != nil:
		return fmt.Errorf("bucket %s: %w as %d: the newest is version %d", q.Bucket, ErrNoVersion, *q.Height, q.Of.Height)
	case q.Link.IsZero():
		return fmt.Errorf("bucket %s: %w: none up to version %d is published", q.Bucket, ErrNoVersion, q.Of.Height)
	case q.Of.IsZero():
		return fmt.Errorf("bucket %s: %w: the log has no %s", q.Bucket, ErrNoVersion, q.Link)
	}
	return fmt.Errorf("bucket %s: %w as %s in the chain of version %d", q.Bucket, ErrNoVersion, q.Link, q.Of.Height)
}

// atHeight returns the version at a height in the chain of a version. logstore.ErrNotFound. Without forks at that height it is
// one look-up, however long the chain.
func (p *Peer) atHeight(ctx context.Context, id bucket.ID, of bucket.Head, height uint64) (logstore.Entry, error) {
	if height > of.Height {
		return logstore.Entry{}, logstore.ErrNotFound
	}
	links, err := p.stores.log.Heads(ctx, id, height)
	if err != nil {
		return logstore.Entry{}, err
	}
	if len(links) == 1 {
		return p.stores.log.Entry(ctx, id, bucket.Head{Link: links[0], Height: height})
	}
	return p.back(ctx, id, of, func(e logstore.Entry) bool { return e.Height <= height })
}

// back goes back from a version to the first one, itself included, for which found returns true. For a genesis it must do so.
func (p *Peer) back(ctx context.Context, id bucket.ID, from bucket.Head, found func(logstore.Entry) bool) (logstore.Entry, error) {
	e, err := p.stores.log.Entry(ctx, id, from)
	for err == nil && !found(e) {
		if err = ctx.Err(); err == nil {
			e, err = p.stores.log.Entry(ctx, id, e.Before())
		}
	}
	return e, err
}

// mergeBase goes back from both versions, the higher one first, until both are the same.
func (p *Peer) mergeBase(ctx context.Context, id bucket.ID, a, b bucket.Head) (bucket.Head, error) {
	for a != b {
		if a.Height < b.Height {
			a, b = b, a
		}
		e, err := p.stores.log.Entry(ctx, id, a)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return bucket.Head{}, fmt.Errorf("where the branches of bucket %s meet: %w", id, err)
		}
		a = e.Before()
	}
	return a, nil
}
