package logstore

import (
	"context"

	"github.com/dgraph-io/badger/v4"

	"headwater/bucket"
)

// convert makes a log of schema 1 one of schema 2: it adds the tip rows. The schema row comes last, so that a process that dies
// in between begins again, and finds the rows that it wrote as it would write them. A bucket without forks has one tip, its
// known head; of one with forks every version is looked at once.
func (s *Badger) convert(ctx context.Context) error {
	var buckets []Bucket
	err := s.read(ctx, func(r reader) error {
		return r.scanBuckets(bucket.ID{}, func(b Bucket) (bool, error) {
			if b.Versions > 0 {
				buckets = append(buckets, Bucket{ID: b.ID, Known: b.Known, Forks: b.Forks, Versions: b.Versions})
			}
			return true, nil
		})
	})
	if err != nil {
		return err
	}
	s.cfg.Logger.Info("the log is converted", "from schema", 1, "to schema", schemaVersion, "buckets", len(buckets))
	var rows []row
	for _, b := range buckets {
		tips := map[bucket.Head]bool{b.Known: true}
		if b.Forks > 0 {
			if tips, err = s.findTips(ctx, b); err != nil {
				return err
			}
		}
		for h := range tips {
			rows = append(rows, row{headKey(kindTip, b.ID, h), encodeTip(false)})
		}
		if len(rows) > s.log.maxRows/2 {
			if err := s.log.commit(ctx, rows); err != nil {
				return err
			}
			rows = nil
		}
	}
	return s.log.commit(ctx, append(rows, row{schemaKey(), encodeSchema(schemaVersion)}))
}

// findTips goes through all versions of a bucket, newest first: what no version before it named as its predecessor is a tip. It
// holds the predecessors of one height at a time.
func (s *Badger) findTips(ctx context.Context, b Bucket) (map[bucket.Head]bool, error) {
	s.cfg.Logger.Info("looking for the ends of the branches of a bucket", "bucket", b.ID, "versions", b.Versions)
	tips, followed := map[bucket.Head]bool{}, map[bucket.Head]bool{}
	err := s.read(ctx, func(r reader) error {
		prefix := bucketKey(kindEntry, b.ID)
		return r.scan(prefix, last(prefix), true, func(key []byte, item *badger.Item) (bool, error) {
			return true, valueOf(item, func(value []byte) error {
				e, err := decodeEntry(key, value)
				if !followed[e.Head()] {
					tips[e.Head()] = true
				}
				delete(followed, e.Head())
				if e.Height > 0 {
					followed[bucket.Head{Link: e.Previous, Height: e.Height - 1}] = true
				}
				return err
			})
		})
	})
	return tips, err
}
