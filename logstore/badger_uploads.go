package logstore

import (
	"context"
	"errors"
	"iter"

	"github.com/dgraph-io/badger/v4"

	"headwater/bucket"
)

// Tips is described at [Tips].
func (s *Badger) Tips(ctx context.Context, id bucket.ID) (tips []Tip, err error) {
	err = s.read(ctx, func(r reader) error {
		tips, err = r.tips(id)
		return err
	})
	return tips, failed(err, "read the tips of bucket %s", id)
}

// tips reads the tips of a bucket, the greatest first.
func (r reader) tips(id bucket.ID) (tips []Tip, err error) {
	prefix := bucketKey(kindTip, id)
	err = r.scan(prefix, prefix, false, func(key []byte, item *badger.Item) (bool, error) {
		return true, valueOf(item, func(value []byte) error {
			t, err := decodeTip(key, value)
			tips = append(tips, t)
			return err
		})
	})
	sortTips(tips)
	return tips, err
}

// SetMerged is described at [Tips].
func (s *Badger) SetMerged(ctx context.Context, id bucket.ID, links ...bucket.Link) error {
	err := s.change(ctx, id, func(r reader) error {
		var rows []row
		for _, link := range links {
			h, err := r.head(id, link)
			if err == nil {
				key := headKey(kindTip, id, h)
				if err = r.get(key, func([]byte) error { return nil }); err == nil {
					rows = append(rows, row{key, encodeTip(true)})
				}
			}
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		if len(rows) == 0 {
			return nil
		}
		return s.log.commit(ctx, rows)
	})
	return failed(err, "mark tips of bucket %s as merged", id)
}

// AppendOwn is described at [Uploads].
func (s *Badger) AppendOwn(ctx context.Context, e Entry, job *Job, held *PinCount) error {
	if err := checkOwn(e, job, held); err != nil {
		return err
	}
	err := s.change(ctx, e.Bucket, func(r reader) error {
		b, err := r.bucketOrNew(e.Bucket)
		if err != nil {
			return err
		}
		if _, err := r.head(e.Bucket, e.Link); !errors.Is(err, ErrNotFound) {
			return err // nil: it is in the log already
		}
		if err := b.follows(e); err != nil {
			return err
		}
		p, err := planAppend(ctx, bucketLedger{r, e.Bucket}, b, []Entry{e}, job, true, s.set.now())
		if err != nil {
			return err
		}
		if err := s.log.commit(ctx, ownRows(b, p, held)); err != nil {
			return err
		}
		if b.isStranger() {
			s.countStranger(-1)
		}
		return nil
	})
	return failed(err, "append version %s made here to bucket %s", e.Link, e.Bucket)
}

// ownRows returns the rows of a version made here, all of one transaction.
func ownRows(b Bucket, p appendPlan, held *PinCount) []row {
	e := p.fresh[0]
	b.add(e)
	if held != nil {
		e.Complete = true
		b.complete(e.Head(), *held)
	}
	rows := append(tipRows(e, e),
		row{headKey(kindEntry, e.Bucket, e.Head()), encodeEntry(e)},
		row{linkKey(e.Bucket, e.Link), encodeHeight(e.Height)},
		row{bucketKey(kindBucket, e.Bucket), encodeBucket(b)},
		row{headKey(kindUpload, e.Bucket, e.Head()), encodeUpload(Upload{})},
	)
	if p.job != nil {
		rows = append(rows, row{headKey(kindJob, e.Bucket, e.Head()), encodeJob(*p.job)})
	}
	for _, h := range p.replaced {
		rows = append(rows, row{key: headKey(kindJob, e.Bucket, h)})
	}
	return rows
}

// Uploads is described at [Uploads].
func (s *Badger) Uploads(ctx context.Context, id bucket.ID) iter.Seq2[Upload, error] {
	prefix := []byte{kindUpload}
	if !id.IsZero() {
		prefix = bucketKey(kindUpload, id)
	}
	return pages(ctx, jobCursor{}, Upload.cursor, func(behind jobCursor, n int) (page []Upload, err error) {
		from := prefix
		if behind != (jobCursor{}) {
			from = after(headKey(kindUpload, behind.bucket, behind.head))
		}
		err = s.read(ctx, func(r reader) error {
			return r.scan(prefix, from, false, func(key []byte, item *badger.Item) (bool, error) {
				err := valueOf(item, func(value []byte) error {
					u, err := decodeUpload(key, value)
					page = append(page, u)
					return err
				})
				return len(page) < n, err
			})
		})
		return page, failed(err, "list uploads")
	})
}

// upload reads an upload. [ErrNotFound].
func (r reader) upload(id bucket.ID, h bucket.Head) (u Upload, err error) {
	key := headKey(kindUpload, id, h)
	err = r.get(key, func(value []byte) (err error) {
		u, err = decodeUpload(key, value)
		return err
	})
	return u, err
}

// AddUpload is described at [Uploads].
func (s *Badger) AddUpload(ctx context.Context, id bucket.ID, link bucket.Link) error {
	err := s.change(ctx, id, func(r reader) error {
		h, err := r.head(id, link)
		if err != nil {
			return err
		}
		u, err := r.upload(id, h)
		if err == nil {
			u.Attempt++
		} else if !errors.Is(err, ErrNotFound) {
			return err
		}
		return s.log.commit(ctx, []row{{headKey(kindUpload, id, h), encodeUpload(u)}})
	})
	return failed(err, "record that version %s of bucket %s is to be uploaded", link, id)
}

// Announced is described at [Uploads].
func (s *Badger) Announced(ctx context.Context, id bucket.ID, link bucket.Link) error {
	err := s.change(ctx, id, func(r reader) error {
		h, err := r.head(id, link)
		if err != nil {
			return err
		}
		b, err := r.bucket(id)
		if err != nil || !b.announced(h) {
			return err
		}
		return s.log.commit(ctx, []row{{bucketKey(kindBucket, id), encodeBucket(b)}})
	})
	return failed(err, "record that version %s of bucket %s is announced", link, id)
}

// Uploaded is described at [Uploads].
func (s *Badger) Uploaded(ctx context.Context, id bucket.ID, link bucket.Link) error {
	err := s.change(ctx, id, func(r reader) error {
		h, err := r.head(id, link)
		if err == nil {
			_, err = r.upload(id, h)
		}
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return s.log.commit(ctx, []row{{key: headKey(kindUpload, id, h)}})
	})
	return failed(err, "record that version %s of bucket %s is uploaded", link, id)
}
