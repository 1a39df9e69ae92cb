package test_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headwater/test/natstest"
)

func TestFilesShares_MirrorHoldsEverythingAndReadsWhatIsPublished(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	alice := startPeerOn(t, server.URL(), filepath.Join(t.TempDir(), "alice"))
	mirror := startPeerOn(t, server.URL(), filepath.Join(t.TempDir(), "mirror"))
	src, target := sourceTree(t, 11, 60), newTarget(t)
	alice.run("create", "photos")
	alice.run("commit", "photos", src)
	shared := alice.makes("share", "photos", mirror.id, "--role", "mirror")
	mirror.awaitComplete(shared)
	for _, args := range [][]string{{"checkout", "photos", target}, {"ls", "photos"}, {"cat", "photos", "rare/aux.c"}, {"diff", "photos"}} {
		mirror.failsSaying(4, "we are a mirror, which reads what is published only", args...)
	}
	if _, err := os.Stat(target); !os.IsNotExist(err) {
		t.Errorf("got %v of the directory that nothing could be read for, want none", err)
	}
	mirror.failsSaying(4, "not an owner", "commit", "photos", src, "--force")
	mirror.failsSaying(4, "not an owner", "publish", "photos")
	mirror.failsSaying(4, "not an owner", "share", "photos", mirror.id)

	published := alice.makes("publish", "photos")
	if !published.Published {
		t.Errorf("got %+v of publish, want a published version", published)
	}
	mirror.awaitComplete(published)
	if out := mirror.checksOut("photos", target); out.Link != published.Link {
		t.Errorf("got %+v checked out by a mirror, want the published version %s", out, published.Link)
	}
	checkSame(t, target, src)

	// Later versions are private again; what they hold comes to the mirror all the same.
	saved := snapshot(t, src)
	writeTree(t, src, "private", []byte("not for mirrors"), 0o644)
	later := alice.makes("commit", "photos", src)
	if later.Published {
		t.Errorf("got %+v, want a version that is not published", later)
	}
	mirror.awaitComplete(later)
	again := newTarget(t)
	for _, dir := range []string{target, again} {
		if out := mirror.checksOut("photos", dir); out.Link != published.Link || out.Height != published.Height {
			t.Errorf("got %+v checked out by a mirror, want it to stay at the published version %d", out, published.Height)
		}
	}
	if len(saved) != len(snapshot(t, again)) {
		t.Errorf("got %d paths checked out by a mirror, want the %d published ones", len(snapshot(t, again)), len(saved))
	}
	mirror.failsSaying(4, "not published", "cat", "photos", "private", "--at", fmt.Sprint(later.Height))
	writeTree(t, src, "public", []byte("for mirrors"), 0o644)
	public := alice.makes("commit", "photos", src, "--publish")
	if out := mirror.checksOut("photos", target); out.Link != public.Link || out.Written != 2 {
		t.Errorf("got %+v of a mirror, want the two new files of version %s", out, public.Link)
	}
	checkSame(t, target, src)

	// An owner now: everything can be read, and written.
	owned := alice.makes("share", "photos", mirror.id)
	if out := mirror.checksOut("photos", target); out.Link != owned.Link {
		t.Errorf("got %+v of an owner, want version %s", out, owned.Link)
	}
	writeTree(t, target, "by the other", nil, 0o644)
	if made := mirror.makes("commit", "photos", target); made.Author != mirror.id || made.Height != owned.Height+1 {
		t.Errorf("got %+v, want a version by %s", made, mirror.id)
	}
}

