package tree

import (
	"fmt"
	"io/fs"
	"strings"

	"headwater/bucket"
)

// Limits on whole trees. A tree beyond them is neither built nor loaded.
const (
	// MaxFiles is the most files and directories of a tree, each counted at every path that leads to it.
	MaxFiles = 1_000_000
	// MaxDepth is the most names in one path.
	MaxDepth = 128
	// MaxPath is the most bytes of a path.
	MaxPath = 4096
	// MaxTreeSize is the most bytes of all paths, media types and metadata of a tree together: 512 MiB.
	MaxTreeSize = 512 << 20
)

// DefaultDirPerm is the permissions of a directory of which none are known.
const DefaultDirPerm fs.FileMode = 0o755

// Listing is a whole tree in memory: what each path of it stands for. A path is names joined by slashes, without one in
// front; each name of it has passed [CheckName]. No path is a file and a directory at once, and every directory on the way
// to a path is listed too.
type Listing struct {
	Files map[string]Data
	// Dirs has every directory but the root.
	Dirs map[string]Folder
	// DirsFile is the entry of the file that permissions of directories were read from, which is not among Files; zero if
	// there was none.
	DirsFile Data
}

// Folder is a directory of a [Listing].
type Folder struct {
	// Perm is the directory's permission bits; 0 stands for none known, which is 0o755.
	Perm fs.FileMode
	// Blob is the entry that the directory was read from; zero for one that was made in memory.
	Blob Dir
}

// perm returns the permission bits, known or not.
func (f Folder) perm() fs.FileMode {
	if f.Perm == 0 {
		return DefaultDirPerm
	}
	return f.Perm
}

// NewListing returns the listing of an empty tree.
func NewListing() *Listing { return &Listing{Files: map[string]Data{}, Dirs: map[string]Folder{}} }

// Add lists a file, and the directories on the way to it that are not listed yet. It does not check: see [Listing.Check].
func (l *Listing) Add(path string, d Data) {
	l.Files[path] = d
	l.addParents(path)
}

// addParents lists the directories on the way to path.
func (l *Listing) addParents(path string) {
	for dir, _ := splitPath(path); dir != ""; dir, _ = splitPath(dir) {
		if _, ok := l.Dirs[dir]; ok {
			return
		}
		l.Dirs[dir] = Folder{}
	}
}

// Check reports whether l is a valid Listing, within the limits of trees. The error is [ErrName] for a path that must not
// become one of a real file or is kept for Headwater itself, a [*bucket.Refusal] of class too_large if a limit is passed, and
// another one if a path is listed twice, its directory is not listed, or permissions are more than 0o777.
func (l *Listing) Check() error {
	t := tally{most: MaxFiles}
	for path, f := range l.Dirs {
		if err := l.checkPath(&t, path, nil); err != nil {
			return err
		}
		if f.Perm&^fs.ModePerm != 0 {
			return fmt.Errorf("directory %.200q: permissions %#o, at most 0777 are kept", path, uint32(f.Perm))
		}
	}
	for path, d := range l.Files {
		if _, ok := l.Dirs[path]; ok {
			return fmt.Errorf("path %.200q: listed as a file and as a directory", path)
		}
		if err := l.checkPath(&t, path, d); err != nil {
			return err
		}
	}
	return nil
}

// checkPath checks the last name of a path; those before it are checked with the directory, which must be listed.
func (l *Listing) checkPath(t *tally, path string, e Entry) error {
	dir, name := splitPath(path)
	if strings.HasPrefix(path, "/") {
		return fmt.Errorf("path %.200q: %w: a slash in front", path, ErrName)
	}
	if _, ok := l.Dirs[dir]; dir != "" && !ok {
		return fmt.Errorf("path %.200q: its directory is not listed", path)
	}
	if err := CheckName(name); err != nil {
		return fmt.Errorf("path %.200q: %w", path, err)
	}
	if path == dirsFile {
		return fmt.Errorf("path %q: %w: kept for the permissions of directories", path, ErrName)
	}
	return t.add(dir, name, e)
}

// CheckPath reports whether a path may stand in a [Listing]. The error is [ErrName] for a path with a name that [CheckName]
// refuses, including the empty path, and a [*bucket.Refusal] of class too_large for one beyond [MaxPath] or [MaxDepth].
func CheckPath(path string) error {
	if err := checkSize(len(path), strings.Count(path, "/")+1); err != nil {
		return fmt.Errorf("path %.200q: %w", path, err)
	}
	for name := range strings.SplitSeq(path, "/") {
		if err := CheckName(name); err != nil {
			return fmt.Errorf("path %.200q: %w", path, err)
		}
	}
	return nil
}

func checkSize(size, names int) error {
	if size > MaxPath {
		return refuse(bucket.TooLarge, "a path of %d bytes; the limit is %d", size, MaxPath)
	}
	if names > MaxDepth {
		return refuse(bucket.TooLarge, "a path of %d names; the limit is %d", names, MaxDepth)
	}
	return nil
}

// tally counts what a tree takes, so that one that is too large is refused before it is in memory.
type tally struct {
	most    int // files and directories
	entries int
	size    int64
}

// add counts the entry of a name in a directory; a nil entry counts as a directory.
func (t *tally) add(dir, name string, e Entry) error {
	path, names := len(name), 1
	if dir != "" {
		path += len(dir) + 1
		names += strings.Count(dir, "/") + 1
	}
	if err := checkSize(path, names); err != nil {
		return fmt.Errorf("%.80q in directory %.200q: %w", name, dir, err)
	}
	t.entries++
	t.size += int64(path)
	if d, ok := e.(Data); ok {
		t.size += int64(len(d.Metadata))
		if d.Mime != nil {
			t.size += int64(len(*d.Mime))
		}
	}
	if t.entries > t.most {
		return refuse(bucket.TooLarge, "a tree of more than %d files and directories", t.most)
	}
	if t.size > MaxTreeSize {
		return refuse(bucket.TooLarge, "a tree of more than %d bytes of paths and metadata", MaxTreeSize)
	}
	return nil
}

// splitPath splits a path into its directory, which is empty for the root, and its last name.
func splitPath(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// joinPath is the inverse of splitPath.
func joinPath(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
