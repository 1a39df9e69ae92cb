package logstore

import (
	"context"
	"iter"
	"slices"
	"time"

	"headwater/bucket"
)

// Tips is described at [Tips].
func (m *Memory) Tips(ctx context.Context, id bucket.ID) (tips []Tip, err error) {
	err = m.use(ctx, false, func() error {
		b := m.bucket(id)
		for h, merged := range b.tips {
			tips = append(tips, Tip{Head: h, Merged: merged})
		}
		slices.SortFunc(tips, func(x, y Tip) int { return y.Compare(x.Head) })
		return nil
	})
	return tips, failed(err, "read the tips of bucket %s", id)
}

// SetMerged is described at [Tips].
func (m *Memory) SetMerged(ctx context.Context, id bucket.ID, heads ...bucket.Head) error {
	err := m.use(ctx, true, func() error {
		b := m.bucket(id)
		for _, h := range heads {
			if _, ok := b.tips[h]; ok && h != b.Known {
				b.tips[h] = true
			}
		}
		return nil
	})
	return failed(err, "mark tips of bucket %s as merged", id)
}

// AppendOwn is described at [Uploads].
func (m *Memory) AppendOwn(ctx context.Context, e Entry, job *Job, held *PinCount) error {
	if err := checkOwn(e, job, held); err != nil {
		return err
	}
	_, err := m.append(ctx, e.Bucket, func(b *memoryBucket) (appendPlan, error) {
		return planOwn(ctx, b, b.Bucket, e, job, held, time.Now())
	})
	return failed(err, "append version %s made here to bucket %s", e.Link, e.Bucket)
}

// Uploads is described at [Uploads].
func (m *Memory) Uploads(ctx context.Context, id bucket.ID) iter.Seq2[Upload, error] {
	return memoryOutbox(ctx, m, id, func(b *memoryBucket) map[bucket.Head]Upload { return b.uploads })
}

// AddUpload is described at [Uploads].
func (m *Memory) AddUpload(ctx context.Context, id bucket.ID, h bucket.Head) error {
	err := m.use(ctx, true, func() error {
		b := m.bucket(id)
		if _, ok := b.entries[h]; !ok {
			return ErrNotFound
		}
		u, again := b.uploads[h]
		if again {
			u.Attempt++
		} else {
			u = Upload{Bucket: id, Link: h.Link, Height: h.Height}
		}
		b.uploads[h] = u
		return nil
	})
	return failed(err, "record the upload of version %s of bucket %s", h.Link, id)
}

// Announced is described at [Uploads].
func (m *Memory) Announced(ctx context.Context, id bucket.ID, h bucket.Head) error {
	err := m.use(ctx, true, func() error {
		b := m.bucket(id)
		if _, ok := b.entries[h]; !ok {
			return ErrNotFound
		}
		b.announced(h)
		return nil
	})
	return failed(err, "move the announced head of bucket %s to %s", id, h.Link)
}

// Uploaded is described at [Uploads].
func (m *Memory) Uploaded(ctx context.Context, id bucket.ID, heads ...bucket.Head) error {
	err := m.use(ctx, true, func() error {
		for _, h := range heads {
			delete(m.bucket(id).uploads, h)
		}
		return nil
	})
	return failed(err, "remove uploads of bucket %s", id)
}
