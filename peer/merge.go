package peer

import (
	"context"
	"errors"
	"fmt"

	"headwater/bucket"
	"headwater/peer/local"
	"headwater/tree"
)

// Merge brings the branches of a fork together, as a new version of the branch that everybody takes as head. A bucket without a
// fork is unchanged. Errors are those of [Session.Commit].
func (s *Session) Merge(ctx context.Context, id bucket.ID, u Upload) (*Made, error) {
	m := &Made{}
	v, err := s.again(ctx, id, func(view *view) (*bucket.Version, error) {
		*m = Made{Ignored: view.ignored}
		return s.mergeAll(ctx, view, m)
	})
	if err != nil {
		return nil, err
	}
	return m, s.announce(ctx, v, m, u)
}

// mergeAll makes the version that holds all branches.
func (s *Session) mergeAll(ctx context.Context, v *view, m *Made) (*bucket.Version, error) {
	m.of(v.head)
	if len(v.tips) == 0 {
		m.Unchanged = true
		return v.head, nil
	}
	before, err := s.loadTree(ctx, v.head)
	if err != nil {
		return nil, err
	}
	merged := before
	for _, t := range v.tips {
		if merged, err = s.mergeBranch(ctx, merged, t, m); err != nil {
			return nil, fmt.Errorf("merge version %d, %s: %w", t.Height, t.Link, err)
		}
	}
	m.count(tree.Diff(before, merged))
	return s.make(ctx, v.head, change{tree: merged, before: before, merged: v.tips}, m, nil)
}

// mergeBranch merges the tree of a branch into ours.
func (s *Session) mergeBranch(ctx context.Context, ours *tree.Listing, t tip, m *Made) (*tree.Listing, error) {
	theirs, err := s.loadTree(ctx, t.Version)
	if err != nil {
		return nil, err
	}
	ancestor, err := s.version(ctx, t.base.Link)
	if err != nil {
		return nil, err
	}
	base, err := s.loadTree(ctx, ancestor)
	if errors.Is(err, ErrNotShared) || errors.Is(err, ErrNotPublished) {
		base, err = tree.NewListing(), nil // from before our time: whatever differs is kept twice
	}
	if err != nil {
		return nil, err
	}
	merged, conflicts := tree.Merge(base, ours, theirs, func(path string) string {
		return tree.ConflictName(path, t.Height, authorOf(t.Version))
	})
	for _, c := range conflicts {
		if c.Copy != "" {
			m.Conflicts = append(m.Conflicts, c.Copy)
		}
	}
	return merged, nil
}

// Announce announces a version of a bucket again, or its head if link is zero, after it has uploaded what the object stores
// lack of it. It reports whether it was announced already. [ErrNoBucket], [ErrNoVersion], [ErrOffline].
func (s *Session) Announce(ctx context.Context, id bucket.ID, link bucket.Link) (duplicate bool, err error) {
	return s.holder.Announce(ctx, id, link)
}

// Status tells how buckets stand: one, or, for the zero ID, all. Safe for concurrent use.
func (s *Session) Status(ctx context.Context, id bucket.ID) (local.Status, error) {
	return allPages(func(after bucket.ID) (local.Status, error) { return s.holder.Status(ctx, id, after, 0) })
}

// Log returns up to limit versions of a bucket, newest first, those before the given head (zero: all). [ErrNoBucket].
func (s *Session) Log(ctx context.Context, id bucket.ID, before bucket.Head, limit int) (local.LogPage, error) {
	return s.holder.Log(ctx, id, before, limit)
}

// Watch calls handle with each event of this peer as it happens: see [local.Teller].
func (s *Session) Watch(ctx context.Context, started func(), handle func(event []byte)) error {
	return s.holder.Watch(ctx, started, handle)
}
