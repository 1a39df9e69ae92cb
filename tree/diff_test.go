package tree_test

import (
	"io/fs"
	"testing"

	"headwater/bucket"
	"headwater/tree"

	"github.com/google/go-cmp/cmp"
)

// entry is a file with attributes whose blob is nowhere: content stands for its bytes, version for one of their blobs.
func entry(content, version string, perm fs.FileMode) tree.Data {
	a := tree.Attributes{Perm: perm, Size: uint64(len(content)), Hash: bucket.Sum([]byte(content))}
	return tree.Data{
		Link: bucket.RawLink([]byte(content + version)), Secret: bucket.Secret(bucket.Sum([]byte(version + content))), Metadata: a.Metadata(),
	}
}

// foreign is a file as a writer without attributes has it.
func foreign(version string) tree.Data {
	d := entry("", version, 0)
	d.Metadata = nil
	return d
}

func TestSame(t *testing.T) {
	link := entry("a", "1", 0o777)
	a, _ := link.Attributes()
	a.Symlink = true
	link.Metadata = a.Metadata()
	mime := entry("a", "1", 0o644)
	mime.Mime = new("text/plain")
	stranger := foreign("1")
	stranger.Secret[0]++
	for name, test := range map[string]struct {
		a, b tree.Data
		want bool
	}{
		"one blob":                      {entry("a", "1", 0o644), entry("a", "1", 0o644), true},
		"two blobs of the same bytes":   {entry("a", "1", 0o644), entry("a", "2", 0o644), true},
		"another mode":                  {entry("a", "1", 0o644), entry("a", "1", 0o755), false},
		"other bytes":                   {entry("a", "1", 0o644), entry("b", "1", 0o644), false},
		"a link and a file":             {entry("a", "1", 0o777), link, false},
		"another media type":            {entry("a", "1", 0o644), mime, true},
		"no attributes, one blob":       {foreign("1"), foreign("1"), true},
		"no attributes, two blobs":      {foreign("1"), foreign("2"), false},
		"no attributes, another secret": {foreign("1"), stranger, false},
		"attributes on one side only":   {entry("", "1", 0o644), foreign("1"), true},
		"on one side, two blobs":        {entry("", "1", 0o644), foreign("2"), false},
	} {
		if got := tree.Same(test.a, test.b); got != test.want {
			t.Errorf("%s: got %t, want %t", name, got, test.want)
		}
		if got := tree.Same(test.b, test.a); got != test.want {
			t.Errorf("%s, the other way round: got %t, want %t", name, got, test.want)
		}
	}
}

func TestDiff(t *testing.T) {
	before, after := tree.NewListing(), tree.NewListing()
	kept, was, is := entry("kept", "", 0o644), entry("a", "", 0o644), entry("b", "", 0o644)
	before.Add("a/kept", kept)
	after.Add("a/kept", entry("kept", "in a new blob", 0o644))
	before.Add("a/changed", was)
	after.Add("a/changed", is)
	before.Add("a/mode", was)
	executable := entry("a", "", 0o755)
	after.Add("a/mode", executable)
	before.Add("gone/x", was)
	after.Add("new/x", is)
	before.Add("turned", was)
	after.Add("turned/x", is)
	before.Dirs["perm"], after.Dirs["perm"] = tree.Folder{}, tree.Folder{Perm: 0o700}
	before.Dirs["usual"], after.Dirs["usual"] = tree.Folder{}, tree.Folder{Perm: 0o755}
	want := []tree.Change{
		{Path: "a/changed", Kind: tree.Modified, Old: &was, New: &is},
		{Path: "a/mode", Kind: tree.ModeChanged, Old: &was, New: &executable},
		{Path: "gone", Kind: tree.Removed, Dir: true},
		{Path: "gone/x", Kind: tree.Removed, Old: &was},
		{Path: "new", Kind: tree.Added, Dir: true},
		{Path: "new/x", Kind: tree.Added, New: &is},
		{Path: "perm", Kind: tree.ModeChanged, Dir: true},
		{Path: "turned", Kind: tree.Removed, Old: &was},
		{Path: "turned", Kind: tree.Added, Dir: true},
		{Path: "turned/x", Kind: tree.Added, New: &is},
	}
	if diff := cmp.Diff(want, tree.Diff(before, after)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := tree.Diff(after, after); len(got) > 0 {
		t.Errorf("a tree and itself: got %v, want no changes", got)
	}
}

func TestKindsHaveWords(t *testing.T) {
	for got, want := range map[string]string{
		tree.Added.String(): "added", tree.Removed.String(): "removed", tree.Modified.String(): "modified",
		tree.ModeChanged.String(): "mode changed", tree.ChangeKind(0).String(): "unknown",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
