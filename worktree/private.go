package worktree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// checkPublic returns [ErrPrivate] for a directory that is excluded or a peer's own, or is in one of these. It need not exist.
func checkPublic(name string, exclude []fs.FileInfo) error {
	for at := name; ; at = filepath.Dir(at) {
		if real, err := filepath.EvalSymlinks(at); err == nil {
			at = real
		}
		below := func(name string) (fs.FileInfo, error) { return os.Lstat(filepath.Join(at, name)) }
		if info, err := os.Stat(at); err == nil && (isAnyOf(info, exclude) || isPeers(below)) {
			return fmt.Errorf("%s is %w, or stands in one; choose another directory", name, ErrPrivate)
		}
		if filepath.Dir(at) == at {
			return nil
		}
	}
}

// isPeers reports whether a directory is a peer's own: it has an identity and a log. stat looks at a name in it.
func isPeers(stat func(name string) (fs.FileInfo, error)) bool {
	if id, err := stat("identity.pem"); err != nil || !id.Mode().IsRegular() {
		return false
	}
	log, err := stat("log")
	return err == nil && log.IsDir()
}

func isAnyOf(info fs.FileInfo, all []fs.FileInfo) bool {
	return slices.ContainsFunc(all, func(x fs.FileInfo) bool { return os.SameFile(x, info) })
}

// statAll looks at the directories of a list; those that are not there are left out.
func statAll(names []string) ([]fs.FileInfo, error) {
	var out []fs.FileInfo
	for _, name := range names {
		info, err := os.Stat(filepath.Clean(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, info)
	}
	return out, nil
}
