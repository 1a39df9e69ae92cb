//go:build unix

package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// maxPath is the most bytes of a socket's path on every Unix: macOS has the least room, 104 with a zero at the end.
const maxPath = 103

// withShortPath calls f with a path to the same socket that is short enough: path itself, or one through a symbolic link to its
// directory, in a temporary directory that nobody else can enter and that is gone on return.
func withShortPath[T any](path string, f func(string) (T, error)) (result T, err error) {
	if len(path) <= maxPath {
		return f(path)
	}
	tmp, err := os.MkdirTemp("", "headwater-")
	if err == nil && len(filepath.Join(tmp, "d", filepath.Base(path))) > maxPath {
		os.Remove(tmp)
		tmp, err = os.MkdirTemp("/tmp", "headwater-")
	}
	if err != nil {
		return result, fmt.Errorf("a short path for %s: %w", path, err)
	}
	defer os.Remove(tmp)
	link := filepath.Join(tmp, "d")
	if err := os.Symlink(filepath.Dir(path), link); err != nil {
		return result, err
	}
	defer os.Remove(link)
	return f(filepath.Join(link, filepath.Base(path)))
}

// isRefused reports whether a socket is there and nobody listens.
func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// isBusy reports whether somebody listens, but no more connections fit into the queue.
func isBusy(err error) bool { return errors.Is(err, syscall.EAGAIN) }
