package publisher_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/publisher"
)

// offline makes three versions, with small and large blobs, of which the last two share the most.
func offline(w *world) *buckettest.Chain {
	c := buckettest.New(w.tb, w.me)
	first := w.hold(blob(100, "a"), blob(200<<10, "b"))
	w.make(c, first...)
	second := append(first, w.hold(blob(10, "c"))...)
	w.make(c, second...)
	w.make(c, append(second[1:], w.hold(blob(70<<10, "d"), blob(1, "e"))...)...)
	return c
}

// TestNothingAcknowledgedIsLost_FaultAtEveryStep: whichever call fails, before or after it took effect, and whether the same
// process goes on or another one, all is announced and uploaded in the end, nothing is announced that is not there, and
// nothing is put twice but what the failed call put.
func TestNothingAcknowledgedIsLost_FaultAtEveryStep(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for _, restart := range []bool{false, true} {
			for at := 1; faultAt(t, at, applied, restart); at++ {
			}
		}
	}
}

// faultAt reports whether there was a step of that number.
func faultAt(t *testing.T, at int, applied, restart bool) bool {
	w := newWorld(t)
	w.failAt, w.applied = at, applied
	c := offline(w)
	p := w.publisher()
	err := p.Publish(t.Context(), c.ID, nil)
	if !errors.Is(err, errFault) {
		if err != nil {
			t.Fatal(err)
		}
		return false
	}
	step := w.steps[len(w.steps)-1]
	w.failAt = 0
	if restart {
		p = w.publisher()
	}
	publish(t, p, c.ID)
	w.checkDone()
	for h, n := range w.puts {
		if n > 2 {
			t.Errorf("after a fault at %q (%d), %s was put %d times", step, at, h, n)
		}
	}
	if n := len(w.announced); n != 1 || w.announced[0].Link != c.Head().Link {
		t.Errorf("after a fault at %q (%d): %d announcements", step, at, n)
	}
	if b, err := w.log.Bucket(t.Context(), c.ID); err != nil || b.Announced != c.Head().Head() {
		t.Errorf("announced head: got %v, %v, want %v", b.Announced, err, c.Head().Head())
	}
	return true
}

// TestLocalFirst_ManyOfflineVersions: the newest version made offline is announced as soon as it is there; the older ones'
// blobs follow.
func TestLocalFirst_ManyOfflineVersions(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, w.me)
	const versions = 300
	shared := w.hold(blob(10, "shared"))
	for i := range versions {
		w.make(c, append(shared, w.hold(blob(10, "own %d", i))...)...)
	}
	older := bucket.Sum(blob(10, "own %d", versions-2))
	w.onStep = func(_ context.Context, step string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if step == "announce" && w.stores[blobStore][older] != nil {
			t.Error("an older version's blobs were put before the announcement")
		}
		return nil
	}
	publish(t, w.publisher(), c.ID)
	w.checkDone()
	if n := len(w.announced); n != 1 {
		t.Errorf("got %d announcements, want 1", n)
	}
	for h, n := range w.puts {
		if n != 1 {
			t.Errorf("%s was put %d times", h, n)
		}
	}
	if n := w.count("note uploaded"); n > 11 {
		t.Errorf("the outbox was cleared in %d steps, want few", n)
	}
	// Each version asks for its own blob and its pins list; what the next one needs too is known to be there.
	if got, most := w.asked[blobStore], 2*versions+2; got > most {
		t.Errorf("%d hashes were asked for, at most %d are needed", got, most)
	}
	checkHints(t, w, c.Versions, w.last().Hints)
}

