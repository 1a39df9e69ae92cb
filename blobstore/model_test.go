package blobstore_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"headwater/blobstore"
	"headwater/blobstore/blobtest"
	"headwater/bucket"
)

// TestDiskIsAMap does to a store of tiny segments and to a map the same things, and wants the same answers, whatever is
// sealed, rewritten or opened again on the way.
func TestDiskIsAMap(t *testing.T) {
	root, rounds := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		rounds++
		dir := filepath.Join(root, strconv.Itoa(rounds))
		cfg := blobstore.Config{Dir: dir, SegmentSize: rapid.SampledFrom([]int64{600, 2000, 8000}).Draw(rt, "segment")}
		d := openDisk(t, cfg)
		defer func() { closeDisk(t, d) }()
		var blobs [][]byte
		for i := range 24 {
			blobs = append(blobs, blobtest.Bytes(uint64(i), 20*i))
		}
		blobs = append(blobs, blobtest.Bytes(98, blobstore.SmallSize), blobtest.Bytes(99, blobstore.SmallSize+1))
		model := make(map[bucket.Hash]int64)
		some := rapid.SliceOfN(rapid.SampledFrom(blobs), 1, 8)
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				for _, b := range some.Draw(rt, "blobs") {
					model[mustPut(t, d, b)] = int64(len(b))
				}
			},
			"batch": func(rt *rapid.T) {
				var batch []blobstore.Small
				for _, b := range some.Draw(rt, "blobs") {
					if len(b) <= blobstore.SmallSize {
						batch = append(batch, blobstore.Small{Hash: bucket.Sum(b), Data: b})
						model[bucket.Sum(b)] = int64(len(b))
					}
				}
				if err := d.PutBatch(t.Context(), batch); err != nil {
					rt.Fatal(err)
				}
			},
			"delete": func(rt *rapid.T) {
				var hashes []bucket.Hash
				for _, b := range some.Draw(rt, "blobs") {
					hashes = append(hashes, bucket.Sum(b))
					delete(model, bucket.Sum(b))
				}
				if err := d.Delete(t.Context(), hashes...); err != nil {
					rt.Fatal(err)
				}
			},
			"reopen": func(rt *rapid.T) {
				closeDisk(t, d)
				d = openDisk(t, cfg)
				compareWithModel(rt, t, d, model, blobs, true)
			},
			"lose an index": func(rt *rapid.T) {
				closeDisk(t, d)
				names, _ := filepath.Glob(filepath.Join(dir, "small", "*.idx"))
				if len(names) > 0 {
					os.Remove(rapid.SampledFrom(names).Draw(rt, "index"))
				}
				d = openDisk(t, cfg)
			},
			"": func(rt *rapid.T) { compareWithModel(rt, t, d, model, blobs, false) },
		})
	})
}

// compareWithModel asks for every blob in every way; it reads those that take long only where it is to read all.
func compareWithModel(
	rt *rapid.T, t *testing.T, d *blobstore.Disk, model map[bucket.Hash]int64, blobs [][]byte, all bool,
) {
	listed := make(map[bucket.Hash]int64)
	for info, err := range d.All(t.Context()) {
		if _, twice := listed[info.Hash]; err != nil || twice {
			rt.Fatalf("list: %v, listed before: %v", err, twice)
		}
		listed[info.Hash] = info.Size
	}
	if diff := cmp.Diff(model, listed); diff != "" {
		rt.Fatalf("list (-want +got):\n%s", diff)
	}
	for _, b := range blobs {
		h := bucket.Sum(b)
		_, want := model[h]
		if got, err := d.Has(t.Context(), h); err != nil || got != want {
			rt.Fatalf("has %s: got %v, %v, want %v", h, got, err, want)
		}
		if !want || len(b) > 1000 && !all {
			continue
		}
		if got, err := blobstore.ReadAll(t.Context(), d, h, 1<<20); err != nil || !bytes.Equal(got, b) {
			rt.Fatalf("get %s: got %d bytes, %v", h, len(got), err)
		}
	}
}

// segments returns how many bytes the segments have, and how many there are.
func segments(t *testing.T, dir string) (size int64, n int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "small", "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	return size, len(names)
}

// TestDeletedBytesAreGivenBack deletes most of a store and expects most of the disk back, across a restart too.
func TestDeletedBytesAreGivenBack(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		dir := t.TempDir()
		cfg := blobstore.Config{Dir: dir, SegmentSize: 64 << 10}
		d := openDisk(t, cfg)
		var batch []blobstore.Small
		for i := range 2000 {
			b := blobtest.Bytes(uint64(i), 1000)
			batch = append(batch, blobstore.Small{Hash: bucket.Sum(b), Data: b})
		}
		if err := d.PutBatch(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		before, _ := segments(t, dir)
		kept := make(map[bucket.Hash]int64)
		for i, b := range batch {
			if i%10 == 0 {
				kept[b.Hash] = int64(len(b.Data))
			}
		}
		for part := range slices.Chunk(batch, 500) {
			var doomed []bucket.Hash
			for _, b := range part {
				if _, keep := kept[b.Hash]; !keep {
					doomed = append(doomed, b.Hash)
				}
			}
			if err := d.Delete(t.Context(), doomed...); err != nil {
				t.Fatal(err)
			}
			if reopen {
				closeDisk(t, d)
				d = openDisk(t, cfg)
			}
		}
		after, n := segments(t, dir)
		if after > before/4 {
			t.Errorf("reopen %v: bytes in %d segments: got %d after %d of %d blobs were deleted, %d before",
				reopen, n, after, len(batch)-len(kept), len(batch), before)
		}
		listed := make(map[bucket.Hash]int64)
		for info, err := range d.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			listed[info.Hash] = info.Size
		}
		if diff := cmp.Diff(kept, listed); diff != "" {
			t.Errorf("kept (-want +got):\n%s", diff)
		}
		closeDisk(t, d)
	}
}

// TestRewritingDisturbsNobody deletes and rewrites while others read what stays, and put anew.
func TestRewritingDisturbsNobody(t *testing.T) {
	d := openDisk(t, blobstore.Config{Dir: t.TempDir(), SegmentSize: 16 << 10})
	defer closeDisk(t, d)
	stay := make(map[bucket.Hash]bool)
	var doomed []bucket.Hash
	for i := range 400 {
		h := mustPut(t, d, blobtest.Bytes(uint64(i), 500))
		if i%4 == 0 {
			stay[h] = true
		} else {
			doomed = append(doomed, h)
		}
	}
	done := make(chan struct{})
	var g errgroup.Group
	for range 3 {
		g.Go(func() error {
			for {
				for h := range maps.Keys(stay) {
					if _, err := blobstore.ReadAll(t.Context(), d, h, 1<<10); err != nil {
						return err
					}
				}
				select {
				case <-done:
					return nil
				default:
				}
			}
		})
	}
	g.Go(func() error {
		for i := range 100 {
			b := blobtest.Bytes(uint64(5000+i), 500)
			if _, err := d.Put(t.Context(), bucket.Sum(b), bytes.NewReader(b)); err != nil {
				return err
			}
		}
		return nil
	})
	for part := range slices.Chunk(doomed, 20) {
		if err := d.Delete(t.Context(), part...); err != nil {
			t.Error(err)
		}
	}
	close(done)
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}
