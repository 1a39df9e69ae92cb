package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"headwater/durable"
)

func TestWriteFileReplacesTheWholeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path+".tmp", []byte("left by a process that died"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a longer content", "short", ""} {
		if err := durable.WriteFile(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
		if _, err := os.Stat(path + ".tmp"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the temporary file: got %v, want none", err)
		}
	}
}

func TestWriteFileThatFailsLeavesTheOldOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := durable.WriteFile(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path+".tmp", 0o700); err != nil { // nothing can be written there
		t.Fatal(err)
	}
	if err := durable.WriteFile(path, []byte("new")); err == nil {
		t.Error("got no error from a write that cannot be done")
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
		t.Errorf("got %q, %v, want the old content", got, err)
	}
}

func TestWriteFileThatFailsLeavesNoTemporaryFile(t *testing.T) {
	path := t.TempDir() // a directory: no file can take its place
	if err := durable.WriteFile(path, []byte("new")); err == nil {
		t.Error("got no error from a write that cannot be done")
	}
	if _, err := os.Stat(path + ".tmp"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary file: got %v, want none", err)
	}
}

func TestMakeDirMakesOneLevelAndMakeDirAllThoseAbove(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	for range 2 { // the second finds it there
		if err := durable.MakeDir(dir); err != nil {
			t.Error(err)
		}
	}
	if err := durable.MakeDir(filepath.Join(dir, "a", "b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no parent: got %v, want %v", err, fs.ErrNotExist)
	}
	for range 2 {
		if err := durable.MakeDirAll(filepath.Join(dir, "a", "b")); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "a", "b")); err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
		t.Errorf("got %v, %v, want a directory for its owner alone", info, err)
	}
}

func TestRemoveTakesAnAbsentFileForRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for range 2 {
		if err := durable.Remove(path); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want no file", err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := durable.SyncDir(filepath.Join(path, "no directory")); err == nil {
		t.Error("got no error for a directory that is none")
	}
}
