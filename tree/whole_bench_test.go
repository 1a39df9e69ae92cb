package tree_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"testing"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/tree"
)

// sizes are the numbers of files that whole trees are measured with, 20 to a directory and 20 directories to one above.
var sizes = []int{20_000, 200_000}

// large makes a listing of n files; edit says which of them are others than usual.
func large(n int, edit func(i int) bool) *tree.Listing {
	l := tree.NewListing()
	mime := "text/plain"
	for i := range n {
		version := ""
		if edit(i) {
			version = "edited"
		}
		d := entry(fmt.Sprint("content of ", i, version), version, 0o644)
		d.Mime = &mime
		l.Add(fmt.Sprintf("directory-%d/section-%d/document-%d.txt", i/400, i/20%20, i%20), d)
	}
	return l
}

func never(int) bool { return false }

func perFile(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/file")
}

// diskWriter puts into a store on disk.
type diskWriter struct{ *blobstore.Disk }

func (w diskWriter) Put(ctx context.Context, h bucket.Hash, _ int64, r io.Reader) error {
	_, err := w.Disk.Put(ctx, h, r)
	return err
}

func eachSize(b *testing.B, run func(b *testing.B, n int)) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			run(b, n)
			perFile(b, n)
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		eachSize(b, func(b *testing.B, n int) {
			l := large(n, never)
			for b.Loop() {
				build(b, &shelf{}, l, nil)
			}
		})
	})
	b.Run("disk", func(b *testing.B) {
		eachSize(b, func(b *testing.B, n int) {
			l := large(n, never)
			d, err := blobstore.OpenDisk(blobstore.Config{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			for b.Loop() {
				if _, err := tree.Build(b.Context(), diskWriter{d}, l, nil, tree.NewSecret()); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

func BenchmarkBuildOneChange(b *testing.B) {
	eachSize(b, func(b *testing.B, n int) {
		var s shelf
		first := build(b, &s, large(n, never), nil)
		next := large(n, func(i int) bool { return i == 7 })
		for b.Loop() {
			if built := build(b, &s, next, first.Tree); built.Nodes != 3 {
				b.Fatalf("got %d nodes written, want 3", built.Nodes)
			}
		}
	})
}

// heap is what is in use after everything else is freed.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkLoad(b *testing.B) {
	eachSize(b, func(b *testing.B, n int) {
		d, err := blobstore.OpenDisk(blobstore.Config{Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		defer d.Close()
		secret := tree.NewSecret()
		built, err := tree.Build(b.Context(), diskWriter{d}, large(n, never), nil, secret)
		if err != nil {
			b.Fatal(err)
		}
		entry := built.Entry
		built = tree.Built{}
		before := heap()
		var l *tree.Listing
		for b.Loop() {
			if l, err = tree.Load(b.Context(), d, entry, secret); err != nil || len(l.Files) != n {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(heap()-before)/float64(n), "heap-B/file")
		runtime.KeepAlive(l)
	})
}

func BenchmarkFind(b *testing.B) {
	eachSize(b, func(b *testing.B, n int) {
		var s shelf
		secret := tree.NewSecret()
		built, err := tree.Build(b.Context(), &s, large(n, never), nil, secret)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := tree.Find(b.Context(), &s, built.Entry, secret, "directory-3/section-7/document-9.txt"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDiff(b *testing.B) {
	eachSize(b, func(b *testing.B, n int) {
		before, after := large(n, never), large(n, func(i int) bool { return i%100 == 0 })
		for b.Loop() {
			if got := tree.Diff(before, after); len(got) != n/100 {
				b.Fatalf("got %d changes, want %d", len(got), n/100)
			}
		}
	})
}

func BenchmarkMerge(b *testing.B) {
	eachSize(b, func(b *testing.B, n int) {
		base := large(n, never)
		ours, theirs := large(n, func(i int) bool { return i%100 == 0 }), large(n, func(i int) bool { return i%100 < 2 })
		for b.Loop() {
			if _, conflicts := tree.Merge(base, ours, theirs, aside); len(conflicts) != 0 {
				b.Fatalf("got %d conflicts, want none", len(conflicts))
			}
		}
	})
}

func BenchmarkCollisions(b *testing.B) {
	eachSize(b, func(b *testing.B, n int) {
		l := large(n, never)
		for b.Loop() {
			if got := tree.Collisions(l); len(got) > 0 {
				b.Fatalf("got %v, want none", got)
			}
		}
	})
}
