package author

import (
	"context"
	"errors"
	"fmt"

	"headwater/bucket"
	"headwater/tree"
)

// Open returns the secret of a version, which opens its root node: out of our share where we are an owner, else the one that
// is published with it. Where there is neither, the error is [ErrNotShared] if our key is not among its shares, or
// [ErrNotPublished] if we are a mirror. A share of ours that our key does not open is [tree.ErrUnreadable].
func (a *Author) Open(v *bucket.Version) (bucket.Secret, error) {
	share, shared := v.Share(a.me)
	var unreadable error
	if shared && share.Role == bucket.Owner {
		unreadable = tree.ErrUnreadable // where an owner's share holds no secret
		if share.Secret != nil {
			secret, err := tree.Unwrap(*share.Secret, a.Identity)
			if err == nil {
				return secret, nil
			}
			unreadable = err
		}
	}
	switch {
	case v.Published():
		return *v.Public, nil
	case unreadable != nil:
		return bucket.Secret{}, fmt.Errorf("open version %s of bucket %s: our share of it: %w", v.Link, v.Bucket, unreadable)
	case !shared:
		return bucket.Secret{}, fmt.Errorf("open version %s of bucket %s: %w: our key %s is not among its shares; "+
			"an owner can share the bucket with it", v.Link, v.Bucket, ErrNotShared, a.me)
	}
	return bucket.Secret{}, fmt.Errorf("open version %s of bucket %s: %w: we are a mirror, which reads what is published only; "+
		"an owner can publish a version, or make us an owner", v.Link, v.Bucket, ErrNotPublished)
}

// Readable returns the newest version that we can read, and its secret: head for an owner, and for a mirror the newest one at
// or below head that is published. Errors are those of [Author.Open]; [ErrNotPublished] means that no version is. It may
// walk back over the whole chain.
func (a *Author) Readable(ctx context.Context, head *bucket.Version) (*bucket.Version, bucket.Secret, error) {
	secret, err := a.Open(head)
	if !errors.Is(err, ErrNotPublished) {
		return head, secret, err
	}
	v, walkErr := a.back(ctx, head, 0, func(v *bucket.Version) bool { return v.Published() || v.Height == 0 })
	if walkErr != nil {
		return nil, bucket.Secret{}, fmt.Errorf("find a published version: %w", walkErr)
	}
	if !v.Published() {
		return nil, bucket.Secret{}, err
	}
	return v, *v.Public, nil
}

// At returns the version of the given height in the chain of head, or [ErrNoVersion] where head is lower. head is a verified
// one; the versions below it then follow from the chain of hashes.
func (a *Author) At(ctx context.Context, head *bucket.Version, height uint64) (*bucket.Version, error) {
	if height > head.Height {
		return nil, fmt.Errorf("bucket %s: %w: height %d, and the chain of %s ends at %d", head.Bucket, ErrNoVersion, height,
			head.Link, head.Height)
	}
	return a.back(ctx, head, head.Height-height, func(v *bucket.Version) bool { return v.Height == height })
}

// AtLink returns the version of the given link in the chain of head, or [ErrNoVersion] where it is not in that chain.
func (a *Author) AtLink(ctx context.Context, head *bucket.Version, link bucket.Link) (*bucket.Version, error) {
	v, err := a.back(ctx, head, 0, func(v *bucket.Version) bool { return v.Link == link || v.Height == 0 })
	if err == nil && v.Link != link {
		err = fmt.Errorf("bucket %s: %w: %s is not in the chain of %s", head.Bucket, ErrNoVersion, link, head.Link)
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// back goes back from a verified version to the first one that found says yes to; it must do so for a genesis at the latest.
// Where the version is a head that Heads has found, what is announced with it makes that fast. steps is how many versions
// lie between, as far as that is known: else, and beyond it, more and more are fetched at a time.
func (a *Author) back(
	ctx context.Context, v *bucket.Version, steps uint64, found func(*bucket.Version) bool,
) (*bucket.Version, error) {
	trail := a.newTrail(v.Bucket)
	for _, n := range a.heard.of(v.Bucket, v.Link) {
		trail.add(n.Hints, n.Stores)
	}
	for top := v.Height; !found(v); {
		ahead := max(top-v.Height, leastAhead)
		if come := top - v.Height; come < steps {
			ahead = steps - come
		}
		prev, err := a.before(ctx, trail, request{at: v, ahead: ahead})
		if err != nil {
			return nil, err
		}
		v = prev
	}
	return v, nil
}

// before returns the predecessor of a verified version above height 0.
func (a *Author) before(ctx context.Context, trail *trail, r request) (*bucket.Version, error) {
	prev, err := trail.before(ctx, r)
	if prev == nil && err == nil {
		prev, err = a.fetch(ctx, r.at.Previous, nil)
	}
	if err == nil {
		err = bucket.CheckStep(r.at.Bucket, prev, r.at)
	}
	if err != nil {
		return nil, fmt.Errorf("version %d of bucket %s: %w", r.at.Height-1, r.at.Bucket, err)
	}
	return prev, nil
}
