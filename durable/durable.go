// Package durable is how things become durable, in one place: whole files, locks that name their holder, and commits that
// callers share.
//
// A file is durable when its bytes are synced and the directory that names it is synced too. [WriteFile], [CreateNew],
// [Remove], [MakeDir] and [MakeDirAll] return when that is so, and a crash leaves the old file or the new one, whole, never anything
// between. None of them excludes other processes: whoever shares a path holds a [Lock].
//
// A [Lock] excludes other processes for as long as its process lives, and tells them who holds it. A [Group] makes many small
// writes durable by one sync.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// WriteFile makes path hold data, readable by its owner alone, or leaves it as it was: temporary file, sync, rename, sync
// of the directory. The temporary file is path with .tmp behind; one that is there already was left by a process that died.
func WriteFile(path string, data []byte) error {
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err = fill(f, data); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return SyncDir(filepath.Dir(path))
}

// CreateNew makes path hold data, readable by its owner alone, unless it is there: then it is left as it is, and the error is
// fs.ErrExist. After a crash the file is whole or not there.
func CreateNew(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := fill(f, data); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil { // unlike a rename, it does not replace
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// fill writes data, syncs and closes.
func fill(f *os.File, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Remove removes path for good. Absent is no error.
func Remove(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// MakeDir makes a directory, for its owner alone; its parent must exist. One that is there already is left as it is, but its
// name is synced too: whoever made it may have died before.
func MakeDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(filepath.Dir(dir))
}

// MakeDirAll is [MakeDir], and makes the directories above it that are missing.
func MakeDirAll(dir string) error {
	err := MakeDir(dir)
	if above := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && above != dir {
		if err = MakeDirAll(above); err == nil {
			err = MakeDir(dir)
		}
	}
	return err
}

// SyncDir makes durable which names a directory holds. Windows has no such call, and needs none: NTFS keeps its names in a
// journal.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
