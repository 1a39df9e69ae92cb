package tree_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/tree"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// shelf is a store in memory that is a Writer too, and counts.
type shelf struct {
	blobstore.Memory
	puts, gets atomic.Int64
}

func (s *shelf) Put(ctx context.Context, h bucket.Hash, size int64, r io.Reader) error {
	s.puts.Add(1)
	_, err := s.Memory.Put(ctx, h, blobstore.Verify(r, h, size, size))
	return err
}

func (s *shelf) Add(ctx context.Context, size int64, r io.Reader) (bucket.Hash, error) {
	s.puts.Add(1)
	return s.Memory.Add(ctx, size, r)
}

func (s *shelf) Get(ctx context.Context, h bucket.Hash) (*blobstore.Blob, error) {
	s.gets.Add(1)
	return s.Memory.Get(ctx, h)
}

// plain puts sealed bytes and returns the link.
func (s *shelf) plain(t testing.TB, secret bucket.Secret, plain []byte) bucket.Link {
	t.Helper()
	blob, err := tree.Seal(secret, plain)
	if err != nil {
		t.Fatal(err)
	}
	link := bucket.RawLink(blob)
	if err := s.Put(t.Context(), link.Hash(), int64(len(blob)), bytes.NewReader(blob)); err != nil {
		t.Fatal(err)
	}
	return link
}

// file puts a file with attributes.
func (s *shelf) file(t testing.TB, content string, perm fs.FileMode) tree.Data {
	t.Helper()
	d := tree.Data{Secret: tree.NewSecret()}
	d.Link = s.plain(t, d.Secret, []byte(content))
	d.Metadata = tree.Attributes{Perm: perm, Size: uint64(len(content)), Hash: bucket.Sum([]byte(content))}.Metadata()
	return d
}

