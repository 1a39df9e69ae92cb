package worktree_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/worktree"
)

// A private key never gets into a tree, and no checkout writes over a peer.
func TestAPeersOwnDirectoryIsNeitherScannedNorWrittenTo(t *testing.T) {
	own := t.TempDir() // known only because it is named
	write(t, own, map[string]string{"key": "secret", "blobs/x": "1"})
	other := t.TempDir() // known by what is in it
	write(t, other, map[string]string{"identity.pem": "secret", "log/x": "1"})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(other, link); err != nil {
		t.Fatal(err)
	}
	m := &memory{}
	l := listing(t, m, map[string]string{"a": "1"})
	for name, dir := range map[string]string{
		"itself": own, "in it": filepath.Join(own, "blobs"), "not there yet": filepath.Join(own, "new", "deep"),
		"another": other, "in another": filepath.Join(other, "log"), "through a link": link, "behind a link": filepath.Join(link, "new"),
	} {
		before := read(t, own)
		beforeOther := read(t, other)
		if _, err := worktree.Scan(t.Context(), dir, worktree.ScanOptions{Exclude: []string{own}}); !errors.Is(err, worktree.ErrPrivate) {
			t.Errorf("%s: scan: got %v, want %v", name, err, worktree.ErrPrivate)
		}
		o := worktree.CheckoutOptions{Exclude: []string{own}, Force: true, Delete: true}
		if _, _, err := worktree.Checkout(t.Context(), dir, l, nil, m, o); !errors.Is(err, worktree.ErrPrivate) {
			t.Errorf("%s: checkout: got %v, want %v", name, err, worktree.ErrPrivate)
		}
		if diff := cmp.Diff(before, read(t, own)) + cmp.Diff(beforeOther, read(t, other)); diff != "" {
			t.Errorf("%s: something was changed:\n%s", name, diff)
		}
	}
}

func TestAnyPeersDirectoryInATreeIsLeftOut(t *testing.T) {
	dir, m := t.TempDir(), &memory{}
	write(t, dir, map[string]string{"a": "1", "p/identity.pem": "secret", "p/log/x": "1", "q/identity.pem": "of something else"})
	s, err := worktree.Scan(t.Context(), dir, worktree.ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Files["p/identity.pem"]; ok || len(s.Skipped) != 1 || s.Skipped[0].Path != "p" || len(s.Files) != 2 {
		t.Errorf("got %d files, skipped %v, want the peer's directory skipped", len(s.Files), s.Skipped)
	}
	checkout(t, dir, listing(t, m, map[string]string{"a": "1"}), nil, m, worktree.CheckoutOptions{Delete: true})
	if _, err := os.Stat(filepath.Join(dir, "p/identity.pem")); err != nil {
		t.Errorf("the peer's key: %v, want it left where it is", err)
	}
}
