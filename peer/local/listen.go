package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// socketPath is where the socket of a peer's directory is: in a directory of its own, which only the owner can enter, so that
// nobody else reaches it even before its own mode is set.
func socketPath(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	return filepath.Join(abs, "control", "socket"), err
}

// Listen opens the socket of a peer's directory. The caller holds the directory's lock, so a socket that is there was left by a
// process that died, and is replaced. Closing the listener removes the socket; close it before the lock is given back.
func Listen(dir string) (_ net.Listener, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open the socket of %s: %w", dir, err)
		}
	}()
	path, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	if err := makePrivate(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := withShortPath(path, func(path string) (*net.UnixListener, error) {
		return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // its name may be one that is gone by now
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(path))
	}
	return &listener{UnixListener: l, path: path}, nil
}

// makePrivate makes a directory that only its owner can enter, or makes it so.
func makePrivate(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is no directory", dir)
	}
	return os.Chmod(dir, 0o700)
}

// listener is a socket that is removed when it is closed.
type listener struct {
	*net.UnixListener
	path  string
	close sync.Once
	err   error
}

// Close closes the listener and removes the socket. Closing again returns what the first time did.
func (l *listener) Close() error {
	l.close.Do(func() {
		l.err = os.Remove(l.path)
		if errors.Is(l.err, fs.ErrNotExist) {
			l.err = nil
		}
		l.err = errors.Join(l.err, l.UnixListener.Close())
	})
	return l.err
}

// dialSocket connects to the socket of a directory. [ErrNoHolder].
func dialSocket(ctx context.Context, dir string) (net.Conn, error) {
	path, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	conn, err := withShortPath(path, func(path string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	})
	if errors.Is(err, fs.ErrNotExist) || isRefused(err) {
		return nil, fmt.Errorf("%w: %w", ErrNoHolder, err)
	}
	return conn, err
}
