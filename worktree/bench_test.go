package worktree_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"headwater/tree"
	"headwater/worktree"
)

// manyFiles makes 20,000 files of 2 KiB on average in 100 directories. HEADWATER_BENCH_DIR says where; default is the system's
// temporary directory.
func manyFiles(b *testing.B) (dir string) {
	b.Helper()
	dir = b.TempDir()
	random := rand.NewChaCha8([32]byte{1})
	content := make([]byte, 4096)
	for i := range 100 {
		sub := filepath.Join(dir, fmt.Sprintf("d%d", i/10), fmt.Sprintf("e%d", i%10))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			b.Fatal(err)
		}
		for j := range 200 {
			random.Read(content)
			name := filepath.Join(sub, fmt.Sprintf("f%d", j))
			if err := os.WriteFile(name, content[:random.Uint64()%4096], 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	return dir
}

func BenchmarkScan(b *testing.B) {
	dir := manyFiles(b)
	s := scan(b, dir, nil)
	rec := worktree.NewRecord(origin(1), scan(b, dir, nil), mustStore(b, s, &memory{}))
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			scan(b, dir, nil)
		}
	})
	b.Run("unchanged", func(b *testing.B) {
		for b.Loop() {
			if s := scan(b, dir, rec); s.Read > 0 {
				b.Logf("%d files were read", s.Read)
			}
		}
	})
}

func mustStore(b *testing.B, s *worktree.Scanned, m *memory, known ...*tree.Listing) *tree.Listing {
	b.Helper()
	l, _ := store(b, s, m, worktree.StoreOptions{Known: known})
	return l
}

func BenchmarkStore(b *testing.B) {
	s := scan(b, manyFiles(b), nil)
	l := mustStore(b, s, &memory{})
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			mustStore(b, s, &memory{})
		}
	})
	b.Run("unchanged", func(b *testing.B) {
		for b.Loop() {
			mustStore(b, s, &memory{}, l)
		}
	})
}

func mustCheckout(b *testing.B, dir string, l *tree.Listing, rec *worktree.Record, m *memory) *worktree.Record {
	b.Helper()
	_, rec, err := worktree.Checkout(b.Context(), dir, l, rec, m, worktree.CheckoutOptions{Origin: origin(1)})
	if err != nil {
		b.Fatal(err)
	}
	return rec
}

func BenchmarkCheckout(b *testing.B) {
	m := &memory{}
	l := mustStore(b, scan(b, manyFiles(b), nil), m)
	dir := b.TempDir()
	rec := mustCheckout(b, dir, l, nil, m)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			dir := b.TempDir()
			b.StartTimer()
			mustCheckout(b, dir, l, nil, m)
		}
	})
	b.Run("unchanged", func(b *testing.B) {
		for b.Loop() {
			mustCheckout(b, dir, l, rec, m)
		}
	})
	b.Run("without the record", func(b *testing.B) {
		for b.Loop() {
			mustCheckout(b, dir, l, nil, m)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	dir := manyFiles(b)
	s := scan(b, dir, nil)
	rec := worktree.NewRecord(origin(1), s, mustStore(b, s, &memory{}))
	records := worktree.OpenRecords(b.TempDir())
	for b.Loop() {
		if err := records.Save(b.Context(), dir, rec); err != nil {
			b.Fatal(err)
		}
		if _, err := records.Load(dir); err != nil {
			b.Fatal(err)
		}
	}
}
