package peer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"headwater/bucket"
	"headwater/tree"
	"headwater/worktree"
)

// CommitOptions says how a directory becomes the next version.
type CommitOptions struct {
	Upload
	Publish bool // let mirrors read this version
	// Force makes the version what the directory is, without the changes of others that the directory lacks.
	Force bool
	// Scanned and Stored are told how many files, and bytes of them, were looked at and put, of total files if it is known;
	// nil: nobody is told.
	Scanned func(files, bytes int64)
	Stored  func(files, bytes int64, total int)
}

// Commit makes what is in a directory the next version of a bucket. If others have written since the directory was checked out
// or committed, both are merged. On return the version is durable here; see [Made] for whether it is announced. An unchanged
// directory makes no version. [ErrNoBucket], [ErrNotShared], [ErrNotOwner], [ErrStale], or what worktree says.
func (s *Session) Commit(ctx context.Context, id bucket.ID, dir string, o CommitOptions) (*Made, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	c := &committing{s: s, o: o, dir: abs}
	v, err := s.again(ctx, id, func(v *view) (*bucket.Version, error) { return c.try(ctx, v) })
	if err != nil {
		return nil, err
	}
	return c.made, s.announce(ctx, v, c.made, o.Upload)
}

// committing is a commit under way. What was scanned and stored serves every try.
type committing struct {
	s   *Session
	o   CommitOptions
	dir string

	scanned *worktree.Scanned
	held    *tree.Listing // what the directory holds, as stored
	stored  worktree.Stored
	record  *worktree.Record // what the directory had in common with the bucket; nil if nothing, or if it does not count
	made    *Made
}

// try makes the version on one head.
func (c *committing) try(ctx context.Context, v *view) (*bucket.Version, error) {
	c.made = &Made{Forks: v.forks(), Ignored: v.ignored}
	if err := mayWrite(v.head, c.s.ID()); err != nil { // before anything is put
		return nil, err
	}
	if err := c.loadRecord(ctx, v); err != nil {
		return nil, err
	}
	before, err := c.s.loadTree(ctx, v.head)
	if err != nil {
		return nil, err
	}
	if err := c.scan(ctx, before); err != nil {
		return nil, err
	}
	after := c.merge(v.head, before)
	changes := tree.Diff(before, after)
	c.made.count(changes)
	c.made.Unchanged = len(changes) == 0 && (!c.o.Publish || v.head.Published())
	made := v.head
	if c.made.Unchanged {
		c.made.of(v.head)
	} else {
		c.made.Behind = c.record != nil && c.record.Version != v.head.Link && len(tree.Diff(c.record.Listing(), before)) > 0
		change := change{tree: after, before: before, publish: c.o.Publish}
		made, err = c.s.make(ctx, v.head, change, c.made, func(v *bucket.Version) error { return c.save(ctx, c.s.intents, v) })
		if err != nil {
			return nil, err
		}
	}
	// An unchanged directory gets its record too: it may have caught up by itself.
	if err := c.save(ctx, c.s.records, made); err != nil {
		return nil, err
	}
	return made, c.s.intents.Remove(c.dir)
}

// save keeps what the directory has in common with a version.
func (c *committing) save(ctx context.Context, records worktree.Records, v *bucket.Version) error {
	return records.Save(ctx, c.dir, worktree.NewRecord(originOf(v), c.scanned, c.held))
}

func originOf(v *bucket.Version) worktree.Origin {
	return worktree.Origin{Bucket: v.Bucket, Version: v.Link, Height: v.Height}
}

// mayWrite reports why a peer cannot write the version after v: [ErrNotShared], [ErrNotOwner].
func mayWrite(v *bucket.Version, me bucket.PublicKey) error {
	share, ok := v.Share(me)
	switch {
	case !ok:
		return notShared(v, me)
	case share.Role != bucket.Owner:
		return fmt.Errorf("version after %s of bucket %s: %w: we are a mirror, which only holds and reads; an owner can make us one",
			v.Link, v.Bucket, ErrNotOwner)
	}
	return nil
}

func notShared(v *bucket.Version, me bucket.PublicKey) error {
	return fmt.Errorf("version %s of bucket %s: %w: our key %s is not among its shares; an owner can share the bucket with it",
		v.Link, v.Bucket, ErrNotShared, me)
}

