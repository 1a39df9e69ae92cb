package consumer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/logstore"
)

// KeptManifests is a peer's store of manifests, which can be listed.
type KeptManifests interface {
	blobstore.Reader
	blobstore.Lister
}

// rebuildVersions is how many versions are appended together.
const rebuildVersions = 1024

// kept is what has to be known of a manifest to put the kept ones in order.
type kept struct {
	bucket   bucket.ID
	head     bucket.Head
	previous bucket.Link
}

// Rebuild makes a log anew from the manifests that a peer kept, which hold all that the log knew: it appends every chain
// that verifies from its genesis on, and records a pin job for each bucket's head, since what was complete is not known any
// more; the pin worker finds most of it held. What does not verify, or has no verified predecessor, is passed over and counted:
// it comes again with the next announcement. Of several geneses of a bucket, the one whose chain goes the furthest is taken.
// Repeating it changes nothing. It holds about 150 bytes for each version in memory.
func Rebuild(
	ctx context.Context, log logstore.Store, manifests KeptManifests, rules bucket.Rules, logger *slog.Logger,
) (versions, passedOver int, err error) {
	all, passedOver, err := listKept(ctx, manifests)
	if err != nil {
		return 0, 0, err
	}
	r := &rebuilder{log: log, manifests: manifests, rules: rules}
	done, total := 0, len(all)
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].bucket == all[0].bucket {
			n++
		}
		of := all[:n]
		all = all[n:]
		if n > 1 && of[1].head.Height == 0 {
			of = greatestChain(of)
		}
		passedOver += n
		for _, k := range of {
			ok, err := r.append(ctx, k)
			if err != nil {
				return versions, passedOver, fmt.Errorf("rebuild log: %w", err)
			}
			if ok {
				versions, passedOver = versions+1, passedOver-1
			}
			if done++; done%10_000 == 0 && logger != nil {
				logger.Info("rebuilding the log from manifests", "done", done, "of", total)
			}
		}
	}
	return versions, passedOver, r.flush(ctx)
}

// listKept reads every kept manifest once, and orders them by bucket, then height.
func listKept(ctx context.Context, manifests KeptManifests) (all []kept, damaged int, err error) {
	for info, err := range manifests.All(ctx) {
		if err != nil {
			return nil, 0, fmt.Errorf("list manifests: %w", err)
		}
		v, err := openKept(ctx, manifests, info.Hash)
		switch {
		case err == nil:
			all = append(all, kept{v.Bucket, v.Head(), v.Previous})
		case bucket.ClassOf(err) != "" || blobstore.IsMissing(err):
			damaged++
		default:
			return nil, 0, err
		}
	}
	slices.SortFunc(all, func(a, b kept) int {
		if c := bytes.Compare(a.bucket[:], b.bucket[:]); c != 0 {
			return c
		}
		return a.head.Compare(b.head)
	})
	return all, damaged, nil
}

// greatestChain returns those of one bucket's versions, ascending, that belong to the genesis whose chain reaches the greatest
// head. Manifests of another genesis can only be left from an append that the log refused, and nothing followed on them.
func greatestChain(all []kept) []kept {
	genesis := map[bucket.Link]bucket.Link{} // by version
	var chosen bucket.Link
	for _, k := range all {
		of := genesis[k.previous]
		if k.head.Height == 0 {
			of = k.head.Link
		}
		genesis[k.head.Link] = of
		if !of.IsZero() {
			chosen = of
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(k kept) bool { return genesis[k.head.Link] != chosen })
}

func openKept(ctx context.Context, manifests blobstore.Reader, h bucket.Hash) (*bucket.Version, error) {
	b, err := blobstore.ReadAll(ctx, manifests, h, bucket.MaxManifestSize)
	if errors.Is(err, blobstore.ErrTooLarge) {
		return nil, bucket.Refuse(bucket.TooLarge, bucket.NewLink(bucket.CodecDagCBOR, h), "%v", err)
	}
	if err != nil {
		return nil, err
	}
	return bucket.Open(bucket.NewLink(bucket.CodecDagCBOR, h), b)
}

// rebuilder appends versions in the order of listKept. Runs of direct successors are appended together.
type rebuilder struct {
	log       logstore.Store
	manifests blobstore.Reader
	rules     bucket.Rules
	run       []*bucket.Version // verified, each the successor of the one before
}

// append takes one more version; it reports whether the version verifies.
func (r *rebuilder) append(ctx context.Context, k kept) (bool, error) {
	v, err := openKept(ctx, r.manifests, k.head.Link.Hash())
	if err != nil {
		return false, err
	}
	prev, err := r.predecessor(ctx, v)
	if err != nil {
		return false, err
	}
	if prev == nil && v.Height > 0 {
		return false, nil
	}
	if err := r.rules.Succeed(k.bucket, prev, v); err != nil {
		return false, nil //nolint:nilerr // passed over
	}
	if len(r.run) > 0 && (r.run[len(r.run)-1] != prev || len(r.run) >= rebuildVersions) {
		if err := r.flush(ctx); err != nil {
			return false, err
		}
	}
	r.run = append(r.run, v)
	return true, nil
}

// predecessor returns the verified version before v, nil if there is none.
func (r *rebuilder) predecessor(ctx context.Context, v *bucket.Version) (*bucket.Version, error) {
	if n := len(r.run); n > 0 && r.run[n-1].Link == v.Previous {
		return r.run[n-1], nil
	}
	if err := r.flush(ctx); err != nil || v.Previous.IsZero() {
		return nil, err
	}
	_, err := r.log.Entry(ctx, v.Bucket, v.Before())
	if errors.Is(err, logstore.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return openKept(ctx, r.manifests, v.Previous.Hash())
}

// flush appends the run. A second genesis of a bucket is refused by the log and passed over.
func (r *rebuilder) flush(ctx context.Context) error {
	if len(r.run) == 0 {
		return nil
	}
	run := r.run
	r.run = nil
	_, err := appendVersions(ctx, r.log, run, nil, true)
	if errors.Is(err, logstore.ErrGap) {
		return nil
	}
	return err
}
