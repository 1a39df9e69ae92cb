//go:build linux

package test_test

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"filippo.io/age"
	"golang.org/x/sys/unix"
)

// What the benchmarks call tar through age runs as a process of its own, so that its usage can be measured: the binary of the
// tests, with one of these words as its first argument.
const (
	ageSeal = "tar-age-seal"
	ageOpen = "tar-age-open"
)

// TestMain is that program, or runs the tests.
func TestMain(m *testing.M) {
	if len(os.Args) != 5 {
		os.Exit(m.Run())
	}
	do := map[string]func(key, dir, file string) error{ageSeal: tarSeal, ageOpen: tarOpen}[os.Args[1]]
	if do == nil {
		os.Exit(m.Run())
	}
	if err := do(os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// benchAge streams the directory into one encrypted file, and back.
func benchAge(b *testing.B, c corpus) (k kept) {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	key, err := age.GenerateX25519Identity()
	if err != nil {
		b.Fatal(err)
	}
	work := b.TempDir()
	file, out := filepath.Join(work, "all.tar.age"), filepath.Join(work, "out")
	k.commit = c.measure(b, "tar | age", exec.CommandContext(b.Context(), self, ageSeal, key.Recipient().String(), c.dir, file), false)
	k.checkout = c.measure(b, "age -d | tar -x", exec.CommandContext(b.Context(), self, ageOpen, key.String(), out, file), false)
	checkSame(b, out, c.dir)
	return k
}

// tarSeal writes the tar of dir, encrypted to one key, into a file, and syncs it.
func tarSeal(key, dir, file string) error {
	to, err := age.ParseX25519Recipient(key)
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	sealed, err := age.Encrypt(f, to)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(sealed)
	return errors.Join(archive.AddFS(os.DirFS(dir)), archive.Close(), sealed.Close(), f.Sync())
}

// tarOpen makes dir what an encrypted tar holds, and syncs it as a checkout does.
func tarOpen(key, dir, file string) error {
	id, err := age.ParseX25519Identity(key)
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	plain, err := age.Decrypt(f, id)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	top, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer top.Close()
	if err := untar(tar.NewReader(plain), top); err != nil {
		return err
	}
	whole, err := top.Open(".")
	if err != nil {
		return err
	}
	defer whole.Close()
	return unix.Syncfs(int(whole.Fd()))
}

func untar(archive *tar.Reader, top *os.Root) error {
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		perm := fs.FileMode(h.Mode).Perm()
		if h.Typeflag == tar.TypeDir {
			if err := top.MkdirAll(filepath.Clean(h.Name), perm); err != nil {
				return err
			}
			continue
		}
		f, err := top.OpenFile(h.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, perm)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, archive)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
}
