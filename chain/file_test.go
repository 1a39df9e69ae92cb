package chain

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/bucket/buckettest"
)

// writeRun makes the file of a run with blocks of n versions, and returns its path and where each block ends.
func writeRun(tb testing.TB, dir, prefix string, versions []*bucket.Version, n int) (path string, ends []int64) {
	tb.Helper()
	d, err := openDisk(dir, 1<<30, new(bucket.Opener))
	if err != nil {
		tb.Fatal(err)
	}
	r := &run{kept: d.file(versions[0].Bucket, prefix+"x"), up: prefix == prefixUp}
	blocks := slices.Collect(slices.Chunk(versions, n))
	if !r.up {
		slices.Reverse(blocks)
	}
	for _, b := range blocks {
		b = slices.Clone(b)
		if !r.up {
			slices.Reverse(b)
		}
		for _, v := range b {
			r.add(v)
		}
		if err := r.flush(); err != nil {
			tb.Fatal(err)
		}
		ends = append(ends, r.file.size)
	}
	if err := r.file.file.Close(); err != nil {
		tb.Fatal(err)
	}
	return r.kept.path(), ends
}

// readRun opens the file of a run, and reads all that it says is in it.
func readRun(tb testing.TB, path string) (versions []*bucket.Version, err error) {
	tb.Helper()
	d, err := openDisk(filepath.Dir(filepath.Dir(path)), 1<<30, new(bucket.Opener))
	if err != nil {
		tb.Fatal(err)
	}
	for _, files := range d.files {
		for _, k := range files {
			f, err := k.open(tb.Context())
			if err != nil {
				tb.Fatal(err)
			}
			defer f.file.Close()
			r := &run{kept: k, file: f, up: f.up}
			r.first, r.end = f.heights()
			for batch, err := range r.batches(tb.Context(), r.first, r.end) {
				if err != nil {
					return nil, err
				}
				versions = append(versions, batch...)
			}
			if info, err := os.Stat(path); err != nil || info.Size() != f.size || d.total != f.size {
				tb.Errorf("the file has %d bytes (%v), %d are accounted for, its blocks have %d", info.Size(), err, d.total, f.size)
			}
		}
	}
	return versions, nil
}

func TestRunIsReadAsItWasWritten(t *testing.T) {
	chain := buckettest.New(t, buckettest.Identity(t, 1)).Grow(t, 23)
	for _, prefix := range []string{prefixUp, prefixDown} {
		path, _ := writeRun(t, t.TempDir(), prefix, chain.Versions, 5)
		got, err := readRun(t, path)
		if err != nil || len(got) != len(chain.Versions) {
			t.Fatalf("%s: got %d versions, %v, want %d", prefix, len(got), err, len(chain.Versions))
		}
		for i, v := range got {
			if v.Link != chain.Versions[i].Link {
				t.Fatalf("%s: version %d is another", prefix, i)
			}
		}
	}
}

// A process hashes what others have kept once, and stops when it is to stop. What is damaged after that is found when it is read.
func TestKeptRunIsHashedOnce(t *testing.T) {
	chain := buckettest.New(t, buckettest.Identity(t, 1)).Grow(t, 20)
	for _, prefix := range []string{prefixUp, prefixDown} {
		path, ends := writeRun(t, t.TempDir(), prefix, chain.Versions, 5)
		d, err := openDisk(filepath.Dir(filepath.Dir(path)), 1<<30, new(bucket.Opener))
		if err != nil {
			t.Fatal(err)
		}
		k := d.open(chain.ID)[0]
		opened := func() *runFile {
			f, err := k.open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.file.Close() })
			return f
		}
		stopped, stop := context.WithCancel(t.Context())
		stop()
		if _, err := k.open(stopped); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want it interrupted", prefix, err)
		}
		if f := opened(); len(f.blocks) != 4 {
			t.Fatalf("%s: got %d blocks, want 4", prefix, len(f.blocks))
		}
		damaged, err := os.OpenFile(path, os.O_RDWR, 0)
		if err == nil {
			_, err = damaged.WriteAt([]byte("damage"), ends[1]-10)
			err = errors.Join(err, damaged.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		f := opened()
		if len(f.blocks) != 4 {
			t.Errorf("%s: got %d blocks, want 4: it was hashed again", prefix, len(f.blocks))
		}
		if _, _, err := f.versions(f.blocks[1].first); !errors.Is(err, errTorn) {
			t.Errorf("%s: got %v, want %v", prefix, err, errTorn)
		}
		if err := f.put(chain.Versions[:1]); err != nil {
			t.Fatal(err)
		}
		if f := opened(); len(f.blocks) != 1 {
			t.Errorf("%s: got %d blocks, want the one before the damage", prefix, len(f.blocks))
		}
	}
}

