package tree_test

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"headwater/bucket"
	"headwater/tree"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func aside(p string) string { return tree.ConflictName(p, 7, bucket.PublicKey{0xa1, 0xb2, 0xc3, 0xd4}) }

const mark = ".conflict-7-a1b2c3d4"

// sketch makes a listing from words: "path=content", "path=content!" (executable), "dir/", "dir/=0700".
func sketch(words string) *tree.Listing {
	l := tree.NewListing()
	for word := range strings.FieldsSeq(words) {
		p, content, _ := strings.Cut(word, "=")
		if dir, ok := strings.CutSuffix(p, "/"); ok {
			var f tree.Folder
			fmt.Sscanf(content, "%o", &f.Perm)
			l.Add(dir+"/x", tree.Data{})
			delete(l.Files, dir+"/x")
			l.Dirs[dir] = f
			continue
		}
		perm := fs.FileMode(0o644)
		if c, ok := strings.CutSuffix(content, "!"); ok {
			content, perm = c, 0o755
		}
		l.Add(p, entry(content, "", perm))
	}
	return l
}

func TestMerge(t *testing.T) {
	conflict := func(p string, k tree.ConflictKind, to string) tree.Conflict {
		return tree.Conflict{Path: p, Kind: k, Copy: to}
	}
	tests := map[string]struct {
		base, ours, theirs, want string
		conflicts                []tree.Conflict
	}{
		"nothing":                  {"", "", "", "", nil},
		"one side each":            {"a=1 b=1", "a=2 b=1", "a=1 b=2", "a=2 b=2", nil},
		"added on both sides":      {"", "a=1 d/x=1", "b=1 d/y=1", "a=1 b=1 d/x=1 d/y=1", nil},
		"the same on both":         {"a=1", "a=2 n=1", "a=2 n=1", "a=2 n=1", nil},
		"deleted":                  {"a=1 b=1 c=1", "b=1 c=1", "a=1 b=1", "b=1", nil},
		"both changed":             {"d/a.txt=1", "d/a.txt=2", "d/a.txt=3", "d/a.txt=2 d/a" + mark + ".txt=3", []tree.Conflict{conflict("d/a.txt", tree.BothChanged, "d/a"+mark+".txt")}},
		"both added":               {"", "a=2", "a=3", "a=2 a" + mark + "=3", []tree.Conflict{conflict("a", tree.BothChanged, "a"+mark)}},
		"the copy's name is taken": {"", "a=2 a" + mark + "=x", "a=3 a" + mark + "-2=y", "a=2 a" + mark + "=x a" + mark + "-2=y a" + mark + "-3=3", []tree.Conflict{conflict("a", tree.BothChanged, "a"+mark+"-3")}},
		"deleted, changed there":   {"d/a=1 b=1", "b=1", "d/a=2 b=1", "d/a=2 b=1", []tree.Conflict{conflict("d/a", tree.DeletedAndChanged, "")}},
		"changed, deleted there":   {"d/a=1", "d/a=2", "", "d/a=2", []tree.Conflict{conflict("d/a", tree.DeletedAndChanged, "")}},
		"mode here, bytes there":   {"a=1", "a=1!", "a=2", "a=2!", nil},
		"bytes here, mode there":   {"a=1", "a=2", "a=1!", "a=2!", nil},
		"the same and a mode":      {"a=1", "a=2", "a=2!", "a=2!", nil},
		"added with two modes":     {"", "a=1!", "a=1", "a=1!", nil},
		"file and directory":       {"", "a=1", "a/x=2", "a/x=2 a" + mark + "=1", []tree.Conflict{conflict("a", tree.FileAndDirectory, "a"+mark)}},
		"directory and file":       {"", "a/b/x=2", "a/b=1", "a/b/x=2 a/b" + mark + "=1", []tree.Conflict{conflict("a/b", tree.FileAndDirectory, "a/b"+mark)}},
		"file and empty directory": {"", "a=1", "a/", "a/ a" + mark + "=1", []tree.Conflict{conflict("a", tree.FileAndDirectory, "a"+mark)}},
		"a directory became file":  {"a/x=1", "a=1", "a/x=1", "a=1", nil},
		"changed what became dir":  {"a=1", "a=2", "a/x=1", "a/x=1 a" + mark + "=2", []tree.Conflict{conflict("a", tree.FileAndDirectory, "a"+mark)}},
		"a file became directory":  {"a=1", "a/x=1", "a=1", "a/x=1", nil},
		"empty directories":        {"a/ b/ c/", "a/ c/ n/", "a/ b/ m/", "a/ n/ m/", nil},
		"left in what was deleted": {"d/e/x=1 d/y=1", "", "d/e/x=1 d/y=1 d/e/new=1", "d/e/new=1", nil},
		"emptied on both sides":    {"d/x=1 d/y=1", "d/x=1", "d/y=1", "d/", nil},
		"emptied and deleted":      {"d/x=1", "d/", "", "", nil},
		"permissions":              {"a/ b/ c/ d/=0700", "a/=0500 b/ c/=0500 d/=0700", "a/ b/=0555 c/=0555 d/=0755", "a/=0500 b/=0555 c/=0500 d/=0755", nil},
		"permissions of what left": {"d/=0700 d/x=1", "", "d/=0700 d/x=2", "d/=0700 d/x=2", []tree.Conflict{conflict("d/x", tree.DeletedAndChanged, "")}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, conflicts := tree.Merge(sketch(test.base), sketch(test.ours), sketch(test.theirs), aside)
			wantTree(t, sketch(test.want), got)
			if diff := cmp.Diff(test.conflicts, conflicts); diff != "" {
				t.Errorf("conflicts (-want +got):\n%s", diff)
			}
			if err := got.Check(); err != nil {
				t.Errorf("check: got %v, want none", err)
			}
		})
	}
}

