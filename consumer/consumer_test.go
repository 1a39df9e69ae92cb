package consumer_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/logstore"

	"github.com/google/go-cmp/cmp"
)

// checkPrefix fails unless the log holds exactly the chain, unbroken, with the right head.
func checkPrefix(t *testing.T, log logstore.Store, c *buckettest.Chain) {
	t.Helper()
	b, err := log.Bucket(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	if want := c.Head().Head(); b.Known != want {
		t.Errorf("got head %v, want %v", b.Known, want)
	}
	var got []bucket.Link
	for e, err := range log.Walk(t.Context(), c.ID, bucket.Head{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Link)
	}
	var want []bucket.Link
	for _, v := range slices.Backward(c.Versions) {
		want = append(want, v.Link)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log of the bucket (-want +got):\n%s", diff)
	}
}

func TestPrefix_WholeStretchAppendedFromOneAnnouncement(t *testing.T) {
	for _, n := range []int{1, 2, 1023, 1024, 1025, 2500} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newWorld(t)
			cfg := w.config()
			chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, n)
			w.putChain(chain)
			w.run(cfg)
			w.announce(chain.ID, chain.Head().Link, 1, "")
			e := w.wait(consumer.EventApplied)
			if e.Versions != uint64(n) || e.Link != chain.Head().Link {
				t.Errorf("got %d versions up to %s, want %d up to %s", e.Versions, e.Link, n, chain.Head().Link)
			}
			w.wait(consumer.EventComplete)
			checkPrefix(t, w.log, chain)
			for _, v := range chain.Versions {
				if got := w.fetches(v.Link.Hash()); got != 1 {
					t.Fatalf("version %d was fetched %d times, want once", v.Height, got)
				}
			}
			if left, _ := os.ReadDir(cfg.StageDir); len(left) > 0 {
				t.Errorf("the stage still holds %v", left)
			}
		})
	}
}

func TestOnce_ThousandDeliveriesInAnyOrder(t *testing.T) {
	w := newWorld(t)
	chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 20)
	w.putChain(chain)
	cfg := w.config()
	w.from.Announcements = append(w.from.Announcements, w.heads) // two loops
	c, stop := w.run(cfg)
	for i := range 1000 {
		v := chain.Head()
		if i%3 == 0 {
			v = chain.Versions[rand.IntN(len(chain.Versions))]
		}
		w.announce(chain.ID, v.Link, byte(1+i%3), "")
	}
	w.wait(consumer.EventComplete)
	for w.heads.counts("ack") < 1000 {
		w.wait(consumer.EventDuplicate)
	}
	stop()
	checkPrefix(t, w.log, chain)
	got := c.Outcomes()[consumer.KindHeads]
	if got[consumer.ClassApplied]+got[consumer.ClassDuplicate]+got[consumer.ClassStale] != 1000 {
		t.Errorf("got outcomes %v, want 1000 in all", got)
	}
	if got, want := uint64(w.jobsPublished()), got[consumer.ClassApplied]; got != want {
		t.Errorf("got %d jobs published, want one for each of %d applied announcements", got, want)
	}
}

func TestPoisonDoesNotBlock_AttackVectors(t *testing.T) {
	for _, v := range buckettest.ReadChains(t, "../bucket/testdata/attacks.json") {
		t.Run(v.Name, func(t *testing.T) {
			w := newWorld(t)
			cfg := w.config()
			cfg.Peer = v.Receiver
			for _, o := range v.Objects {
				w.put("manifests", o.Link.Hash(), o.Bytes)
			}
			c, _ := w.run(cfg)
			w.announce(v.Bucket, v.Objects[len(v.Objects)-1].Link, 9, "")
			if slices.Contains(v.Classes, "receiver_not_in_shares") {
				for c.Outcomes()[consumer.KindHeads][consumer.ClassNotShared] == 0 {
					w.heads.waitSettled(t, "ack")
				}
			} else {
				e := w.wait(consumer.EventRejected)
				if !slices.Contains(v.Classes, e.Class) {
					t.Errorf("got class %s (%s), want one of %v", e.Class, e.Reason, v.Classes)
				}
				if l := w.letters(); len(l) != 1 || l[0].class != e.Class {
					t.Errorf("got dead letters %v, want one of class %s", l, e.Class)
				}
			}
			if b, err := w.log.Bucket(t.Context(), v.Bucket); err == nil && b.Versions > 0 {
				t.Errorf("the log holds %d versions, want none", b.Versions)
			}
		})
	}
}

func TestForksAreNamed(t *testing.T) {
	w := newWorld(t)
	chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 5)
	fork := chain.Fork(2).Grow(t, 2) // as high as the chain
	w.putChain(chain)
	w.putChain(fork)
	w.run(w.config())
	w.announce(chain.ID, chain.Head().Link, 1, "")
	w.wait(consumer.EventApplied)
	w.announce(chain.ID, fork.Head().Link, 2, "")
	e := w.wait(consumer.EventForked)
	owner := chain.Owner.PublicKey()
	want := consumer.Event{
		At: e.At, Kind: consumer.EventForked, BucketID: chain.ID, PeerID: w.me.PublicKey(), Link: fork.Head().Link, Height: 4, Ancestor: chain.Versions[2].Link,
		Heads: []bucket.Link{chain.Head().Link, fork.Head().Link}, Authors: []bucket.PublicKey{owner, owner},
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	w.wait(consumer.EventApplied)
	b, err := w.log.Bucket(t.Context(), chain.ID)
	if err != nil {
		t.Fatal(err)
	}
	head := slices.MaxFunc([]bucket.Head{chain.Head().Head(), fork.Head().Head()}, bucket.Head.Compare)
	if b.Known != head || b.Forks != 1 || b.Versions != 7 {
		t.Errorf("got head %v, %d forks, %d versions; want %v, 1, 7", b.Known, b.Forks, b.Versions, head)
	}
}

func TestDivergedIsVisibleAndChangesNothing(t *testing.T) {
	w := newWorld(t)
	chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 3)
	other := buckettest.New(t, buckettest.Identity(t, 2), w.me.PublicKey())
	other.ID = chain.ID
	other.Grow(t, 4)
	w.putChain(chain)
	w.putChain(other)
	c, _ := w.run(w.config())
	w.announce(chain.ID, chain.Head().Link, 1, "")
	w.wait(consumer.EventComplete)
	w.announce(chain.ID, other.Head().Link, 2, "")
	w.wait(consumer.EventDiverged)
	checkPrefix(t, w.log, chain)
	if s, err := c.Status(t.Context(), chain.ID); err != nil || s.State != consumer.StateDiverged {
		t.Errorf("got state %q, %v, want %q", s.State, err, consumer.StateDiverged)
	}
}
