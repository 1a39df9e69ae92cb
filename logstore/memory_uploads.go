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
		for _, t := range m.bucket(id).tips {
			tips = append(tips, t)
		}
		return nil
	})
	sortTips(tips)
	return tips, failed(err, "read the tips of bucket %s", id)
}

// SetMerged is described at [Tips].
func (m *Memory) SetMerged(ctx context.Context, id bucket.ID, links ...bucket.Link) error {
	err := m.use(ctx, true, func() error {
		b := m.bucket(id)
		for _, l := range links {
			if t, ok := b.tips[l]; ok {
				t.Merged = true
				b.tips[l] = t
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
	err := m.use(ctx, true, func() error {
		b := m.bucket(e.Bucket)
		if _, ok := b.entries[e.Link]; ok {
			return nil
		}
		if err := b.follows(e); err != nil {
			return err
		}
		p, err := planAppend(ctx, b, b.Bucket, []Entry{e}, job, true, time.Now())
		if err != nil {
			return err
		}
		if b.isStranger() {
			m.strangers--
		}
		b.apply(p)
		if held != nil {
			kept := b.entries[e.Link]
			kept.Complete = true
			b.entries[e.Link] = kept
			b.complete(e.Head(), *held)
		}
		b.uploads[e.Link] = Upload{Bucket: e.Bucket, Link: e.Link, Height: e.Height}
		m.keep(b)
		return nil
	})
	return failed(err, "append version %s made here to bucket %s", e.Link, e.Bucket)
}

// Uploads is described at [Uploads].
func (m *Memory) Uploads(ctx context.Context, id bucket.ID) iter.Seq2[Upload, error] {
	return pages(ctx, jobCursor{}, Upload.cursor, func(after jobCursor, n int) (page []Upload, err error) {
		err = m.use(ctx, false, func() error {
			i, _ := slices.BinarySearchFunc(m.ids, after.bucket, compareIDs)
			for _, at := range m.ids[i:] {
				if id.IsZero() || id == at {
					page = append(page, m.buckets[at].uploadsAfter(after)...)
				}
				if len(page) >= n {
					break
				}
			}
			page = page[:min(n, len(page))]
			return nil
		})
		return page, failed(err, "list uploads")
	})
}

// uploadsAfter returns the bucket's uploads behind the cursor, by head order.
func (b *memoryBucket) uploadsAfter(after jobCursor) (uploads []Upload) {
	for _, u := range b.uploads {
		if b.ID != after.bucket || u.cursor().head.Compare(after.head) > 0 {
			uploads = append(uploads, u)
		}
	}
	slices.SortFunc(uploads, func(x, y Upload) int { return x.cursor().head.Compare(y.cursor().head) })
	return uploads
}

// AddUpload is described at [Uploads].
func (m *Memory) AddUpload(ctx context.Context, id bucket.ID, link bucket.Link) error {
	err := m.use(ctx, true, func() error {
		b := m.bucket(id)
		e, ok := b.entries[link]
		if !ok {
			return ErrNotFound
		}
		u, again := b.uploads[link]
		if again {
			u.Attempt++
		} else {
			u = Upload{Bucket: id, Link: link, Height: e.Height}
		}
		b.uploads[link] = u
		return nil
	})
	return failed(err, "record that version %s of bucket %s is to be uploaded", link, id)
}

// Announced is described at [Uploads].
func (m *Memory) Announced(ctx context.Context, id bucket.ID, link bucket.Link) error {
	err := m.use(ctx, true, func() error {
		b := m.bucket(id)
		e, ok := b.entries[link]
		if !ok {
			return ErrNotFound
		}
		b.announced(e.Head())
		return nil
	})
	return failed(err, "record that version %s of bucket %s is announced", link, id)
}

// Uploaded is described at [Uploads].
func (m *Memory) Uploaded(ctx context.Context, id bucket.ID, link bucket.Link) error {
	err := m.use(ctx, true, func() error {
		delete(m.bucket(id).uploads, link)
		return nil
	})
	return failed(err, "record that version %s of bucket %s is uploaded", link, id)
}
