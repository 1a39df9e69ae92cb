package logstore

import (
	"context"
	"errors"

	"headwater/bucket"
)

// Tips is described at [Tips].
func (s *Badger) Tips(ctx context.Context, id bucket.ID) (tips []Tip, err error) {
	err = s.read(ctx, func(r reader) error {
		b, err := r.bucketOrNew(id)
		if err != nil || b.Known.IsZero() {
			return err
		}
		tips = append(tips, Tip{Head: b.Known})
		if b.Forks == 0 {
			return nil
		}
		return r.scanTips(id, func(t Tip) (bool, error) {
			tips = append(tips, t)
			return true, nil
		})
	})
	return tips, failed(err, "read the tips of bucket %s", id)
}

// SetMerged is described at [Tips].
func (s *Badger) SetMerged(ctx context.Context, id bucket.ID, heads ...bucket.Head) error {
	err := s.change(ctx, id, func(r reader) error {
		var all []row
		for _, h := range heads {
			rows, err := r.merged(id, h)
			if err != nil {
				return err
			}
			all = append(all, rows...)
		}
		return s.log.commitAll(ctx, all)
	})
	return failed(err, "mark tips of bucket %s as merged", id)
}

// merged returns the row that marks a version as merged: none if it is marked, or has no tip row.
func (r reader) merged(id bucket.ID, h bucket.Head) ([]row, error) {
	key := headKey(kindTip, id, h)
	t, err := getRow(r, key, decodeTip)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, nil
	case err != nil || t.Merged:
		return nil, err
	}
	t.Merged = true
	return []row{{key, encodeTip(t)}}, nil
}

// scanTips calls f for every tip row of a bucket, the greatest first, until f returns false.
func (r reader) scanTips(id bucket.ID, f func(t Tip) (bool, error)) error {
	prefix := bucketKey(kindTip, id)
	return r.rows(prefix, last(prefix), true, func(key, value []byte) (bool, error) {
		t, err := decodeTip(key, value)
		if err != nil {
			return false, err
		}
		return f(t)
	})
}
