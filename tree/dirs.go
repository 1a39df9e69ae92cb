package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"headwater/blobstore"
	"headwater/bucket"
)

// dirsFile is the name of the file in the root of a tree that keeps the permissions of directories, for which an entry of a
// directory has no place. It is text, a line for each directory whose permissions are not 0o755:
//
//	0555 path
//
// ascending by path; a path with a newline or a quote in it is quoted as a Go string. It is an encrypted file like others,
// which other readers of the tree see as such, and [Load] hides.
const dirsFile = ".headwater-dirs"

// maxDirsSize is the most bytes of that file.
const maxDirsSize = 64 << 20

// encodeDirs returns the content of the file; nil if no file is needed.
func encodeDirs(l *Listing) ([]byte, error) {
	var b []byte
	for _, path := range slices.Sorted(maps.Keys(l.Dirs)) {
		perm := l.Dirs[path].perm()
		if perm == DefaultDirPerm {
			continue
		}
		b = fmt.Appendf(b, "%04o ", uint32(perm))
		if strings.ContainsAny(path, "\n\"") {
			b = strconv.AppendQuote(b, path)
		} else {
			b = append(b, path...)
		}
		b = append(b, '\n')
	}
	if len(b) > maxDirsSize {
		return nil, refuse(bucket.TooLarge, "permissions of directories of %d bytes; the limit is %d", len(b), maxDirsSize)
	}
	return b, nil
}

// decodeDirs reads what encodeDirs wrote. The error is a [*bucket.Refusal] of class malformed.
func decodeDirs(b []byte) (map[string]fs.FileMode, error) {
	perms := map[string]fs.FileMode{}
	last := ""
	for line := range bytes.Lines(b) {
		path, perm, err := parseDir(string(line))
		if err == nil && path <= last {
			err = errors.New("not in order")
		}
		if err == nil && len(perms) == MaxFiles {
			err = fmt.Errorf("more than %d directories", MaxFiles)
		}
		if err != nil {
			return nil, refuse(bucket.Malformed, "permissions of directories: %.200q: %v", line, err)
		}
		perms[path], last = perm, path
	}
	return perms, nil
}

func parseDir(line string) (path string, perm fs.FileMode, err error) {
	mode, path, ok := strings.Cut(line, " ")
	path, end := strings.CutSuffix(path, "\n")
	if !ok || !end || len(mode) != 4 || mode[0] != '0' {
		return "", 0, errors.New("not a mode, a space and a path")
	}
	bits, err := strconv.ParseUint(mode, 8, 9)
	if err != nil || bits == 0 || fs.FileMode(bits) == DefaultDirPerm {
		return "", 0, errors.New("not a mode to be kept")
	}
	if strings.Contains(path, `"`) {
		if path[0] != '"' {
			return "", 0, errors.New("a quote in a path that is not quoted")
		}
		if path, err = strconv.Unquote(path); err != nil {
			return "", 0, errors.New("not a quoted path")
		}
	}
	return path, fs.FileMode(bits), CheckPath(path)
}

// loadDirs reads the file whose entry is e, and sets permissions of l. Lines of directories that are not there are skipped:
// writers that do not know the file leave them behind.
func (l *Listing) loadDirs(ctx context.Context, r blobstore.Reader, e Entry) error {
	d, ok := e.(Data)
	if !ok {
		return refuse(bucket.Malformed, "a directory where the permissions of directories belong")
	}
	plain, err := readSealed(ctx, r, d, maxDirsSize, nil)
	if err != nil {
		return err
	}
	if a, ok := d.Attributes(); ok && (a.Size != uint64(len(plain)) || a.Hash != bucket.Sum(plain)) {
		return refuse(bucket.Malformed, "permissions of directories that are not the bytes their entry tells of")
	}
	perms, err := decodeDirs(plain)
	if err != nil {
		return err
	}
	for path, perm := range perms {
		if f, ok := l.Dirs[path]; ok {
			f.Perm = perm
			l.Dirs[path] = f
		}
	}
	l.DirsFile = d
	return nil
}
