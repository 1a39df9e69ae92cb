package worktree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"headwater/bucket"

	"github.com/gofrs/flock"
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

// Load returns the record of a directory; fs.ErrNotExist, wrapped, where there is none. A record that is damaged, of a newer
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

// readLimited reads a whole file of at most limit octets.
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
		return nil, fmt.Errorf("%w: %s has %d octets; the limit is %d", ErrRecord, name, info.Size(), limit)
	}
	b := make([]byte, info.Size())
	_, err = io.ReadFull(f, b)
	return b, err
}

// Save keeps the record of a directory: readable by its owner only, whole or not at all, and durable on return.
func (r Records) Save(abs string, rec *Record) error {
	real, err := resolve(abs)
	if err != nil {
		return err
	}
	b, err := rec.encode(real)
	if err == nil {
		err = r.save(r.file(real), b)
	}
	if err != nil {
		return fmt.Errorf("save record of %s: %w", real, err)
	}
	return nil
}

func (r Records) save(name string, b []byte) error {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	l := flock.New(filepath.Join(r.dir, "lock"), flock.SetPermissions(0o600))
	if err := l.Lock(); err != nil {
		return err
	}
	defer l.Close()
	staged := name + ".tmp" // one that a dead process has left is written over
	if err := writeSynced(staged, b); err != nil {
		os.Remove(staged)
		return err
	}
	if err := os.Rename(staged, name); err != nil {
		return err
	}
	return errors.Join(syncPath(r.dir), syncPath(filepath.Dir(r.dir)))
}

func writeSynced(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Remove forgets a directory. One that is not known is no error.
func (r Records) Remove(abs string) error {
	real, err := resolve(abs)
	if err != nil {
		return err
	}
	err = os.Remove(r.file(real))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syncPath(r.dir)
	}
	if err != nil {
		return fmt.Errorf("remove record of %s: %w", real, err)
	}
	return nil
}

func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(syncDir(f), f.Close())
}
