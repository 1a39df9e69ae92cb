package worktree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
)

// disk is what a checkout finds in the directory, as far as it is concerned with it.
type disk struct {
	files map[string]File
	dirs  map[string]fs.FileMode
	// others is what is there and is neither file nor directory to us: named pipes and the like, what a rule ignores, and
	// directories not to be looked into. The value is true for a directory.
	others map[string]bool
}

// survey looks at all that is there: files that the listing or the record has are read if that is needed to tell whether they
// are the same, all others only named. Temporary files of a checkout that died are removed.
func (c *checkout) survey(ctx context.Context, exclude []fs.FileInfo) error {
	c.disk = &disk{files: map[string]File{}, dirs: map[string]fs.FileMode{}, others: map[string]bool{}}
	var mu sync.Mutex
	w := &walker{
		tracked: c.tracked,
		exclude: exclude,
		inside:  c.near,
		onDir: func(d *dir) error {
			c.disk.dirs[d.path] = dirPerm(d.info, c.rec.Dirs[d.path])
			return nil
		},
		onOther:     func(path, _ string, isDir bool) { c.disk.others[path] = isDir },
		onIgnored:   func(path string, isDir bool) { c.disk.others[path] = isDir },
		onTemporary: removeTemporary,
	}
	return w.walk(ctx, c.top, func(_ context.Context, r *reader, b batch) error {
		for _, name := range b.names {
			path := b.dir.join(name)
			f, err := r.file(b.dir, name, c.rec.entry(path), c.needs(path))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return fmt.Errorf("file %.200q: %w", path, err)
			}
			mu.Lock()
			c.disk.files[path] = f
			mu.Unlock()
		}
		return nil
	})
}

// removeTemporary removes what looks like a temporary file of ours, and is not a directory.
func removeTemporary(d *dir, name string) error {
	info, err := d.root.Lstat(name)
	if err == nil && !info.IsDir() {
		err = d.root.Remove(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// tracked reports whether rules do not count for a path.
func (c *checkout) tracked(path string) bool {
	if _, ok := c.l.Files[path]; ok {
		return true
	}
	_, ok := c.l.Dirs[path]
	return ok || c.rec.has(path)
}

// needs says at which sizes the bytes of a file matter: those that would make it the same as the listing or the record.
func (c *checkout) needs(path string) func(size int64) bool {
	return func(size int64) bool {
		if d, ok := c.l.Files[path]; ok {
			a, known := d.Attributes()
			if !known || a.Size == uint64(size) {
				return true
			}
		}
		if e, ok := c.rec.Files[path]; ok && e.Attributes.Size == uint64(size) {
			return true
		}
		a, ok := c.rec.Pending[path]
		return ok && a.Size == uint64(size)
	}
}
