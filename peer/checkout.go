package peer

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"headwater/bucket"
	"headwater/tree"
	"headwater/worktree"
)

// CheckoutOptions says which version is checked out, and what may be overwritten for it.
type CheckoutOptions struct {
	At           string // height or link of the version; empty: the newest that can be read
	Path         string // only this file or directory of the tree
	Force        bool   // overwrite files that are not known to be in the bucket
	Delete       bool   // remove files that the bucket does not have
	OutsideLinks bool   // make symbolic links that lead out of the directory too
	// Progress is told how many files, and bytes of them, were written, of total files; nil: nobody is told.
	Progress func(files, bytes int64, total int)
}

// CheckedOut says what a checkout did. Its JSON is what scripts rely on.
type CheckedOut struct {
	BucketID   bucket.ID   `json:"bucket_id"`
	Name       string      `json:"name"`
	Link       bucket.Link `json:"link"`
	Height     uint64      `json:"height"`
	Dir        string      `json:"dir"`
	Written    int         `json:"written"`
	Bytes      int64       `json:"bytes"`
	Unchanged  int         `json:"unchanged"`
	Modes      int         `json:"modes"`
	Removed    int         `json:"removed"`
	Left       []string    `json:"left,omitempty"`
	Skipped    []Skipped   `json:"skipped,omitempty"`
	Collisions [][]string  `json:"collisions,omitempty"`
	Forks      []Fork      `json:"forks,omitempty"`
	Head       bucket.Head `json:"-"` // newest version
}

// Checkout makes a directory what a version of a bucket holds, writing only what differs. What is held here is read here; the
// rest is fetched from the object stores. Every file is verified before any of it is written in clear. Errors are those of
// worktree, [ErrNoBucket], [ErrNoVersion], [ErrNotShared], [ErrNotPublished].
func (s *Session) Checkout(ctx context.Context, id bucket.ID, dir string, o CheckoutOptions) (*CheckedOut, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	view, err := s.look(ctx, id, false)
	if err != nil {
		return nil, err
	}
	v, err := s.at(ctx, view, o.At)
	if err != nil {
		return nil, err
	}
	l, err := s.loadTree(ctx, v)
	if err != nil {
		return nil, err
	}
	if err := s.recoverIntent(ctx, abs, view); err != nil {
		return nil, err
	}
	result, err := s.write(ctx, abs, v, l, o)
	if err != nil {
		return nil, s.lacking(ctx, v, err)
	}
	c := &CheckedOut{
		BucketID: v.Bucket, Name: v.Name, Link: v.Link, Height: v.Height, Dir: abs, Written: result.Written, Bytes: result.Bytes,
		Unchanged: result.Unchanged, Modes: result.Modes, Removed: result.Removed, Left: result.Left,
		Collisions: tree.Collisions(l), Forks: view.forks(), Head: view.head.Head(),
	}
	for _, f := range result.Skipped {
		c.Skipped = append(c.Skipped, Skipped{f.Path, f.Reason})
	}
	return c, nil
}

// write makes the directory what the listing says, and keeps the record of what was done, whether it was all or not.
func (s *Session) write(
	ctx context.Context, abs string, v *bucket.Version, l *tree.Listing, o CheckoutOptions,
) (worktree.Result, error) {
	record, err := s.records.Load(abs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return worktree.Result{}, err
	}
	options := worktree.CheckoutOptions{
		Origin: originOf(v), Path: o.Path, Force: o.Force, Delete: o.Delete, OutsideLinks: o.OutsideLinks, Exclude: s.exclude(),
		Save: func(r *worktree.Record) error { return s.records.Save(ctx, abs, r) },
	}
	if o.Progress != nil {
		options.Progress = func(files, bytes int64) { o.Progress(files, bytes, len(l.Files)) }
	}
	result, record, err := worktree.Checkout(ctx, abs, l, record, s.holder, options)
	if record != nil {
		err = errors.Join(err, s.records.Save(ctx, abs, record))
	}
	return result, err
}
