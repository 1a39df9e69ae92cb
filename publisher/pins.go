package publisher

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"headwater/blobstore"
	"headwater/bucket"
)

// part is a part of what a version needs.
type part uint8

const (
	added     part = 1 << iota // since its base
	inherited                  // from its base
)

// wanted returns what the store of blobs may lack of a version: its pins list and what was added since its base, and what was
// there before. What is known to be there is left out. If the base's pins list is not held, all counts as added.
// blobstore.ErrNotFound and ErrCorrupt are about the version's own pins list.
func (r *round) wanted(ctx context.Context, o owed) (since, before []bucket.Hash, err error) {
	pins, err := r.pins(ctx, o.pins)
	if err != nil {
		return nil, nil, err
	}
	base, err := r.ofBase(ctx, o.base)
	if err != nil {
		return nil, nil, err
	}
	since = append(since, o.pins.Hash())
	isOld, isUp := ascending(base), ascending(r.up)
	for _, h := range pins {
		old, up := isOld(h), isUp(h)
		switch {
		case up:
		case old:
			before = append(before, h)
		case h != o.prev.Hash():
			since = append(since, h)
		}
	}
	r.up = pins
	return since, before, nil
}

// ofBase returns what a base needs: nothing for no base, or one whose pins list is not held. Most of what is owed has the same one.
func (r *round) ofBase(ctx context.Context, base bucket.Head) (bucket.Pins, error) {
	if base.IsZero() {
		return nil, nil
	}
	if base == r.base {
		return r.basePins, nil
	}
	e, err := r.cfg.Log.Entry(ctx, r.id, base)
	if err != nil {
		return nil, fmt.Errorf("read version %s: %w", base.Link, err)
	}
	pins, err := r.pins(ctx, e.Pins)
	if err == nil || blobstore.IsMissing(err) {
		r.base, r.basePins, err = base, pins, nil
	}
	return pins, err
}

// pins reads a pins list of the peer's own.
func (r *round) pins(ctx context.Context, link bucket.Link) (bucket.Pins, error) {
	b, err := blobstore.ReadAll(ctx, r.cfg.Blobs, link.Hash(), bucket.MaxPinsSize)
	if err != nil {
		return nil, fmt.Errorf("read pins list: %w", err)
	}
	return bucket.ParsePins(b)
}

// forgetMissing drops the blobs that could not be put from what the store has by now.
func (r *round) forgetMissing(missing ...[]bucket.Hash) {
	all := bucket.Pins(slices.Concat(missing...))
	if len(all) == 0 {
		return
	}
	slices.SortFunc(all, compareHashes)
	isMissing := ascending(all)
	r.up = slices.DeleteFunc(r.up, isMissing)
}

// ascending returns a function that reports whether a hash is in an ascending list. It must be asked in ascending order.
func ascending(list bucket.Pins) func(bucket.Hash) bool {
	return func(h bucket.Hash) bool {
		for len(list) > 0 && compareHashes(list[0], h) < 0 {
			list = list[1:]
		}
		return len(list) > 0 && list[0] == h
	}
}

func compareHashes(a, b bucket.Hash) int { return bytes.Compare(a[:], b[:]) }

// content puts what the store of blobs lacks of parts of a version. It reports whether the store has all that was added; if not,
// that is kept as what holds the upload up.
func (r *round) content(ctx context.Context, o owed, parts part) (ok bool, err error) {
	since, before, err := r.wanted(ctx, o)
	if blobstore.IsMissing(err) {
		r.hold(o, 1, o.pins.Hash())
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var missing []bucket.Hash
	if parts&added != 0 {
		if missing, err = r.pinned(ctx, since); err != nil {
			return false, err
		}
		if len(missing) > 0 {
			r.hold(o, len(missing), missing[0])
		}
	}
	if parts&inherited != 0 {
		if before, err = r.pinned(ctx, before); err != nil {
			return false, err
		}
		if len(before) > 0 {
			r.lose(o, before)
		}
	}
	r.forgetMissing(missing, before)
	return len(missing) == 0, nil
}

// contents puts all that the store of blobs lacks of some versions, and returns those of which it has all that was added.
func (r *round) contents(ctx context.Context, some []owed) (done []owed, err error) {
	for _, o := range some {
		ok, err := r.content(ctx, o, added|inherited)
		if err != nil {
			return nil, err
		}
		if ok {
			done = append(done, o)
		}
	}
	return done, nil
}

// pinned puts what the stores lack of some pins, and returns those that are nowhere. Manifests are among the pins of a merge; they
// are looked for, and put, in the store of manifests.
func (r *round) pinned(ctx context.Context, hashes []bucket.Hash) (missing []bucket.Hash, err error) {
	_, missing, err = r.upload(ctx, r.cfg.BlobStore, r.cfg.Blobs, hashes)
	if err != nil || len(missing) == 0 {
		return missing, err
	}
	_, missing, err = r.upload(ctx, r.cfg.ManifestStore, r.cfg.Manifests, missing)
	return missing, err
}

// hold notes what holds an upload up.
func (r *round) hold(o owed, n int, first bucket.Hash) {
	if r.held == nil {
		r.held = fmt.Errorf("version %s of bucket %s lacks %d blobs, first %s: %w", o.Link, r.id, n, first, ErrIncomplete)
	}
}

// lose logs inherited blobs that are neither here nor in the store.
func (r *round) lose(o owed, lost []bucket.Hash) {
	r.cfg.Logger.Warn("inherited objects are neither held nor in the store", "bucket", r.id, "link", o.Link, "count", len(lost),
		"first", lost[0])
}
