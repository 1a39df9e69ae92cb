package publisher_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"headwater/bucket"
	"headwater/bucket/buckettest"
)

// checkHints demands the hints that any peer makes of the chain.
func checkHints(t *testing.T, w *world, versions []*bucket.Version, got bucket.Hints) {
	t.Helper()
	want, packs := buckettest.Hints(t, versions)
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("hints of height %d (-want +got):\n%s", len(versions)-1, diff)
	}
	for _, p := range want.Packs {
		if string(w.stores[manifestStore][p.Hash]) != string(packs[p.Hash]) {
			t.Errorf("pack %s is not in the store", p.Hash)
		}
	}
}

// covered demands that hints name versions without a gap, and returns the oldest one's height.
func covered(t *testing.T, w *world, c *buckettest.Chain, a bucket.Announcement) uint64 {
	t.Helper()
	next := a.Link
	height := *a.Height
	step := func(l bucket.Link) {
		t.Helper()
		if next, height = w.versions[next].Previous, height-1; next != l {
			t.Fatalf("at height %d: got %s, want %s", height, l, next)
		}
	}
	for _, l := range a.Hints.Recent {
		step(l)
	}
	var unpack func(bucket.PackRef)
	unpack = func(ref bucket.PackRef) {
		p, err := bucket.DecodePack(w.stores[manifestStore][ref.Hash])
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range slices.Backward(p.Packs) {
			unpack(r)
		}
		for _, m := range slices.Backward(p.Manifests) {
			step(bucket.ManifestLink(m))
		}
	}
	for _, p := range slices.Backward(a.Hints.Packs) {
		unpack(p)
	}
	return height
}

// grown makes versions without content, as many as given, owed ones or others.
func grown(w *world, c *buckettest.Chain, n int, owed bool) {
	w.tb.Helper()
	w.hold(nil)
	for range n {
		w.keep(c.Add(w.tb, nil), owed)
	}
}

// TestHints_OneVersionAfterTheOther: each announcement's hints go on from the last one's, also in another process, which asks
// the bus once; each pack is put once.
func TestHints_OneVersionAfterTheOther(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, w.me)
	p := w.publisher()
	for i := range 3*bucket.PackVersions + 5 {
		grown(w, c, 1, true)
		publish(t, p, c.ID)
		if (i+2)%bucket.PackVersions < 4 || i == 201 {
			checkHints(t, w, c.Versions, w.last().Hints)
		}
		if i == 200 {
			p = w.publisher()
		}
	}
	if n := w.count("heads"); n > 2 {
		t.Errorf("the bus was asked %d times", n)
	}
	for h, n := range w.puts {
		if n != 1 {
			t.Errorf("%s was put %d times", h, n)
		}
	}
}

// TestHints_ManyVersionsAtOnce: those of versions made offline are the same as if each had been announced.
func TestHints_ManyVersionsAtOnce(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, w.me)
	grown(w, c, 1, true)
	p := w.publisher()
	for _, n := range []int{126, 1, 1, 127, 128, 129, 300, 7600} {
		grown(w, c, n, true)
		publish(t, p, c.ID)
		checkHints(t, w, c.Versions, w.last().Hints)
	}
}

// TestHints_OthersPacksAreGoneOnFrom: the packs that another peer with a share announced are used, and a stranger's are not.
func TestHints_OthersPacksAreGoneOnFrom(t *testing.T) {
	w := newWorld(t)
	member, stranger := buckettest.Identity(t, 2).PublicKey(), buckettest.Identity(t, 3).PublicKey()
	c := buckettest.New(t, w.me, member)
	grown(w, c, 1000, false)
	for _, v := range c.Versions {
		w.there(v)
	}
	hints, packs := buckettest.Hints(t, c.Versions)
	lie := hints
	lie.Packs = []bucket.PackRef{{Hash: bucket.Hash{9}, Last: c.Versions[990].Link}}
	for h, b := range packs {
		w.stores[manifestStore][h] = b
	}
	height := c.Head().Height
	told := bucket.Announcement{Link: c.Head().Link, Height: &height, Bucket: c.ID, Peer: member, Hints: hints}
	w.announced = append(w.announced, told)
	grown(w, c, 30, true)
	p := w.publisher()
	w.onStep = func(_ context.Context, step string) error {
		if step == "heads" { // only the publisher sees it, the invariant does not
			w.mu.Lock()
			defer w.mu.Unlock()
			w.stranger = &bucket.Announcement{Link: c.Versions[999].Link, Bucket: c.ID, Peer: stranger, Hints: lie}
		}
		return nil
	}
	publish(t, p, c.ID)
	checkHints(t, w, c.Versions, w.last().Hints)
	if n := w.count("heads"); n != 1 {
		t.Errorf("the bus was asked %d times, want 1", n)
	}
	for h := range packs {
		if w.puts[h] != 0 {
			t.Errorf("pack %s was put again", h)
		}
	}
}

