package worktree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"headwater/tree"
)

// ScanOptions says how a directory is scanned.
type ScanOptions struct {
	// Record is what is known of the directory; nil for nothing. Files that are as it says are not read again, and paths that it
	// has are listed even if a rule ignores them: else they would count as deleted.
	Record *Record
	// Exclude lists directories that are never looked into, wherever they turn up, besides those that look like a peer's own:
	// they hold a private key.
	Exclude []string
	// Progress is called now and then with the files and bytes looked at so far, never twice at the same time; nil for none.
	Progress func(files, size int64)
}

// Scanned is what a directory held.
type Scanned struct {
	Files map[string]File
	Dirs  map[string]fs.FileMode // permission bits
	// Skipped is what cannot be part of a tree, by path: named pipes, sockets, devices, names that not all systems can have.
	// What a rule ignores is not among it.
	Skipped []Skip
	// Read is how many files had to be read, since the record did not know them.
	Read int

	dir string
}

// Scan lists a directory: its regular files with the hashes of their bytes, its symbolic links, which are not followed, and
// its directories with their permissions. Rules in files named [IgnoreFile] are honoured. Files are read by
// GOMAXPROCS workers; besides the list, that takes 256 KiB each.
//
// What cannot be read is an error, and so is a file that changes each time it is read ([ErrChanged]): left out, it would count as
// deleted. [ErrBusy] is returned while a checkout is at work in the directory, and [ErrPrivate] for a peer's own.
func Scan(ctx context.Context, dir string, o ScanOptions) (*Scanned, error) {
	s, err := scan(ctx, dir, o)
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", dir, err)
	}
	return s, nil
}

// scanner gathers what the workers find.
type scanner struct {
	*Scanned
	o    ScanOptions
	mu   sync.Mutex
	size int64
}

func scan(ctx context.Context, dir string, o ScanOptions) (*Scanned, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if o.Record == nil {
		o.Record = &Record{}
	}
	s := &scanner{Scanned: &Scanned{Files: map[string]File{}, Dirs: map[string]fs.FileMode{}, dir: abs}, o: o}
	w, err := s.walker()
	if err == nil {
		err = checkPublic(abs, w.exclude)
	}
	if err != nil {
		return nil, err
	}
	top, err := openTop(abs)
	if err != nil {
		return nil, err
	}
	defer top.release()
	unlock, err := lock(abs, false)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := w.walk(ctx, top, s.files); err != nil {
		return nil, err
	}
	slices.SortFunc(s.Skipped, func(a, b Skip) int { return strings.Compare(a.Path, b.Path) })
	return s.Scanned, nil
}

func (s *scanner) walker() (*walker, error) {
	exclude, err := statAll(s.o.Exclude)
	if err != nil {
		return nil, err
	}
	return &walker{
		tracked: s.o.Record.has,
		exclude: exclude,
		onDir: func(d *dir) error {
			s.Dirs[d.path] = dirPerm(d.info, s.o.Record.Dirs[d.path])
			return nil
		},
		onOther: func(path, reason string, _ bool) { s.Skipped = append(s.Skipped, Skip{path, reason}) },
	}, nil
}

// dirPerm returns the permissions of a directory; if the system has none, those known already.
func dirPerm(info fs.FileInfo, known fs.FileMode) fs.FileMode {
	switch {
	case hasPerms:
		return info.Mode().Perm()
	case known != 0:
		return known
	}
	return tree.DefaultDirPerm
}

// files scans some files of one directory.
func (s *scanner) files(_ context.Context, r *reader, b batch) error {
	found := make(map[string]File, len(b.names))
	var size int64
	before := r.read
	for _, name := range b.names {
		path := b.dir.join(name)
		f, err := r.file(b.dir, name, s.o.Record.entry(path), nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since it was listed
		}
		if err != nil {
			return fmt.Errorf("file %.200q: %w", path, err)
		}
		if !f.Attributes.Symlink {
			f.Source = s.source(path, f)
		}
		found[path] = f
		size += int64(f.Attributes.Size)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, f := range found {
		s.Files[path] = f
	}
	s.size += size
	s.Read += r.read - before
	if s.o.Progress != nil {
		s.o.Progress(int64(len(s.Files)), s.size)
	}
	return nil
}

// source returns the source of a regular file.
func (s *Scanned) source(path string, f File) tree.Source {
	return tree.Source{Size: f.size, Open: func() (io.ReadCloser, error) {
		top, err := os.OpenRoot(s.dir)
		if err != nil {
			return nil, err
		}
		defer top.Close()
		return f.open(top, path)
	}}
}

// again scans one file anew.
func (s *Scanned) again(path string) (File, error) {
	top, err := openTop(s.dir)
	if err != nil {
		return File{}, err
	}
	defer top.release()
	o := newOpener(top)
	defer o.close()
	d, name, err := o.parent(path)
	if err != nil {
		return File{}, err
	}
	f, err := new(reader).file(d, name, nil, nil)
	if err == nil && !f.Attributes.Symlink {
		f.Source = s.source(path, f)
	}
	return f, err
}
