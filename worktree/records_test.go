package worktree_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headwater/bucket"
	"headwater/durable"
	"headwater/tree"
	"headwater/worktree"

	"github.com/google/go-cmp/cmp"
)

// recordFile returns the one record below a peer's directory.
func recordFile(t testing.TB, peer string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(peer, "worktrees", "*.record"))
	if err != nil || len(names) != 1 {
		t.Fatalf("got records %q, %v", names, err)
	}
	return names[0]
}

func TestRecordsAreKeptByDirectory(t *testing.T) {
	m, peer, dir := &memory{}, t.TempDir(), t.TempDir()
	_, rec := checkout(t, dir, listing(t, m, mixed), nil, m, worktree.CheckoutOptions{})
	rec.Pending = map[string]tree.Attributes{"p": {Perm: 0o644, Size: 1}}
	records := worktree.OpenRecords(peer)
	if _, err := records.Load(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
	if err := records.Save(t.Context(), dir, &worktree.Record{}); err != nil {
		t.Fatal(err)
	}
	if got, err := records.Load(dir); err != nil || !got.Version.IsZero() {
		t.Errorf("an empty record: got %v, %v", got, err)
	}
	for range 2 {
		if err := records.Save(t.Context(), dir, rec); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, link, dir + "/.", filepath.Join(dir, "src", "..")} {
		got, err := records.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(rec, got, cmp.AllowUnexported(worktree.Entry{}, worktree.Stamp{})); diff != "" {
			t.Errorf("%s: (-saved +loaded):\n%s", name, diff)
		}
	}
	info, err := os.Stat(recordFile(t, peer))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v; want 0600", info.Mode(), err)
	}
	for range 2 {
		if err := records.Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := records.Load(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Remove: got %v, want fs.ErrNotExist", err)
	}
}

func TestABrokenRecordNamesTheFix(t *testing.T) {
	peer, dir, other := t.TempDir(), t.TempDir(), t.TempDir()
	records := worktree.OpenRecords(peer)
	save := func(dir string) []byte {
		if err := records.Save(t.Context(), dir, &worktree.Record{Origin: origin(1), Dirs: map[string]fs.FileMode{"d": 0o755}}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(recordFile(t, peer))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := save(other)
	if err := records.Remove(other); err != nil {
		t.Fatal(err)
	}
	save(dir)
	tests := map[string][]byte{
		"of another directory": good,
		"empty":                nil,
		"of a newer version":   bytes.Replace(good, []byte("worktree 1"), []byte("worktree 2"), 1),
		"cut off":              good[:len(good)-1],
		"altered":              append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1),
	}
	for name, b := range tests {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(recordFile(t, peer), b, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := records.Load(dir)
			if !errors.Is(err, worktree.ErrRecord) || !strings.Contains(err.Error(), "remove the file") {
				t.Errorf("got %v, want ErrRecord and the way out", err)
			}
		})
	}
}

func FuzzRecord(f *testing.F) {
	rec := &worktree.Record{
		Origin:  origin(3),
		Files:   map[string]worktree.Entry{"a": {Attributes: tree.Attributes{Perm: 0o644, Size: 1}}, "b/c": {Data: tree.Data{Link: origin(1).Version}}},
		Dirs:    map[string]fs.FileMode{"b": 0o755},
		Pending: map[string]tree.Attributes{"p": {Symlink: true}},
	}
	good, err := worktree.EncodeBody(rec, "/dir")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, of, err := worktree.DecodeBody(b)
		if err != nil {
			return
		}
		for path := range rec.Files {
			if err := tree.CheckPath(path); err != nil {
				t.Error(err)
			}
		}
		again, err := worktree.EncodeBody(rec, of)
		if err != nil {
			t.Fatal(err)
		}
		if same, _, err := worktree.DecodeBody(again); err != nil || !cmp.Equal(rec, same, cmp.AllowUnexported(worktree.Entry{}, worktree.Stamp{})) {
			t.Errorf("a record does not come back as it was: %v", err)
		}
	})
}

func TestTheFormatOfRecordsStays(t *testing.T) {
	rec := &worktree.Record{
		Origin: origin(3),
		Files: map[string]worktree.Entry{
			"a":   {Attributes: tree.Attributes{Perm: 0o644, Size: 1, Hash: bucket.Sum([]byte("a"))}},
			"b/c": {Attributes: tree.Attributes{Perm: 0o777, Symlink: true}},
			"b/d": {Attributes: tree.Attributes{Perm: 0o600}, Data: tree.Data{Link: bucket.RawLink(nil), Secret: bucket.Secret{1}}},
		},
		Dirs:    map[string]fs.FileMode{"b": 0o755},
		Pending: map[string]tree.Attributes{"p": {Perm: 0o400, Size: 2}},
	}
	golden, err := os.ReadFile("testdata/record-1")
	if err != nil {
		t.Fatal(err)
	}
	b, err := worktree.Encode(rec, "/dir")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, golden) {
		t.Errorf("got %d bytes %x, want %d", len(b), b, len(golden))
	}
	got, of, err := worktree.Decode(golden)
	if err != nil || of != "/dir" {
		t.Fatalf("got %q, %v", of, err)
	}
	if diff := cmp.Diff(rec, got, cmp.AllowUnexported(worktree.Entry{}, worktree.Stamp{})); diff != "" {
		t.Error(diff)
	}
}

func TestSaveSaysWhoIsInItsWay(t *testing.T) {
	peer, dir := filepath.Join(t.TempDir(), "not", "made yet"), t.TempDir()
	records := worktree.OpenRecords(peer)
	rec := &worktree.Record{Origin: origin(1)}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := records.Save(ended, dir, rec); err != nil {
		t.Errorf("a save after the end that nobody is in the way of: %v", err)
	}
	lock, err := durable.Acquire(filepath.Join(peer, "worktrees", "lock"), durable.Self("test"))
	if err != nil {
		t.Fatal(err)
	}
	err = records.Save(ended, dir, rec)
	held, ok := errors.AsType[*durable.HeldError](err)
	if !ok || held.Holder.Role != "test" || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the holder and %v", err, context.Canceled)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
}
