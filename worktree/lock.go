package worktree

import (
	"fmt"
	"os"

	"github.com/gofrs/flock"
)

// lock locks the directory itself, so that nothing has to be left in it: alone for a checkout, with others for a scan. It
// returns [ErrBusy] while the lock cannot be had. If a directory cannot be locked (Windows, some network file systems) it
// is not: the lock spares people the surprise of two checkouts that sweep each other's files, and is no part of any
// promise.
func lock(name string, alone bool) (unlock func(), err error) {
	l := flock.New(name, flock.SetFlag(os.O_RDONLY))
	try := l.TryRLock
	if alone {
		try = l.TryLock
	}
	ok, err := try()
	if err != nil {
		_ = l.Close()
		return func() {}, nil
	}
	if !ok {
		_ = l.Close()
		return nil, fmt.Errorf("directory %s: %w", name, ErrBusy)
	}
	return func() { _ = l.Close() }, nil
}
