package tree_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"headwater/bucket"
	"headwater/tree"

	"go.uber.org/goleak"
)

// copyOf returns a listing to change without changing l.
func copyOf(l *tree.Listing) *tree.Listing {
	return &tree.Listing{Files: maps.Clone(l.Files), Dirs: maps.Clone(l.Dirs), DirsFile: l.DirsFile}
}

func build(t testing.TB, s *shelf, l, prev *tree.Listing) tree.Built {
	t.Helper()
	built, err := tree.Build(t.Context(), s, l, prev, tree.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	return built
}

// chmod changes the permissions of a file.
func chmod(l *tree.Listing, path string, perm fs.FileMode) {
	d := l.Files[path]
	a, _ := d.Attributes()
	a.Perm = perm
	d.Metadata = a.Metadata()
	l.Files[path] = d
}

func TestBuildWritesWhatChanged(t *testing.T) {
	var s shelf
	l := sample(t, &s)
	first := build(t, &s, l, nil)
	if want := len(l.Dirs) + 1; first.Nodes != want {
		t.Errorf("the first version: got %d nodes, want all %d", first.Nodes, want)
	}
	tests := map[string]struct {
		change func(l *tree.Listing)
		fresh  []string // directories with another blob, beside the root
		others int64    // puts beside nodes
	}{
		"nothing":            {func(*tree.Listing) {}, nil, 0},
		"a file":             {func(l *tree.Listing) { l.Add("src/deep/y", s.file(t, "z", 0o644)) }, []string{"src", "src/deep"}, 0},
		"a file's mode":      {func(l *tree.Listing) { chmod(l, "src/main.go", 0o600) }, []string{"src"}, 0},
		"a file in root":     {func(l *tree.Listing) { delete(l.Files, "README") }, nil, 0},
		"a removed file":     {func(l *tree.Listing) { delete(l.Files, "src/deep/er/x") }, []string{"src", "src/deep", "src/deep/er"}, 0},
		"a removed dir":      {func(l *tree.Listing) { delete(l.Dirs, "empty") }, nil, 0},
		"a new dir":          {func(l *tree.Listing) { l.Dirs["sub/new"] = tree.Folder{} }, []string{"sub", "sub/new"}, 0},
		"a directory's mode": {func(l *tree.Listing) { l.Dirs["sub"] = tree.Folder{Perm: 0o500} }, nil, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			next := copyOf(l)
			test.change(next)
			s.puts.Store(0)
			built := build(t, &s, next, first.Tree)
			if puts, want := s.puts.Load(), int64(1+len(test.fresh))+test.others; puts != want {
				t.Errorf("got %d blobs put, want %d", puts, want)
			}
			if want := 1 + len(test.fresh); built.Nodes != want {
				t.Errorf("got %d nodes written, want %d", built.Nodes, want)
			}
			for path, f := range built.Tree.Dirs {
				old := first.Tree.Dirs[path].Blob
				switch fresh := slices.Contains(test.fresh, path); {
				case fresh && (f.Blob.Secret == old.Secret || f.Blob.Link == old.Link):
					t.Errorf("%s: got the blob or secret of the version before, want fresh ones", path)
				case !fresh && f.Blob != old:
					t.Errorf("%s: got another blob, want that of the version before", path)
				}
			}
		})
	}
}

func TestBuildNamesEveryBlobOfTheTree(t *testing.T) {
	var s shelf
	l := sample(t, &s)
	first := build(t, &s, l, nil)
	checkBlobs := func(s *shelf, pins bucket.Pins, want int) {
		t.Helper()
		if len(pins) != want || !slices.IsSortedFunc(pins, compareHashes) {
			t.Errorf("got %d blobs, want %d, ascending", len(pins), want)
		}
		for _, h := range pins {
			if ok, err := s.Has(t.Context(), h); !ok || err != nil {
				t.Errorf("got %s, which is no blob of the store (%v)", h, err)
			}
		}
	}
	var held int
	var size int64
	for info, err := range s.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		held++
		size += info.Size
	}
	checkBlobs(&s, first.Blobs, held)
	if first.Bytes <= 0 || first.Bytes >= size {
		t.Errorf("got %d bytes written, want those of nodes of the %d in all", first.Bytes, size)
	}
	next := copyOf(l)
	next.Add("src/deep/y", s.file(t, "z", 0o644))
	second := build(t, &s, next, first.Tree)
	checkBlobs(&s, second.Blobs, held) // one file and three nodes for as many others
	if slices.Contains(second.Blobs, l.Files["src/deep/y"].Link.Hash()) || slices.Contains(second.Blobs, first.Entry.Hash()) {
		t.Error("got a blob that only the version before has")
	}
}

func compareHashes(a, b bucket.Hash) int { return slices.Compare(a[:], b[:]) }

