package worktree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"headwater/blobstore"
	"headwater/durable"
	"headwater/tree"
)

// CheckoutOptions says how [Checkout] makes a directory what a listing says.
type CheckoutOptions struct {
	// Origin is the version that the listing is of; it goes into the record.
	Origin Origin
	// Path limits the checkout to one file or directory of the tree and what is below it; empty for all.
	Path string
	// Force overwrites and removes whatever stands where the listing wants something else, and takes over a directory that
	// was of another bucket.
	Force bool
	// Delete removes files that the listing does not have, ours or not; what a rule in a file named [IgnoreFile] ignores stays.
	Delete bool
	// OutsideLinks makes symbolic links that lead, or may lead, out of the directory too.
	OutsideLinks bool
	// Exclude lists directories that are never looked into, besides those that look like a peer's own.
	Exclude []string
	// Save, if it is not nil, is called once before anything is changed, with the record as it is to be kept, so that a
	// checkout that dies leaves no file that the next one does not know. Usually [Records.Save].
	Save func(*Record) error
	// Progress is called with the files and bytes written so far, never twice at the same time; nil for none.
	Progress func(files, size int64)
}

// Result says what a checkout did.
type Result struct {
	Written   int   // files and links whose bytes were written
	Bytes     int64 // plain bytes written
	Unchanged int   // files that were as they should be already
	Modes     int   // files of which only the permissions were changed
	Made      int   // directories made
	Removed   int   // files removed
	// Left is the files that the listing does not have and that were not ours to remove, ascending, without those that a rule
	// ignores.
	Left []string
	// Skipped is what the listing has and the directory cannot or should not have, ascending.
	Skipped []Skip
}

// checkout is one run of Checkout.
type checkout struct {
	o     CheckoutOptions
	r     blobstore.Reader
	l     *tree.Listing
	rec   *Record // what was known before
	out   *Record // what is known by now
	top   *dir
	disk  *disk
	folds bool // the file system does not tell names apart by case
	run   string
	temps atomic.Uint32

	skipped map[string]string      // paths of the listing that are not made, and why
	opened  map[string]fs.FileMode // directories that were made writable, and their permissions before
	made    map[string]bool        // directories that were made
	touched map[string]bool        // directories to be synced one by one
	late    []string               // files that turned out not to be ours when it was their turn
	sync    *syncer
	res     Result
}

// Checkout makes a directory what l says, as far as it differs, and returns the record of it. The directory is made if it is
// missing. rec is what is known of it, and is not changed; nil for nothing.
//
// First all is planned. If a file is in the way that is not ours (see the package comment), and o.Force does not say to
// overwrite it, the error is a [*ConflictError], and nothing was changed. Then files are fetched from r and written, several at
// a time; every blob is verified before any byte of it is written in clear, and a file gets its name only when it is whole and
// durable. Then files that the record has and l has not are removed, and directories that this leaves empty. All is durable on
// return.
//
// The record is returned after an error too, once the work has begun: it says what was done until then, and should be saved.
// Errors are [ErrBusy], [ErrOtherBucket], [ErrPrivate], fs.ErrNotExist if l has nothing at o.Path, those of [tree.Restore] and
// [tree.ReadFile], and those of the disk.
func Checkout(ctx context.Context, dir string, l *tree.Listing, rec *Record, r blobstore.Reader, o CheckoutOptions) (Result, *Record, error) {
	c, err := newCheckout(l, rec, r, o)
	if err == nil {
		err = c.in(ctx, dir)
	}
	if err != nil {
		err = fmt.Errorf("check out to %s: %w", dir, err)
	}
	return c.res, c.out, err
}

func newCheckout(l *tree.Listing, rec *Record, r blobstore.Reader, o CheckoutOptions) (*checkout, error) {
	c := &checkout{
		o: o, l: l, r: r, rec: &Record{}, run: randomDigits(),
		skipped: map[string]string{}, opened: map[string]fs.FileMode{}, made: map[string]bool{}, touched: map[string]bool{},
	}
	if rec != nil && !rec.Bucket.IsZero() && rec.Bucket != o.Origin.Bucket {
		if !o.Force {
			return c, fmt.Errorf("%w: %s; choose another directory, or check out with --force", ErrOtherBucket, rec.Bucket)
		}
		rec = nil
	}
	if rec != nil {
		c.rec = rec
	}
	if err := l.Check(); err != nil {
		return c, err
	}
	if o.Path != "" && !c.hasPath(o.Path) {
		return c, fmt.Errorf("path %.200q: %w in this version", o.Path, fs.ErrNotExist)
	}
	return c, nil
}

