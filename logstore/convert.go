package logstore

import (
	"context"

	"headwater/bucket"
)

// progressEvery is the number of versions after which a conversion logs its progress.
const progressEvery = 100_000

// kindLink was the kind of the rows with the heights of links.
const kindLink byte = 0x04

// convert makes a log of an older schema one of ours, the schema row last. If it dies in between it is done again from the beginning.
func (s *Badger) convert(ctx context.Context, from uint32) error {
	s.cfg.Logger.Info("converting the log", "dir", s.cfg.Dir, "from", from, "to", schemaVersion)
	if from < 2 {
		if err := s.addTips(ctx); err != nil {
			return err
		}
	}
	if err := s.db.DropPrefix([]byte{kindLink}); err != nil {
		return err
	}
	return s.log.commit(ctx, []row{{schemaKey(), encodeSchema(schemaVersion)}})
}

// addTips makes the tip rows, which schema 1 had not. A program of schema 1 may have appended after a conversion that died, so tip
// rows that it finds are removed unless they are right.
//
// Only buckets with forks have tip rows; each of them is walked once.
func (s *Badger) addTips(ctx context.Context) error {
	return s.read(ctx, func(r reader) error {
		c := converter{log: &s.log, progress: func(versions int) {
			s.cfg.Logger.Info("converting the log", "dir", s.cfg.Dir, "versions", versions)
		}}
		err := r.scanBuckets(bucket.ID{}, func(b Bucket) (bool, error) {
			if b.Forks == 0 {
				return true, nil
			}
			return true, c.bucket(ctx, r, b)
		})
		if err == nil {
			err = c.flush(ctx)
		}
		return err
	})
}

// converter gathers tip rows and writes them many at a time.
type converter struct {
	log      *committer
	rows     []row
	versions int
	progress func(versions int)
}

// bucket makes the tip rows of a bucket with forks.
func (c *converter) bucket(ctx context.Context, r reader, b Bucket) error {
	stale := make(map[bucket.Head]bool)
	err := r.scanTips(b.ID, func(t Tip) (bool, error) {
		stale[t.Head] = true
		return true, nil
	})
	if err != nil {
		return err
	}
	err = r.walkTips(b.ID, c.count, func(h bucket.Head) error {
		if h == b.Known {
			return nil
		}
		delete(stale, h)
		return c.put(ctx, row{headKey(kindTip, b.ID, h), encodeTip(Tip{})})
	})
	if err != nil {
		return err
	}
	for h := range stale {
		if err := c.put(ctx, row{key: headKey(kindTip, b.ID, h)}); err != nil {
			return err
		}
	}
	return nil
}

// put adds a row, and writes what was gathered if it is much.
func (c *converter) put(ctx context.Context, r row) error {
	if c.rows = append(c.rows, r); len(c.rows) < c.log.maxRows/2 {
		return nil
	}
	return c.flush(ctx)
}

// flush writes what was gathered.
func (c *converter) flush(ctx context.Context) error {
	err := c.log.commitAll(ctx, c.rows)
	c.rows = nil
	return err
}

// count counts a version that was walked.
func (c *converter) count() {
	if c.versions++; c.versions%progressEvery == 0 {
		c.progress(c.versions)
	}
}

// walkTips walks all versions of a bucket and calls f for those that no other one follows on, the greatest first. It calls seen
// for every version. What it holds in memory is the links of two heights.
func (r reader) walkTips(id bucket.ID, seen func(), f func(h bucket.Head) error) error {
	prefix := bucketKey(kindEntry, id)
	height, above, here := ^uint64(0), make(map[bucket.Link]bool), make(map[bucket.Link]bool)
	return r.rows(prefix, last(prefix), true, func(key, value []byte) (bool, error) {
		e, err := decodeEntry(key, value)
		if err != nil {
			return false, err
		}
		if e.Height != height {
			above, here, height = here, above, e.Height
			clear(here)
		}
		here[e.Previous] = true
		seen()
		if above[e.Link] {
			return true, nil
		}
		return true, f(e.Head())
	})
}