// TestContentBeforeVisible_PartialClone: what this version added and is not held here holds it up, visibly, until the store has
// it. No other bucket waits.
func TestContentBeforeVisible_PartialClone(t *testing.T) {
	w := newWorld(t)
	c, other := buckettest.New(t, w.me), buckettest.New(t, w.me)
	missing := bucket.Sum([]byte("elsewhere"))
	w.make(c, append(w.hold(blob(5, "here")), missing)...)
	w.make(other)
	p := w.publisher()
	if err := p.Publish(t.Context(), c.ID, nil); !errors.Is(err, publisher.ErrIncomplete) {
		t.Fatalf("got %v, want %v", err, publisher.ErrIncomplete)
	}
	if _, err := p.LastError(c.ID); !errors.Is(err, publisher.ErrIncomplete) {
		t.Errorf("last error: got %v, want %v", err, publisher.ErrIncomplete)
	}
	if len(w.announced) != 0 {
		t.Error("it was announced")
	}
	publish(t, p, other.ID)
	w.stores[blobStore][missing] = []byte("elsewhere")
	publish(t, p, c.ID)
	w.checkDone()
	if _, err := p.LastError(c.ID); err != nil {
		t.Errorf("last error: got %v, want none", err)
	}
}

// TestPoisonDoesNotBlock_InheritedBlobThatNobodyHas: it is named and holds up nothing.
func TestPoisonDoesNotBlock_InheritedBlobThatNobodyHas(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, w.me)
	lost := bucket.Sum([]byte("lost"))
	w.nowhere[lost] = true
	edit, list := buckettest.WithPins(append(w.hold(blob(9, "kept")), lost))
	first := c.Add(t, edit)
	w.hold(list)
	w.keep(first, false)
	w.there(first)
	w.make(c, append(w.hold(blob(9, "kept"), blob(9, "new")), lost)...)
	w.make(c, append(w.hold(blob(9, "new")), lost)...)
	var said bytes.Buffer
	publish(t, w.publisher(func(c *publisher.Config) { c.Logger = slog.New(slog.NewTextHandler(&said, nil)) }), c.ID)
	w.checkDone()
	if w.last().Link != c.Head().Link {
		t.Error("the head is not announced")
	}
	if !strings.Contains(said.String(), lost.String()) {
		t.Errorf("got %s, want %s named as lost", said.String(), lost)
	}
}

// TestContentBeforeVisible_OlderVersionThatIsIncomplete: an older version whose blob is not here stays owed, also if a newer
// one, which needs it no more, was announced.
func TestContentBeforeVisible_OlderVersionThatIsIncomplete(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, w.me)
	missing := bucket.Sum([]byte("elsewhere"))
	w.make(c, missing)
	w.make(c)
	p := w.publisher()
	if err := p.Publish(t.Context(), c.ID, nil); !errors.Is(err, publisher.ErrIncomplete) {
		t.Fatalf("got %v, want %v", err, publisher.ErrIncomplete)
	}
	if w.last().Link != c.Head().Link || w.owes() != 1 {
		t.Errorf("%d versions are owed, want the older one alone", w.owes())
	}
	w.stores[blobStore][missing] = []byte("elsewhere")
	publish(t, p, c.ID)
	w.checkDone()
}

// TestForksAreNamed_OtherHeadsTravelWithTheHead: of several tips the greatest that is owed is announced and the others are
// named; merged ones are not, and one whose blobs are not there is not named before they are.
func TestForksAreNamed_OtherHeadsTravelWithTheHead(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, w.me)
	for range 2 {
		w.make(c)
	}
	theirs, merged, waiting := c.Fork(1), c.Fork(0), c.Fork(1)
	for i := range 3 {
		w.make(c, w.hold(blob(9, "mine %d", i))...)
	}
	v := theirs.Add(t, nil)
	w.hold(nil)
	w.keep(v, false)
	w.there(v)
	side := w.make(merged, w.hold(blob(9, "merged"))...)
	if err := w.log.SetMerged(t.Context(), c.ID, side.Head()); err != nil {
		t.Fatal(err)
	}
	missing := bucket.Sum([]byte("elsewhere"))
	held := w.make(waiting, missing)

	p := w.publisher()
	if err := p.Publish(t.Context(), c.ID, nil); !errors.Is(err, publisher.ErrIncomplete) {
		t.Fatalf("got %v, want %v", err, publisher.ErrIncomplete)
	}
	a := w.last()
	if a.Link != c.Head().Link || !slices.Equal(a.Heads, []bucket.Link{v.Link}) {
		t.Errorf("got %s beside %v, want %s beside %s", a.Link, a.Heads, c.Head().Link, v.Link)
	}
	w.stores[blobStore][missing] = []byte("elsewhere")
	publish(t, p, c.ID)
	w.checkDone()
	if a = w.last(); a.Link != held.Link || !slices.Contains(a.Heads, c.Head().Link) || !slices.Contains(a.Heads, v.Link) {
		t.Errorf("got %s beside %v, want %s beside the two others", a.Link, a.Heads, held.Link)
	}
}

