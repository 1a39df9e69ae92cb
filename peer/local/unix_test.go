//go:build unix

package local_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/peer/local"
	"headwater/peer/local/localtest"
)

func TestOnlyTheOwnerReachesTheSocket(t *testing.T) {
	dir := t.TempDir()
	control := filepath.Join(dir, "control")
	for _, left := range []func() error{
		func() error { return nil },
		func() error { return os.Chmod(control, 0o777) },                                   // by another program
		func() error { return os.WriteFile(filepath.Join(control, "socket"), nil, 0o666) }, // likewise
	} {
		if err := left(); err != nil {
			t.Fatal(err)
		}
		l := listen(t, dir)
		for path, want := range map[string]fs.FileMode{control: 0o700 | fs.ModeDir, filepath.Join(control, "socket"): 0o600 | fs.ModeSocket} {
			info, err := os.Lstat(path)
			if err != nil || info.Mode() != want {
				t.Errorf("%s: got mode %v, %v, want %v", path, info.Mode(), err, want)
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	other := t.TempDir()
	if err := errors.Join(os.Remove(control), os.Symlink(other, control)); err != nil {
		t.Fatal(err)
	}
	if l, err := local.Listen(dir); err == nil {
		l.Close()
		t.Error("a link in the place of the socket's directory was followed")
	}
}

func TestPathsLongerThanASocketsMayBe(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	base := t.TempDir()
	for _, n := range []int{local.MaxPath - 1, local.MaxPath, local.MaxPath + 1, 300, 3000} {
		dir := base
		for path, _ := local.SocketPath(dir); len(path) < n; path, _ = local.SocketPath(dir) {
			dir = filepath.Join(dir, strings.Repeat("d", max(1, min(n-len(path)-1, 200))))
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		stop := serveOn(t, listen(t, dir), &localtest.Memory{}, nil)
		c := dial(t, dir)
		if _, err := c.Has(t.Context(), bucket.Hash{}); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
		stop()
		if path, _ := local.SocketPath(dir); exists(path) {
			t.Errorf("%d bytes: the socket is left", n)
		}
		if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
			t.Errorf("%d bytes: left behind in the temporary directory: %v, %v", n, left, err)
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestHungHolderIsNamed(t *testing.T) {
	dir := t.TempDir()
	holder := start(t, "holder", dir)
	if err := holder.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	_, err := local.Dial(t.Context(), dir, 200*time.Millisecond)
	hung, ok := errors.AsType[*local.HungError](err)
	if !ok || !errors.Is(err, local.ErrHung) || hung.Dir != dir || time.Since(begin) > 2*time.Second {
		t.Errorf("dial: got %v after %v, want %v", err, time.Since(begin), local.ErrHung)
	}
	if err := holder.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	dial(t, dir)
}
