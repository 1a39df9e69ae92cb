package author_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"headwater/author"
	"headwater/bucket"
	"headwater/bucket/buckettest"
)

func TestKnownBucketsAreListedBesideDamagedOnes(t *testing.T) {
	w := newWorld(t)
	d := w.desk(1)
	v := d.create()
	broken := bucket.NewID()
	if err := os.WriteFile(filepath.Join(d.dir, "buckets", broken.String()+".json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := d.state.Buckets()
	if !errors.Is(err, author.ErrState) || len(all) != 1 || all[0] != (author.Known{Bucket: v.Bucket, Name: "notes", Head: v.Head()}) {
		t.Errorf("got %v, %v; want the one bucket and ErrState", all, err)
	}
}

// A fork whose manifest the broker has lost is told as ignored, and is a fork again once the manifest is back.
func TestForkThatCannotBeFetchedIsNotForgotten(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, buckettest.Identity(t, 100)).Grow(t, 5)
	fork := c.Fork(2).Grow(t, 1)
	w.putChain(c)
	w.putChain(fork)
	w.announce(c.ID, c.Head().Link, 100)
	w.announce(c.ID, fork.Head().Link, 101)
	d := w.desk(1)
	if h := d.find(c.ID); len(h.Forks) != 1 {
		t.Fatalf("got %v, want a fork", h.Forks)
	}
	w.announce(c.ID, c.Head().Link, 101) // the fork is announced no more, but known
	for _, lost := range []*bucket.Version{fork.Head(), c.Versions[2]} {
		delete(w.manifests, lost.Link.Hash())
		for range 2 {
			h := d.find(c.ID)
			if len(h.Forks) != 0 || len(h.Ignored) != 1 || !errors.Is(h.Ignored[0].Err, errMissing) {
				t.Errorf("without %d: got forks %v, ignored %v", lost.Height, h.Forks, h.Ignored)
			}
		}
		w.putChain(c)
		w.putChain(fork)
	}
	if h := d.find(c.ID); len(h.Forks) != 1 || h.Forks[0].Ancestor.Link != c.Versions[2].Link {
		t.Errorf("got %v, want the fork", h.Forks)
	}
}

// A store that has lost a version in the middle does not make a good head a bad one for ever.
func TestWhatCannotBeFetchedIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, buckettest.Identity(t, 100)).Grow(t, 8)
	w.putChain(c)
	w.announce(c.ID, c.Versions[2].Link, 100)
	d := w.desk(1)
	d.find(c.ID)
	w.announce(c.ID, c.Head().Link, 100)
	delete(w.manifests, c.Versions[5].Link.Hash())
	h := d.find(c.ID)
	if h.Head.Height != 2 || len(h.Ignored) != 1 || !errors.Is(h.Ignored[0].Err, errMissing) {
		t.Errorf("got head %d, ignored %v; want 2 and what is missing", h.Head.Height, h.Ignored)
	}
	w.manifests[c.Versions[5].Link.Hash()] = c.Versions[4].Encoded() // wrong octets are no better
	if h := d.find(c.ID); h.Head.Height != 2 || bucket.ClassOf(h.Ignored[0].Err) != bucket.HashMismatch {
		t.Errorf("got head %d, ignored %v; want 2 and a hash mismatch", h.Head.Height, h.Ignored)
	}
	w.putChain(c)
	if h := d.find(c.ID); h.Head.Link != c.Head().Link || len(h.Ignored) != 0 {
		t.Errorf("got head %d, ignored %v; want all", h.Head.Height, h.Ignored)
	}
}

// What is announced in our name and is newer than a fork of ours stays announced.
func TestOwnForkDoesNotReplaceOurNewerHead(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.desk(1), w.desk(2)
	base := shared(ann, bob)
	ann.commit(base, "a", "A")
	b := bob.commit(bob.commit(base, "b1", "B"), "b2", "B")
	w.announce(base.Bucket, b.Link, 1) // the running peer of ann tells what it has
	steps := len(w.steps)
	if h := ann.find(base.Bucket); h.Head.Link != b.Link || len(h.Forks) != 1 || len(w.steps) != steps {
		t.Errorf("got head %s, %d forks, and did %v", h.Head.Link, len(h.Forks), w.steps[steps:])
	}
}

// A peer that still is at the genesis costs one manifest, and not the whole chain; so does one that has another genesis.
func TestAnnouncedGenesisIsJudgedWithoutTheChain(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, buckettest.Identity(t, 100)).Grow(t, 100)
	other := buckettest.New(t, buckettest.Identity(t, 101))
	other.ID = c.ID
	other.Grow(t, 1)
	w.putChain(c)
	w.putChain(other)
	w.announce(c.ID, c.Head().Link, 100)
	d := w.desk(1)
	d.find(c.ID)
	w.announce(c.ID, c.Versions[0].Link, 102)
	w.announce(c.ID, other.Head().Link, 103)
	clear(w.fetched)
	h := d.find(c.ID)
	if h.Head.Link != c.Head().Link || len(h.Forks) != 0 || len(h.Ignored) != 1 || len(w.fetched) != 2 {
		t.Errorf("got %+v with %d manifests fetched, want 2", h, len(w.fetched))
	}
}

func BenchmarkFirstContact(b *testing.B) {
	const versions = 1000
	w := newWorld(b)
	c := buckettest.New(b, buckettest.Identity(b, 100)).Grow(b, versions)
	w.putChain(c)
	w.announce(c.ID, c.Head().Link, 100)
	for b.Loop() {
		if h := w.desk(1).find(c.ID); h.Head.Link != c.Head().Link {
			b.Fatal(h.Head.Link)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/versions, "µs/version")
}

func BenchmarkHeadsUnchanged(b *testing.B) {
	w := newWorld(b)
	c := buckettest.New(b, buckettest.Identity(b, 100)).Grow(b, 1000)
	w.putChain(c)
	w.announce(c.ID, c.Head().Link, 100)
	d := w.desk(1)
	d.find(c.ID)
	for b.Loop() {
		d.find(c.ID)
	}
}