// loadRecord reads what the directory had in common with the bucket. With Force it does not count.
func (c *committing) loadRecord(ctx context.Context, v *view) error {
	c.record = nil
	if c.o.Force {
		return nil
	}
	if err := c.s.recoverIntent(ctx, c.dir, v); err != nil {
		return err
	}
	r, err := c.s.records.Load(c.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.Bucket != v.head.Bucket {
		return fmt.Errorf("%s belongs to bucket %s, not to %s; commit it there anyway with --force", c.dir, r.Bucket, v.head.Bucket)
	}
	c.record = r
	return c.checkBranch(ctx, v)
}

// checkBranch refuses to commit a directory that is on a branch of a fork which did not become the head: merging comes first,
// since what the directory lacks of the head would look as if somebody had taken it back.
func (c *committing) checkBranch(ctx context.Context, v *view) error {
	at := c.record.Version
	branch, _, err := c.s.branchOf(ctx, v, at)
	if branch == nil || err != nil {
		return err // on the head's branch, or on one that was merged
	}
	return fmt.Errorf("%s stands on version %d (%s), and the fork has another head, version %d (%s). Bring both together "+
		"with 'headwater merge %s', then commit again", c.dir, c.record.Height, at, v.head.Height, v.head.Link, v.head.Bucket)
}

// scan lists what the directory holds and puts what is new in it, once for all tries.
func (c *committing) scan(ctx context.Context, before *tree.Listing) (err error) {
	if c.scanned == nil {
		c.scanned, err = worktree.Scan(ctx, c.dir, worktree.ScanOptions{
			Record: c.record, Exclude: c.s.exclude(), Progress: c.o.Scanned,
		})
		if err != nil {
			return err
		}
		o := worktree.StoreOptions{Known: []*tree.Listing{before}, Record: c.record}
		if c.o.Stored != nil {
			o.Progress = func(files, bytes int64) { c.o.Stored(files, bytes, len(c.scanned.Files)) }
		}
		if c.held, c.stored, err = worktree.Store(ctx, c.scanned, c.s.holder, o); err != nil {
			c.scanned = nil
			return err
		}
	}
	for _, s := range c.scanned.Skipped {
		c.made.Skipped = append(c.made.Skipped, Skipped{s.Path, s.Reason})
	}
	c.made.Objects, c.made.Bytes = c.stored.Added, c.stored.Bytes
	c.made.Collisions = tree.Collisions(c.held)
	return nil
}

// merge returns the tree of the next version, which differs from what the directory holds by what others have changed.
func (c *committing) merge(head *bucket.Version, before *tree.Listing) *tree.Listing {
	if c.record == nil {
		return c.held
	}
	c.record.Settle(c.scanned)
	merged, conflicts := tree.Merge(c.record.Listing(), before, c.held, func(path string) string {
		return tree.ConflictName(path, head.Height+1, c.s.ID())
	})
	for _, f := range conflicts {
		c.made.Conflicts = append(c.made.Conflicts, cmp.Or(f.Copy, f.Path))
	}
	return merged
}

func (m *Made) count(changes []tree.Change) {
	for _, c := range changes {
		switch {
		case c.Dir:
		case c.Kind == tree.Added:
			m.Added++
		case c.Kind == tree.Removed:
			m.Removed++
		default:
			m.Modified++
		}
	}
}

// recoverIntent ends what a commit of the directory began before it died: if its version was made, the directory gets the
// record that was kept for it. Without that the next commit would take this very version for the work of others.
func (s *Session) recoverIntent(ctx context.Context, dir string, v *view) error {
	r, err := s.intents.Load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || r.Bucket != v.head.Bucket {
		return err
	}
	_, made, err := s.branchOf(ctx, v, r.Version)
	if err == nil && made {
		err = s.records.Save(ctx, dir, r)
	}
	if err != nil {
		return err
	}
	return s.intents.Remove(dir)
}

// branchOf reports whether the log has a version of that link, and on which branch it is: that of a tip or, if that is nil,
// the head's.
func (s *Session) branchOf(ctx context.Context, v *view, link bucket.Link) (branch *tip, made bool, err error) {
	if made, err = s.inChain(ctx, v.head, link); made || err != nil {
		return nil, made, err
	}
	for i := range v.tips {
		if made, err = s.inChain(ctx, v.tips[i].Version, link); made || err != nil {
			return &v.tips[i], made, err
		}
	}
	return nil, false, nil
}
