package logstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"headwater/durable"
)

// lockDir takes the lock of a log's directory. The lock lies beside the directory, so that the directory can be moved under it.
// [ErrLocked].
func lockDir(dir string) (*durable.Lock, error) {
	if err := durable.MakeDirAll(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	lock, err := durable.Acquire(dir+".lock", durable.Self("log"))
	if errors.Is(err, durable.ErrHeld) {
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return lock, err
}

// SetAside moves a damaged log out of the way, so that [OpenBadger] makes a fresh one in its place, and returns where it went: a
// directory beside it that nothing reads. It is durable on return. [ErrLocked] if a process holds the log;
// [fs.ErrNotExist] if there is none. The caller rebuilds the fresh log from the manifests.
func SetAside(dir string) (movedTo string, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", failed(err, "set log %s aside", dir)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return "", failed(err, "set log aside")
	}
	movedTo, err = moveAside(dir, time.Now())
	return movedTo, failed(errors.Join(err, lock.Release()), "set log %s aside", dir)
}

// moveAside renames dir to the first free name of that second.
func moveAside(dir string, now time.Time) (string, error) {
	if _, err := os.Stat(dir); err != nil {
		return "", err
	}
	base := dir + ".damaged-" + now.UTC().Format("20060102T150405Z")
	to := base
	for i := 2; ; i++ {
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return "", err
		}
		to = fmt.Sprintf("%s-%d", base, i)
	}
	if err := os.Rename(dir, to); err != nil {
		return "", err
	}
	return to, durable.SyncDir(filepath.Dir(dir))
}
