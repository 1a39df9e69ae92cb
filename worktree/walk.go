package worktree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"

	"headwater/tree"

	"golang.org/x/sync/errgroup"
)

// batchSize is how many files of one directory are handed to a worker at a time.
const batchSize = 64

// batch is some files and symbolic links of one directory.
type batch struct {
	dir   *dir // to be released
	names []string
}

// walker goes through a directory and all below it. Its functions are called by one goroutine; nil ones are not.
type walker struct {
	tracked     func(path string) bool                // whether a path is listed though the rules ignore it
	exclude     []fs.FileInfo                         // directories that are not looked into
	inside      func(path string) bool                // whether a path is looked at
	onDir       func(d *dir) error                    // a directory below the top
	onOther     func(path, reason string, isDir bool) // what cannot be part of a tree
	onIgnored   func(path string, isDir bool)         // what the rules ignore
	onTemporary func(d *dir, name string) error       // a file of a checkout
	count       int
}

// walk hands all files to work, which some goroutines call side by side.
func (w *walker) walk(ctx context.Context, top *dir, work func(ctx context.Context, r *reader, b batch) error) error {
	g, ctx := errgroup.WithContext(ctx)
	batches := make(chan batch, runtime.GOMAXPROCS(0))
	g.Go(func() error {
		defer close(batches)
		return w.dir(ctx, top, nil, false, batches)
	})
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			var r reader
			for b := range batches {
				err := ctx.Err()
				if err == nil {
					err = work(ctx, &r, b)
				}
				b.dir.release()
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	for b := range batches { // closed by now; after an error some may be left
		b.dir.release()
	}
	return err
}

// dir goes through d. ignored says that the rules ignore d, and only what is tracked is listed in it.
func (w *walker) dir(ctx context.Context, d *dir, rules *ignores, ignored bool, out chan<- batch) error {
	entries, err := d.list()
	if err != nil {
		return fmt.Errorf("list directory %.200q: %w", d.path, err)
	}
	if rules, err = rules.with(d, entries); err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	names, dirs, err := w.sort(d, entries, rules, ignored)
	if err != nil {
		return err
	}
	for names := range slices.Chunk(names, batchSize) {
		select {
		case out <- batch{dir: d.retain(), names: names}:
		case <-ctx.Done():
			d.release()
			return ctx.Err()
		}
	}
	for _, name := range dirs {
		if err := w.below(ctx, d, name, rules, ignored, out); err != nil {
			return err
		}
	}
	return nil
}

// sort picks from the entries of d the files and the directories to go on with.
func (w *walker) sort(d *dir, entries []fs.DirEntry, rules *ignores, ignored bool) (names, dirs []string, err error) {
	for _, e := range entries {
		name := e.Name()
		path := d.join(name)
		switch {
		case w.inside != nil && !w.inside(path):
		case isTemporary(name):
			if w.onTemporary != nil {
				err = errors.Join(err, w.onTemporary(d, name))
			}
		case (ignored || rules.match(path, e.IsDir())) && (w.tracked == nil || !w.tracked(path)):
			if w.onIgnored != nil {
				w.onIgnored(path, e.IsDir())
			}
		default:
			if reason := unfit(path, name, e.Type()); reason != "" {
				w.onOther(path, reason, e.IsDir())
				continue
			}
			if w.count++; w.count > tree.MaxFiles {
				return nil, nil, fmt.Errorf("directory %.200q: more than %d files, which no tree can have", d.path, tree.MaxFiles)
			}
			if e.IsDir() {
				dirs = append(dirs, name)
			} else {
				names = append(names, name)
			}
		}
	}
	return names, dirs, err
}

// below goes on in a directory of d.
func (w *walker) below(ctx context.Context, d *dir, name string, rules *ignores, ignored bool, out chan<- batch) error {
	child, err := d.open(name, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone since it was listed
	}
	if err != nil {
		return fmt.Errorf("open directory %.200q: %w", d.join(name), err)
	}
	defer child.release()
	if isAnyOf(child.info, w.exclude) || isPeers(child.root.Lstat) {
		w.onOther(child.path, "not to be listed: it holds Headwater's own files", true)
		return nil
	}
	if w.onDir != nil {
		if err := w.onDir(child); err != nil {
			return err
		}
	}
	return w.dir(ctx, child, rules, ignored || rules.match(child.path, true), out)
}

// reservedName is the name, in the root of a tree, of what package tree keeps for itself.
const reservedName = ".headwater-dirs"

// unfit says why something cannot be part of a tree.
func unfit(path, name string, kind fs.FileMode) string {
	switch kind {
	case 0, fs.ModeDir, fs.ModeSymlink:
	case fs.ModeNamedPipe:
		return "a named pipe"
	case fs.ModeSocket:
		return "a socket"
	default:
		return "neither a file, a directory nor a symbolic link"
	}
	if path == reservedName {
		return "a name that Headwater keeps for itself"
	}
	if err := tree.CheckName(name); err != nil {
		return fmt.Sprintf("a name that no tree can have: %v", err)
	}
	if err := tree.CheckPath(path); err != nil {
		return fmt.Sprintf("a path that no tree can have: %v", err)
	}
	return ""
}
