package test_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"headwater/test/natstest"
)

func TestOldServerCarriesFilesFromCommitToCheckout(t *testing.T) {
	t.Parallel()
	url := natstest.StartOld(t).URL()
	alice := startPeerOn(t, url, filepath.Join(t.TempDir(), "alice"))
	bob := startPeerOn(t, url, filepath.Join(t.TempDir(), "bob"))
	src, target := sourceTree(t, 31, 300), newTarget(t)
	files := countFiles(snapshot(t, src))
	created := alice.makes("create", "photos")
	if first := alice.makes("commit", "photos", src); first.Added != files {
		t.Errorf("got %+v of a first commit, want all %d files added", first, files)
	}
	shared := alice.makes("share", "photos", bob.id)
	bob.awaitComplete(shared)
	if out := bob.checksOut("photos", target); out.Written != files {
		t.Errorf("got %+v of a checkout, want %d files written", out, files)
	}
	checkSame(t, target, src)

	// Back, and without a peer that runs.
	r := newRand(32)
	for i := range 20 {
		writeTree(t, target, fmt.Sprintf("more/f%d", i), markedBytes(r, 1000+i*20<<10), 0o644)
	}
	second := bob.makes("commit", "photos", target)
	alice.awaitComplete(second)
	alice.checksOut("photos", src)
	checkSame(t, src, target)
	desk, _ := newDesk(t, url)
	desk.failsSaying(4, "not", "checkout", created.BucketID, newTarget(t))

	if got := decodedLines[logJSON](t, alice.run("log", "photos", "--json")); len(got) != 4 {
		t.Errorf("got %d versions in the log, want 4", len(got))
	}
	if l := append(alice.letters(), bob.letters()...); len(l) > 0 {
		t.Errorf("got dead letters %+v, want none", l)
	}
}
