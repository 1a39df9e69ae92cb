package logstore

import (
	"context"
	"errors"
	"iter"

	"headwater/bucket"
)

// AppendOwn is described at [Uploads].
func (s *Badger) AppendOwn(ctx context.Context, e Entry, job *Job, held *PinCount) error {
	if err := checkOwn(e, job, held); err != nil {
		return err
	}
	_, err := s.append(ctx, e.Bucket, func(l ledger, b Bucket) (appendPlan, error) {
		return planOwn(ctx, l, b, e, job, held, s.set.now())
	})
	return failed(err, "append version %s made here to bucket %s", e.Link, e.Bucket)
}

// Uploads is described at [Uploads].
func (s *Badger) Uploads(ctx context.Context, id bucket.ID) iter.Seq2[Upload, error] {
	prefix := []byte{kindUpload}
	if !id.IsZero() {
		prefix = bucketKey(kindUpload, id)
	}
	return outbox(ctx, s, prefix, func(_ reader, key, value []byte) (Upload, error) { return decodeUpload(key, value) })
}

// AddUpload is described at [Uploads].
func (s *Badger) AddUpload(ctx context.Context, id bucket.ID, h bucket.Head) error {
	err := s.change(ctx, id, func(r reader) error {
		if _, err := r.entry(id, h); err != nil {
			return err
		}
		key := headKey(kindUpload, id, h)
		u, err := getRow(r, key, decodeUpload)
		if err == nil {
			u.Attempt++
		} else if !errors.Is(err, ErrNotFound) {
			return err
		}
		return s.log.commit(ctx, []row{{key, encodeUpload(u)}})
	})
	return failed(err, "record the upload of version %s of bucket %s", h.Link, id)
}

// Announced is described at [Uploads].
func (s *Badger) Announced(ctx context.Context, id bucket.ID, h bucket.Head) error {
	err := s.change(ctx, id, func(r reader) error {
		if _, err := r.entry(id, h); err != nil {
			return err
		}
		b, err := r.bucket(id)
		if err != nil || !b.announced(h) {
			return err
		}
		return s.log.commit(ctx, []row{{bucketKey(kindBucket, id), encodeBucket(b)}})
	})
	return failed(err, "move the announced head of bucket %s to %s", id, h.Link)
}

// Uploaded is described at [Uploads].
func (s *Badger) Uploaded(ctx context.Context, id bucket.ID, heads ...bucket.Head) error {
	return failed(s.remove(ctx, kindUpload, id, heads...), "remove uploads of bucket %s", id)
}
