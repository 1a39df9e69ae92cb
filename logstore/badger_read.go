package logstore

import (
	"context"
	"iter"

	"github.com/dgraph-io/badger/v4"

	"headwater/bucket"
)

// Bucket is described at [Reader].
func (s *Badger) Bucket(ctx context.Context, id bucket.ID) (b Bucket, err error) {
	err = s.read(ctx, func(r reader) error {
		b, err = r.bucket(id)
		return err
	})
	return b, failed(err, "read bucket %s", id)
}

// Entry is described at [Reader].
func (s *Badger) Entry(ctx context.Context, id bucket.ID, h bucket.Head) (e Entry, err error) {
	err = s.read(ctx, func(r reader) error {
		e, err = r.entry(id, h)
		return err
	})
	return e, failed(err, "read version %s at height %d of bucket %s", h.Link, h.Height, id)
}

// Heads is described at [Reader].
func (s *Badger) Heads(ctx context.Context, id bucket.ID, height uint64) (links []bucket.Link, err error) {
	prefix := heightKey(kindEntry, id, height)
	err = s.read(ctx, func(r reader) error {
		return r.scan(prefix, prefix, false, func(key []byte, _ *badger.Item) (bool, error) {
			_, h, err := parseHeadKey(kindEntry, key)
			links = append(links, h.Link)
			return true, err
		})
	})
	return links, failed(err, "read height %d of bucket %s", height, id)
}

// Buckets is described at [Reader].
func (s *Badger) Buckets(ctx context.Context, behind bucket.ID) iter.Seq2[Bucket, error] {
	return pages(ctx, behind, func(b Bucket) bucket.ID { return b.ID }, func(behind bucket.ID, n int) (page []Bucket, err error) {
		err = s.read(ctx, func(r reader) error {
			return r.scanBuckets(behind, func(b Bucket) (bool, error) {
				page = append(page, b)
				return len(page) < n, nil
			})
		})
		return page, failed(err, "list buckets")
	})
}

// Walk is described at [Reader].
func (s *Badger) Walk(ctx context.Context, id bucket.ID, before bucket.Head) iter.Seq2[Entry, error] {
	prefix := bucketKey(kindEntry, id)
	return pages(ctx, before, Entry.Head, func(before bucket.Head, n int) (page []Entry, err error) {
		from := last(prefix)
		if !before.IsZero() {
			from = headKey(kindEntry, id, before)
		}
		err = s.read(ctx, func(r reader) error {
			return r.rows(prefix, from, true, func(key, value []byte) (bool, error) {
				e, err := decodeEntry(key, value)
				if err == nil && e.Head() != before {
					page = append(page, e)
				}
				return len(page) < n, err
			})
		})
		return page, failed(err, "walk bucket %s", id)
	})
}
