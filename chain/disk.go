package chain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"headwater/bucket"
)

// ErrNoRoom: long catch-ups already take as much disk as they may. Another time there is room.
var ErrNoRoom = errors.New("no room on disk for a long catch-up; it goes on when another one is done")

// maxRuns is how many runs of one bucket are kept: heads that lead elsewhere make more of them.
const maxRuns = 16

// disk is where runs are kept: a directory for each bucket with a file for each run, and a limit on what all of them take. Safe
// for concurrent use.
type disk struct {
	dir    string
	limit  int64
	opener *bucket.Opener

	mu    sync.Mutex
	files map[bucket.ID]map[string]*kept
	inUse map[bucket.ID]bool
	total int64
}

// kept is one file. Its bucket's worker alone uses it while the bucket is in use.
type kept struct {
	d       *disk
	id      bucket.ID
	name    string
	size    int64 // what it is accounted with
	sound   int64 // of its bytes, how many this process has written or hashed
	written time.Time
}

// Names of files begin with the direction of the run. A run that was verified by laxer rules is of no use to stricter ones.
const (
	prefixUp         = "up-"
	prefixUpUnsigned = "up-unsigned-"
	prefixDown       = "down-"
)

// openDisk makes the directory, and measures what an earlier process left there. It removes what is no run, such as files of
// older programs.
func openDisk(dir string, limit int64, opener *bucket.Opener) (*disk, error) {
	d := &disk{dir: dir, limit: limit, opener: opener, files: map[bucket.ID]map[string]*kept{}, inUse: map[bucket.ID]bool{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of runs: %w", err)
	}
	all, err := fs.Glob(os.DirFS(dir), "*/*")
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	for _, path := range all {
		path, name := filepath.Join(dir, path), filepath.Base(path)
		id, err := bucket.ParseID(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue // no directory of a bucket
		}
		info, err := os.Lstat(path)
		isRun := strings.HasPrefix(name, prefixUp) || strings.HasPrefix(name, prefixDown)
		if err != nil || !info.Mode().IsRegular() || !isRun {
			if err := os.RemoveAll(path); err != nil {
				return nil, fmt.Errorf("remove what is no run: %w", err)
			}
			_ = os.Remove(filepath.Dir(path)) // only if it is empty now
			continue
		}
		d.add(&kept{d: d, id: id, name: name, size: info.Size(), written: info.ModTime()})
	}
	return d, nil
}

// add accounts for one more file. The lock is held, or not needed yet.
func (d *disk) add(k *kept) {
	if d.files[k.id] == nil {
		d.files[k.id] = map[string]*kept{}
	}
	d.files[k.id][k.name] = k
	d.total += k.size
}

// open notes that a bucket is worked on, and returns what is kept of it.
func (d *disk) open(id bucket.ID) []*kept {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inUse[id] = true
	return slices.Collect(maps.Values(d.files[id]))
}

// close notes that a bucket is not worked on any more. It keeps the most recent of its runs, at most maxRuns.
func (d *disk) close(id bucket.ID) error {
	d.mu.Lock()
	delete(d.inUse, id)
	var surplus []*kept
	for len(d.files[id]) > maxRuns {
		surplus = append(surplus, d.forgetOldest(func(k *kept) bool { return k.id == id }))
	}
	d.mu.Unlock()
	return remove(surplus)
}

// file returns the place for a run that is not written yet.
func (d *disk) file(id bucket.ID, name string) *kept {
	return &kept{d: d, id: id, name: name}
}

// forgetOldest takes the file that was written the longest ago out of the account, nil if none may be. The lock is held.
func (d *disk) forgetOldest(may func(*kept) bool) (oldest *kept) {
	for _, files := range d.files {
		for _, k := range files {
			if may(k) && (oldest == nil || k.written.Before(oldest.written)) {
				oldest = k
			}
		}
	}
	if oldest != nil {
		d.forget(oldest)
	}
	return oldest
}

// forget takes a file out of the account. The lock is held.
func (d *disk) forget(k *kept) {
	if d.files[k.id][k.name] != k {
		return
	}
	d.total -= k.size
	k.size = 0
	delete(d.files[k.id], k.name)
	if len(d.files[k.id]) == 0 {
		delete(d.files, k.id)
	}
}

// remove deletes files that are out of the account, without the lock.
func remove(files []*kept) (err error) {
	for _, k := range files {
		if rmErr := os.Remove(k.path()); rmErr != nil && !errors.Is(rmErr, os.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("remove a run: %w", rmErr))
		}
		_ = os.Remove(filepath.Dir(k.path())) // only if it is empty now
	}
	return err
}

func (k *kept) path() string { return filepath.Join(k.d.dir, k.id.String(), k.name) }

// create makes the file of a run, and empties one that is there.
func (k *kept) create() (*runFile, error) {
	if err := os.MkdirAll(filepath.Dir(k.path()), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of a run: %w", err)
	}
	file, err := os.OpenFile(k.path(), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make a run: %w", err)
	}
	k.d.mu.Lock()
	defer k.d.mu.Unlock()
	if old := k.d.files[k.id][k.name]; old != nil {
		k.d.forget(old)
	}
	k.d.add(k)
	return k.over(file), nil
}

func (k *kept) over(file *os.File) *runFile {
	return &runFile{kept: k, opener: k.d.opener, up: strings.HasPrefix(k.name, prefixUp), file: file, cached: -1}
}

func (k *kept) open(ctx context.Context) (*runFile, error) {
	file, err := os.OpenFile(k.path(), os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open a run: %w", err)
	}
	f := k.over(file)
	if err := f.scan(ctx); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return f, nil
}

// account adds to the account what the file grows by, or shrinks. If that does not fit, runs of buckets that nobody works on are
// removed, those written the longest ago first. That costs time if they are needed again, and nothing else.
func (k *kept) account(n int64) error {
	k.d.mu.Lock()
	var gone []*kept
	for n > 0 && k.d.total+n > k.d.limit {
		oldest := k.d.forgetOldest(func(o *kept) bool { return !k.d.inUse[o.id] })
		if oldest == nil {
			k.d.mu.Unlock()
			return errors.Join(ErrNoRoom, remove(gone))
		}
		gone = append(gone, oldest)
	}
	k.size += n
	if n > 0 {
		k.written = time.Now()
	}
	k.d.total += n
	k.d.mu.Unlock()
	return remove(gone)
}

func (k *kept) drop() error {
	k.d.mu.Lock()
	k.d.forget(k)
	k.d.mu.Unlock()
	return remove([]*kept{k})
}