func TestMergeOfForeignFiles(t *testing.T) {
	at := func(versions string) *tree.Listing {
		l := tree.NewListing()
		l.Files["a"] = foreign(versions)
		return l
	}
	got, conflicts := tree.Merge(at("1"), at("2"), at("1"), aside)
	if !cmp.Equal(got.Files, at("2").Files) || conflicts != nil {
		t.Errorf("changed on one side: got %v, %v, want the changed one", got.Files, conflicts)
	}
	got, conflicts = tree.Merge(at("1"), at("2"), at("3"), aside)
	if want := map[string]tree.Data{"a": foreign("2"), "a" + mark: foreign("3")}; !cmp.Equal(got.Files, want) || len(conflicts) != 1 {
		t.Errorf("changed on both: got %v, %v, want both kept", got.Files, conflicts)
	}
}

// TestMergeTakesFreshBlobs: a version whose only change are blobs has changed all the same, and it is what the merge takes.
func TestMergeTakesFreshBlobs(t *testing.T) {
	at := func(version string) *tree.Listing {
		l := tree.NewListing()
		l.Files["a"] = entry("content", version, 0o644)
		return l
	}
	for _, sides := range [][2]string{{"old", "fresh"}, {"fresh", "old"}} {
		got, _ := tree.Merge(at("old"), at(sides[0]), at(sides[1]), aside)
		if !cmp.Equal(got.Files, at("fresh").Files) {
			t.Errorf("%v: got the blob of the base, want the fresh one", sides)
		}
	}
}

func TestMergeWithNamesThatCannotBe(t *testing.T) {
	base, ours, theirs := sketch(""), sketch("d/a=1 f=1"), sketch("d/a=2 f=1")
	for _, name := range []string{"", "/etc/passwd", "../a", tree.DirsFile, "f/a", strings.Repeat("x", 300)} {
		got, conflicts := tree.Merge(base, ours, theirs, func(string) string { return name })
		wantTree(t, sketch("d/a=1 d/a.conflict=2 f=1"), got)
		if len(conflicts) != 1 || conflicts[0].Copy != "d/a.conflict" {
			t.Errorf("%q: got %v, want the copy beside the file", name, conflicts)
		}
	}
	got, _ := tree.Merge(base, ours, theirs, func(string) string { return "new/dir/a" })
	wantTree(t, sketch("d/a=1 new/dir/a=2 f=1"), got)
}

// drawTree draws a small tree in which names meet often.
func drawTree(t *rapid.T, label string) *tree.Listing {
	l := tree.NewListing()
	name := rapid.SampledFrom([]string{"a", "b", "c.txt"})
	for _, p := range rapid.SliceOfN(rapid.Map(rapid.SliceOfN(name, 1, 3), func(s []string) string { return path.Join(s...) }), 0, 8).Draw(t, label) {
		if blocked(l, p) {
			continue
		}
		if rapid.IntRange(0, 3).Draw(t, "what") == 0 {
			l.Add(p, tree.Data{})
			delete(l.Files, p)
			l.Dirs[p] = tree.Folder{Perm: rapid.SampledFrom([]fs.FileMode{0, 0o755, 0o700}).Draw(t, "perm")}
			continue
		}
		content, version := rapid.StringMatching("[123]").Draw(t, "content"), rapid.StringMatching("[xy]").Draw(t, "version")
		l.Add(p, entry(content, version, rapid.SampledFrom([]fs.FileMode{0o644, 0o755}).Draw(t, "mode")))
	}
	return l
}

