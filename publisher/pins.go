package publisher

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"headwater/blobstore"
	"headwater/bucket"
)

// wanted returns what the store of blobs may lack of a version: first its pins list and what was added since its base, so many,
// then what was there before. What is known to be there is left out. If the base's pins list is not held, all counts as added.
// blobstore.ErrNotFound and ErrCorrupt are about the version's own pins list.
func (r *round) wanted(ctx context.Context, o owed) (wanted []bucket.Hash, added int, err error) {
	pins, err := r.pins(ctx, o.pins)
	if err != nil {
		return nil, 0, err
	}
	before, err := r.basePins(ctx, o.base)
	if err != nil {
		return nil, 0, err
	}
	wanted = make([]bucket.Hash, 0, 1+len(pins))
	wanted = append(wanted, o.pins.Hash())
	isOld, isUp := ascending(before), ascending(r.up)
	for _, h := range pins {
		if !isOld(h) && !isUp(h) && h != o.prev.Hash() {
			wanted = append(wanted, h)
		}
	}
	added = len(wanted)
	isOld, isUp = ascending(before), ascending(r.up)
	for _, h := range pins {
		if isOld(h) && !isUp(h) {
			wanted = append(wanted, h)
		}
	}
	r.up = pins
	return wanted, added, nil
}

// basePins returns what a base needs: nothing for no base, or one whose pins list is not held.
func (r *round) basePins(ctx context.Context, base bucket.Link) (bucket.Pins, error) {
	if base.IsZero() {
		return nil, nil
	}
	e, err := r.cfg.Log.Entry(ctx, r.id, base)
	if err != nil {
		return nil, fmt.Errorf("read version %s: %w", base, err)
	}
	pins, err := r.pins(ctx, e.Pins)
	if blobstore.IsMissing(err) {
		return nil, nil
	}
	return pins, err
}

func (r *round) pins(ctx context.Context, link bucket.Link) (bucket.Pins, error) {
	b, err := blobstore.ReadAll(ctx, r.cfg.Blobs, link.Hash(), bucket.MaxPinsSize)
	if err != nil {
		return nil, fmt.Errorf("read pins list: %w", err)
	}
	return bucket.ParsePins(b)
}

// forgetMissing takes what could not be put out of what the store has by now.
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
