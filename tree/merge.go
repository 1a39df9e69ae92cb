package tree

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"headwater/bucket"
)

// ConflictKind says what two sides of a merge disagree on.
type ConflictKind int

// The kinds of conflict.
const (
	// BothChanged: both sides gave a file other bytes. Ours keeps the name, theirs is the copy.
	BothChanged ConflictKind = 1 + iota
	// DeletedAndChanged: one side deleted a file that the other changed. The changed one stays; there is no copy.
	DeletedAndChanged
	// FileAndDirectory: a file on one side is a directory on the other. The directory keeps the name, the file is the copy.
	FileAndDirectory
)

// Conflict is a path on which two sides of a merge disagree, and what [Merge] made of it.
type Conflict struct {
	Path string
	Kind ConflictKind
	Copy string // where the file is that could not keep its name; empty for none
}

// Merge makes one tree of two that came out of base; ours is the one that the head rule picks. What one side changed is
// taken, and what both changed alike is taken once. If both changed a file differently, ours keeps the name and theirs goes
// to rename(path); what one side changed and the other deleted stays; a file that meets a directory goes to rename(path)
// itself. If that name is taken, or is not a valid path, a number is added. Bytes and permissions of a file are merged
// separately, so that changing the one does not conflict with changing the other; if both change permissions, ours win.
// Directories that were deleted are gone unless something is left in them.
//
// Nothing that either side added or changed is lost. Except for permissions, what is at a path without a conflict does not
// depend on which side is ours. The blobs stay as they are. Conflicts are listed ascending by path. The listings are not
// changed, and the result shares no maps with them; its directories have no blobs. It may be beyond the limits of
// [Listing.Check].
func Merge(base, ours, theirs *Listing, rename func(path string) string) (merged *Listing, conflicts []Conflict) {
	m := &merger{base: base, ours: ours, theirs: theirs, out: NewListing(), rename: rename}
	for p, o := range ours.Files {
		m.file(p, &o)
	}
	for p := range theirs.Files {
		if _, ok := ours.Files[p]; !ok {
			m.file(p, nil)
		}
	}
	m.directories()
	m.separate()
	slices.SortFunc(m.losers, func(a, b loser) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.kind, b.kind))
	})
	for _, x := range m.losers {
		to := m.free(x.path)
		m.out.Add(to, x.data)
		m.conflicts = append(m.conflicts, Conflict{x.path, x.kind, to})
	}
	m.inherit()
	slices.SortFunc(m.conflicts, func(a, b Conflict) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Kind, b.Kind))
	})
	return m.out, m.conflicts
}

// merger is the state of one Merge.
type merger struct {
	base, ours, theirs, out *Listing
	rename                  func(string) string
	losers                  []loser
	conflicts               []Conflict
}

// loser is a file that cannot keep its name.
type loser struct {
	path string
	data Data
	kind ConflictKind
}

// file merges one path as far as files go; o is ours, or nil.
func (m *merger) file(p string, o *Data) {
	var b, t *Data
	if d, ok := m.base.Files[p]; ok {
		b = &d
	}
	if d, ok := m.theirs.Files[p]; ok {
		t = &d
	}
	d, ok := mergeFile(b, o, t)
	if d != nil {
		m.out.Files[p] = *d
	}
	switch {
	case ok:
	case o != nil && t != nil:
		m.losers = append(m.losers, loser{p, *t, BothChanged})
	default:
		m.conflicts = append(m.conflicts, Conflict{p, DeletedAndChanged, ""})
	}
}

// mergeFile returns the file for the path, nil for none, and whether both sides can agree on it.
func mergeFile(b, o, t *Data) (*Data, bool) {
	switch {
	case alike(b, o, Data.equal): // also if theirs holds the same file in a new blob
		return t, true
	case alike(b, t, Data.equal):
		return o, true
	case alike(b, o, Same):
		return t, true
	case alike(b, t, Same), alike(o, t, Same):
		return o, true
	case o == nil:
		return t, false
	case t == nil:
		return o, false
	}
	return mergeAttributes(b, o, t)
}

// alike reports whether two files, nil for none, are the same.
func alike(a, b *Data, same func(a, b Data) bool) bool {
	if a == nil || b == nil {
		return a == b
	}
	return same(*a, *b)
}

