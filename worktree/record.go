package worktree

import (
	"io/fs"
	"maps"

	"headwater/bucket"
	"headwater/tree"
)

// Origin says which version of a bucket a directory is of.
type Origin struct {
	Bucket  bucket.ID
	Version bucket.Link
	Height  uint64
}

// Record is what a directory had in common with a bucket when it was last committed or checked out, path by path. It is the
// base of three-way merges, and says which files are ours to overwrite or delete.
//
// The version is the one that was committed or checked out last. If only a part of the tree was checked out, or the checkout
// did not get to its end, the paths can be of other versions, or missing, so that version's own tree is no base for a merge;
// the record's [Record.Listing] always is.
type Record struct {
	Origin
	Files map[string]Entry
	Dirs  map[string]fs.FileMode // permission bits
	// Pending is what a checkout was about to write when the record was saved, and has perhaps written: files that match it
	// are ours too. Empty unless a checkout did not get to its end.
	Pending map[string]tree.Attributes
}

// Entry is a file of a [Record].
type Entry struct {
	Attributes tree.Attributes
	// Data is the entry in the bucket, without media type and metadata, if that has no attributes of its own, as another
	// program wrote it; else zero.
	Data tree.Data

	stamp stamp // zero if the file has to be read to know it
}

// NewRecord returns the record of a directory that was just committed: of what s found, all of which is in the version now,
// if only under a conflict's name. l is what [Store] made of s; origin is the new version, whatever was merged into it.
func NewRecord(origin Origin, s *Scanned, l *tree.Listing) *Record {
	r := &Record{Origin: origin, Files: make(map[string]Entry, len(s.Files)), Dirs: maps.Clone(s.Dirs)}
	for path, d := range l.Files {
		f, ok := s.Files[path]
		if !ok {
			continue
		}
		e := f.entry()
		a, ok := d.Attributes()
		switch {
		case !ok:
			e.Data = bare(d)
		case a != e.Attributes: // it changed after the scan, and was stored as it was by then
			e = Entry{Attributes: a}
		}
		r.Files[path] = e
	}
	return r
}

// entry returns what a record keeps of a file.
func (f *File) entry() Entry {
	e := Entry{Attributes: f.Attributes}
	if f.settled {
		e.stamp = f.stamp
	}
	return e
}

// bare returns an entry without all but the way to its blob.
func bare(d tree.Data) tree.Data { return tree.Data{Link: d.Link, Secret: d.Secret} }

// Listing returns the record as the base of a merge: entries have attributes and no blobs, so that [tree.Same] compares their
// attributes; those of files that have none in the bucket have the blob, so that it compares the blobs.
func (r *Record) Listing() *tree.Listing {
	l := tree.NewListing()
	for path, e := range r.Files {
		d := e.Data
		if d.Link.IsZero() {
			d = tree.Data{Metadata: e.Attributes.Metadata()}
		}
		l.Add(path, d)
	}
	for path, perm := range r.Dirs {
		l.Dirs[path] = tree.Folder{Perm: perm}
	}
	return l
}

// Settle takes over what a checkout that did not get to its end has written, as far as the scan finds it so. A commit
// calls it before it takes the [Record.Listing].
func (r *Record) Settle(s *Scanned) {
	r.takeOver(s.Files, s.Dirs)
	r.Pending = nil
}

// takeOver makes entries of the pending files that are there as they were to be written.
func (r *Record) takeOver(files map[string]File, dirs map[string]fs.FileMode) {
	for path, a := range r.Pending {
		if f, ok := files[path]; ok && f.Attributes == a {
			r.Files[path] = f.entry()
			ancestors(path, func(dir string) bool {
				if _, ok := r.Dirs[dir]; !ok {
					r.Dirs[dir] = dirs[dir]
				}
				return true
			})
		}
	}
}

// pend replaces what is pending of the paths that a checkout is about. The map becomes the record's.
func (r *Record) pend(within func(path string) bool, pending map[string]tree.Attributes) {
	for path, a := range r.Pending {
		if within(path) {
			continue
		}
		if pending == nil {
			pending = map[string]tree.Attributes{}
		}
		pending[path] = a
	}
	r.Pending = pending
}

// has reports whether a path is in the record, as a file or directory.
func (r *Record) has(path string) bool {
	if _, ok := r.Files[path]; ok {
		return true
	}
	if _, ok := r.Pending[path]; ok {
		return true
	}
	_, ok := r.Dirs[path]
	return ok
}

// entry returns what is known of a file; nil for nothing.
func (r *Record) entry(path string) *Entry {
	if e, ok := r.Files[path]; ok {
		return &e
	}
	return nil
}

// ours reports whether a file that was found is one that the record has, unchanged.
func (r *Record) ours(path string, f File) bool {
	if e, ok := r.Files[path]; ok && e.Attributes == f.Attributes {
		return true
	}
	a, ok := r.Pending[path]
	return ok && a == f.Attributes
}

// clone returns a copy that shares nothing with r that is ever written.
func (r *Record) clone() *Record {
	out := &Record{Origin: r.Origin, Files: maps.Clone(r.Files), Dirs: maps.Clone(r.Dirs), Pending: maps.Clone(r.Pending)}
	if out.Files == nil {
		out.Files = map[string]Entry{}
	}
	if out.Dirs == nil {
		out.Dirs = map[string]fs.FileMode{}
	}
	return out
}
