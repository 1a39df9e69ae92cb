package author_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"headwater/author"
	"headwater/bucket"
	"headwater/bucket/buckettest"

	"github.com/google/go-cmp/cmp"
)

// Every attack of the vectors is announced as a head: beside a good head, to somebody who knows the bucket and to somebody who
// does not.
func TestAttacksAreIgnoredAndTheGoodHeadIsFound(t *testing.T) {
	for _, c := range buckettest.ReadChains(t, "../bucket/testdata/attacks.json") {
		if slices.Contains(c.Classes, "receiver_not_in_shares") {
			continue // a sound chain: see TestStrangerIsNotShared
		}
		t.Run(c.Name, func(t *testing.T) {
			w := newWorld(t)
			good := buckettest.New(t, buckettest.Identity(t, 100))
			good.ID = c.Bucket
			good.Grow(t, 2)
			w.putChain(good)
			w.announce(c.Bucket, good.Head().Link, 101)
			knows, new := w.desk(1), w.desk(2)
			knows.find(c.Bucket)
			for _, o := range c.Objects {
				w.manifests[o.Link.Hash()] = o.Bytes
			}
			bad := c.Objects[len(c.Objects)-1].Link
			w.announce(c.Bucket, bad, 102)
			for _, d := range []*desk{knows, knows, knows.restart(), new} {
				h := d.find(c.Bucket)
				if h.Head.Link != good.Head().Link || len(h.Forks) > 0 {
					t.Errorf("got head %s and %d forks, want %s", h.Head.Link, len(h.Forks), good.Head().Link)
				}
				if len(h.Ignored) != 1 || h.Ignored[0].Head.Link != bad {
					t.Fatalf("got %v ignored, want %s", h.Ignored, bad)
				}
				class := string(bucket.ClassOf(h.Ignored[0].Err))
				if !slices.Contains(c.Classes, class) {
					t.Errorf("got %v, want one of class %v", h.Ignored[0].Err, c.Classes)
				}
			}
		})
	}
}

// Where the attack goes on from a sound chain, the last sound version of it is the head.
func TestAttacksOnASoundChainLeaveItsHead(t *testing.T) {
	for _, c := range buckettest.ReadChains(t, "../bucket/testdata/attacks.json") {
		w := newWorld(t)
		for _, o := range c.Objects {
			w.manifests[o.Link.Hash()] = o.Bytes
		}
		id := c.Bucket
		if c.Name == "mirror_promoted_by_mirror" || c.Name == "bucket_id_changes" {
			c.Objects = c.Objects[:len(c.Objects)-1] // the last two versions are the attack
		}
		if len(c.Objects) < 2 || strings.HasPrefix(c.Name, "announced_") || strings.HasPrefix(c.Name, "receiver_") ||
			c.Name == "genesis_with_height_1" || c.Name == "author_key_all_zero" {
			continue // none of it is sound, or all of it
		}
		t.Run(c.Name, func(t *testing.T) {
			bad, good := c.Objects[len(c.Objects)-1].Link, c.Objects[len(c.Objects)-2].Link
			w.announce(id, bad, 101)
			w.announce(id, good, 102)
			d := w.desk(1)
			d.t = t
			h := d.find(id)
			if h.Head.Link != good || len(h.Forks) != 0 || len(h.Ignored) != 1 {
				t.Errorf("got head %s, %d forks, ignored %v; want %s", h.Head.Link, len(h.Forks), h.Ignored, good)
			}
		})
	}
}

func TestSoundChainsOfTheVectorsAreFound(t *testing.T) {
	for _, c := range buckettest.ReadChains(t, "../bucket/testdata/chains.json") {
		t.Run(c.Name, func(t *testing.T) {
			w := newWorld(t)
			for _, o := range c.Objects {
				w.manifests[o.Link.Hash()] = o.Bytes
			}
			w.announce(c.Bucket, c.Head.Link, 101)
			me, err := bucket.NewIdentity(c.ReceiverSeed)
			if err != nil {
				t.Fatal(err)
			}
			d := w.deskIn(1, t.TempDir(), func(cfg *author.Config) { cfg.Identity = me })
			h := d.find(c.Bucket)
			if diff := cmp.Diff(c.Head, h.Head.Head()); diff != "" {
				t.Errorf("head (-want +got):\n%s", diff)
			}
			_, secret, err := d.Readable(t.Context(), h.Head)
			if err != nil && !errors.Is(err, author.ErrNotPublished) || err == nil && secret == (bucket.Secret{}) {
				t.Errorf("Readable: %v", err)
			}
		})
	}
}

func TestNobodyAnnouncedIsNoBucket(t *testing.T) {
	w := newWorld(t)
	d := w.desk(1)
	id := bucket.NewID()
	if _, err := d.Author.Heads(t.Context(), id); !errors.Is(err, author.ErrNoBucket) {
		t.Errorf("got %v, want ErrNoBucket", err)
	}
	w.announce(id, bucket.ManifestLink([]byte("nowhere")), 101)
	h, err := d.Author.Heads(t.Context(), id)
	if !errors.Is(err, author.ErrNoBucket) || !errors.Is(err, errMissing) || len(h.Ignored) != 1 {
		t.Errorf("got %v with %v ignored, want ErrNoBucket because of what is missing", err, h.Ignored)
	}
	if genesis, head, err := d.state.Known(id); !genesis.IsZero() || !head.IsZero() || err != nil {
		t.Errorf("the state knows %s, %v, %v of a bucket that does not exist", genesis, head, err)
	}
}

