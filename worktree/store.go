package worktree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sync"

	"headwater/bucket"
	"headwater/tree"
)

// StoreOptions says what [Store] need not put again.
type StoreOptions struct {
	// Known are trees whose blobs are held where the new one's will be: the version before, the versions that are merged. Their
	// attributes are believed: a file that has the size and hash of one of theirs gets its blob. None is fine.
	Known []*tree.Listing
	// Record is the record the scan was made with: it knows the files of a tree that has no attributes, as another program
	// wrote it. nil for none.
	Record *Record
	// Progress is called with the files and bytes done so far, never twice at the same time; nil for none.
	Progress func(files, size int64)
}

// Stored counts what [Store] did.
type Stored struct {
	Added  int   // files whose bytes were put
	Reused int   // files whose bytes a known tree has, or another file of this one
	Bytes  int64 // plain bytes put
}

// content is what tells the bytes of files apart.
type content struct {
	size uint64
	hash bucket.Hash
}

func contentOf(a tree.Attributes) content { return content{a.Size, a.Hash} }

// storer is one run of Store.
type storer struct {
	s    *Scanned
	w    tree.Writer
	o    StoreOptions
	held map[content]tree.Data // by content, from the known trees

	mu    sync.Mutex
	out   *tree.Listing
	done  Stored
	files int64
	sum   int64
}

// Store makes a tree of what was scanned. A file that one of the known trees has, at the same path or at any other, gets that
// one's blob and secret; all others are sealed with fresh secrets and put, several at a time, files of the same bytes once.
// It takes up to some 32 MiB of memory besides the lists.
//
// A file that changed since the scan is read and put as it is by then; one that changes each time it is tried is
// [ErrChanged]. So is one that is gone. All blobs are as durable on return as w makes them; after an error some are put.
func Store(ctx context.Context, s *Scanned, w tree.Writer, o StoreOptions) (*tree.Listing, Stored, error) {
	st := &storer{s: s, w: w, o: o, out: tree.NewListing()}
	st.index()
	for dir, perm := range s.Dirs {
		st.out.Dirs[dir] = tree.Folder{Perm: perm}
	}
	groups := map[content][]string{}
	for p, f := range s.Files {
		if d, ok := st.known(p, f.Attributes); ok {
			st.reuse(p, d)
			continue
		}
		c := contentOf(f.Attributes)
		groups[c] = append(groups[c], p)
	}
	if err := st.putAll(ctx, groups); err != nil {
		return nil, st.done, fmt.Errorf("store %s: %w", s.dir, err)
	}
	return st.out, st.done, nil
}

// index lists the contents of the known trees; if several have one, the first.
func (st *storer) index() {
	st.held = map[content]tree.Data{}
	for _, l := range st.o.Known {
		for p, d := range l.Files {
			a, ok := st.attributes(p, d)
			if _, held := st.held[contentOf(a)]; ok && !held {
				st.held[contentOf(a)] = d
			}
		}
	}
}

// attributes returns those of a known entry; if it has none of its own, those that it had when it was checked out.
func (st *storer) attributes(p string, d tree.Data) (tree.Attributes, bool) {
	if a, ok := d.Attributes(); ok || st.o.Record == nil {
		return a, ok
	}
	e := st.o.Record.entry(p)
	if e == nil || e.Data.Link != d.Link || e.Data.Secret != d.Secret {
		return tree.Attributes{}, false
	}
	return e.Attributes, true
}

// known returns the entry for a file whose bytes a known tree has: the very entry of the same path if all of it is the same,
// else a new one for the same blob.
func (st *storer) known(p string, a tree.Attributes) (tree.Data, bool) {
	for _, l := range st.o.Known {
		if d, ok := l.Files[p]; ok {
			if was, ok := st.attributes(p, d); ok && was == a {
				return d, true
			}
		}
	}
	d, ok := st.held[contentOf(a)]
	if !ok {
		return tree.Data{}, false
	}
	return entryFor(p, a, d), true
}

// entryFor returns the entry of a file whose bytes are in the blob of d.
func entryFor(p string, a tree.Attributes, d tree.Data) tree.Data {
	return tree.Data{Link: d.Link, Secret: d.Secret, Mime: tree.MimeOf(path.Base(p)), Metadata: a.Metadata()}
}

// reuse lists a file that need not be put.
func (st *storer) reuse(p string, d tree.Data) {
	st.out.Add(p, d)
	st.done.Reused++
	st.progress(int64(st.s.Files[p].Attributes.Size))
}

func (st *storer) progress(size int64) {
	st.files++
	st.sum += size
	if st.o.Progress != nil {
		st.o.Progress(st.files, st.sum)
	}
}

// group is files that had the same bytes when they were scanned.
type group struct {
	paths []string
	dir   *dir // that the first stands in, to be released, and its name there; nil if it cannot be opened any more
	name  string
}

// putAll puts the files of each group.
func (st *storer) putAll(ctx context.Context, groups map[content][]string) error {
	todo := make([][]string, 0, len(groups))
	for _, paths := range groups {
		slices.Sort(paths)
		todo = append(todo, paths)
	}
	slices.SortFunc(todo, func(a, b []string) int { return cmp.Compare(a[0], b[0]) })
	top, err := openTop(st.s.dir)
	if err != nil {
		return err
	}
	defer top.release()
	o := newOpener(top)
	defer o.close()
	open := func(yield func(group) bool) {
		for _, paths := range todo {
			g := group{paths: paths}
			if d, name, err := o.parent(paths[0]); err == nil { // else opening the file says what is wrong
				g.dir, g.name = d.retain(), name
			}
			if !yield(g) {
				return
			}
		}
	}
	return each(ctx, putters, open, func(g group) int64 { return cost(st.s.Files[g.paths[0]].size) }, st.putGroup)
}

// putGroup puts the first file of a group, and if that has changed since the scan, each.
func (st *storer) putGroup(ctx context.Context, g group) error {
	if g.dir != nil {
		defer g.dir.release()
	}
	for i, p := range g.paths {
		f := st.s.Files[p]
		if i == 0 && g.dir != nil && !f.Attributes.Symlink {
			f.Source.Open = func() (io.ReadCloser, error) { return f.open(g.dir.root, g.name) }
		}
		d, err := st.put(ctx, p, f)
		if err != nil {
			return fmt.Errorf("file %.200q: %w", p, err)
		}
		a, _ := d.Attributes()
		st.added(p, d, int64(a.Size))
		if contentOf(a) == contentOf(st.s.Files[p].Attributes) {
			st.share(g.paths[i+1:], d)
			return nil
		}
	}
	return nil
}

// added lists a file that was put.
func (st *storer) added(p string, d tree.Data, size int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.out.Add(p, d)
	st.done.Added++
	st.done.Bytes += size
	st.progress(size)
}

// share lists files that have the bytes of one that was put.
func (st *storer) share(paths []string, d tree.Data) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, p := range paths {
		st.reuse(p, entryFor(p, st.s.Files[p].Attributes, d))
	}
}

// put puts one file; if it has changed, as it is by then.
func (st *storer) put(ctx context.Context, p string, f File) (tree.Data, error) {
	for try := 1; ; try++ {
		d, err := tree.PutFile(ctx, st.w, path.Base(p), f.Attributes, f.Source)
		if err == nil || !errors.Is(err, tree.ErrChanged) && !errors.Is(err, ErrChanged) {
			return d, err
		}
		if try == maxTries {
			return d, errors.Join(ErrChanged, err)
		}
		if f, err = st.s.again(p); errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: it is gone", ErrChanged)
		}
		if err != nil {
			return d, err
		}
	}
}
