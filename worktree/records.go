package worktree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"headwater/bucket"
	"headwater/durable"
)

// Records keeps the records of directories, each in a file of its own below a peer's directory. All methods are safe for
// concurrent use, by other processes too; of two that save the same record at the same time the last one wins.
type Records struct{ dir string }

// OpenRecords returns the records that are kept in worktrees/ below dir, a peer's directory. Nothing is made before Save.
func OpenRecords(dir string) Records { return Records{filepath.Join(dir, "worktrees")} }

// resolve returns the one name that a directory's record goes by: symbolic links in it are followed as far as it exists.
func resolve(abs string) (string, error) {
	abs, err := filepath.Abs(abs)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real, nil
	}
	return abs, nil
}

func (r Records) file(real string) string {
	return filepath.Join(r.dir, bucket.Sum([]byte(real)).String()+".record")
}

// Load returns the record of a directory; fs.ErrNotExist, wrapped, if there is none. A record that is damaged, of a newer
// version or of another directory is [ErrRecord].
func (r Records) Load(abs string) (*Record, error) {
	real, err := resolve(abs)
	if err != nil {
		return nil, err
	}
	b, err := readLimited(r.file(real), maxRecordSize)
	if err != nil {
		return nil, fmt.Errorf("record of %s: %w", real, err)
	}
	rec, of, err := decodeRecord(b)
	if err == nil && of != real {
		err = fmt.Errorf("it is the record of %s", of)
	}
	if err != nil {
		return nil, fmt.Errorf("record of %s in %s: %w: %w; remove the file: files that are as in the bucket will be known "+
			"again, others will be in the way of the next checkout", real, r.file(real), ErrRecord, err)
	}
	return rec, nil
}

// readLimited reads a whole file of at most limit bytes.
func readLimited(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes; the limit is %d", ErrRecord, name, info.Size(), limit)
	}
	b := make([]byte, info.Size())
	_, err = io.ReadFull(f, b)
	return b, err
}

// Save keeps the record of a directory: readable by its owner only, whole or not at all, and durable on return. It waits while
// another process saves one; once ctx has ended it tries, and does not wait.
func (r Records) Save(ctx context.Context, abs string, rec *Record) error {
	real, err := resolve(abs)
	if err != nil {
		return err
	}
	b, err := rec.encode(real)
	if err == nil {
		err = r.save(ctx, r.file(real), b)
	}
	if err != nil {
		return fmt.Errorf("save record of %s: %w", real, err)
	}
	return nil
}

func (r Records) save(ctx context.Context, name string, b []byte) error {
	if err := durable.MakeDirAll(r.dir); err != nil {
		return err
	}
	lock, err := durable.AcquireWait(ctx, filepath.Join(r.dir, "lock"), durable.Self("save a record"))
	if err != nil {
		return err
	}
	return errors.Join(durable.WriteFile(name, b), lock.Release())
}

// Remove forgets a directory. One that is not known is no error.
func (r Records) Remove(abs string) error {
	real, err := resolve(abs)
	if err != nil {
		return err
	}
	if err := durable.Remove(r.file(real)); err != nil {
		return fmt.Errorf("remove record of %s: %w", real, err)
	}
	return nil
}
