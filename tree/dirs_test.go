package tree_test

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"headwater/bucket"
	"headwater/tree"

	"github.com/google/go-cmp/cmp"
)

func TestDirsFileIsTextForPeople(t *testing.T) {
	l := tree.NewListing()
	for path, perm := range map[string]fs.FileMode{
		"b": 0o700, "a": 0o555, "a b/c": 0o777, "usual": 0o755, "unknown": 0, "z\nz": 0o1, "say \"hi\"": 0o770, "ü": 0o750,
	} {
		l.Dirs[path] = tree.Folder{Perm: perm}
	}
	const want = "0555 a\n0777 a b/c\n0700 b\n0770 \"say \\\"hi\\\"\"\n0001 \"z\\nz\"\n0750 ü\n"
	got, err := tree.EncodeDirs(l)
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
	perms, err := tree.DecodeDirs(got)
	if err != nil || perms["z\nz"] != 1 || perms["a b/c"] != 0o777 || len(perms) != 6 {
		t.Errorf("decoded: got %v, %v, want what was encoded", perms, err)
	}
	if got, err := tree.EncodeDirs(tree.NewListing()); err != nil || got != nil {
		t.Errorf("no directories: got %q, %v, want no file", got, err)
	}
}

func TestDecodeDirsRefusesWhatItDidNotWrite(t *testing.T) {
	for _, text := range []string{
		"\n", "0700", "0700\n", "0700 \n", "0700 a", "700 a\n", "00700 a\n", "0800 a\n", "1700 a\n", "+700 a\n", "0_70 a\n", "0755 a\n", "0000 a\n",
		"0700  a/\n", "0700 /a\n", "0700 ..\n", "0700 a/../b\n", "0700 a\\b\n", "0700 \xff\n", "0700 a\x00\n", "0700 a\n\n", "0700 b\n0700 a\n",
		"0700 a\n0700 a\n", "0700 \"a\n", "0700 a\"\n", "0700 \"a\"b\n", "0700 \"..\"\n", "0700 \"/\"\n", "0700 '\"'\n", "0700 `\"`\n", "0700\ta\n",
		"0700 " + strings.Repeat("x", 256) + "\n", "0700 " + strings.Repeat("x/", tree.MaxDepth) + "x\n",
	} {
		if got, err := tree.DecodeDirs([]byte(text)); bucket.ClassOf(err) != bucket.Malformed {
			t.Errorf("%q: got %v, %v, want a refusal of class malformed", text, got, err)
		}
	}
}

// FuzzDecodeDirs: what is taken is sound, and encodes to bytes that are taken again.
func FuzzDecodeDirs(f *testing.F) {
	for _, text := range []string{"", "0700 a\n", "0555 a b/c\n0700 b\n", "0001 \"z\\nz\"\n", "0700 \"\\u00fc\\\"\"\n", "0700 x\"\n", "0755 a\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		perms, err := tree.DecodeDirs(b)
		if err != nil {
			if bucket.ClassOf(err) != bucket.Malformed {
				t.Errorf("got %v, want a refusal of class malformed", err)
			}
			return
		}
		l := tree.NewListing()
		for path, perm := range perms {
			if err := tree.CheckPath(path); err != nil || perm&^0o777 != 0 || perm == 0 {
				t.Errorf("got %q with %#o (%v), want a sound path and permissions", path, perm, err)
			}
			l.Dirs[path] = tree.Folder{Perm: perm}
		}
		again, err := tree.EncodeDirs(l)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tree.DecodeDirs(again); err != nil || !maps.Equal(got, perms) {
			t.Errorf("encoded and decoded again: got %v, %v, want %v", got, err, perms)
		}
	})
}

// rootWith builds a tree with a directory "d" of which e, at the permissions' name, is to tell.
func rootWith(t testing.TB, s *shelf, e tree.Entry) tree.Dir {
	return s.node(t, map[string]tree.Entry{tree.DirsFile: e, "d": s.node(t, nil)})
}

func TestLoadOfPermissions(t *testing.T) {
	var s shelf
	bare := func(text string) tree.Data { // as a writer without attributes would put it
		secret := tree.NewSecret()
		return tree.Data{Link: s.plain(t, secret, []byte(text)), Secret: secret}
	}
	lying := s.file(t, "0700 d\n", 0o644)
	lying.Metadata = s.file(t, "0777 d\n", 0o644).Metadata
	for name, test := range map[string]struct {
		e    tree.Entry
		want fs.FileMode
		is   bucket.Class
	}{
		"with attributes":       {s.file(t, "0700 d\n", 0o644), 0o700, ""},
		"without attributes":    {bare("0700 d\n"), 0o700, ""},
		"of others too":         {bare("0700 c\n0500 d\n0700 d/e\n"), 0o500, ""},
		"empty":                 {bare(""), 0, ""},
		"unreadable":            {bare("0700 d"), 0, bucket.Malformed},
		"other bytes than told": {lying, 0, bucket.Malformed},
		"a directory":           {s.node(t, nil), 0, bucket.Malformed},
	} {
		got, err := s.load(t, rootWith(t, &s, test.e))
		if bucket.ClassOf(err) != test.is || (test.is == "") != (err == nil) {
			t.Errorf("%s: got %v, want class %q", name, err, test.is)
		}
		if err != nil {
			continue
		}
		if got.Dirs["d"].Perm != test.want || len(got.Files) != 0 || !cmp.Equal(tree.Entry(got.DirsFile), test.e) {
			t.Errorf("%s: got %#o, files %v, entry %v, want %#o, no files, and the entry", name, got.Dirs["d"].Perm,
				slices.Collect(maps.Keys(got.Files)), got.DirsFile, test.want)
		}
	}
}

func TestPermissionsAreWrittenWhereTheyChanged(t *testing.T) {
	var s shelf
	l := tree.NewListing()
	l.Dirs["d"] = tree.Folder{Perm: 0o700}
	first := build(t, &s, l, nil)
	if same := build(t, &s, l, first.Tree); !cmp.Equal(same.Tree.DirsFile, first.Tree.DirsFile) {
		t.Error("the same permissions: got another file of them, want that of the version before")
	}
	l.Dirs["d"] = tree.Folder{Perm: 0o500}
	second := build(t, &s, l, first.Tree)
	if second.Tree.DirsFile.Secret == first.Tree.DirsFile.Secret {
		t.Error("other permissions: got the secret of those before, want a fresh one")
	}
	l.Dirs["d"] = tree.Folder{}
	third := build(t, &s, l, second.Tree)
	if !cmp.Equal(third.Tree.DirsFile, tree.Data{}) || len(third.Blobs) != 2 {
		t.Errorf("no permissions: got %v and %d blobs, want no file of them", third.Tree.DirsFile, len(third.Blobs))
	}
}