// Each version is fetched once, however many heads lie along the chain.
func TestEachVersionIsFetchedOnce(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, buckettest.Identity(t, 1)).Grow(t, 50)
	fork := c.Fork(30).Grow(t, 5)
	w.putChain(c)
	w.putChain(fork)
	for i, v := range c.Versions {
		if i%7 == 0 {
			w.announce(c.ID, v.Link, byte(100+i))
		}
	}
	w.announce(c.ID, c.Head().Link, 200)
	w.announce(c.ID, fork.Head().Link, 201)
	d := w.desk(2)
	h := d.find(c.ID)
	if h.Head.Link != c.Head().Link || len(h.Forks) != 1 || h.Forks[0].Ancestor.Link != c.Versions[30].Link {
		t.Fatalf("got head %s, forks %v", h.Head.Link, h.Forks)
	}
	delete(w.fetched, fork.Versions[31].Link.Hash()) // a fork is gone through once more, for what was merged of it
	for i, v := range append(c.Versions, fork.Versions[31:]...) {
		if n := w.fetched[v.Link.Hash()]; n > 2 || i <= 30 && n != 1 {
			t.Errorf("version %d was fetched %d times", v.Height, n)
		}
	}
	w.forget()
	d = d.restart()
	d.find(c.ID)
	if w.checkAsked(1); len(w.batched) != 2 {
		t.Errorf("the second look fetched %d manifests, want 2: the fork's tip and ancestor", len(w.batched))
	}
}

func TestOlderHeadOfARestoredBrokerChangesNothing(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, buckettest.Identity(t, 100)).Grow(t, 10)
	w.putChain(c)
	w.announce(c.ID, c.Head().Link, 100)
	d := w.desk(1)
	d.find(c.ID)
	for _, restored := range []int{4, 0, 9} {
		w.announce(c.ID, c.Versions[restored].Link, 100)
		for _, v := range c.Versions[restored+1:] {
			delete(w.manifests, v.Link.Hash()) // the broker has lost what came after
		}
		d = d.restart()
		h := d.find(c.ID)
		if h.Head.Link != c.Head().Link || len(h.Forks) > 0 {
			t.Errorf("with head %d announced: got head %d and %d forks, want 9", restored, h.Head.Height, len(h.Forks))
		}
		if _, head, err := d.state.Known(c.ID); head != c.Head().Head() || err != nil {
			t.Errorf("the state went back to %v, %v", head, err)
		}
		w.putChain(c)
	}
}

func TestFirstContactTrustsAGenesisAndNoOtherAfterwards(t *testing.T) {
	w := newWorld(t)
	mine := buckettest.New(t, buckettest.Identity(t, 100), buckettest.Identity(t, 1).PublicKey()).Grow(t, 3)
	squat := buckettest.New(t, buckettest.Identity(t, 101))
	squat.ID = mine.ID
	squat.Grow(t, 9)
	w.putChain(mine)
	w.putChain(squat)

	first := w.desk(2) // meets the squatter alone
	w.announce(mine.ID, squat.Head().Link, 101)
	if h := first.find(mine.ID); h.Genesis != squat.Versions[0].Link {
		t.Errorf("got genesis %s, want %s", h.Genesis, squat.Versions[0].Link)
	}
	w.announce(mine.ID, mine.Head().Link, 100)
	check := func(what string, d *desk, want *buckettest.Chain, hints ...bucket.Head) {
		t.Helper()
		h := d.find(mine.ID, hints...)
		if h.Head.Link != want.Head().Link || h.Genesis != want.Versions[0].Link {
			t.Errorf("%s: got head %s of genesis %s, want %s", what, h.Head.Link, h.Genesis, want.Head().Link)
		}
		if len(h.Ignored) != 1 || !errors.Is(h.Ignored[0].Err, author.ErrDiverged) {
			t.Errorf("%s: got %v ignored, want a diverged one", what, h.Ignored)
		}
	}
	for range 2 {
		check("who met the squatter first", first, squat)
	}
	check("who has a share in one of them", w.desk(1), mine)
	check("who has a share in neither", w.desk(3), squat) // the greater head
	check("who has the genesis from elsewhere", w.desk(4), mine, mine.Versions[0].Head())
	check("who has a head from elsewhere", w.desk(5), mine, mine.Head().Head())
	trusting := w.desk(6)
	check("who was told the squatter's", trusting, squat, squat.Versions[3].Head())
	h := trusting.find(mine.ID, mine.Versions[0].Head())
	if h.Genesis != squat.Versions[0].Link || len(h.Ignored) != 2 {
		t.Errorf("a hint changed the genesis that is trusted: %s, ignored %v", h.Genesis, h.Ignored)
	}
}

