package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"headwater/author"
	"headwater/bucket"
	"headwater/tree"
	"headwater/worktree"
)

const commitHelp = `Make what is in DIR the next version of a bucket, and announce it. Files that did not
change keep their blobs; what is new is encrypted and put into the object stores. No
peer needs to run, and one that runs learns of the version from the bus.

Where DIR was checked out or committed before, and others have written since, their
changes stay: both are merged, and a file that both changed is kept twice. Otherwise
the new version holds what DIR holds, and nothing else.

.headwaterignore files, in the syntax of .gitignore, say what to leave out.`

// commitOptions are the flags of commit.
type commitOptions struct {
	desk    deskOptions
	publish bool
	force   bool
}

func (a *app) commitCommand() *cobra.Command {
	var o commitOptions
	cmd := &cobra.Command{
		Use: "commit BUCKET DIR", Short: "Make a directory the next version of a bucket", Long: commitHelp,
		Example: "  headwater commit photos ~/Pictures\n  headwater commit photos ~/Pictures --publish",
		Args:    usageArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDesk(cmd.Context(), o.desk, func(d *desk) error {
				return d.commit(cmd.Context(), args[0], args[1], o)
			})
		},
	}
	o.desk.bind(cmd)
	cmd.Flags().BoolVar(&o.publish, "publish", false, "let mirrors read this version")
	cmd.Flags().BoolVar(&o.force, "force", false, "make the version what DIR is, without the changes of others that DIR lacks")
	return cmd
}

// edition is a version to be made: what it follows on, and what is known of the directory that it comes from.
type edition struct {
	dir    string // absolute
	heads  author.Heads
	before *tree.Listing    // of the head
	record *worktree.Record // nil where the directory has none, or it does not count
	answer versionAnswer
}

func (d *desk) commit(ctx context.Context, name, dir string, o commitOptions) error {
	e, err := d.edition(ctx, name, dir, o.force)
	if err != nil {
		return err
	}
	return d.finishCommit(ctx, name, e, o)
}

// finishCommit makes the version that edition has begun.
func (d *desk) finishCommit(ctx context.Context, name string, e *edition, o commitOptions) error {
	scanned, err := d.scan(ctx, e)
	if err != nil {
		return err
	}
	held, after, err := d.store(ctx, e, scanned)
	if err != nil {
		return err
	}
	head := e.heads.Head
	e.count(after)
	origin := originOf(head)
	e.answer.Unchanged = e.answer.Unchanged && (!o.publish || head.Published())
	if !e.answer.Unchanged {
		d.notes.next = func(link bucket.Link) error {
			origin = worktree.Origin{Bucket: head.Bucket, Version: link, Height: head.Height + 1}
			return d.notes.Save(ctx, e.dir, worktree.NewRecord(origin, scanned, held))
		}
		change := author.Change{Tree: after, Prev: e.before, Publish: o.publish}
		if _, err := d.next(ctx, head, change, &e.answer); err != nil {
			return err
		}
	}
	// An unchanged directory gets its record too: it may have caught up by itself.
	if err := d.records.Save(ctx, e.dir, worktree.NewRecord(origin, scanned, held)); err != nil {
		return err
	}
	if err := d.notes.Remove(e.dir); err != nil {
		return err
	}
	return d.printCommit(name, e)
}

func originOf(v *bucket.Version) worktree.Origin {
	return worktree.Origin{Bucket: v.Bucket, Version: v.Link, Height: v.Height}
}

// edition finds what a commit of a directory follows on.
func (d *desk) edition(ctx context.Context, name, dir string, force bool) (*edition, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	id, err := d.find(ctx, name)
	if err != nil {
		return nil, err
	}
	e := &edition{dir: abs}
	if e.heads, err = d.heads(ctx, id); err != nil {
		return nil, err
	}
	if err := d.mayWrite(e.heads.Head); err != nil {
		return nil, err
	}
	d.noteForks(name, e.heads)
	if err := d.loadRecord(ctx, e, force); err != nil {
		return nil, err
	}
	e.before, err = d.open(ctx, e.heads.Head)
	return e, err
}

// mayWrite refuses a commit before anything is put that would be refused in the end.
func (d *desk) mayWrite(v *bucket.Version) error {
	share, ok := v.Share(d.me)
	switch {
	case !ok:
		return fmt.Errorf("commit to bucket %s: %w: our key %s is not among its shares; an owner can share the bucket with it",
			v.Bucket, author.ErrNotShared, d.me)
	case share.Role != bucket.Owner:
		return fmt.Errorf("commit to bucket %s: %w: we are a mirror, which only holds and reads; an owner can make us one",
			v.Bucket, author.ErrNotOwner)
	}
	return nil
}