func TestBuildRefusesListingsThatNoTreeCanHave(t *testing.T) {
	var s shelf
	file := s.file(t, "x", 0o644)
	deep := strings.Repeat("d/", tree.MaxDepth) + "f"
	long := strings.Repeat(strings.Repeat("x", 200)+"/", 20) + strings.Repeat("x", 100)
	tests := map[string]struct {
		change func(l *tree.Listing)
		is     func(error) bool
	}{
		"..":                  {func(l *tree.Listing) { l.Add("a/../b", file) }, isName},
		"a path from root":    {func(l *tree.Listing) { l.Add("/etc/passwd", file) }, isName},
		"a slash at the end":  {func(l *tree.Listing) { l.Dirs["a/"] = tree.Folder{}; l.Dirs["a"] = tree.Folder{} }, isName},
		"no name":             {func(l *tree.Listing) { l.Files[""] = file }, isName},
		"our own file":        {func(l *tree.Listing) { l.Files[tree.DirsFile] = file }, isName},
		"our own as a dir":    {func(l *tree.Listing) { l.Dirs[tree.DirsFile] = tree.Folder{} }, isName},
		"too deep":            {func(l *tree.Listing) { l.Add(deep, file) }, isTooLarge},
		"too long":            {func(l *tree.Listing) { l.Add(long, file) }, isTooLarge},
		"no directory":        {func(l *tree.Listing) { l.Files["a/b"] = file }, isOther},
		"a file in the way":   {func(l *tree.Listing) { l.Add("a", file); l.Files["a/b"] = file }, isOther},
		"file and directory":  {func(l *tree.Listing) { l.Add("a/b", file); l.Files["a"] = file }, isOther},
		"sticky directory":    {func(l *tree.Listing) { l.Dirs["a"] = tree.Folder{Perm: fs.ModeSticky | 0o777} }, isOther},
		"a file without blob": {func(l *tree.Listing) { l.Files["a"] = tree.Data{} }, func(err error) bool { return bucket.ClassOf(err) == bucket.WrongCodec }},
		"too much metadata": {func(l *tree.Listing) {
			file.Metadata = make([]byte, tree.MaxMetadataSize)
			for _, c := range strings.Split(strings.Repeat("abcdefghij", 10), "") {
				for i := range 100 {
					l.Add(strings.Repeat(c, i+1)+"/"+c, file)
				}
			}
			for i := range tree.MaxTreeSize/tree.MaxMetadataSize - len(l.Files) {
				l.Add(string(rune('א'+i)), file)
			}
		}, isTooLarge},
	}
	for name, test := range tests {
		l := tree.NewListing()
		test.change(l)
		s.puts.Store(0)
		if _, err := tree.Build(t.Context(), &s, l, nil, tree.NewSecret()); err == nil || !test.is(err) {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
		if puts := s.puts.Load(); puts > 0 {
			t.Errorf("%s: got %d blobs put before the refusal, want none", name, puts)
		}
	}
}

func isName(err error) bool     { return errors.Is(err, tree.ErrName) }
func isTooLarge(err error) bool { return bucket.ClassOf(err) == bucket.TooLarge }
func isOther(err error) bool    { return !isName(err) && bucket.ClassOf(err) == "" }

func TestListingOfTooManyFiles(t *testing.T) {
	l := tree.NewListing()
	l.Files = make(map[string]tree.Data, tree.MaxFiles+1)
	name := []byte("aaaaa")
	for len(l.Files) < tree.MaxFiles {
		l.Files[string(name)] = tree.Data{}
		for i := range name {
			if name[i]++; name[i] <= 'z' {
				break
			}
			name[i] = 'a'
		}
	}
	if err := l.Check(); err != nil {
		t.Errorf("%d files: got %v, want them taken", len(l.Files), err)
	}
	l.Dirs["one more"] = tree.Folder{}
	if err := l.Check(); !isTooLarge(err) {
		t.Errorf("one more: got %v, want a refusal of class too_large", err)
	}
}

// failing is a Writer that fails after some puts.
type failing struct {
	*shelf
	after int64
}

var errFull = errors.New("disk full")

func (f failing) Put(ctx context.Context, h bucket.Hash, size int64, r io.Reader) error {
	if f.puts.Load() >= f.after {
		return errFull
	}
	return f.shelf.Put(ctx, h, size, r)
}

func TestBuildReportsAWriterThatFails(t *testing.T) {
	defer goleak.VerifyNone(t)
	var s shelf
	l := sample(t, &s)
	nodes := int64(len(l.Dirs) + 2) // the root, and the file of permissions
	for after := range nodes {
		s.puts.Store(0)
		if _, err := tree.Build(t.Context(), failing{&s, after}, l, nil, tree.NewSecret()); !errors.Is(err, errFull) {
			t.Errorf("after %d puts: got %v, want the writer's error", after, err)
		}
	}
	s.puts.Store(0)
	if _, err := tree.Build(t.Context(), failing{&s, nodes}, l, nil, tree.NewSecret()); err != nil {
		t.Errorf("after %d puts: got %v, want none", nodes, err)
	}
}
