package worktree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"headwater/tree"
)

// opener returns an opener of directories. It makes those writable that their owner may not write in, until finishDirs.
func (c *checkout) opener() (*opener, error) {
	o := newOpener(c.top)
	o.enter = func(parent *dir, name string, info fs.FileInfo) error {
		return c.makeWritable(parent, name, parent.join(name), info)
	}
	if err := c.makeWritable(c.top, ".", "", c.top.info); err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

func (c *checkout) makeWritable(parent *dir, name, path string, info fs.FileInfo) error {
	perm := info.Mode().Perm()
	if _, ok := c.opened[path]; ok || !hasPerms || perm&0o700 == 0o700 {
		return nil
	}
	if err := parent.root.Chmod(name, perm|0o700); err != nil {
		return err
	}
	c.opened[path] = perm
	return nil
}

// each calls do with each path, its directory and its name there.
func (c *checkout) each(ctx context.Context, paths []string, do func(d *dir, name, path string) error) error {
	if len(paths) == 0 {
		return nil
	}
	o, err := c.opener()
	if err != nil {
		return err
	}
	defer o.close()
	for _, path := range paths {
		if err := ctx.Err(); err != nil {
			return err
		}
		d, name, err := o.parent(path)
		if err == nil {
			err = do(d, name, path)
		}
		if err != nil {
			return fmt.Errorf("%.200q: %w", path, err)
		}
		c.touch(d)
	}
	return nil
}

// touch notes that names in d were changed.
func (c *checkout) touch(d *dir) {
	if c.sync.each(d) {
		c.touched[d.path] = true
	}
}

// clear removes what stands where the listing wants something else.
func (c *checkout) clear(ctx context.Context, p *plan) error {
	err := c.each(ctx, p.clear, func(d *dir, name, path string) error {
		f, isFile := c.disk.files[path]
		if !isFile {
			return d.root.RemoveAll(name)
		}
		return c.removeFile(d, name, path, &f)
	})
	if err != nil {
		return err
	}
	return c.each(ctx, p.clearDirs, c.removeDir)
}

// removeFile removes a file that is still the one that was looked at.
func (c *checkout) removeFile(d *dir, name, path string, f *File) error {
	if !d.unchanged(name, f) {
		return ErrChanged
	}
	if err := d.root.Remove(name); err != nil {
		return err
	}
	delete(c.out.Files, path)
	c.res.Removed++
	return nil
}

// removeDir removes an empty directory.
func (c *checkout) removeDir(d *dir, name, path string) error {
	if err := d.root.Remove(name); err != nil {
		return err
	}
	delete(c.touched, path)
	delete(c.opened, path)
	return nil
}

// remove removes the files that the listing does not have, and directories that this leaves empty.
func (c *checkout) remove(ctx context.Context, p *plan) error {
	err := c.each(ctx, p.remove, func(d *dir, name, path string) error {
		f := c.disk.files[path]
		err := c.removeFile(d, name, path, &f)
		if errors.Is(err, ErrChanged) {
			p.left = append(p.left, path)
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.each(ctx, p.removeDirs, func(d *dir, name, path string) error {
		err := c.removeDir(d, name, path)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if child, openErr := d.open(name, nil); openErr == nil {
			defer child.release()
			if entries, listErr := child.list(); listErr == nil && len(entries) > 0 {
				return nil // not empty: somebody else's files are in it
			}
		}
		return err
	})
}

// perm returns the permissions that the listing has for a directory.
func (c *checkout) perm(path string) fs.FileMode {
	if perm := c.l.Dirs[path].Perm; perm != 0 {
		return perm
	}
	return tree.DefaultDirPerm
}

// makeDirs makes directories with their final permissions, but still writable.
func (c *checkout) makeDirs(ctx context.Context, p *plan) error {
	err := c.each(ctx, p.dirs, func(d *dir, name, path string) error {
		perm := c.perm(path) | 0o700
		err := d.root.Mkdir(name, perm)
		if errors.Is(err, fs.ErrExist) {
			return nil // made meanwhile; if it is no directory, opening it will tell
		}
		if err != nil {
			return err
		}
		c.made[path] = true
		c.res.Made++
		child, err := d.open(name, nil)
		if err != nil {
			return err
		}
		defer child.release()
		if err := child.chmod(perm); err != nil { // whatever the umask took
			return err
		}
		c.touch(child)
		return nil
	})
	for path := range c.l.Dirs {
		if c.wantsDir(path) {
			c.out.Dirs[path] = c.perm(path)
		}
	}
	return err
}

// setModes gives files other permissions.
func (c *checkout) setModes(ctx context.Context, p *plan) error {
	jobs := make(map[string]job, len(p.modes))
	paths := make([]string, 0, len(p.modes))
	for _, j := range p.modes {
		jobs[j.path] = j
		paths = append(paths, j.path)
	}
	return c.each(ctx, paths, func(d *dir, name, path string) error {
		j := jobs[path]
		if !d.unchanged(name, j.have) {
			c.late = append(c.late, path)
			return nil
		}
		if err := d.root.Chmod(name, j.attr.Perm); err != nil {
			return err
		}
		e := entryOf(j, *j.have)
		e.stamp = stamp{}
		if info, err := d.root.Lstat(name); err == nil && j.have.settled && info.ModTime().UnixNano() == j.have.stamp.Modified {
			e.stamp = stampOf(info)
		}
		c.out.Files[path] = e
		c.res.Modes++
		return nil
	})
}

// finishDirs gives directories their final permissions, deepest first, and syncs those that have to be synced one by one.
// If the checkout failed, it only restores those that were made writable.
func (c *checkout) finishDirs(done bool) error {
	paths := maps.Clone(c.touched)
	for path := range c.opened {
		paths[path] = true
	}
	for path := range c.l.Dirs {
		if done && c.wantsDir(path) && c.target(path) != c.current(path) {
			paths[path] = true
		}
	}
	o := newOpener(c.top)
	defer o.close()
	var errs []error
	for _, path := range slices.Backward(slices.Sorted(maps.Keys(paths))) {
		if err := c.finishDir(o, path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("directory %.200q: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

func (c *checkout) finishDir(o *opener, path string) error {
	d, err := o.at(path)
	if err != nil {
		return err
	}
	var f *os.File
	if c.touched[path] { // opened first: once it has its permissions it may not be readable
		if f, err = d.root.OpenFile(".", os.O_RDONLY|openFlags, 0); err != nil {
			return err
		}
		defer f.Close()
	}
	if target := c.target(path); hasPerms && target != c.current(path) {
		if err := d.chmod(target); err != nil {
			return err
		}
	}
	if f == nil {
		return nil
	}
	return syncDir(f)
}

// before returns the permissions a directory had before the checkout.
func (c *checkout) before(path string) fs.FileMode {
	if perm, ok := c.opened[path]; ok {
		return perm
	}
	if path == "" {
		return c.top.info.Mode().Perm()
	}
	return c.disk.dirs[path]
}

// current returns the permissions a directory has by now.
func (c *checkout) current(path string) fs.FileMode {
	if c.made[path] {
		return c.perm(path) | 0o700
	}
	if _, ok := c.opened[path]; ok {
		return c.before(path) | 0o700
	}
	return c.before(path)
}

// target returns the final permissions of a directory: those of the listing if it says any other than the default, or if
// the directory was made by this checkout or has the permissions of the record; any other directory that was there before
// keeps its own.
func (c *checkout) target(path string) fs.FileMode {
	want := c.perm(path)
	was, known := c.rec.Dirs[path]
	switch {
	case !c.wantsDir(path):
		return c.before(path)
	case c.made[path], want != tree.DefaultDirPerm, known && was == c.before(path):
		return want
	}
	return c.before(path)
}
