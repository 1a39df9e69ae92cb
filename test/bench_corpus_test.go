//go:build linux

package test_test

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// corpus is a directory to be kept.
type corpus struct {
	dir   string
	files int
	size  int64
}

// change appends a line to some files.
func (c corpus) change(b *testing.B, n int) {
	b.Helper()
	for path := range regularFiles(b, c.dir) {
		if n--; n < 0 {
			return
		}
		f, err := os.OpenFile(filepath.Join(c.dir, path), os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString("changed\n")
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// regularFiles yields the paths of the files below dir, in order, with their sizes.
func regularFiles(b *testing.B, dir string) func(yield func(string, int64) bool) {
	b.Helper()
	return func(yield func(string, int64) bool) {
		err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			info, err := d.Info()
			if err == nil && !yield(path, info.Size()) {
				return fs.SkipAll
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// realFiles copies benchFiles files that every machine with Go has: the sources of Go, and the rest from all over the module
// cache.
func realFiles(b *testing.B) corpus {
	b.Helper()
	out, err := exec.CommandContext(b.Context(), "go", "env", "GOROOT", "GOMODCACHE").Output()
	if err != nil {
		b.Fatalf("go env: %v", err)
	}
	root, modules, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	c := corpus{dir: b.TempDir()}
	c.add(b, filepath.Join(root, "src"), "std", 1)
	n := 0
	for path := range regularFiles(b, modules) {
		if ofModule(path) {
			n++
		}
	}
	missing := benchFiles - c.files
	if n < missing {
		b.Fatalf("got %d files in %s, want %d; go mod download brings them", n, modules, missing)
	}
	c.add(b, modules, "modules", n/missing)
	if c.files != benchFiles {
		b.Fatalf("got %d files, want %d", c.files, benchFiles)
	}
	return c
}

// ofModule reports whether a path in the module cache is a file of an unpacked module.
func ofModule(path string) bool { return !strings.HasPrefix(path, "cache/") }

// add copies one file out of so many, until there are benchFiles.
func (c *corpus) add(b *testing.B, from, to string, every int) {
	b.Helper()
	i := 0
	for path, size := range regularFiles(b, from) {
		if to == "modules" && !ofModule(path) {
			continue
		}
		if i++; i%every != 0 {
			continue
		}
		if c.files == benchFiles {
			return
		}
		whole, err := os.ReadFile(filepath.Join(from, path))
		target := filepath.Join(c.dir, to, path)
		if err == nil {
			err = errors.Join(os.MkdirAll(filepath.Dir(target), 0o755), os.WriteFile(target, whole, 0o644))
		}
		if err != nil {
			b.Fatal(err)
		}
		c.files++
		c.size += size
	}
}

// largeFile makes one file of bytes that do not compress; a smaller one if the disk has no room for ten of them.
func largeFile(b *testing.B) corpus {
	b.Helper()
	c := corpus{dir: b.TempDir(), files: 1, size: benchLarge}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(c.dir, &disk); err != nil {
		b.Fatal(err)
	}
	if room := int64(disk.Bavail) * disk.Bsize; room < 10*benchLarge {
		c.size = benchLarge / 8
		b.Logf("the disk has %d MiB: the large file has %d instead of %d", room>>20, c.size>>20, benchLarge>>20)
	}
	f, err := os.Create(filepath.Join(c.dir, "large"))
	if err == nil {
		_, err = io.CopyN(f, rand.NewChaCha8([32]byte{1}), c.size)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		b.Fatal(err)
	}
	return c
}
