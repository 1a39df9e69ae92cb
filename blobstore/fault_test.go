package blobstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"headwater/bucket"
)

// faultyDisk opens files that fail as told, and remembers how much of each has been synced.
type faultyDisk struct {
	mu     sync.Mutex
	writes int            // left before every write fails; negative: none does
	syncs  int            // left before every sync fails
	stuck  bool           // nothing can be truncated
	synced map[string]int // bytes durable, by name
	count  int            // syncs made
	gate   chan struct{}  // each sync waits for one, unless nil
}

func newFaultyDisk() *faultyDisk {
	return &faultyDisk{writes: -1, syncs: -1, synced: make(map[string]int)}
}

func (d *faultyDisk) open(name string, flag int) (file, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: f, disk: d}, nil
}

// spend takes one of what is left, and reports whether there was one.
func spend(left *int) bool {
	if *left > 0 {
		*left--
		return true
	}
	return *left < 0
}

type faultyFile struct {
	*os.File
	disk *faultyDisk
}

// WriteAt writes half of what a full disk still takes, like a real one.
func (f *faultyFile) WriteAt(b []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	ok := spend(&f.disk.writes)
	f.disk.mu.Unlock()
	if ok {
		return f.File.WriteAt(b, off)
	}
	n, _ := f.File.WriteAt(b[:len(b)/2], off)
	return n, &fs.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
}