func TestFilesShares_RemovedOwnerReadsNothingNew(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t).URL()
	alice, aliceID := newDesk(t, url)
	bob, bobID := newDesk(t, url)
	src := sourceTree(t, 12, 60)
	id := alice.makes("create", "photos").BucketID
	alice.run("commit", "photos", src)
	alice.failsSaying(1, "no owner would be left", "unshare", "photos", aliceID)
	alice.failsSaying(3, "not shared with that key", "unshare", "photos", bobID)
	shared := alice.makes("share", "photos", bobID)
	bobs := newTarget(t)
	bob.checksOut("photos", bobs)
	checkSame(t, bobs, src)

	before := blobLinks(t, alice, "photos")
	taken := alice.makes("unshare", "photos", bobID)
	for _, args := range [][]string{{"checkout", "photos", newTarget(t)}, {"checkout", id, bobs}, {"ls", id}, {"cat", id, "rare/aux.c"}} {
		bob.failsSaying(4, "our key "+bobID+" is not among its shares", args...)
	}
	bob.failsSaying(4, "", "commit", "photos", bobs)
	checkSame(t, bobs, src)
	old := newTarget(t)
	if out := bob.checksOut("photos", old, "--at", fmt.Sprint(shared.Height)); out.Link != shared.Link {
		t.Errorf("got %+v, want the last version that was shared, %s", out, shared.Link)
	}
	checkSame(t, old, src)
	if out := alice.checksOut("photos", newTarget(t)); out.Link != taken.Link {
		t.Errorf("got %+v, want version %s for the owner who stays", out, taken.Link)
	}
	for path, link := range blobLinks(t, alice, "photos") {
		if before[path] != link {
			t.Errorf("got another blob of %q without --rotate, want it kept", path)
		}
	}

	// With --rotate no secret that was known before opens anything of the new version.
	alice.run("share", "photos", bobID)
	rotated := alice.makes("unshare", "photos", bobID, "--rotate")
	after := blobLinks(t, alice, "photos")
	if len(after) != len(before) {
		t.Errorf("got %d files after --rotate, want %d", len(after), len(before))
	}
	known := map[string]bool{}
	for _, link := range before {
		known[link] = true
	}
	for path, link := range after {
		if known[link] {
			t.Errorf("got blob %s of %q kept by --rotate, want another", link, path)
		}
	}
	target := newTarget(t)
	if out := alice.checksOut("photos", target); out.Link != rotated.Link {
		t.Errorf("got %+v, want version %s", out, rotated.Link)
	}
	checkSame(t, target, src)
	bob.failsSaying(4, "not shared with us", "checkout", "photos", newTarget(t))

	// An owner who leaves while another owner stays.
	alice.run("share", "photos", bobID)
	left := alice.makes("unshare", "photos", aliceID)
	alice.failsSaying(4, "our key "+aliceID+" is not among its shares", "checkout", "photos", newTarget(t))
	if out := bob.checksOut("photos", newTarget(t)); out.Link != left.Link {
		t.Errorf("got %+v, want version %s for the owner who is left", out, left.Link)
	}
}

func TestFilesShares_StrangerIsToldWhy(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t).URL()
	alice, _ := newDesk(t, url)
	stranger, strangerID := newDesk(t, url)
	src, target := sourceTree(t, 13, 40), newTarget(t)
	id := alice.makes("create", "photos").BucketID
	alice.run("commit", "photos", src)
	// A name that a stranger announces proves nothing, so a bucket that is not shared with us is only found by its id.
	stranger.failsSaying(3, `bucket "photos": no such bucket`, "checkout", "photos", target)
	const why = "is not among its shares; an owner can share the bucket with it"
	for _, args := range [][]string{{"checkout", id, target}, {"ls", id}, {"cat", id[:8], "rare/aux.c"}, {"commit", id, src}} {
		stranger.failsSaying(4, "our key "+strangerID+" "+why, args...)
	}
	for _, args := range [][]string{{"share", id, strangerID}, {"publish", id}, {"unshare", id, strangerID}} {
		stranger.failsSaying(4, "not an owner", args...)
	}
	stranger.failsSaying(3, "no such bucket", "checkout", unknownBucket, target)
	stranger.failsSaying(3, "", "share", unknownBucket, strangerID)
	if _, err := os.Stat(target); !os.IsNotExist(err) {
		t.Errorf("got %v of the directory that nothing could be read for, want none", err)
	}
	nobody := newHeadwater(t, "--dir", filepath.Join(t.TempDir(), "none"), "--nats", url)
	nobody.failsSaying(3, "has no identity", "checkout", id, target)

	// Everybody may read what is published, and finds it by its id.
	alice.run("publish", "photos")
	stranger.checksOut(id, target)
	checkSame(t, target, src)
	stranger.failsSaying(4, why, "commit", id, target, "--publish")
}

// blobLinks returns the links of all files' and directories' blobs of a bucket's newest version.
func blobLinks(tb testing.TB, h headwater, name string) map[string]string {
	tb.Helper()
	links := map[string]string{}
	for _, e := range decodedLines[entryJSON](tb, h.run("ls", name, "-R", "--json")) {
		if !strings.HasPrefix(e.Link, "baf") {
			tb.Errorf("got %+v listed, want a link", e)
		}
		links[e.Path] = e.Link
	}
	return links
}
