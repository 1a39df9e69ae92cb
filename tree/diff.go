package tree

import (
	"bytes"
	"cmp"
	"slices"
)

// ChangeKind says what became of a path.
type ChangeKind int

// The kinds of change.
const (
	Added       ChangeKind = 1 + iota
	Removed                // for a directory: with all that is listed in it, each as a change of its own
	Modified               // a file has other bytes, or became a symbolic link or ceased to be one
	ModeChanged            // only the permissions differ
)

// String returns the kind in lower case.
func (k ChangeKind) String() string {
	switch k {
	case Added:
		return "added"
	case Removed:
		return "removed"
	case Modified:
		return "modified"
	case ModeChanged:
		return "mode changed"
	}
	return "unknown"
}

// Change is one difference between two trees.
type Change struct {
	Path string
	Kind ChangeKind
	Dir  bool  // a directory: Old and New are nil
	Old  *Data // nil if added
	New  *Data // nil if removed
}

// Same reports whether two entries are of files with the same plain bytes and attributes. If both have [Attributes] these
// decide, whether the blobs are the same or not; else the blobs decide. Media types do not count.
func Same(a, b Data) bool {
	if a.Link == b.Link && a.Secret == b.Secret && bytes.Equal(a.Metadata, b.Metadata) {
		return true
	}
	x, okA := a.Attributes()
	y, okB := b.Attributes()
	if okA && okB {
		return x == y
	}
	return a.Link == b.Link && a.Secret == b.Secret
}

// sameBytes is Same but for permissions.
func sameBytes(a, b Data) bool {
	x, okA := a.Attributes()
	y, okB := b.Attributes()
	if okA && okB {
		x.Perm = y.Perm
		return x == y
	}
	return a.Link == b.Link && a.Secret == b.Secret
}

// Diff lists what differs between two trees, ascending by the bytes of the path, so that a directory comes before what is
// in it. A path that was a file and is a directory, or the other way round, is removed first and then added. Files are
// compared by [Same], directories by their permissions.
func Diff(before, after *Listing) []Change {
	var all []Change
	for path, d := range before.Files {
		now, ok := after.Files[path]
		switch {
		case !ok:
			all = append(all, Change{Path: path, Kind: Removed, Old: new(d)})
		case Same(d, now):
		case sameBytes(d, now):
			all = append(all, Change{Path: path, Kind: ModeChanged, Old: new(d), New: new(now)})
		default:
			all = append(all, Change{Path: path, Kind: Modified, Old: new(d), New: new(now)})
		}
	}
	for path, d := range after.Files {
		if _, ok := before.Files[path]; !ok {
			all = append(all, Change{Path: path, Kind: Added, New: new(d)})
		}
	}
	for path, f := range before.Dirs {
		if now, ok := after.Dirs[path]; !ok {
			all = append(all, Change{Path: path, Kind: Removed, Dir: true})
		} else if f.perm() != now.perm() {
			all = append(all, Change{Path: path, Kind: ModeChanged, Dir: true})
		}
	}
	for path := range after.Dirs {
		if _, ok := before.Dirs[path]; !ok {
			all = append(all, Change{Path: path, Kind: Added, Dir: true})
		}
	}
	slices.SortFunc(all, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(-a.Kind, -b.Kind)) // removed before added
	})
	return all
}
