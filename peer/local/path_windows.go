package local

import (
	"errors"
	"fmt"

	"golang.org/x/sys/windows"
)

// maxPath is the most bytes of a socket's path.
const maxPath = 107

// withShortPath calls f with path if it is short enough. What protects the socket is its directory's access control list.
func withShortPath[T any](path string, f func(string) (T, error)) (result T, err error) {
	if len(path) > maxPath {
		return result, fmt.Errorf("the path of the socket %s has %d bytes, at most %d are possible on Windows: use a directory with a shorter path",
			path, len(path), maxPath)
	}
	return f(path)
}

// isRefused reports whether a socket is there and nobody listens.
func isRefused(err error) bool { return errors.Is(err, windows.WSAECONNREFUSED) }

// isBusy reports whether somebody listens, but no more connections fit into the queue.
func isBusy(error) bool { return false }
