package tree

import (
	"io/fs"
)

// Listing is a whole tree in memory: what each path of it stands for. A path is names joined by slashes, without one in
// front; each name of it has passed [CheckName]. No path is a file and a directory at once, and every directory on the way
// to a path is listed too.
type Listing struct {
	Files map[string]Data
	// Dirs has every directory but the root.
	Dirs map[string]Folder
}

// Folder is a directory of a [Listing].
type Folder struct {
	// Perm is the directory's permission bits; 0 stands for none known, which is 0o755.
	Perm fs.FileMode
	// Blob is the entry that the directory was read from; zero for one that was made in memory.
	Blob Dir
}

// NewListing returns the listing of an empty tree.
func NewListing() *Listing { return &Listing{Files: map[string]Data{}, Dirs: map[string]Folder{}} }