// blocked reports whether p is listed, or a file is where it needs a directory.
func blocked(l *tree.Listing, p string) bool {
	if _, ok := l.Dirs[p]; ok {
		return true
	}
	for ; p != "."; p = path.Dir(p) {
		if _, ok := l.Files[p]; ok {
			return true
		}
	}
	return false
}

// contentOf is the hash of a file's plain bytes.
func contentOf(d tree.Data) bucket.Hash {
	a, _ := d.Attributes()
	return a.Hash
}

func checkProperties(t *rapid.T) {
	b, x, y := drawTree(t, "base"), drawTree(t, "x"), drawTree(t, "y")
	for name, three := range map[string][3]*tree.Listing{"ours": {b, x, b}, "theirs": {b, b, x}, "both": {b, x, x}} {
		got, conflicts := tree.Merge(three[0], three[1], three[2], aside)
		if len(conflicts) > 0 || !cmp.Equal(got.Files, x.Files) || !cmp.Equal(perms(got), perms(x)) {
			t.Errorf("changes of %s: got %v with conflicts %v, want what was changed", name, got, conflicts)
		}
	}
	copies := []*tree.Listing{copyOf(b), copyOf(x), copyOf(y)}
	xy, conflicts := tree.Merge(b, x, y, aside)
	yx, reverse := tree.Merge(b, y, x, aside)
	if !cmp.Equal(copies, []*tree.Listing{b, x, y}) {
		t.Error("the listings were changed by merging them")
	}
	if err := xy.Check(); err != nil {
		t.Errorf("check: got %v, want none", err)
	}
	checkLost(t, b, x, xy)
	checkLost(t, b, y, xy)
	if !cmp.Equal(conflicts, reverse) {
		t.Errorf("got conflicts %v, and with sides swapped %v, want the same", conflicts, reverse)
	}
	checkSwapped(t, conflicts, xy, yx)
}

// checkLost demands that what a side added or changed is in the merged tree.
func checkLost(t *rapid.T, base, side, merged *tree.Listing) {
	there := map[bucket.Hash]bool{}
	for _, d := range merged.Files {
		there[contentOf(d)] = true
	}
	for p, d := range side.Files {
		if old, ok := base.Files[p]; (!ok || contentOf(old) != contentOf(d)) && !there[contentOf(d)] {
			t.Errorf("%s: got its bytes nowhere in the merged tree", p)
		}
	}
	for p := range side.Dirs {
		if _, ok := base.Dirs[p]; ok {
			continue
		}
		if _, ok := merged.Dirs[p]; !ok {
			t.Errorf("%s: got no such directory in the merged tree", p)
		}
	}
}

// checkSwapped demands that which side is ours decides on nothing but names, and permissions that both changed.
func checkSwapped(t *rapid.T, conflicts []tree.Conflict, xy, yx *tree.Listing) {
	if !cmp.Equal(slices.Sorted(maps.Keys(xy.Files)), slices.Sorted(maps.Keys(yx.Files))) ||
		!cmp.Equal(slices.Sorted(maps.Keys(xy.Dirs)), slices.Sorted(maps.Keys(yx.Dirs))) {
		t.Errorf("got paths of %v, and with sides swapped %v, want the same", xy, yx)
	}
	var swapped []string
	for _, c := range conflicts {
		if c.Kind == tree.BothChanged {
			if contentOf(xy.Files[c.Path]) != contentOf(yx.Files[c.Copy]) || contentOf(xy.Files[c.Copy]) != contentOf(yx.Files[c.Path]) {
				t.Errorf("%v: got other bytes with sides swapped, want them to change places", c)
			}
			swapped = append(swapped, c.Path, c.Copy)
		}
	}
	for p, d := range xy.Files {
		if !slices.Contains(swapped, p) && contentOf(d) != contentOf(yx.Files[p]) {
			t.Errorf("%s: got other bytes with sides swapped, want the same", p)
		}
	}
}

func TestMergeLosesNothing(t *testing.T) { rapid.Check(t, checkProperties) }