// P13: what is read back is one piece of a chain, whatever blocks are missing, doubled or of another one.
func TestBounded_BlocksThatDoNotFollowAreCutOff(t *testing.T) {
	chain := buckettest.New(t, buckettest.Identity(t, 1)).Grow(t, 20)
	other := chain.Fork(3).Grow(t, 16)
	for _, prefix := range []string{prefixUp, prefixDown} {
		path, ends := writeRun(t, t.TempDir(), prefix, chain.Versions, 5)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		path, others := writeRun(t, t.TempDir(), prefix, other.Versions, 5)
		foreign, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{
			"one is missing":     append(bytes.Clone(whole[:ends[0]]), whole[ends[1]:]...),
			"one is there twice": append(bytes.Clone(whole[:ends[0]]), whole...),
			"one is of a fork":   append(bytes.Clone(whole[:ends[0]]), foreign[others[0]:]...),
		} {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := readRun(t, path)
			if err != nil || len(got) != 5 {
				t.Errorf("%s, %s: got %d versions, %v, want the first block's", prefix, name, len(got), err)
			}
			for i := 1; i < len(got); i++ {
				if got[i].Previous != got[i-1].Link {
					t.Errorf("%s, %s: version %d does not follow on the one before it", prefix, name, i)
				}
			}
		}
	}
}

// What older programs kept of a catch-up is removed; it is fetched again.
func TestBounded_WhatOlderProgramsKeptIsRemoved(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, bucket.NewID().String())
	other := filepath.Join(dir, "other", "file")
	for _, path := range []string{filepath.Join(old, "spool"), filepath.Join(old, "walk", "segment"), other} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := openDisk(dir, 1<<30, new(bucket.Opener))
	if err != nil || d.total != 0 {
		t.Fatalf("got %d bytes, %v, want none", d.total, err)
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("what is of no use is still there: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("what is no bucket's is gone: %v", err)
	}
}

// Whatever a crash, a disk or a person made of the file, opening it ends, and leaves one that reads the same again.
func FuzzRun(f *testing.F) {
	chain := buckettest.New(f, buckettest.Identity(f, 1)).Grow(f, 12)
	for _, prefix := range []string{prefixUp, prefixDown} {
		path, _ := writeRun(f, f.TempDir(), prefix, chain.Versions, 5)
		whole, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		up := prefix == prefixUp
		f.Add(whole, up)
		f.Add(whole[:len(whole)-1], up)
		f.Add(append(bytes.Clone(whole), whole...), up)
	}
	f.Fuzz(func(t *testing.T, b []byte, up bool) {
		name := prefixDown
		if up {
			name = prefixUp
		}
		path := filepath.Join(t.TempDir(), chain.ID.String(), name+"x")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		first, err := readRun(t, path)
		if err != nil {
			return // its bytes are what was written, and are no versions
		}
		again, err := readRun(t, path)
		if err != nil || len(again) != len(first) {
			t.Errorf("got %d versions (%v) when it was read again, %d before", len(again), err, len(first))
		}
		for i, v := range first {
			if v.Link != again[i].Link {
				t.Errorf("version %d is %s, and %s when it was read again", i, v.Link, again[i].Link)
			}
		}
	})
}

// Which run gives way is the one that was written the longest ago, also if that was another process.
func TestBounded_TheOldestRunGivesWay(t *testing.T) {
	for oldest := range 4 {
		dir := t.TempDir()
		var paths []string
		id := bucket.NewID() // two of one bucket, two of others
		for i, of := range []bucket.ID{id, id, bucket.NewID(), bucket.NewID()} {
			path := filepath.Join(dir, of.String(), prefixDown+string(rune('a'+i)))
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, make([]byte, 100), 0o600)); err != nil {
				t.Fatal(err)
			}
			age := time.Hour
			if i == oldest {
				age = 2 * time.Hour
			}
			then := time.Now().Add(-age)
			if err := os.Chtimes(path, then, then); err != nil {
				t.Fatal(err)
			}
			paths = append(paths, path)
		}
		d, err := openDisk(dir, 450, new(bucket.Opener))
		if err != nil {
			t.Fatal(err)
		}
		d.open(id) // somebody looks, and goes on with nothing
		if err := d.close(id); err != nil {
			t.Fatal(err)
		}
		more := d.file(bucket.NewID(), prefixDown+"new")
		f, err := more.create()
		if err == nil {
			err = errors.Join(more.account(100), f.file.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, path := range paths {
			if _, err := os.Stat(path); (err == nil) == (i == oldest) {
				t.Errorf("the oldest is %d: run %d has error %v", oldest, i, err)
			}
		}
	}
}
