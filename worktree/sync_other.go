//go:build !linux

package worktree

import (
	"errors"
	"os"
	"runtime"
)

const canSyncAll = false

func syncAll(*os.File) error { return errors.ErrUnsupported }

func syncDir(f *os.File) error {
	if runtime.GOOS == "windows" {
		return nil // a directory cannot be synced there; NTFS keeps its names in a journal
	}
	return f.Sync()
}
