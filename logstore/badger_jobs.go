package logstore

import (
	"context"
	"iter"

	"headwater/bucket"
)

// Job is described at [Jobs].
func (s *Badger) Job(ctx context.Context, id bucket.ID, h bucket.Head) (j Job, err error) {
	err = s.read(ctx, func(r reader) error {
		j, err = r.job(id, h)
		return err
	})
	return j, failed(err, "read job %s of bucket %s", h.Link, id)
}

// Jobs is described at [Jobs].
func (s *Badger) Jobs(ctx context.Context) iter.Seq2[Job, error] {
	return outbox(ctx, s, []byte{kindJob}, reader.decodeJob)
}

// outbox yields the rows of jobs, or of uploads, that begin with a prefix.
func outbox[T placed[T]](
	ctx context.Context, s *Badger, prefix []byte, decode func(r reader, key, value []byte) (T, error),
) iter.Seq2[T, error] {
	return pages(ctx, place{}, T.place, func(behind place, n int) (page []T, err error) {
		from := prefix
		if behind != (place{}) {
			from = after(headKey(prefix[0], behind.bucket, behind.head))
		}
		err = s.read(ctx, func(r reader) error {
			return r.rows(prefix, from, false, func(key, value []byte) (bool, error) {
				t, err := decode(r, key, value)
				if err == nil {
					page = append(page, t)
				}
				return len(page) < n, err
			})
		})
		return page, failed(err, "list the outbox")
	})
}

// SetJob is described at [Jobs].
func (s *Badger) SetJob(ctx context.Context, id bucket.ID, h bucket.Head, state JobState) error {
	err := s.change(ctx, id, func(r reader) error {
		j, err := r.job(id, h)
		if err != nil {
			return err
		}
		if j, err = j.moved(state); err != nil {
			return err
		}
		key, value := headKey(kindJob, id, h), encodeJob(j)
		if state == JobPublished {
			return s.log.keep(ctx, key, value)
		}
		return s.log.commit(ctx, []row{{key, value}})
	})
	return failed(err, "move job %s of bucket %s", h.Link, id)
}

// Complete is described at [Jobs].
func (s *Badger) Complete(ctx context.Context, id bucket.ID, h bucket.Head, pins PinCount, announced bool) error {
	err := s.change(ctx, id, func(r reader) error {
		rows, err := r.completion(id, h, pins, announced)
		if err != nil || len(rows) == 0 {
			return err
		}
		return s.log.commit(ctx, rows)
	})
	return failed(err, "complete version %s of bucket %s", h.Link, id)
}

// completion returns the rows that complete a version: none if nothing changes.
func (r reader) completion(id bucket.ID, h bucket.Head, pins PinCount, announced bool) ([]row, error) {
	e, err := r.entry(id, h)
	if err != nil {
		return nil, err
	}
	rows, err := r.removal(headKey(kindJob, id, h))
	if err != nil {
		return nil, err
	}
	b, err := r.bucket(id)
	if err != nil {
		return nil, err
	}
	was := b
	if !e.Complete {
		e.Complete = true
		b.complete(h, pins)
		rows = append(rows, row{headKey(kindEntry, id, h), encodeEntry(e)})
	}
	if announced {
		b.announced(h)
	}
	if b != was {
		rows = append(rows, row{bucketKey(kindBucket, id), encodeBucket(b)})
	}
	return rows, nil
}

// removal returns the row that removes one: none if there is no such row.
func (r reader) removal(key []byte) ([]row, error) {
	has, err := r.has(key)
	if err != nil || !has {
		return nil, err
	}
	return []row{{key: key}}, nil
}

// Drop is described at [Jobs].
func (s *Badger) Drop(ctx context.Context, id bucket.ID, h bucket.Head) error {
	return failed(s.remove(ctx, kindJob, id, h), "drop job %s of bucket %s", h.Link, id)
}

// remove removes versions' rows of that kind, all or none. Absent is no error.
func (s *Badger) remove(ctx context.Context, kind byte, id bucket.ID, heads ...bucket.Head) error {
	return s.change(ctx, id, func(r reader) error {
		var all []row
		for _, h := range heads {
			rows, err := r.removal(headKey(kind, id, h))
			if err != nil {
				return err
			}
			all = append(all, rows...)
		}
		if len(all) == 0 {
			return nil
		}
		return s.log.commit(ctx, all)
	})
}
