package tree_test

import (
	"errors"
	"path"
	"strings"
	"testing"

	"headwater/bucket"
	"headwater/tree"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCheckPath(t *testing.T) {
	for _, p := range []string{"a", "a/b", ".profile", "a/..b/c", strings.Repeat("d/", tree.MaxDepth-1) + "f"} {
		if err := tree.CheckPath(p); err != nil {
			t.Errorf("%q: got %v, want it taken", p, err)
		}
	}
	for _, p := range []string{"", "/", "/a", "a/", "a//b", ".", "./a", "a/..", "../a", "a/\x00", `a\b`, "C:/a"} {
		if err := tree.CheckPath(p); !errors.Is(err, tree.ErrName) {
			t.Errorf("%q: got %v, want ErrName", p, err)
		}
	}
	for _, p := range []string{strings.Repeat("d/", tree.MaxDepth) + "f", strings.Repeat("x", tree.MaxPath+1)} {
		if err := tree.CheckPath(p); bucket.ClassOf(err) != bucket.TooLarge {
			t.Errorf("%.20q…: got %v, want a refusal of class too_large", p, err)
		}
	}
}

func TestCollisions(t *testing.T) {
	l := tree.NewListing()
	for _, p := range []string{
		"README", "readme", "Readme.md", "dir/a", "Dir/a", "dir/A", "caf\u00e9", "cafe\u0301", "CAFE\u0301", "stra\u00dfe", "STRASSE",
		"alone", "elsewhere/alone", "\u00fc/x", "u\u0308/X", "I", "\u0131",
	} {
		l.Add(p, entry(p, "", 0o644))
	}
	want := [][]string{
		{"CAFE\u0301", "cafe\u0301", "caf\u00e9"}, {"Dir", "dir"}, {"README", "readme"}, {"STRASSE", "stra\u00dfe"}, {"dir/A", "dir/a"},
		{"u\u0308", "\u00fc"},
	}
	if diff := cmp.Diff(want, tree.Collisions(l)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := tree.Collisions(tree.NewListing()); len(got) > 0 {
		t.Errorf("an empty tree: got %v, want none", got)
	}
}

func TestConflictName(t *testing.T) {
	author := bucket.PublicKey{0xa1, 0xb2, 0xc3, 0xd4, 0xe5}
	const mark = ".conflict-7-a1b2c3d4"
	for in, want := range map[string]string{
		"notes.txt":                       "notes" + mark + ".txt",
		"dir/notes.txt":                   "dir/notes" + mark + ".txt",
		"a.dir/notes":                     "a.dir/notes" + mark,
		"x.tar.gz":                        "x.tar" + mark + ".gz",
		".profile":                        ".profile" + mark,
		"d/.a.b":                          "d/.a" + mark + ".b",
		"end.":                            "end" + mark + ".",
		strings.Repeat("x", 255):          strings.Repeat("x", 255-len(mark)) + mark,
		"x." + strings.Repeat("e", 200):   "x." + strings.Repeat("e", 200) + mark,
		strings.Repeat("é", 127) + "y.md": strings.Repeat("é", (255-len(mark)-3)/2) + mark + ".md",
	} {
		if got := tree.ConflictName(in, 7, author); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestConflictNameIsAPathWhateverItIsMadeOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-zé名. ]{0,90}[a-z]`)
		p := name.Draw(t, "name")
		for len(p) < tree.MaxPath && strings.Count(p, "/") < tree.MaxDepth-1 && rapid.IntRange(0, 30).Draw(t, "more") > 0 {
			p = name.Draw(t, "name") + "/" + p
		}
		if tree.CheckPath(p) != nil {
			return
		}
		got := tree.ConflictName(p, rapid.Uint64().Draw(t, "height"), bucket.PublicKey{1})
		if err := tree.CheckPath(got); err != nil || got == p {
			t.Errorf("%q: got %q (%v), want another path", p, got, err)
		}
		if len(p) < tree.MaxPath-300 && path.Dir(got) != path.Dir(p) {
			t.Errorf("%q: got %q, want it in the same directory", p, got)
		}
	})
}
