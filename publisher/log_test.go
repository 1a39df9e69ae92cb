package publisher_test

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"

	"headwater/bucket"
	"headwater/logstore"
)

// memoryLog plays the log.
type memoryLog struct {
	mu        sync.Mutex
	entries   map[bucket.Link]logstore.Entry
	merged    map[bucket.Link]bool
	uploads   map[bucket.Link]logstore.Upload
	announced map[bucket.ID]bucket.Head
}

func newLog() *memoryLog {
	return &memoryLog{
		entries: map[bucket.Link]logstore.Entry{}, merged: map[bucket.Link]bool{},
		uploads: map[bucket.Link]logstore.Upload{}, announced: map[bucket.ID]bucket.Head{},
	}
}

// add appends a version, and records an upload of it if it is owed.
func (l *memoryLog) add(v *bucket.Version, owed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[v.Link] = logstore.Entry{Bucket: v.Bucket, Link: v.Link, Height: v.Height, Previous: v.Previous, Pins: v.Pins}
	if owed {
		u, again := l.uploads[v.Link]
		if again {
			u.Attempt++
		}
		u.Bucket, u.Link, u.Height = v.Bucket, v.Link, v.Height
		l.uploads[v.Link] = u
	}
}

func (l *memoryLog) Entry(_ context.Context, id bucket.ID, link bucket.Link) (logstore.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.entries[link]
	if !ok || e.Bucket != id {
		return e, fmt.Errorf("version %s: %w", link, logstore.ErrNotFound)
	}
	return e, nil
}

func (l *memoryLog) Tips(_ context.Context, id bucket.ID) (tips []logstore.Tip, _ error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	followed := map[bucket.Link]bool{}
	for _, e := range l.entries {
		followed[e.Previous] = true
	}
	for _, e := range l.entries {
		if e.Bucket == id && !followed[e.Link] {
			tips = append(tips, logstore.Tip{Head: e.Head(), Merged: l.merged[e.Link]})
		}
	}
	slices.SortFunc(tips, func(a, b logstore.Tip) int { return b.Compare(a.Head) })
	return tips, nil
}

func (l *memoryLog) Uploads(_ context.Context, id bucket.ID) iter.Seq2[logstore.Upload, error] {
	return func(yield func(logstore.Upload, error) bool) {
		l.mu.Lock()
		all := slices.SortedFunc(maps.Values(l.uploads), func(a, b logstore.Upload) int {
			return cmp.Or(cmp.Compare(a.Bucket.String(), b.Bucket.String()),
				bucket.Head{Link: a.Link, Height: a.Height}.Compare(bucket.Head{Link: b.Link, Height: b.Height}))
		})
		l.mu.Unlock()
		for _, u := range all {
			if (id.IsZero() || u.Bucket == id) && !yield(u, nil) {
				return
			}
		}
	}
}

func (l *memoryLog) Announced(_ context.Context, id bucket.ID, link bucket.Link) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.entries[link].Head(); h.Compare(l.announced[id]) > 0 {
		l.announced[id] = h
	}
	return nil
}

func (l *memoryLog) Uploaded(_ context.Context, _ bucket.ID, link bucket.Link) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.uploads, link)
	return nil
}

// owes counts what is owed.
func (l *memoryLog) owes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.uploads)
}
