package worktree

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/tree"

	"github.com/google/go-cmp/cmp"
)

func TestLinksThatCannotLeadOut(t *testing.T) {
	inside := [][2]string{
		{"a", "b"}, {"a", "./b//c/"}, {"a", "."}, {"d/a", ".."}, {"d/a", "../b"}, {"d/e/a", "../../b"}, {"a", "..b"}, {"a", "b/..."},
	}
	outside := [][2]string{
		{"a", "/"}, {"a", "/etc"}, {"a", ".."}, {"a", "../b"}, {"d/a", "../../b"}, {"d/a", "./../../b"}, {"a", "b/.."}, {"d/e/a", "../b/../c"},
	}
	for _, l := range inside {
		if !staysInside(l[0], l[1]) {
			t.Errorf("%s -> %s: got outside", l[0], l[1])
		}
	}
	for _, l := range outside {
		if staysInside(l[0], l[1]) {
			t.Errorf("%s -> %s: got inside", l[0], l[1])
		}
	}
}

func TestTimesThatCanBeTrusted(t *testing.T) {
	now := time.Unix(1_000_000, 123_456_789)
	tests := map[string]struct {
		age  time.Duration
		want bool
	}{
		"just now":                        {0, false},
		"within a tick":                   {15 * time.Millisecond, false},
		"a tick ago":                      {30 * time.Millisecond, true},
		"in the future":                   {-time.Hour, false},
		"in whole seconds, one ago":       {time.Second + 123_456_789, false},
		"in whole seconds, three ago":     {3*time.Second + 123_456_789, true},
		"in whole milliseconds, just now": {23_456_789, false},
	}
	for name, tt := range tests {
		if got := older(now.Add(-tt.age).UnixNano(), now); got != tt.want {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

// planned returns the plan for a directory on a file system that does not tell names apart by case.
func planned(t *testing.T, wanted, there []string, rec *Record) (*plan, *checkout, error) {
	t.Helper()
	l := tree.NewListing()
	for _, path := range wanted {
		l.Add(path, tree.Data{Link: bucket.RawLink(nil), Metadata: tree.Attributes{Perm: 0o644, Size: 1}.Metadata()})
	}
	c, err := newCheckout(l, rec, &blobstore.Memory{}, CheckoutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if c.top, err = openTop(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.top.release)
	c.disk = &disk{files: map[string]File{}}
	for _, path := range there {
		c.disk.files[path] = File{Attributes: tree.Attributes{Perm: 0o644, Size: 2}, links: 1}
	}
	c.folds = true
	p, err := c.planFor(t.Context())
	return p, c, err
}

func TestNamesThatDifferInCaseOnly(t *testing.T) {
	rec := &Record{Files: map[string]Entry{"readme": {Attributes: tree.Attributes{Perm: 0o644, Size: 2}}}}
	p, c, err := planned(t, []string{"A", "a", "b", "dir/x", "DIR/x", "README"}, []string{"readme"}, rec)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "dir", "dir/x"}; !slices.Equal(slices.Sorted(maps.Keys(c.skipped)), want) {
		t.Errorf("got skipped %v, want %q", c.skipped, want)
	}
	var written []string
	for _, j := range p.write {
		written = append(written, j.path)
	}
	if diff := cmp.Diff([]string{"A", "DIR/x", "README", "b"}, written); diff != "" {
		t.Error(diff)
	}
	if !slices.Equal(p.clear, []string{"readme"}) || len(p.remove) > 0 {
		t.Errorf("got %q to be cleared, %q to be removed; want the old spelling gone before the new one comes", p.clear, p.remove)
	}
	_, _, err = planned(t, []string{"README"}, []string{"Readme"}, nil)
	if c, ok := errors.AsType[*ConflictError](err); !ok || !slices.Equal(c.Paths, []string{"Readme"}) {
		t.Errorf("got %v, want a conflict", err)
	}
}

func TestTemporaryFilesOfADeadCheckoutAreSwept(t *testing.T) {
	dir := t.TempDir()
	l := tree.NewListing()
	l.Dirs["d"] = tree.Folder{}
	for _, name := range []string{"d", "other"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	left := temporaryPrefix + "0123456789abcdef00000001"
	mine := temporaryPrefix + "notes"
	for _, name := range []string{left, "d/" + left, "other/" + left, mine} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	res, _, err := Checkout(t.Context(), dir, l, nil, &blobstore.Memory{}, CheckoutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(res.Left, []string{mine}) {
		t.Errorf("got left %q, want %q", res.Left, mine)
	}
	for _, name := range []string{left, "d/" + left, "other/" + left} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s is there", name)
		}
	}
}