// TestHints_LostPacksAreMadeAgain: packs that the store lost are made out of the log.
func TestHints_LostPacksAreMadeAgain(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, w.me)
	grown(w, c, 500, true)
	p := w.publisher()
	publish(t, p, c.ID)
	w.announced = nil
	for _, ref := range buckettestPacks(t, c) {
		delete(w.stores[manifestStore], ref)
	}
	w.again(c.Head())
	publish(t, p, c.ID)
	checkHints(t, w, c.Versions, w.last().Hints)
}

func buckettestPacks(t *testing.T, c *buckettest.Chain) (hashes []bucket.Hash) {
	t.Helper()
	_, packs := buckettest.Hints(t, c.Versions)
	for h := range packs {
		hashes = append(hashes, h)
	}
	return hashes
}

// TestHints_BeginAnewInALongChain: of a long chain of which nothing is known a bounded part is packed, and the next announcement
// goes on from there.
func TestHints_BeginAnewInALongChain(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, w.me)
	grown(w, c, 9000, false)
	for _, v := range c.Versions {
		w.there(v)
	}
	p := w.publisher()
	for _, n := range []int{1, 1, 200} {
		grown(w, c, n, true)
		before := w.count("batch " + manifestStore)
		publish(t, p, c.ID)
		a := w.last()
		oldest := covered(t, w, c, a)
		if oldest == 0 || oldest%bucket.PackVersions != 0 || *a.Height-oldest < 8000 {
			t.Errorf("hints of height %d reach down to %d", *a.Height, oldest)
		}
		if n == 1 && len(c.Versions) > 9001 && w.count("batch "+manifestStore)-before > 1 {
			t.Error("packs were made again")
		}
	}
}

// TestHints_VersionThatFitsNoPack: hints begin above it, and it is announced without its manifest.
func TestHints_VersionThatFitsNoPack(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, w.me)
	grown(w, c, 100, true)
	w.keep(c.Add(t, func(m *bucket.Manifest) { m.Name = string(blob(200<<10, "long")) }), true)
	p := w.publisher()
	publish(t, p, c.ID)
	grown(w, c, 300, true)
	publish(t, p, c.ID)
	if oldest := covered(t, w, c, w.last()); oldest != 101 {
		t.Errorf("hints reach down to %d, want 101, just above the long one", oldest)
	}
	grown(w, c, 1, true)
	publish(t, p, c.ID)
	if oldest := covered(t, w, c, w.last()); oldest != 101 {
		t.Errorf("the next hints reach down to %d, want 101", oldest)
	}
}

// TestHints_AnnouncedWithoutThem: hints that cannot be made hold up nothing.
func TestHints_AnnouncedWithoutThem(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, w.me)
	grown(w, c, 300, true)
	w.onStep = func(_ context.Context, step string) error {
		if step == "heads" {
			return errFault
		}
		return nil
	}
	publish(t, w.publisher(), c.ID)
	checkHints(t, w, c.Versions, w.last().Hints) // the whole chain is short
	for _, v := range c.Versions[:150] {
		if err := w.manifests.Delete(context.Background(), v.Link.Hash()); err != nil {
			t.Fatal(err)
		}
	}
	grown(w, c, 1, true)
	publish(t, w.publisher(), c.ID)
	a := w.last()
	if covered(t, w, c, a); a.Link != c.Head().Link || len(a.Hints.Packs) > 0 || len(a.Hints.Recent) != bucket.MaxRecent {
		t.Errorf("got %d recent links and %d packs", len(a.Hints.Recent), len(a.Hints.Packs))
	}
}