// TestLocalFirst_WhatWasThereBeforeFollowsTheAnnouncement: of a small change to a large bucket others hear before the stores are
// asked for what it inherited.
func TestLocalFirst_WhatWasThereBeforeFollowsTheAnnouncement(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, w.me)
	var pins bucket.Pins
	for i := range 1000 {
		pins = append(pins, w.hold(blob(5, "old %d", i))...)
	}
	w.make(c, pins...)
	p := w.publisher()
	publish(t, p, c.ID)
	before := w.asked[blobStore]
	atAnnouncement := 0
	w.onStep = func(_ context.Context, step string) error {
		if step == "announce" {
			atAnnouncement = w.asked[blobStore] - before
		}
		return nil
	}
	w.make(c, append(pins, w.hold([]byte("new"))...)...)
	publish(t, p, c.ID)
	w.checkDone()
	if asked := w.asked[blobStore] - before; atAnnouncement != 2 || asked != len(pins)+2 {
		t.Errorf("%d blobs were asked for before the announcement and %d in all, want 2 and %d", atAnnouncement, asked, len(pins)+2)
	}
}

// TestBounded_MergedBranchCostsItself: of a merged branch that is owed again no version below it is asked for.
func TestBounded_MergedBranchCostsItself(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, w.me)
	for range 100 {
		w.make(c)
	}
	side := w.make(c.Fork(98))
	w.make(c)
	if err := w.log.SetMerged(t.Context(), c.ID, side.Head()); err != nil {
		t.Fatal(err)
	}
	p := w.publisher()
	publish(t, p, c.ID)
	before := w.asked[manifestStore]
	w.again(side)
	publish(t, p, c.ID)
	w.checkDone()
	if n := w.asked[manifestStore] - before; n != 2 {
		t.Errorf("%d manifests were asked for, want the branch's own and the next below", n)
	}
}

// TestForksAreNamed_MoreThanAnAnnouncementNames: each of many tips is told of.
func TestForksAreNamed_MoreThanAnAnnouncementNames(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, w.me)
	w.make(c)
	want := map[bucket.Link]bool{}
	for range 40 {
		want[w.make(c.Fork(0)).Link] = true
	}
	publish(t, w.publisher(), c.ID)
	w.checkDone()
	for _, a := range w.announced {
		delete(want, a.Link)
		for _, l := range a.Heads {
			delete(want, l)
		}
		if len(a.Heads) > bucket.MaxHeads {
			t.Errorf("%d other heads are named", len(a.Heads))
		}
	}
	if len(want) > 0 {
		t.Errorf("%d tips were not told of", len(want))
	}
}

// TestBrokerIsNotTrusted_LostHeadIsAnnouncedAgain: an upload that is recorded again is announced under another id, and what the
// stores lost is put.
func TestBrokerIsNotTrusted_LostHeadIsAnnouncedAgain(t *testing.T) {
	w := newWorld(t)
	c := offline(w)
	p := w.publisher()
	publish(t, p, c.ID)
	w.stores[manifestStore], w.stores[blobStore], w.announced = map[bucket.Hash][]byte{}, map[bucket.Hash][]byte{}, nil
	for _, v := range c.Versions {
		w.again(v)
	}
	publish(t, p, c.ID)
	w.checkDone()
	if w.last().Link != c.Head().Link {
		t.Error("the head is not announced again")
	}
}

