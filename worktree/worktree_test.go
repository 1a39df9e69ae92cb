package worktree_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/tree"
	"headwater/worktree"

	"github.com/google/go-cmp/cmp"
)

// memory is a store that is read and written.
type memory struct{ blobstore.Memory }

func (m *memory) Put(ctx context.Context, h bucket.Hash, size int64, r io.Reader) error {
	n, err := m.Memory.Put(ctx, h, r)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes in place of %d", n, size)
	}
	return err
}

func (m *memory) count(t testing.TB) (n int) {
	t.Helper()
	for _, err := range m.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// write makes files in a directory; a content of "-> x" is a symbolic link to x, a path that ends in a slash a directory.
func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for path, content := range files {
		name := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch target, isLink := strings.CutPrefix(content, "-> "); {
		case strings.HasSuffix(path, "/"):
			err = os.MkdirAll(name, 0o755)
		case isLink:
			err = os.Symlink(target, name)
		default:
			err = os.WriteFile(name, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// read returns a directory in the form that write takes, with permissions behind the paths.
func read(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		switch {
		case e.IsDir():
			out[fmt.Sprintf("%s/ %o", filepath.ToSlash(rel), info.Mode().Perm())] = ""
		case e.Type() == fs.ModeSymlink:
			target, err := os.Readlink(name)
			out[filepath.ToSlash(rel)] = "-> " + target
			return err
		default:
			b, err := os.ReadFile(name)
			out[fmt.Sprintf("%s %o", filepath.ToSlash(rel), info.Mode().Perm())] = string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func same(t testing.TB, a, b string) {
	t.Helper()
	if diff := cmp.Diff(read(t, a), read(t, b)); diff != "" {
		t.Errorf("directories differ (-first +second):\n%s", diff)
	}
}

func scan(t testing.TB, dir string, rec *worktree.Record) *worktree.Scanned {
	t.Helper()
	s, err := worktree.Scan(t.Context(), dir, worktree.ScanOptions{Record: rec})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func store(t testing.TB, s *worktree.Scanned, m *memory, o worktree.StoreOptions) (*tree.Listing, worktree.Stored) {
	t.Helper()
	l, n, err := worktree.Store(t.Context(), s, m, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Check(); err != nil {
		t.Fatal(err)
	}
	return l, n
}

func checkout(t testing.TB, dir string, l *tree.Listing, rec *worktree.Record, m blobstore.Reader,
	o worktree.CheckoutOptions,
) (worktree.Result, *worktree.Record) {
	t.Helper()
	o.Origin = origin(1)
	res, rec, err := worktree.Checkout(t.Context(), dir, l, rec, m, o)
	if err != nil {
		t.Fatal(err)
	}
	noTemporary(t, dir)
	return res, rec
}

func noTemporary(t testing.TB, dir string) {
	t.Helper()
	for path := range read(t, dir) {
		if strings.Contains(path, ".headwater-tmp") {
			t.Errorf("temporary file left: %s", path)
		}
	}
}

func origin(height uint64) worktree.Origin {
	return worktree.Origin{Bucket: bucket.ID{1}, Version: bucket.ManifestLink([]byte{byte(height)}), Height: height}
}

// listing commits files, and returns what they are as a tree.
func listing(t testing.TB, m *memory, files map[string]string) *tree.Listing {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, files)
	l, _ := store(t, scan(t, dir, nil), m, worktree.StoreOptions{})
	return l
}

func chmod(t testing.TB, perm fs.FileMode, names ...string) {
	t.Helper()
	if err := os.Chmod(filepath.Join(names...), perm); err != nil {
		t.Fatal(err)
	}
}

func conflicts(t testing.TB, err error) []string {
	t.Helper()
	var c *worktree.ConflictError
	if !errors.As(err, &c) {
		t.Fatalf("got error %v, want a conflict", err)
	}
	return c.Paths
}

var mixed = map[string]string{
	"README.md": "read me", "empty": "", "src/main.go": "package main", "src/deep/er/x": "x", "src/deep/copy": "read me",
	"none/": "", "link": "-> src/main.go", "src/up": "-> ../README.md", "päth/ü ö\n\"": "unicode", "large": strings.Repeat("0123456789abcdef", 600_000),
}

func TestAfterCheckoutADirectoryIsByteAndModeIdentical(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "new", "dir")
	write(t, from, mixed)
	chmod(t, 0o755, from, "src/main.go")
	chmod(t, 0o400, from, "README.md")
	chmod(t, 0o777, from, "src/deep/copy")
	chmod(t, 0o555, from, "src/deep/er")
	chmod(t, 0o700, from, "päth")
	chmod(t, 0o2775, from, "none")
	m := &memory{}
	l, stored := store(t, scan(t, from, nil), m, worktree.StoreOptions{})
	if stored.Added != 8 || stored.Reused != 1 {
		t.Errorf("got %+v, want 8 added and the copy reused", stored)
	}
	res, rec := checkout(t, to, l, nil, m, worktree.CheckoutOptions{})
	same(t, from, to)
	if res.Written != 9 || res.Made != 5 || len(res.Left)+len(res.Skipped) > 0 {
		t.Errorf("got %+v, want 9 written", res)
	}
	again, rec2 := checkout(t, to, l, rec, m, worktree.CheckoutOptions{})
	if want := (worktree.Result{Unchanged: 9}); !cmp.Equal(again, want) {
		t.Errorf("second checkout: got %+v, want %+v", again, want)
	}
	if diff := cmp.Diff(rec.Listing(), rec2.Listing()); diff != "" {
		t.Errorf("records differ:\n%s", diff)
	}
	if n := m.count(t); n != 8 {
		t.Errorf("got %d blobs, want one for each content: 8", n)
	}
}

func TestTheNextCommitPutsOnlyWhatChanged(t *testing.T) {
	dir, m := t.TempDir(), &memory{}
	write(t, dir, mixed)
	s := scan(t, dir, nil)
	first, _ := store(t, s, m, worktree.StoreOptions{})
	rec := worktree.NewRecord(origin(0), s, first)
	write(t, dir, map[string]string{"src/main.go": "package other"})
	os.Rename(filepath.Join(dir, "large"), filepath.Join(dir, "larger"))
	chmod(t, 0o755, dir, "empty")
	var files int64
	second, n := store(t, scan(t, dir, rec), m, worktree.StoreOptions{
		Known: []*tree.Listing{first}, Record: rec, Progress: func(n, _ int64) { files = n },
	})
	if n.Added != 1 || n.Reused != 8 || n.Bytes != 13 || files != 9 {
		t.Errorf("got %+v and %d files of progress, want one file put", n, files)
	}
	if first.Files["large"].Secret != second.Files["larger"].Secret {
		t.Error("a renamed file has a new blob")
	}
	if first.Files["src/main.go"].Secret == second.Files["src/main.go"].Secret {
		t.Error("a changed file has its old secret")
	}
	kinds := map[string]tree.ChangeKind{}
	for _, c := range tree.Diff(first, second) {
		kinds[c.Path] = c.Kind
	}
	if len(kinds) != 4 {
		t.Errorf("got changes %v, want main.go, large, larger and empty", kinds)
	}
}

func TestTheNextCheckoutWritesOnlyWhatChanged(t *testing.T) {
	m, dir := &memory{}, t.TempDir()
	one := listing(t, m, map[string]string{"a": "1", "b/c": "2", "b/gone": "3", "old/x": "4", "mode": "5"})
	_, rec := checkout(t, dir, one, nil, m, worktree.CheckoutOptions{})
	from := t.TempDir()
	write(t, from, map[string]string{"a": "changed", "b/c": "2", "mode": "5", "new/y": "6"})
	chmod(t, 0o600, from, "mode")
	two, _ := store(t, scan(t, from, nil), m, worktree.StoreOptions{})
	write(t, dir, map[string]string{"mine": "untouched"})
	res, rec := checkout(t, dir, two, rec, m, worktree.CheckoutOptions{})
	want := worktree.Result{Written: 2, Bytes: 8, Unchanged: 1, Modes: 1, Made: 1, Removed: 2, Left: []string{"mine"}}
	if !cmp.Equal(res, want) {
		t.Errorf("got %+v, want %+v", res, want)
	}
	os.Remove(filepath.Join(dir, "mine"))
	same(t, from, dir)
	if rec.Origin != origin(1) || len(rec.Files) != 4 || len(rec.Dirs) != 2 || rec.Pending != nil {
		t.Errorf("got record %+v", rec)
	}
}

func TestWhatIsNotOursIsLeftAlone(t *testing.T) {
	m := &memory{}
	l := listing(t, m, map[string]string{"a": "theirs", "dir/b": "theirs", "same": "same", "file": "a file", "d/x": "in a directory"})
	tests := map[string]struct {
		there map[string]string
		want  []string
	}{
		"a file that differs":                {map[string]string{"a": "mine"}, []string{"a"}},
		"a link in place of a file":          {map[string]string{"a": "-> same"}, []string{"a"}},
		"a file in place of a directory":     {map[string]string{"d": "mine"}, []string{"d"}},
		"a link in place of a directory":     {map[string]string{"d": "-> /tmp"}, []string{"d"}},
		"a directory in place of a file":     {map[string]string{"file/x/y": "mine", "file/z": "mine"}, []string{"file/x/y", "file/z"}},
		"ignored files in place of a file":   {map[string]string{"file/x": "mine", ".headwaterignore": "x"}, []string{"file/x"}},
		"an ignored tree in place of a file": {map[string]string{"file/x/y": "mine", ".headwaterignore": "x/"}, []string{"file/x"}},
		"several, and one that is right":     {map[string]string{"a": "1", "dir/b": "2", "same": "same"}, []string{"a", "dir/b"}},
		"a file ignored, yet of the listing": {map[string]string{"a": "mine", ".headwaterignore": "a"}, []string{"a"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, tt.there)
			before := read(t, dir)
			_, _, err := worktree.Checkout(t.Context(), dir, l, nil, m, worktree.CheckoutOptions{})
			if got := conflicts(t, err); !slices.Equal(got, tt.want) {
				t.Errorf("got conflicts %q, want %q", got, tt.want)
			}
			if diff := cmp.Diff(before, read(t, dir)); diff != "" {
				t.Errorf("something was changed:\n%s", diff)
			}
			if name == "an ignored tree in place of a file" {
				return // not even with force: it was not looked into
			}
			checkout(t, dir, l, nil, m, worktree.CheckoutOptions{Force: true})
			got := read(t, dir)
			for _, path := range []string{"a 644", "dir/b 644", "same 644", "file 644", "d/x 644"} {
				if _, ok := got[path]; !ok {
					t.Errorf("with force: %s is missing in %q", path, got)
				}
			}
		})
	}
}

func TestFilesBecomeDirectoriesAndDirectoriesFiles(t *testing.T) {
	m, dir := &memory{}, t.TempDir()
	a := map[string]string{"x": "file", "y/1": "1", "y/z/2": "2", "l": "-> x"}
	b := map[string]string{"x/1": "1", "x/z/2": "2", "y": "file", "l/in": "3"}
	one, two := listing(t, m, a), listing(t, m, b)
	_, rec := checkout(t, dir, one, nil, m, worktree.CheckoutOptions{})
	_, rec = checkout(t, dir, two, rec, m, worktree.CheckoutOptions{})
	want := t.TempDir()
	write(t, want, b)
	same(t, want, dir)
	checkout(t, dir, one, rec, m, worktree.CheckoutOptions{})
	want = t.TempDir()
	write(t, want, a)
	same(t, want, dir)
}

func TestLocalChangesAreConflictsAndDeletedFilesComeBack(t *testing.T) {
	m, dir := &memory{}, t.TempDir()
	one := listing(t, m, map[string]string{"a": "1", "b": "2", "c": "3"})
	_, rec := checkout(t, dir, one, nil, m, worktree.CheckoutOptions{})
	os.Remove(filepath.Join(dir, "b"))
	write(t, dir, map[string]string{"c": "my own"})
	two := listing(t, m, map[string]string{"a": "1.1", "b": "2"})
	res, rec := checkout(t, dir, two, rec, m, worktree.CheckoutOptions{})
	if want := (worktree.Result{Written: 2, Bytes: 4, Left: []string{"c"}}); !cmp.Equal(res, want) {
		t.Errorf("got %+v, want %+v: a file that was changed is not removed", res, want)
	}
	write(t, dir, map[string]string{"a": "mine"})
	_, kept, err := worktree.Checkout(t.Context(), dir, one, rec, m, worktree.CheckoutOptions{Origin: origin(1)})
	if got := conflicts(t, err); !slices.Equal(got, []string{"a", "c"}) || kept != nil {
		t.Errorf("got conflicts %q and record %v", got, kept)
	}
	res, _ = checkout(t, dir, two, rec, m, worktree.CheckoutOptions{Force: true, Delete: true})
	if want := (worktree.Result{Written: 1, Bytes: 3, Unchanged: 1, Removed: 1}); !cmp.Equal(res, want) {
		t.Errorf("got %+v, want %+v", res, want)
	}
}

func TestDeleteSparesWhatIsIgnored(t *testing.T) {
	m, dir := &memory{}, t.TempDir()
	l := listing(t, m, map[string]string{"a": "1", ".headwaterignore": "*.log\nbuild/\n"})
	write(t, dir, map[string]string{"mine": "x", "d/e/f": "y", "x.log": "log", "build/out": "o", "g/x.log": "log"})
	res, _ := checkout(t, dir, l, nil, m, worktree.CheckoutOptions{})
	if !slices.Contains(res.Left, "mine") {
		t.Errorf("got left %q", res.Left)
	}
	res, _ = checkout(t, dir, l, nil, m, worktree.CheckoutOptions{Delete: true})
	if res.Removed != 2 || len(res.Left) > 0 {
		t.Errorf("got %+v, want two files removed", res)
	}
	want := map[string]string{
		"a 644": "1", ".headwaterignore 644": "*.log\nbuild/\n", "x.log 644": "log", "build/ 755": "", "build/out 644": "o",
		"g/ 755": "", "g/x.log 644": "log",
	}
	if diff := cmp.Diff(want, read(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyAPathIsCheckedOut(t *testing.T) {
	m, dir := &memory{}, t.TempDir()
	one := listing(t, m, map[string]string{"a/b/1": "1", "a/b/2": "2", "a/c": "3", "d": "4"})
	res, rec := checkout(t, dir, one, nil, m, worktree.CheckoutOptions{Path: "a/b"})
	if want := (worktree.Result{Written: 2, Bytes: 2, Made: 2}); !cmp.Equal(res, want) {
		t.Errorf("got %+v, want %+v", res, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "d")); err == nil {
		t.Error("d was written")
	}
	_, rec = checkout(t, dir, one, rec, m, worktree.CheckoutOptions{})
	two := listing(t, m, map[string]string{"a/b/1": "1.1", "d": "4.1"})
	res, rec = checkout(t, dir, two, rec, m, worktree.CheckoutOptions{Path: "a/b"})
	if want := (worktree.Result{Written: 1, Bytes: 3, Removed: 1}); !cmp.Equal(res, want) {
		t.Errorf("got %+v, want %+v", res, want)
	}
	merged, conflicts := tree.Merge(rec.Listing(), two, storeOf(t, m, dir, rec, one, two), func(p string) string { return p + "'" })
	if len(conflicts) > 0 || len(merged.Files) != 2 {
		t.Errorf("got %v, %v; want the merge to see no change on this side", merged.Files, conflicts)
	}
	_, _, err := worktree.Checkout(t.Context(), dir, two, rec, m, worktree.CheckoutOptions{Origin: origin(1), Path: "nowhere"})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

// storeOf scans and stores a directory as a commit does.
func storeOf(t testing.TB, m *memory, dir string, rec *worktree.Record, known ...*tree.Listing) *tree.Listing {
	t.Helper()
	s := scan(t, dir, rec)
	rec.Settle(s)
	l, _ := store(t, s, m, worktree.StoreOptions{Known: known, Record: rec})
	return l
}

func TestARecordIsTheBaseOfAMerge(t *testing.T) {
	m, mine := &memory{}, t.TempDir()
	base := listing(t, m, map[string]string{"a": "1", "b": "2", "c": "3", "gone": "x", "e/": ""})
	_, rec := checkout(t, mine, base, nil, m, worktree.CheckoutOptions{})
	write(t, mine, map[string]string{"a": "mine", "new": "mine"})
	os.Remove(filepath.Join(mine, "gone"))
	head := listing(t, m, map[string]string{"a": "1", "b": "theirs", "c": "3", "gone": "x", "e/": ""})
	stored := storeOf(t, m, mine, rec, head)
	merged, conflicts := tree.Merge(rec.Listing(), head, stored, func(p string) string { return p + "'" })
	if len(conflicts) > 0 {
		t.Errorf("got conflicts %v", conflicts)
	}
	for path, d := range merged.Files {
		if d.Link.IsZero() {
			t.Errorf("%s has no blob", path)
		}
	}
	rec = worktree.NewRecord(origin(2), scan(t, mine, rec), stored)
	res, _ := checkout(t, mine, merged, rec, m, worktree.CheckoutOptions{})
	if res.Written != 1 || res.Removed != 0 {
		t.Errorf("got %+v, want b written", res)
	}
	want := t.TempDir()
	write(t, want, map[string]string{"a": "mine", "b": "theirs", "c": "3", "new": "mine", "e/": ""})
	same(t, want, mine)
}

func TestFilesOfAnotherProgramAreKnownByTheirBlobs(t *testing.T) {
	m, dir := &memory{}, t.TempDir()
	l := listing(t, m, map[string]string{"a": "1", "b/c": strings.Repeat("large", 1<<20), "same": "here already"})
	for path, d := range l.Files {
		d.Metadata = nil
		l.Files[path] = d
	}
	write(t, dir, map[string]string{"same": "here already"})
	res, rec := checkout(t, dir, l, nil, m, worktree.CheckoutOptions{})
	if res.Written != 2 || res.Unchanged != 1 {
		t.Errorf("got %+v", res)
	}
	if res, _ := checkout(t, dir, l, rec, m, worktree.CheckoutOptions{}); res.Unchanged != 3 {
		t.Errorf("again: got %+v", res)
	}
	if res, _ := checkout(t, dir, l, nil, m, worktree.CheckoutOptions{}); res.Unchanged != 3 {
		t.Errorf("without the record: got %+v", res)
	}
	write(t, dir, map[string]string{"a": "changed"})
	records := worktree.OpenRecords(t.TempDir())
	if err := records.Save(t.Context(), dir, rec); err != nil {
		t.Fatal(err)
	}
	rec, err := records.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	stored := storeOf(t, m, dir, rec, l)
	merged, conflicts := tree.Merge(rec.Listing(), l, stored, func(p string) string { return p + "'" })
	if diff := tree.Diff(l, merged); len(conflicts) > 0 || len(diff) != 1 || diff[0].Path != "a" {
		t.Errorf("got conflicts %v and changes %v, want one change", conflicts, diff)
	}
}

func TestLinksThatLeadOutAreNotMade(t *testing.T) {
	m := &memory{}
	files := map[string]string{
		"ok": "-> a/b", "a/b/ok": "-> ../../x", "a/ok": "-> ./b/../../x"[:7], "abs": "-> /etc/passwd", "up": "-> ../x", "a/up": "-> ../../x",
		"a/b/detour": "-> ../b/../x", "dots": "-> ..", "a/top": "-> ..",
	}
	l := listing(t, m, files)
	dir := t.TempDir()
	res, rec := checkout(t, dir, l, nil, m, worktree.CheckoutOptions{})
	var skipped []string
	for _, s := range res.Skipped {
		skipped = append(skipped, s.Path)
	}
	if want := []string{"a/b/detour", "a/up", "abs", "dots", "up"}; !slices.Equal(skipped, want) {
		t.Errorf("got skipped %q, want %q", skipped, want)
	}
	if res.Written != 4 || len(rec.Files) != 4 {
		t.Errorf("got %+v and %d files in the record, want 4", res, len(rec.Files))
	}
	res, _ = checkout(t, dir, l, rec, m, worktree.CheckoutOptions{OutsideLinks: true})
	if res.Written != 5 || res.Unchanged != 4 {
		t.Errorf("got %+v, want all links", res)
	}
}

func TestHardLinksAreBroken(t *testing.T) {
	m, dir, outside := &memory{}, t.TempDir(), t.TempDir()
	one := listing(t, m, map[string]string{"a": "1", "m": "mode"})
	_, rec := checkout(t, dir, one, nil, m, worktree.CheckoutOptions{})
	for _, name := range []string{"a", "m"} {
		if err := os.Link(filepath.Join(dir, name), filepath.Join(outside, name)); err != nil {
			t.Fatal(err)
		}
	}
	from := t.TempDir()
	write(t, from, map[string]string{"a": "2", "m": "mode"})
	chmod(t, 0o600, from, "m")
	two, _ := store(t, scan(t, from, nil), m, worktree.StoreOptions{})
	checkout(t, dir, two, rec, m, worktree.CheckoutOptions{})
	same(t, from, dir)
	if diff := cmp.Diff(map[string]string{"a 644": "1", "m 644": "mode"}, read(t, outside)); diff != "" {
		t.Errorf("what the other names stand for was changed:\n%s", diff)
	}
}

func TestAVeryLongPath(t *testing.T) {
	m, dir := &memory{}, t.TempDir()
	l := listing(t, m, map[string]string{"x": "1"})
	name := strings.Repeat("n", 250)
	path := strings.Repeat(name+"/", 15) + name // 4015 bytes; with the directory more than any system call takes
	l.Add(path, l.Files["x"])
	_, _, err := worktree.Checkout(t.Context(), dir, l, nil, m, worktree.CheckoutOptions{Origin: origin(1)})
	if err != nil {
		t.Fatal(err)
	}
	s := scan(t, dir, nil)
	if s.Files[path].Attributes.Size != 1 || len(s.Dirs) != 15 {
		t.Errorf("got %d files and %d directories", len(s.Files), len(s.Dirs))
	}
	if _, n := store(t, s, m, worktree.StoreOptions{}); n.Added != 1 {
		t.Errorf("got %+v", n)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

func TestADirectoryBelongsToOneBucket(t *testing.T) {
	m, dir := &memory{}, t.TempDir()
	_, rec := checkout(t, dir, listing(t, m, map[string]string{"a": "1", "b": "2"}), nil, m, worktree.CheckoutOptions{})
	o := worktree.CheckoutOptions{Origin: worktree.Origin{Bucket: bucket.ID{2}}}
	other := listing(t, m, map[string]string{"a": "other"})
	if _, _, err := worktree.Checkout(t.Context(), dir, other, rec, m, o); !errors.Is(err, worktree.ErrOtherBucket) {
		t.Errorf("got %v, want ErrOtherBucket", err)
	}
	o.Force = true
	res, _, err := worktree.Checkout(t.Context(), dir, other, rec, m, o)
	if err != nil || res.Written != 1 || !slices.Equal(res.Left, []string{"b"}) {
		t.Errorf("got %+v, %v", res, err)
	}
}

// randomFiles makes up a small tree that shares some of its files with others of the same seed.
func randomFiles(r *rand.Rand) map[string]string {
	files := map[string]string{}
	for i := range 12 {
		if r.IntN(3) > 0 {
			files[fmt.Sprintf("d%d/f%d", i%3, i)] = strings.Repeat("x", r.IntN(4)) + fmt.Sprint(r.IntN(3))
		}
	}
	if r.IntN(2) > 0 {
		files["s"] = "file"
	} else {
		files["s/in"] = "dir"
	}
	return files
}

func TestACheckoutThatFailsAnywhereIsGoodToRunAgain(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 6 {
		a, b, c := randomFiles(r), randomFiles(r), randomFiles(r)
		for fail := range 12 {
			m, dir := &memory{}, t.TempDir()
			one, two, three := listing(t, m, a), listing(t, m, b), listing(t, m, c)
			var rec, saved *worktree.Record
			if round%2 > 0 { // else it is the first checkout that fails
				_, rec = checkout(t, dir, one, nil, m, worktree.CheckoutOptions{})
			}
			o := worktree.CheckoutOptions{Origin: origin(2), Save: func(r *worktree.Record) error {
				saved = clone(t, dir, r)
				return nil
			}}
			_, _, err := worktree.Checkout(t.Context(), dir, two, rec, &failing{Reader: m, after: fail}, o)
			if err == nil {
				continue
			}
			if !errors.Is(err, errFailing) {
				t.Fatalf("got %v, want the reader's error", err)
			}
			noTemporary(t, dir)
			// What the process knew is lost; what it saved before is not. And meanwhile there is a third version.
			checkout(t, dir, three, saved, m, worktree.CheckoutOptions{})
			want := t.TempDir()
			write(t, want, c)
			same(t, want, dir)
		}
	}
}

func clone(t testing.TB, dir string, r *worktree.Record) *worktree.Record {
	t.Helper()
	records := worktree.OpenRecords(t.TempDir())
	if err := records.Save(t.Context(), dir, r); err != nil {
		t.Fatal(err)
	}
	out, err := records.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var errFailing = errors.New("failing on purpose")

// failing hands out some blobs, and then fails.
type failing struct {
	blobstore.Reader
	after int
	calls counter
}

func (f *failing) Get(ctx context.Context, h bucket.Hash) (*blobstore.Blob, error) {
	if f.calls.next() > f.after {
		return nil, errFailing
	}
	return f.Reader.Get(ctx, h)
}

func TestDamagedBlobsNeverBecomeFiles(t *testing.T) {
	m := &memory{}
	l := listing(t, m, map[string]string{"a": "1", "large": strings.Repeat("x", 6<<20)})
	for path, d := range l.Files {
		t.Run(path, func(t *testing.T) {
			dir, bad := t.TempDir(), &swapped{Reader: m, hash: d.Link.Hash()}
			_, _, err := worktree.Checkout(t.Context(), dir, l, nil, bad, worktree.CheckoutOptions{Origin: origin(1)})
			if err == nil {
				t.Fatal("a damaged blob was taken")
			}
			noTemporary(t, dir)
			if _, err := os.Lstat(filepath.Join(dir, path)); err == nil {
				t.Error("there is a file")
			}
		})
	}
}

// swapped has wrong bytes under one hash.
type swapped struct {
	blobstore.Reader
	hash bucket.Hash
}

func (s *swapped) Get(ctx context.Context, h bucket.Hash) (*blobstore.Blob, error) {
	b, err := s.Reader.Get(ctx, h)
	if err != nil || h != s.hash {
		return b, err
	}
	damaged, err := io.ReadAll(b)
	damaged[len(damaged)-1] ^= 1
	return blobstore.NewBlob(h, int64(len(damaged)), io.NopCloser(bytes.NewReader(damaged))), err
}

// A file that an interrupted checkout has written is known to be of the bucket, however many others are interrupted after that.
func TestWhatInterruptedCheckoutsWroteIsOurs(t *testing.T) {
	m, dir := &memory{}, t.TempDir()
	stop := errors.New("killed")
	var saved *worktree.Record
	for i, content := range []string{"1", "2", "3"} {
		l := listing(t, m, map[string]string{"a": content, "d/b": content})
		before := saved
		_, _, err := worktree.Checkout(t.Context(), dir, l, before, m, worktree.CheckoutOptions{Origin: origin(uint64(i)), Save: func(r *worktree.Record) error {
			b, err := worktree.Encode(r, dir)
			if err != nil {
				return err
			}
			if saved, _, err = worktree.Decode(b); err == nil && i > 0 {
				err = stop // before anything is written; the first writes all, and dies before it saves that
			}
			return err
		}})
		if i > 0 && !errors.Is(err, stop) || i == 0 && err != nil {
			t.Fatal(err)
		}
	}
	last := map[string]string{"a": "4", "d/b": "4"}
	checkout(t, dir, listing(t, m, last), saved, m, worktree.CheckoutOptions{})
	want := t.TempDir()
	write(t, want, last)
	same(t, want, dir)
}