// mergeAttributes merges bytes and permissions separately. For that, all that is in the metadata has to be known.
func mergeAttributes(b, o, t *Data) (*Data, bool) {
	ours, ok := pureAttributes(o)
	theirs, okT := pureAttributes(t)
	if !ok || !okT {
		return o, sameBytes(*o, *t)
	}
	perm, content := ours.Perm, o
	before, known := Attributes{}, false
	if b != nil {
		before, known = pureAttributes(b)
	}
	if known && ours.Perm == before.Perm {
		perm = theirs.Perm
	}
	switch {
	case sameBytes(*o, *t):
	case known && sameBytes(*b, *o):
		content, ours = t, theirs
	case known && sameBytes(*b, *t):
	default:
		return o, false
	}
	ours.Perm = perm
	d := *content
	d.Metadata = ours.Metadata()
	return &d, true
}

// pureAttributes returns the attributes of a file whose metadata has nothing else.
func pureAttributes(d *Data) (Attributes, bool) {
	a, ok := d.Attributes()
	return a, ok && bytes.Equal(d.Metadata, a.Metadata())
}

// directories lists those that stay: on both sides, made on one, or with something in them.
func (m *merger) directories() {
	for p := range m.ours.Dirs {
		_, inBase := m.base.Dirs[p]
		if _, ok := m.theirs.Dirs[p]; ok || !inBase {
			m.out.Dirs[p] = Folder{}
			m.out.addParents(p)
		}
	}
	for p := range m.theirs.Dirs {
		_, inBase := m.base.Dirs[p]
		if _, ok := m.ours.Dirs[p]; !ok && !inBase {
			m.out.Dirs[p] = Folder{}
			m.out.addParents(p)
		}
	}
	for p := range m.out.Files {
		m.out.addParents(p)
	}
}

// separate takes files away from where a directory is.
func (m *merger) separate() {
	for p, d := range m.out.Files {
		if _, ok := m.out.Dirs[p]; ok {
			delete(m.out.Files, p)
			m.losers = append(m.losers, loser{p, d, FileAndDirectory})
		}
	}
	m.conflicts = slices.DeleteFunc(m.conflicts, func(c Conflict) bool {
		_, ok := m.out.Dirs[c.Path] // the file does not stay after all, and is reported as one that met a directory
		return ok
	})
}

// inherit gives the directories their permissions.
func (m *merger) inherit() {
	for p := range m.out.Dirs {
		b, inBase := m.base.Dirs[p]
		o, inOurs := m.ours.Dirs[p]
		t, inTheirs := m.theirs.Dirs[p]
		f := o
		if !inOurs || inTheirs && inBase && o.perm() == b.perm() {
			f = t
		}
		m.out.Dirs[p] = Folder{Perm: f.Perm}
	}
}

// free returns a path for a file that cannot stay at p.
func (m *merger) free(p string) string {
	to := m.rename(p)
	if CheckPath(to) != nil || to == dirsFile || m.blocked(to) {
		to = beside(p, ".conflict")
	}
	for n, try := 2, to; ; n++ {
		_, isFile := m.out.Files[try]
		if _, isDir := m.out.Dirs[try]; !isFile && !isDir {
			return try
		}
		try = beside(to, fmt.Sprint("-", n))
	}
}

// blocked reports whether there is a file where p needs a directory.
func (m *merger) blocked(p string) bool {
	for dir, _ := splitPath(p); dir != ""; dir, _ = splitPath(dir) {
		if _, ok := m.out.Files[dir]; ok {
			return true
		}
	}
	return false
}

// ConflictName returns the path for the copy of a file that lost its name in a merge: beside it, with the height of the
// version it comes from and the first digits of that version's author before its extension, as in
// "dir/notes.conflict-7-a1b2c3d4.txt". The name is cut so that name and path stay within what files can have.
func ConflictName(path string, height uint64, author bucket.PublicKey) string {
	return beside(path, fmt.Sprintf(".conflict-%d-%.8s", height, author))
}

// beside puts an addition before the extension of a path's last name. If even a short name would make the path too long, it
// goes up to a directory with room.
func beside(p, addition string) string {
	const leastRoom, longestExtension = 64, 16 // shorter than what a conflict adds, which is no extension
	dir, name := splitPath(p)
	for len(dir) > MaxPath-leastRoom {
		dir, _ = splitPath(dir)
	}
	ext := path.Ext(name)
	if len(ext) == len(name) || len(ext) > longestExtension { // .profile is a name, and not an extension
		ext = ""
	}
	stem := strings.TrimSuffix(name, ext)
	room := maxFileName
	if dir != "" {
		room = min(room, MaxPath-len(dir)-1)
	}
	if room -= len(addition) + len(ext); room < 0 {
		ext, room = "", room+len(ext)
	}
	for cut := min(len(stem), max(room, 0)); ; cut-- {
		if cut == len(stem) || utf8.RuneStart(stem[cut]) {
			return joinPath(dir, stem[:cut]+addition+ext)
		}
	}
}