func (f *faultyFile) Sync() error {
	if f.disk.gate != nil {
		<-f.disk.gate
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if !spend(&f.disk.syncs) {
		return &fs.PathError{Op: "sync", Path: f.Name(), Err: syscall.EIO}
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	f.disk.count++
	f.disk.synced[f.Name()] = int(info.Size())
	return f.File.Sync()
}

func (f *faultyFile) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.stuck {
		return &fs.PathError{Op: "truncate", Path: f.Name(), Err: syscall.EIO}
	}
	return f.File.Truncate(size)
}

func (d *faultyDisk) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

func openFaulty(t *testing.T, dir string, f *faultyDisk) *Disk {
	t.Helper()
	d, err := openDisk(Config{Dir: dir, SegmentSize: 4096}, f.open)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func putBytes(ctx context.Context, d *Disk, i, n int) (bucket.Hash, error) {
	b := bytes.Repeat([]byte(fmt.Sprintf("%08d", i)), n/8)
	h := bucket.Sum(b)
	if i%2 == 0 {
		_, err := d.Add(ctx, int64(len(b)), bytes.NewReader(b))
		return h, err
	}
	_, err := d.Put(ctx, h, bytes.NewReader(b))
	return h, err
}

// TestFullOrFailingDiskCostsOnlyWhatWasRefused fails each write, then each sync, one after the other, with and without
// truncation working, and goes on once there is room again.
func TestFullOrFailingDiskCostsOnlyWhatWasRefused(t *testing.T) {
	for _, size := range []int{400, 100_000} {
		for _, after := range []int{0, 1, 2, 3, 5, 8} {
			for _, stuck := range []bool{false, true} {
				for _, kind := range []string{"write", "sync"} {
					f := newFaultyDisk()
					dir := t.TempDir()
					d := openFaulty(t, dir, f)
					want := map[bucket.Hash]bool{}
					f.set(func() {
						f.stuck = stuck
						if kind == "write" {
							f.writes = after
						} else {
							f.syncs = after
						}
					})
					for i := range 12 {
						h, err := putBytes(t.Context(), d, i, size)
						want[h] = err == nil
						if err != nil && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EIO) {
							t.Fatalf("put on a failing disk: got %v", err)
						}
					}
					f.set(func() { f.writes, f.syncs, f.stuck = -1, -1, false })
					wantExactly(t, d, want)
					for i := range 5 {
						h, err := putBytes(t.Context(), d, i, size)
						if err != nil {
							t.Fatalf("put once there is room: %v", err)
						}
						want[h] = true
					}
					wantExactly(t, d, want)
					if left, err := os.ReadDir(filepath.Join(dir, dirTemporary)); err != nil || len(left) > 0 {
						t.Fatalf("temporary files left: got %v, %v", left, err)
					}
					d.Close()
					d = openFaulty(t, dir, newFaultyDisk())
					for h, held := range want {
						if ok, err := d.Has(t.Context(), h); err != nil || held && !ok {
							t.Fatalf("%s %d, after reopening, has %s: got %v, %v", kind, after, h, ok, err)
						}
					}
					d.Close()
				}
			}
		}
	}
}

func wantExactly(t *testing.T, d *Disk, want map[bucket.Hash]bool) {
	t.Helper()
	for h, held := range want {
		if ok, err := d.Has(t.Context(), h); err != nil || ok != held {
			t.Fatalf("has %s: got %v, %v, want %v", h, ok, err, held)
		}
		if _, err := ReadAll(t.Context(), d, h, 1<<20); held && err != nil {
			t.Fatal(err)
		}
	}
}

// TestPowerCutKeepsWhatWasAcknowledged cuts every file to what had been synced when the last Put returned.
func TestPowerCutKeepsWhatWasAcknowledged(t *testing.T) {
	f := newFaultyDisk()
	dir := t.TempDir()
	d := openFaulty(t, dir, f)
	want := make(map[bucket.Hash]bool)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 15 {
				h, err := putBytes(t.Context(), d, w*100+i, 300+i%2*70_000)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				want[h] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	// Written and not synced: what a power cut may take.
	a := d.active
	a.file.WriteAt([]byte(strings.Repeat("torn", 100)), a.size)
	d.Close()
	segments, err := filepath.Glob(filepath.Join(dir, dirSmall, "*"+segmentExt))
	if err != nil || len(segments) < 3 {
		t.Fatalf("segments: got %v, %v, want several", segments, err)
	}
	for _, name := range segments {
		if err := os.Truncate(name, int64(f.synced[name])); err != nil {
			t.Fatal(err)
		}
	}
	d = openFaulty(t, dir, newFaultyDisk())
	defer d.Close()
	wantExactly(t, d, want)
}

// TestManyPutsShareSyncs keeps one sync waiting while callers queue up: the next must do for all of them.
func TestManyPutsShareSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFaultyDisk()
		d := openFaulty(t, t.TempDir(), f)
		defer d.Close()
		f.gate = make(chan struct{})
		before := f.count
		var wg sync.WaitGroup
		for i := range 9 {
			wg.Go(func() {
				if _, err := putBytes(t.Context(), d, i, 160); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		close(f.gate)
		wg.Wait()
		if got := f.count - before; got != 2 {
			t.Errorf("syncs for 1 blob, and 8 put while it was synced: got %d, want 2", got)
		}
		before = f.count
		var batch []Small
		for i := range 10 {
			b := []byte(fmt.Sprint("batch ", i))
			batch = append(batch, Small{bucket.Sum(b), b})
		}
		if err := d.PutBatch(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		if got := f.count - before; got != 1 {
			t.Errorf("syncs for a batch of 10: got %d, want 1", got)
		}
	})
}

// TestCancelledWaiterLeavesTheQueue cancels one of two who wait for a commit under way.
func TestCancelledWaiterLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFaultyDisk()
		d := openFaulty(t, t.TempDir(), f)
		defer d.Close()
		f.gate = make(chan struct{})
		leaving, leave := context.WithCancel(t.Context())
		var hashes [3]bucket.Hash
		var errs [3]error
		for i, ctx := range []context.Context{t.Context(), leaving, t.Context()} {
			go func() { hashes[i], errs[i] = putBytes(ctx, d, i, 80) }()
			synctest.Wait()
		}
		leave()
		synctest.Wait()
		if !errors.Is(errs[1], context.Canceled) {
			t.Errorf("cancelled while waiting: got %v, want %v", errs[1], context.Canceled)
		}
		close(f.gate)
		synctest.Wait()
		if errs[0] != nil || errs[2] != nil {
			t.Errorf("the others: got %v, %v", errs[0], errs[2])
		}
		wantExactly(t, d, map[bucket.Hash]bool{hashes[0]: true, hashes[1]: false, hashes[2]: true})
	})
}