// TestBrokerIsNotTrusted_AnnouncementThatItForgot: a bus that takes every id for a repetition, and has nothing, has not been told.
func TestBrokerIsNotTrusted_AnnouncementThatItForgot(t *testing.T) {
	w := newWorld(t)
	c := offline(w)
	a := bucket.Announcement{Link: c.Head().Link, Bucket: c.ID, Peer: w.me.PublicKey()}
	for a.Attempt = range 8 {
		w.ids[a.MessageID()] = true
	}
	p := w.publisher()
	if err := p.Publish(t.Context(), c.ID, nil); err == nil {
		t.Error("it counts as announced")
	}
	if b, err := w.log.Bucket(t.Context(), c.ID); err != nil || !b.Announced.IsZero() || w.owes() != len(c.Versions) {
		t.Errorf("announced head %v, %d versions owed, %v", b.Announced, w.owes(), err)
	}
	clear(w.ids) // the duplicate window is over
	publish(t, p, c.ID)
	w.checkDone()
	w.last()
}

// TestBrokerIsNotTrusted_LostManifestsArePutAgain: whoever has none of a bucket needs the manifests of all versions, so a head is
// not announced while the store lacks one.
func TestBrokerIsNotTrusted_LostManifestsArePutAgain(t *testing.T) {
	for name, again := range map[string]func(*world, *buckettest.Chain){
		"by a new version":           func(w *world, c *buckettest.Chain) { w.make(c) },
		"by the head":                func(w *world, c *buckettest.Chain) { w.again(c.Head()) },
		"by the head, the next held": func(w *world, c *buckettest.Chain) { w.there(c.Versions[len(c.Versions)-2]); w.again(c.Head()) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := offline(w)
			p := w.publisher()
			publish(t, p, c.ID)
			w.stores[manifestStore], w.stores[blobStore], w.announced = map[bucket.Hash][]byte{}, map[bucket.Hash][]byte{}, nil
			again(w, c)
			publish(t, p, c.ID)
			for _, v := range c.Versions {
				if w.stores[manifestStore][v.Link.Hash()] == nil {
					t.Errorf("the manifest of version %d is not there", v.Height)
				}
			}
			if w.last().Link != c.Head().Link {
				t.Error("the head is not announced")
			}
		})
	}
}

// TestBrokerIsNotTrusted_DamagedBlobIsNotPut: a blob that is held damaged counts as missing.
func TestBrokerIsNotTrusted_DamagedBlobIsNotPut(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, w.me)
	small, large := blob(10, "small"), blob(100<<10, "large")
	w.make(c, w.hold(small, large)...)
	p := w.publisher(func(c *publisher.Config) {
		c.Blobs = damaged{c.Blobs, []bucket.Hash{bucket.Sum(small), bucket.Sum(large)}}
	})
	if err := p.Publish(t.Context(), c.ID, nil); !errors.Is(err, publisher.ErrIncomplete) {
		t.Fatalf("got %v, want %v", err, publisher.ErrIncomplete)
	}
	if len(w.announced) != 0 || len(w.stores[blobStore]) != 1 {
		t.Errorf("%d announcements, %d blobs in the store, want none but the pins list", len(w.announced), len(w.stores[blobStore]))
	}
}

// damaged holds wrong bytes under some hashes.
type damaged struct {
	blobstore.Reader
	hashes []bucket.Hash
}

func (d damaged) Get(ctx context.Context, h bucket.Hash) (*blobstore.Blob, error) {
	b, err := d.Reader.Get(ctx, h)
	if err != nil || !slices.Contains(d.hashes, h) {
		return b, err
	}
	return blobstore.NewBlob(h, b.Size(), io.NopCloser(bytes.NewReader(make([]byte, b.Size())))), b.Close()
}
