package author

import (
	"context"
	"fmt"
	"slices"

	"headwater/bucket"
)

// mergedVersions lists the manifests that the new version holds as merged: all versions of the forks merged into it, from the
// tip down to where the fork began, and the known ones that prev or these tips hold already. It is not the tips alone, since
// somebody may go on announcing a version further down, which must not look like a fork once its tip is announced no more.
func (d *draft) mergedVersions(ctx context.Context, known *record, merged []bucket.Link) (hold bucket.Pins, err error) {
	carried := known.tipLinks(tipMerged, tipBehind)
	if len(merged)+len(carried) == 0 {
		return nil, nil
	}
	before, err := d.heldAsMerged(ctx, d.prev)
	if err != nil {
		return nil, err
	}
	holders := []func(bucket.Link) bool{before}
	for _, l := range merged {
		tip, branch, err := d.branch(ctx, known, l, before)
		if err != nil {
			return nil, fmt.Errorf("record %s as merged: %w", l, err)
		}
		hold = append(hold, branch...)
		holds, err := d.heldAsMerged(ctx, tip)
		if err != nil {
			return nil, fmt.Errorf("record %s as merged: %w", l, err)
		}
		holders = append(holders, holds)
	}
	for _, l := range carried {
		if slices.ContainsFunc(holders, func(holds func(bucket.Link) bool) bool { return holds(l) }) {
			hold = append(hold, l.Hash())
		}
	}
	return hold, nil
}

// heldAsMerged returns what says whether a version holds a manifest as merged: each holds its predecessor's anyway.
func (d *draft) heldAsMerged(ctx context.Context, v *bucket.Version) (func(bucket.Link) bool, error) {
	pins, err := d.Author.pins(ctx, v)
	return func(l bucket.Link) bool { return l != v.Previous && holds(pins, l) }, err
}

// branch returns the tip of a known fork, and the hashes of all versions of it. Where a part of it was merged before, the fork
// begins above that; what is held of it goes with the rest.
func (d *draft) branch(
	ctx context.Context, known *record, link bucket.Link, before func(bucket.Link) bool,
) (*bucket.Version, bucket.Pins, error) {
	t := known.tips[link]
	if t.Kind != tipFork {
		return nil, nil, ErrNotFork
	}
	tip, err := d.fetch(ctx, link, nil)
	if err != nil {
		return nil, nil, err
	}
	branch := bucket.Pins{link.Hash()}
	below := false // where the fork began
	_, err = d.back(ctx, tip, 0, func(v *bucket.Version) bool {
		below = below || v.Previous == t.Base
		if v.Height == 0 || below && !before(v.Previous) {
			return true
		}
		branch = append(branch, v.Previous.Hash())
		return false
	})
	return tip, branch, err
}