// hasPath reports whether the listing or the record has a path.
func (c *checkout) hasPath(path string) bool {
	_, isFile := c.l.Files[path]
	_, isDir := c.l.Dirs[path]
	return isFile || isDir || c.rec.has(path)
}

// in does the checkout in a directory.
func (c *checkout) in(ctx context.Context, name string) error {
	abs, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	exclude, err := statAll(c.o.Exclude)
	if err == nil {
		err = checkPublic(abs, exclude)
	}
	if err == nil {
		err = makeTop(abs)
	}
	if err != nil {
		return err
	}
	if c.top, err = openTop(abs); err != nil {
		return err
	}
	defer c.top.release()
	unlock, err := lock(abs, true)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.survey(ctx, exclude); err != nil {
		return err
	}
	p, err := c.plan(ctx)
	if err != nil {
		return err
	}
	return c.do(ctx, p)
}

// makeTop makes a directory and those above it, durably.
func makeTop(abs string) error {
	if _, err := os.Stat(abs); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	above := filepath.Dir(abs)
	if err := makeTop(above); err != nil {
		return err
	}
	if err := os.Mkdir(abs, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return durable.SyncDir(above)
}

// within reports whether a path is among those that are checked out.
func (c *checkout) within(path string) bool {
	return c.o.Path == "" || path == c.o.Path || strings.HasPrefix(path, c.o.Path+"/")
}

// near reports whether a path is checked out, or on the way to one that is.
func (c *checkout) near(path string) bool {
	return c.within(path) || strings.HasPrefix(c.o.Path, path+"/")
}

// do carries out a plan.
func (c *checkout) do(ctx context.Context, p *plan) (err error) {
	c.out = c.rec.clone()
	if c.out.Bucket.IsZero() {
		c.out.Origin = Origin{Bucket: c.o.Origin.Bucket}
	}
	c.out.takeOver(c.disk.files, c.disk.dirs) // what a checkout that died has written stays ours, if this one dies too
	maps.Copy(c.out.Files, p.same)
	c.out.pend(c.within, p.pending)
	if c.o.Save != nil && p.changes() {
		if err := c.o.Save(c.out); err != nil {
			return err
		}
	}
	if c.sync, err = newSyncer(c.top, len(p.write)); err != nil {
		return err
	}
	defer c.sync.close()
	err = c.change(ctx, p)
	if err = errors.Join(err, c.finishDirs(err == nil), c.sync.all()); err != nil {
		return err
	}
	c.finish(p)
	if len(c.late) > 0 {
		slices.Sort(c.late)
		return &ConflictError{Paths: c.late, Late: true}
	}
	return nil
}

// change does all of a plan but the permissions of directories.
func (c *checkout) change(ctx context.Context, p *plan) error {
	for _, step := range []func(context.Context, *plan) error{c.clear, c.makeDirs, c.writeAll, c.setModes, c.remove} {
		if err := errors.Join(ctx.Err(), step(ctx, p)); err != nil {
			return err
		}
	}
	return nil
}

// finish brings the record and the result in order once all is done.
func (c *checkout) finish(p *plan) {
	c.out.Origin = c.o.Origin
	c.out.pend(c.within, nil)
	for path := range c.out.Files {
		_, wanted := c.l.Files[path]
		if !wanted && c.within(path) {
			delete(c.out.Files, path)
		}
	}
	for path := range c.out.Dirs {
		if _, wanted := c.l.Dirs[path]; !wanted && c.within(path) {
			delete(c.out.Dirs, path)
		}
	}
	for path, reason := range c.skipped {
		c.res.Skipped = append(c.res.Skipped, Skip{path, reason})
	}
	slices.SortFunc(c.res.Skipped, func(a, b Skip) int { return strings.Compare(a.Path, b.Path) })
	slices.Sort(p.left)
	c.res.Left = p.left
}