// loadRecord reads what the directory had in common with the bucket. With force it does not count.
func (d *desk) loadRecord(ctx context.Context, e *edition, force bool) error {
	if force {
		return nil
	}
	if err := d.settleRecord(ctx, e.dir, e.heads); err != nil {
		return err
	}
	r, err := d.records.Load(e.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	head := e.heads.Head
	if r.Bucket != head.Bucket {
		return fmt.Errorf("%s belongs to bucket %s, not to %s; commit it there anyway with --force", e.dir, r.Bucket, head.Bucket)
	}
	e.record = r
	return d.checkBranch(ctx, e)
}

// checkBranch refuses to commit a directory that stands on a branch of a fork which did not become the head: merging comes
// first, since what the directory lacks of the head would look as if somebody had taken it back.
func (d *desk) checkBranch(ctx context.Context, e *edition) error {
	at := e.record.Version
	if at == e.heads.Head.Link {
		return nil
	}
	fork, _, err := d.branchOf(ctx, e.heads, at)
	if fork == nil || err != nil {
		return err // on the head's branch, or on one that was merged
	}
	return fmt.Errorf("%s stands on version %d (%s), and the fork has another head, version %d (%s). Bring both together "+
		"with 'headwater merge %s', then commit again", e.dir, e.record.Height, short(at),
		e.heads.Head.Height, short(e.heads.Head.Link), e.heads.Head.Bucket)
}

// scan lists what the directory holds.
func (d *desk) scan(ctx context.Context, e *edition) (*worktree.Scanned, error) {
	p := newCount(d.err, "scan", 0)
	defer p.end()
	scanned, err := worktree.Scan(ctx, e.dir, worktree.ScanOptions{
		Record: e.record, Exclude: d.exclude(), Progress: p.set,
	})
	if err != nil {
		return nil, err
	}
	for _, s := range scanned.Skipped {
		e.answer.Skipped = append(e.answer.Skipped, skippedAnswer{s.Path, s.Reason})
	}
	return scanned, nil
}

// exclude is what no tree of files is ever to hold: the peer's own directory, with its key.
func (d *desk) exclude() []string {
	abs, err := filepath.Abs(d.dir)
	if err != nil {
		return nil
	}
	return []string{abs}
}

// store puts what is new in the directory. It returns the tree that the directory holds, and that of the next version, which
// differs from it by what others have changed.
func (d *desk) store(ctx context.Context, e *edition, scanned *worktree.Scanned) (held, after *tree.Listing, err error) {
	p := newCount(d.err, "commit", len(scanned.Files))
	defer p.end()
	held, stored, err := worktree.Store(ctx, scanned, d.bus, worktree.StoreOptions{
		Known: []*tree.Listing{e.before}, Record: e.record, Progress: p.set,
	})
	if err != nil {
		return nil, nil, err
	}
	e.answer.Objects, e.answer.Bytes = stored.Added, stored.Octets
	e.answer.Collisions = tree.Collisions(held)
	if e.record == nil {
		return held, held, nil
	}
	e.record.Settle(scanned)
	height := e.heads.Head.Height + 1
	merged, conflicts := tree.Merge(e.record.Listing(), e.before, held, func(path string) string {
		return tree.ConflictName(path, height, d.me)
	})
	for _, c := range conflicts {
		e.answer.Conflicts = append(e.answer.Conflicts, cmp.Or(c.Copy, c.Path))
	}
	return held, merged, nil
}

// count takes note of what differs between the head and the next version.
func (e *edition) count(after *tree.Listing) {
	changes := tree.Diff(e.before, after)
	e.answer.Unchanged = len(changes) == 0
	for _, c := range changes {
		switch {
		case c.Dir:
		case c.Kind == tree.Added:
			e.answer.Added++
		case c.Kind == tree.Removed:
			e.answer.Removed++
		default:
			e.answer.Modified++
		}
	}
}

// next makes the version after prev, and fills in what is said of it.
func (d *desk) next(ctx context.Context, prev *bucket.Version, c author.Change, answer *versionAnswer) (*bucket.Version, error) {
	v, written, err := d.author.Next(ctx, prev, c)
	if v == nil {
		return nil, err
	}
	made := answerOf(v)
	answer.BucketID, answer.Name, answer.Link, answer.Height = made.BucketID, made.Name, made.Link, made.Height
	answer.Author, answer.Published, answer.Merged = made.Author, made.Published, c.Merged
	answer.Objects += written.Blobs + 1 // and the manifest
	answer.Bytes += written.Octets
	return v, err
}

func (d *desk) printCommit(name string, e *edition) error {
	a := &e.answer
	a.Forks = forkAnswers(e.heads.Forks)
	if a.Unchanged {
		head := answerOf(e.heads.Head)
		a.BucketID, a.Name, a.Link, a.Height, a.Author, a.Published = head.BucketID, head.Name, head.Link, head.Height, head.Author, head.Published
	}
	for _, s := range a.Skipped {
		d.note("left out %s: %s", printable(s.Path), s.Reason)
	}
	for _, c := range a.Collisions {
		d.note("%s are one name where case or accents do not count", printable(fmt.Sprint(c)))
	}
	for _, c := range a.Conflicts {
		d.note("changed here and by others: yours is kept as %s", printable(c))
	}
	if e.record != nil && e.record.Version != e.heads.Head.Link && !a.Unchanged {
		d.note("others wrote since %s was brought up to date; get their changes with: headwater checkout %s %s",
			e.dir, name, e.dir)
	}
	if d.json {
		return writeJSON(d.out, a)
	}
	if a.Unchanged {
		_, err := fmt.Fprintf(d.out, "nothing to commit: version %d of %s holds it all\n", a.Height, printable(a.Name))
		return err
	}
	_, err := fmt.Fprintf(d.out, "committed version %d of %s: %d files added, %d modified, %d removed; %d objects put, %s\n%s\n",
		a.Height, printable(a.Name), a.Added, a.Modified, a.Removed, a.Objects, octets(uint64(a.Bytes)), a.Link)
	return err
}
