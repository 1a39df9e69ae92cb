package worktree

import (
	"os"

	"golang.org/x/sys/unix"
)

// canSyncAll says that syncAll works.
const canSyncAll = true

// syncAll makes all files and names of the file system that f is on durable.
func syncAll(f *os.File) error {
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return os.NewSyscallError("syncfs", err)
	}
	return nil
}

func syncDir(f *os.File) error { return f.Sync() }