// node puts a node as it is, sound or not.
func (s *shelf) node(t testing.TB, links map[string]tree.Entry) tree.Dir {
	t.Helper()
	b, err := (&tree.Node{Links: links}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	secret := tree.NewSecret()
	return tree.Dir{Link: s.plain(t, secret, b), Secret: secret}
}

func (s *shelf) load(t testing.TB, root tree.Dir) (*tree.Listing, error) {
	return tree.Load(t.Context(), s, root.Link, root.Secret)
}

// sample is a tree with a bit of everything.
func sample(t testing.TB, s *shelf) *tree.Listing {
	l := tree.NewListing()
	for path, content := range map[string]string{
		"README": "read me", "aux.c": "a device elsewhere", "src/main.go": "package main", "src/deep/er/x": "x", "src/deep/y": "y",
		"名前/ü": "names", "same": "same", "same again": "same", ".headwater-dirs.txt": "not it", "sub/.headwater-dirs": "nor this",
	} {
		l.Add(path, s.file(t, content, 0o644))
	}
	l.Add("src/run.sh", s.file(t, "#!/bin/sh\n", 0o755))
	l.Dirs["empty"] = tree.Folder{}
	l.Dirs["src/deep"] = tree.Folder{Perm: 0o700}
	l.Dirs["src/\"quoted\"\nname"] = tree.Folder{Perm: 0o555}
	l.Dirs["plain"] = tree.Folder{Perm: 0o755}
	return l
}

// perms are the directories of a listing, with 0o755 for what is not known.
func perms(l *tree.Listing) map[string]fs.FileMode {
	out := map[string]fs.FileMode{}
	for path, f := range l.Dirs {
		out[path] = f.Perm
		if f.Perm == 0 {
			out[path] = 0o755
		}
	}
	return out
}

// wantTree compares files and permissions.
func wantTree(t testing.TB, want, got *tree.Listing) {
	t.Helper()
	if diff := cmp.Diff(want.Files, got.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(perms(want), perms(got)); diff != "" {
		t.Errorf("directories (-want +got):\n%s", diff)
	}
}

func TestWhatIsBuiltIsLoadedAgain(t *testing.T) {
	defer goleak.VerifyNone(t)
	var s shelf
	want, secret := sample(t, &s), tree.NewSecret()
	built, err := tree.Build(t.Context(), &s, want, nil, secret)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tree.Load(t.Context(), &s, built.Entry, secret)
	if err != nil {
		t.Fatal(err)
	}
	wantTree(t, want, got)
	built.Tree.Dirs["plain"] = tree.Folder{Blob: built.Tree.Dirs["plain"].Blob} // 0o755 and unknown are one
	if diff := cmp.Diff(built.Tree, got); diff != "" {
		t.Errorf("Built.Tree is not what is loaded (-built +loaded):\n%s", diff)
	}
	if err := got.Check(); err != nil {
		t.Errorf("check what was loaded: got %v, want none", err)
	}
}

func TestFind(t *testing.T) {
	var s shelf
	l, secret := sample(t, &s), tree.NewSecret()
	built, err := tree.Build(t.Context(), &s, l, nil, secret)
	if err != nil {
		t.Fatal(err)
	}
	find := func(path string) (tree.Entry, error) { return tree.Find(t.Context(), &s, built.Entry, secret, path) }
	for path, want := range l.Files {
		if got, err := find(path); err != nil || !cmp.Equal(got, tree.Entry(want)) {
			t.Errorf("%q: got %v, %v, want the file's entry", path, got, err)
		}
	}
	for path, want := range built.Tree.Dirs {
		if got, err := find(path); err != nil || got != tree.Entry(want.Blob) {
			t.Errorf("%q: got %v, %v, want the directory's entry", path, got, err)
		}
	}
	if got, err := find(""); err != nil || got != tree.Entry(tree.Dir{Link: built.Entry, Secret: secret}) {
		t.Errorf("the empty path: got %v, %v, want the root", got, err)
	}
	s.gets.Store(0)
	if _, err := find("src/deep/y"); err != nil || s.gets.Load() != 3 {
		t.Errorf("got %v with %d blobs read, want the three directories on the way and no more", err, s.gets.Load())
	}
	for _, path := range []string{"nothing", "src/nothing", "README/x", "src/deep/y/z", "nothing/at/all", tree.DirsFile} {
		if got, err := find(path); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: got %v, %v, want fs.ErrNotExist that names the path", path, got, err)
		}
	}
	for _, path := range []string{"/README", "src/", "src//deep", "..", "src/../README", "."} {
		if got, err := find(path); !errors.Is(err, tree.ErrName) {
			t.Errorf("%q: got %v, %v, want ErrName", path, got, err)
		}
	}
}

// TestHostileNames: no name of a bucket is trusted, at whatever depth it stands.
func TestHostileNames(t *testing.T) {
	defer goleak.VerifyNone(t)
	var s shelf
	file := s.file(t, "x", 0o644)
	names := []string{
		"", ".", "..", "...", ".. ", "/", "/etc/passwd", "../x", "a/b", `a\b`, `..\x`, `\\host\share`, "a\x00b", "C:", "c:x", strings.Repeat("x", 256),
	}
	for _, name := range names {
		for _, e := range []tree.Entry{file, s.node(t, nil)} {
			bad := s.node(t, map[string]tree.Entry{name: e, "good": file})
			root := s.node(t, map[string]tree.Entry{"deep": s.node(t, map[string]tree.Entry{"er": bad})})
			got, err := s.load(t, root)
			if got != nil || !errors.Is(err, tree.ErrName) || bucket.ClassOf(err) != bucket.Malformed || !strings.Contains(err.Error(), "deep/er") {
				t.Errorf("%.20q: got %v, %v, want ErrName of class malformed that names the directory", name, got, err)
			}
		}
	}
	long := bytes.Replace(encoded(t, map[string]tree.Entry{"x": file}), []byte("\x61x"),
		append([]byte("\x7a\x00\x01\x00\x00"), strings.Repeat("x", 64<<10)...), 1)
	secret := tree.NewSecret()
	got, err := tree.Load(t.Context(), &s, s.plain(t, secret, long), secret)
	if got != nil || bucket.ClassOf(err) != bucket.TooLarge {
		t.Errorf("a name of 64 KiB: got %v, %v, want a refusal of class too_large", got, err)
	}
}

func encoded(t testing.TB, links map[string]tree.Entry) []byte {
	t.Helper()
	b, err := (&tree.Node{Links: links}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// forger answers for one hash with the bytes of another.
type forger struct {
	*shelf
	of, with bucket.Hash
}

func (f forger) Get(ctx context.Context, h bucket.Hash) (*blobstore.Blob, error) {
	if h != f.of {
		return f.shelf.Get(ctx, h)
	}
	blob, err := f.shelf.Get(ctx, f.with)
	if err != nil {
		return nil, err
	}
	return blobstore.NewBlob(h, blob.Size(), blob), nil
}

func TestDirectoryThatIsItsOwnChild(t *testing.T) {
	defer goleak.VerifyNone(t)
	var s shelf
	secret := tree.NewSecret()
	child := tree.Dir{Link: bucket.RawLink([]byte("no bytes hash to this")), Secret: secret}
	root := s.plain(t, secret, encoded(t, map[string]tree.Entry{"self": child}))
	got, err := tree.Load(t.Context(), forger{&s, child.Link.Hash(), root.Hash()}, root, secret)
	if got != nil || !errors.Is(err, blobstore.ErrCorrupt) || !strings.Contains(err.Error(), `"self"`) {
		t.Errorf("got %v, %v, want ErrCorrupt of the directory self", got, err)
	}
}

// TestTreesThatUnfold: few blobs, endless trees. They are refused while they are read, after a number of reads that the
// limits allow.
func TestTreesThatUnfold(t *testing.T) {
	defer goleak.VerifyNone(t)
	var s shelf
	file := s.file(t, "x", 0o644)
	many := func(n int, e tree.Entry) tree.Dir {
		links := map[string]tree.Entry{}
		for i := range n {
			links[fmt.Sprint(i)] = e
		}
		return s.node(t, links)
	}
	nested := func(levels, width int, name string, d tree.Dir) tree.Dir {
		for range levels {
			links := map[string]tree.Entry{}
			for i := range width {
				links[fmt.Sprint(name, i)] = d
			}
			d = s.node(t, links)
		}
		return d
	}
	tests := map[string]struct {
		root  tree.Dir
		files int   // the limit on them
		gets  int64 // most of them
	}{
		"30 levels of 100 entries to one node":  {nested(30, 100, "", many(1, file)), 50_000, 500 + 100},
		"10 million files in one node's copies": {many(2_000, many(5_000, file)), tree.MaxFiles, tree.MaxFiles/5_000 + 100},
		"a path of too many names":              {nested(tree.MaxDepth+1, 1, "", many(1, file)), tree.MaxFiles, tree.MaxDepth + 1},
		"a path of too many bytes":              {nested(20, 1, strings.Repeat("x", 250), many(1, file)), tree.MaxFiles, 20},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s.gets.Store(0)
			got, err := tree.LoadAtMost(t.Context(), &s, test.root.Link, test.root.Secret, test.files)
			if got != nil || bucket.ClassOf(err) != bucket.TooLarge {
				t.Errorf("got a tree: %t, %v, want a refusal of class too_large", got != nil, err)
			}
			if gets := s.gets.Load(); gets > test.gets {
				t.Errorf("got %d blobs read before the refusal, want at most %d", gets, test.gets)
			}
		})
	}
	if _, err := s.load(t, nested(tree.MaxDepth-1, 1, "", many(1, file))); err != nil {
		t.Errorf("a path of %d names: got %v, want it taken", tree.MaxDepth, err)
	}
}

func TestLoadNamesTheDirectoryThatFailed(t *testing.T) {
	defer goleak.VerifyNone(t)
	var s shelf
	lost := tree.Dir{Link: bucket.RawLink([]byte("lost")), Secret: tree.NewSecret()}
	strange := s.node(t, nil)
	strange.Secret = tree.NewSecret()
	secret := tree.NewSecret()
	text := tree.Dir{Link: s.plain(t, secret, []byte("no node")), Secret: secret}
	huge := tree.Dir{Link: s.plain(t, secret, make([]byte, tree.MaxNodeSize+1)), Secret: secret}
	tests := map[string]struct {
		dir tree.Dir
		is  func(error) bool
	}{
		"is not held":       {lost, func(err error) bool { return errors.Is(err, blobstore.ErrNotFound) }},
		"other secret":      {strange, func(err error) bool { return errors.Is(err, tree.ErrUnreadable) }},
		"is no node":        {text, func(err error) bool { return bucket.ClassOf(err) == bucket.Malformed }},
		"beyond all bounds": {huge, func(err error) bool { return bucket.ClassOf(err) == bucket.TooLarge }},
	}
	for name, test := range tests {
		root := s.node(t, map[string]tree.Entry{"deep": s.node(t, map[string]tree.Entry{"bad": test.dir}), "good": s.node(t, nil)})
		got, err := s.load(t, root)
		if got != nil || !test.is(err) || !strings.Contains(err.Error(), "deep/bad") {
			t.Errorf("%s: got %v, %v, want its error and path", name, got, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	root := s.node(t, nil)
	if got, err := tree.Load(ctx, &s, root.Link, root.Secret); got != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v, %v, want context.Canceled", got, err)
	}
}
