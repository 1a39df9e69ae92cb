package local

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
)

// ErrNoHolder: no process holds the directory, or the one that does has no socket yet.
var ErrNoHolder = errors.New("no process holds the directory")

// maxSocketPath is the longest path of a socket that every system takes, in bytes: macOS has room for 104 with their end.
const maxSocketPath = 100

func controlDir(dir string) string { return filepath.Join(dir, "control") }

func socketFile(dir string) string { return filepath.Join(controlDir(dir), "socket") }

// Listen opens the socket of a peer's directory, which only its owner can open. One that a dead process left is replaced: the
// caller holds the directory.
func Listen(dir string) (net.Listener, error) {
	if err := os.MkdirAll(controlDir(dir), 0o700); err != nil {
		return nil, fmt.Errorf("open the peer's socket: %w", err)
	}
	if err := os.Chmod(controlDir(dir), 0o700); err != nil { // before there is a socket in it
		return nil, fmt.Errorf("open the peer's socket: %w", err)
	}
	if err := os.Remove(socketFile(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open the peer's socket: %w", err)
	}
	var l *net.UnixListener
	err := withShortPath(dir, func(path string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open the peer's socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // its path may be another one by then
	if err := os.Chmod(socketFile(dir), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("open the peer's socket: %w", err), l.Close())
	}
	return &listener{l, socketFile(dir)}, nil
}

// listener removes its socket when it is closed.
type listener struct {
	net.Listener
	path string
}

func (l *listener) Close() error {
	err := l.Listener.Close()
	if errors.Is(err, net.ErrClosed) {
		return err
	}
	return errors.Join(err, os.Remove(l.path))
}

// withShortPath calls f with a path of the directory's socket that a socket's address has room for: if its own is too long, one
// that leads through a link in a private temporary directory, which goes when f returns. So both ends find each other by the
// peer's directory alone.
func withShortPath(dir string, f func(path string) error) error {
	path := socketFile(dir)
	if len(path) <= maxSocketPath {
		return f(path)
	}
	temp, err := os.MkdirTemp("", "hw")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	link := filepath.Join(temp, "c")
	if err := os.Symlink(controlDir(dir), link); err != nil {
		return fmt.Errorf("the path %s is longer than a socket's may be: %w", path, err)
	}
	return f(filepath.Join(link, "socket"))
}
