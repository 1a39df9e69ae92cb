package blobstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"headwater/durable"
)

// file is what the store does with an open file: an *os.File, or in tests one that fails.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	Truncate(size int64) error
	Stat() (os.FileInfo, error)
}

// opener opens a file as os.OpenFile does; a new one is for its owner only.
type opener func(name string, flag int) (file, error)

func openFile(name string, flag int) (file, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err // not f: a nil *os.File is no nil file
	}
	return f, nil
}

// stage writes a temporary file and syncs it. If that fails, the file is removed again; a crash leaves it to the sweep of
// the next open.
func (d *Disk) stage(write func(io.Writer) error) (name string, err error) {
	name = filepath.Join(d.dir, dirTemporary, fmt.Sprintf("%d", d.staged.Add(1)))
	f, err := d.open(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return "", err
	}
	err = write(io.NewOffsetWriter(f, 0))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(name)
		return "", err
	}
	return name, nil
}

// settle gives a staged file its name, durably. If it fails, the file is under neither name, as far as the disk obeys: a
// name that might not last must not be seen.
func settle(staged, name string) error {
	if err := os.Rename(staged, name); err != nil {
		os.Remove(staged)
		return err
	}
	if err := durable.SyncDir(filepath.Dir(name)); err != nil {
		os.Remove(name)
		return err
	}
	return nil
}

// replace writes a whole file under its name, durably: after a crash there is the old one or the new one.
func (d *Disk) replace(name string, write func(io.Writer) error) error {
	staged, err := d.stage(write)
	if err != nil {
		return err
	}
	return settle(staged, name)
}