// A good link that somebody announces at a wrong height is still good, now and later.
func TestLiesAboutTheHeightDoNotHurtTheLink(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, buckettest.Identity(t, 100)).Grow(t, 4)
	w.putChain(c)
	high := uint64(1 << 40)
	w.announce(c.ID, c.Versions[1].Link, 100)
	d := w.desk(1)
	d.find(c.ID)
	w.tell(bucket.Announcement{Link: c.Head().Link, Height: &high, Bucket: c.ID, Peer: buckettest.Identity(t, 7).PublicKey()})
	h := d.find(c.ID)
	if h.Head.Height != 1 || len(h.Ignored) != 1 || bucket.ClassOf(h.Ignored[0].Err) != bucket.HeightGap {
		t.Errorf("got head %d, ignored %v; want 1 and a height gap", h.Head.Height, h.Ignored)
	}
	w.announce(c.ID, c.Head().Link, 100)
	h = d.find(c.ID)
	if h.Head.Height != 3 || len(h.Ignored) != 1 {
		t.Errorf("got head %d, ignored %v; want 3 and a height gap", h.Head.Height, h.Ignored)
	}
}

func TestEndlessChainOfAStrangerIsCutShort(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, buckettest.Identity(t, 100)).Grow(t, 3)
	long := buckettest.New(t, buckettest.Identity(t, 101))
	long.ID = c.ID
	long.Grow(t, 200)
	w.putChain(c)
	w.putChain(long)
	w.announce(c.ID, c.Head().Link, 100)
	d := w.deskIn(1, t.TempDir(), func(cfg *author.Config) { cfg.MaxStrangerVersions = 50 })
	d.find(c.ID)
	w.announce(c.ID, long.Head().Link, 101)
	clear(w.fetched)
	h := d.find(c.ID)
	if h.Head.Link != c.Head().Link || len(h.Ignored) != 1 || bucket.ClassOf(h.Ignored[0].Err) != bucket.TooLong {
		t.Errorf("got head %s, ignored %v; want %s and a chain too long", h.Head.Link, h.Ignored, c.Head().Link)
	}
	if len(w.fetched) > 51 {
		t.Errorf("%d versions were fetched, want at most 51", len(w.fetched))
	}
	clear(w.fetched)
	if h := d.find(c.ID); len(h.Ignored) != 1 || len(w.fetched) != 0 {
		t.Errorf("the second look ignored %v and fetched %d versions, want none", h.Ignored, len(w.fetched))
	}
	h = d.find(c.ID, long.Head().Head())
	if len(h.Ignored) != 1 || !errors.Is(h.Ignored[0].Err, author.ErrDiverged) {
		t.Errorf("as a hint: got %v ignored, want it to be walked to its end", h.Ignored)
	}
}

func TestTooManyAnnouncedHeadsAreLeftOut(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, buckettest.Identity(t, 100)).Grow(t, 3)
	w.putChain(c)
	w.announce(c.ID, c.Versions[0].Link, 100)
	d := w.deskIn(1, t.TempDir(), func(cfg *author.Config) { cfg.MaxHeads = 3 })
	d.find(c.ID)
	for n := range byte(20) {
		w.announce(c.ID, bucket.ManifestLink([]byte{n}), n)
	}
	w.announce(c.ID, c.Head().Link, 100)
	if h := d.find(c.ID); h.Head.Link != c.Head().Link || len(h.Ignored) != 20 {
		t.Errorf("got head %d, %d ignored; want 2, 20: what a member announces comes first", h.Head.Height, len(h.Ignored))
	}
}

func TestCancelledLookReturnsAtOnce(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, buckettest.Identity(t, 100)).Grow(t, 3)
	w.putChain(c)
	w.announce(c.ID, c.Head().Link, 100)
	d := w.desk(1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Author.Heads(ctx, c.ID); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if _, head, _ := d.state.Known(c.ID); !head.IsZero() {
		t.Errorf("the state is at %v", head)
	}
}

func TestVersionsOfAChainAreFoundByHeightAndLink(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, buckettest.Identity(t, 100)).Grow(t, 6)
	fork := c.Fork(2).Grow(t, 2)
	w.putChain(c)
	w.putChain(fork)
	d := w.desk(1)
	for _, want := range c.Versions {
		got, err := d.At(t.Context(), c.Head(), want.Height)
		if err != nil || got.Link != want.Link {
			t.Errorf("At(%d) = %v, %v", want.Height, got, err)
		}
		got, err = d.AtLink(t.Context(), c.Head(), want.Link)
		if err != nil || got.Link != want.Link {
			t.Errorf("AtLink(%s) = %v, %v", want.Link, got, err)
		}
	}
	if _, err := d.At(t.Context(), c.Head(), 6); !errors.Is(err, author.ErrNoVersion) {
		t.Errorf("got %v for a version above the head, want ErrNoVersion", err)
	}
	if _, err := d.AtLink(t.Context(), c.Head(), fork.Head().Link); !errors.Is(err, author.ErrNoVersion) {
		t.Errorf("got %v for a version of a fork, want ErrNoVersion", err)
	}
}
