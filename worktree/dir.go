package worktree

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync/atomic"
)

// dir is an open directory of the work tree. All that is done in it is done by a single name, so no name of a path is
// looked up twice, and none leads through a symbolic link.
type dir struct {
	root *os.Root
	path string      // from the top, with slashes; empty for the top itself
	info fs.FileInfo // as of when it was opened
	refs atomic.Int32
}

func newDir(root *os.Root, path string, info fs.FileInfo) *dir {
	d := &dir{root: root, path: path, info: info}
	d.refs.Store(1)
	return d
}

// openTop opens the directory itself; here, and only here, symbolic links are followed.
func openTop(name string) (*dir, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	info, err := root.Lstat(".")
	if err != nil {
		_ = root.Close()
		return nil, err
	}
	return newDir(root, "", info), nil
}

// open opens a directory of d. What was opened is compared with what the name stands for: a symbolic link to another
// directory of the same tree would have been followed. before, if it is not nil, is told what is going to be opened.
func (d *dir) open(name string, before func(fs.FileInfo) error) (*dir, error) {
	was, err := d.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !was.IsDir() {
		return nil, fmt.Errorf("%.200q: %w: no longer a directory", d.join(name), ErrChanged)
	}
	if before != nil {
		if err := before(was); err != nil {
			return nil, err
		}
	}
	root, err := d.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	is, err := root.Lstat(".")
	if err == nil && !os.SameFile(was, is) {
		err = fmt.Errorf("%.200q: %w: the directory was replaced", d.join(name), ErrChanged)
	}
	if err != nil {
		_ = root.Close()
		return nil, err
	}
	return newDir(root, d.join(name), is), nil
}

// retain adds a user of d; each one releases it.
func (d *dir) retain() *dir {
	d.refs.Add(1)
	return d
}

func (d *dir) release() {
	if d.refs.Add(-1) == 0 {
		_ = d.root.Close()
	}
}

func (d *dir) join(name string) string {
	if d.path == "" {
		return name
	}
	return d.path + "/" + name
}

// list returns the entries in no particular order.
func (d *dir) list() ([]fs.DirEntry, error) {
	f, err := d.root.OpenFile(".", os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}

// chmod sets the permissions of d itself.
func (d *dir) chmod(perm fs.FileMode) error { return d.root.Chmod(".", perm) }

// unchanged reports whether name still stands for the file that was looked at.
func (d *dir) unchanged(name string, f *File) bool {
	info, err := d.root.Lstat(name)
	return err == nil && f.is(info)
}

// splitPath splits off the last name of a path; the directory of a path without slashes is empty.
func splitPath(p string) (dir, name string) {
	i := strings.LastIndexByte(p, '/')
	return p[:max(i, 0)], p[i+1:]
}

// opener goes from directory to directory, and holds those on the way to the last one open. Paths in ascending order cost
// least. It is not safe for concurrent use.
type opener struct {
	stack []*dir // from the top down
	// enter is called with each directory below the top before it is opened; nil for nothing.
	enter func(parent *dir, name string, info fs.FileInfo) error
}

func newOpener(top *dir) *opener { return &opener{stack: []*dir{top.retain()}} }

// at opens a directory. It belongs to the opener: retain it to use it after the next call.
func (o *opener) at(p string) (*dir, error) {
	for last := o.last(); last.path != "" && p != last.path && !strings.HasPrefix(p, last.path+"/"); last = o.last() {
		last.release()
		o.stack = o.stack[:len(o.stack)-1]
	}
	for {
		d := o.last()
		if d.path == p {
			return d, nil
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(p, d.path), "/"), "/")
		next, err := d.open(name, func(info fs.FileInfo) error {
			if o.enter == nil {
				return nil
			}
			return o.enter(d, name, info)
		})
		if err != nil {
			return nil, err
		}
		o.stack = append(o.stack, next)
	}
}

func (o *opener) last() *dir { return o.stack[len(o.stack)-1] }

// parent opens the directory that p stands in, and returns p's name there.
func (o *opener) parent(p string) (*dir, string, error) {
	parent, name := splitPath(p)
	d, err := o.at(parent)
	return d, name, err
}

func (o *opener) close() {
	for _, d := range o.stack {
		d.release()
	}
	o.stack = nil
}

// ancestors calls yield with each directory on the way to p, deepest first.
func ancestors(p string, yield func(string) bool) {
	for d := path.Dir(p); d != "."; d = path.Dir(d) {
		if !yield(d) {
			return
		}
	}
}
