package consumer_test

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
)

// slowStore takes its time for each object.
type slowStore struct {
	*world
	takes time.Duration
}

func (s *slowStore) Get(ctx context.Context, store string, h bucket.Hash, fresh bool) (io.ReadCloser, int64, error) {
	select {
	case <-time.After(s.takes):
		return s.world.Get(ctx, store, h, fresh)
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
}

// P6: 500 versions, 5 ms each, in tries of 1 s: three tries do, and none fetches what another one has.
func TestBrokerIsNotTrusted_WalkGoesOnWhereItsTimeWasOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := w.config()
		cfg.SyncTimeout = time.Second
		cfg.Objects = &slowStore{w, 5 * time.Millisecond}
		chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 500)
		w.putChain(chain)
		_, stop := w.run(cfg)
		w.announce(chain.ID, chain.Head().Link, 1, "")
		if e := w.wait(consumer.EventApplied); e.Versions != 500 {
			t.Errorf("got %d versions, want 500", e.Versions)
		}
		if n := w.heads.counts("retry"); n < 2 || n > 3 {
			t.Errorf("got %d retries, want 2 or 3", n)
		}
		if n := w.fetchesOf(chain.Versions[:499]); n > 499+3 {
			t.Errorf("%d objects were fetched, want each once, but for what was cut", n)
		}
		checkPrefix(t, w.log, chain)
		stop()
	})
}

// P7: somebody's refused announcement of 400 bytes costs an honest catch-up nothing.
func TestPoisonDoesNotBlock_RefusedAnnouncementLeavesWhatAnotherFetched(t *testing.T) {
	for name, poison := range map[string]func(w *world, chain *buckettest.Chain){
		"no version before it": func(w *world, chain *buckettest.Chain) {
			stranger := buckettest.New(w.t, buckettest.Identity(w.t, 66), w.me.PublicKey())
			stranger.ID = chain.ID
			v := stranger.Add(w.t, func(m *bucket.Manifest) { m.Height = 5 })
			w.tell(v, bucket.Hints{Manifest: v.Encoded()})
			w.wait(consumer.EventRejected)
		},
		"a genesis of its own, with hints": func(w *world, chain *buckettest.Chain) {
			own := buckettest.New(w.t, buckettest.Identity(w.t, 66), w.me.PublicKey())
			own.ID = chain.ID
			own.Grow(w.t, 900)
			w.putChain(own)
			h := w.packChain(own.Versions)
			w.lose(h.Packs[4].Hash)
			w.lose(own.Versions[600].Link.Hash())
			w.tell(own.Head(), h)
			w.wait(consumer.EventRetrying)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, chain, h, cfg := interrupted(t)
			cfg.RetryMin, cfg.RetryMax = time.Hour, time.Hour
			w.runNarrow(cfg)
			poison(w, chain)
			w.tell(chain.Head(), h)
			w.wait(consumer.EventApplied)
			checkPrefix(t, w.log, chain)
			for i, p := range h.Packs[:5] {
				if n := w.many[p.Hash]; n != 1 {
					t.Errorf("pack %d was fetched %d times, want once", i, n)
				}
			}
		})
	}
}

// P4: 50 versions known, 1,000 more hinted, and a head that a stranger signed: what was appended has its job, at once.
func TestNothingAcknowledgedIsLost_EveryWayOutPublishesTheJob(t *testing.T) {
	for name, broken := range map[string]bool{"a refused head": false, "a head that cannot be had": true} {
		t.Run(name, func(t *testing.T) {
			w, chain, h := hinted(t, 1050)
			cfg := w.config()
			cfg.Memory, cfg.Reconcile = 1, time.Hour
			cfg.RetryMin, cfg.RetryMax = time.Hour, time.Hour
			c, _ := w.run(cfg)
			w.announce(chain.ID, chain.Versions[49].Link, 1, "")
			w.wait(consumer.EventComplete)
			end := consumer.EventRejected
			head := chain.Head()
			if broken {
				end = consumer.EventRetrying
				w.lose(h.Packs[7].Hash)
				w.lose(chain.Versions[1020].Link.Hash())
			} else {
				f := chain.Fork(1049)
				f.Owner = buckettest.Identity(t, 66)
				head = f.Add(t, nil)
				w.put("manifests", head.Link.Hash(), head.Encoded())
			}
			w.tell(head, h)
			w.wait(end)
			w.wait(consumer.EventComplete)
			b, err := w.log.Bucket(t.Context(), chain.ID)
			if err != nil || b.Known.Height <= 50 || b.Known != b.Complete {
				t.Errorf("got known %d, complete %d, %v, want the part that was appended complete", b.Known.Height, b.Complete.Height, err)
			}
			if s, err := c.Status(t.Context(), chain.ID); err != nil || s.State == consumer.StateFetching {
				t.Errorf("got state %q, %v", s.State, err)
			}
		})
	}
}

// P13: the lease of everything that was taken is extended, whether it is worked on or waits.
func TestPoisonDoesNotBlock_LeasesOfWhatWaitsAreExtended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := w.config()
		cfg.Buckets, cfg.FetchTimeout, cfg.SyncTimeout = 1, 2*time.Minute, 2*time.Minute
		cfg.Objects = &slowStore{w, time.Minute}
		source := &leased{queue: w.heads}
		w.from.Announcements = []consumer.Source{source}
		_, stop := w.run(cfg)
		for range 100 {
			w.announce(bucket.NewID(), bucket.ManifestLink([]byte("nowhere")), 1, "")
		}
		time.Sleep(45 * time.Second) // of the bubble's clock
		synctest.Wait()
		if n := source.extended.Load(); n != 4*100 {
			t.Errorf("leases were extended %d times in 45 s, want 4 times for each of 100", n)
		}
		stop()
		if n := w.heads.counts("return"); n != 100 {
			t.Errorf("%d deliveries were given back, want 100", n)
		}
	})
}

// leased counts the extensions of what it delivers.
type leased struct {
	*queue
	extended atomic.Int64
}

func (l *leased) Next(ctx context.Context) (consumer.Delivery, error) {
	d, err := l.queue.Next(ctx)
	if err != nil {
		return nil, err
	}
	return &leasedDelivery{d, l}, nil
}

type leasedDelivery struct {
	consumer.Delivery
	l *leased
}

func (d *leasedDelivery) Extend(ctx context.Context) error {
	d.l.extended.Add(1)
	return d.Delivery.Extend(ctx)
}

// P13: a genesis that had lost, and left its manifest, does not win when the log is made anew.
func TestPrefix_RebuiltWithTheGenesisThatWasLogged(t *testing.T) {
	w := newWorld(t)
	chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 4)
	lost := []*bucket.Version{}
	for n := byte(2); n < 12; n++ { // some of them have a smaller link than ours
		other := buckettest.New(t, buckettest.Identity(t, n), w.me.PublicKey())
		other.ID = chain.ID
		lost = append(lost, other.Grow(t, int(1+n%2)).Versions...)
	}
	for _, v := range append(lost, chain.Versions...) {
		if _, err := w.kept.Put(t.Context(), v.Link.Hash(), bytes.NewReader(v.Encoded())); err != nil {
			t.Fatal(err)
		}
	}
	versions, passedOver, err := consumer.Rebuild(t.Context(), w.log, w.kept, bucket.Rules{}, nil)
	if err != nil || versions != 4 || passedOver != len(lost) {
		t.Errorf("got %d versions, %d passed over, %v; want 4, %d", versions, passedOver, err, len(lost))
	}
	checkPrefix(t, w.log, chain)
}

// Other heads that an announcement names are looked at as if they were announced.
func TestForksAreNamed_OtherHeadsOfAnAnnouncement(t *testing.T) {
	w := newWorld(t)
	chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 5)
	fork := chain.Fork(2).Grow(t, 1)
	w.putChain(chain)
	w.putChain(fork)
	w.run(w.config())
	head := chain.Head()
	b, err := bucket.Announcement{Link: head.Link, Height: &head.Height, Heads: []bucket.Link{fork.Head().Link}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	w.send(chain.ID, 1, b)
	w.wait(consumer.EventForked)
	w.wait(consumer.EventApplied)
	w.wait(consumer.EventApplied)
	w.send(chain.ID, 1, b)
	w.wait(consumer.EventDuplicate)
	if got, err := w.log.Bucket(t.Context(), chain.ID); err != nil || got.Versions != 6 || got.Forks != 1 {
		t.Errorf("got %d versions, %d forks, %v, want 6, 1", got.Versions, got.Forks, err)
	}
}

// What becomes of another head that an announcement names takes nothing from its own, and is told by that other's link.
func TestPoisonDoesNotBlock_AnotherHeadThatCannotBeHad(t *testing.T) {
	nowhere := bucket.ManifestLink([]byte("nowhere"))
	chain := buckettest.New(t, buckettest.Identity(t, 1), buckettest.Identity(t, 200).PublicKey()).Grow(t, 5)
	forged := signedBy(t, chain.Fork(2), buckettest.Identity(t, 9))
	refused := consumer.Outcome(bucket.AuthorNotInShares)
	for other, want := range map[bucket.Link]consumer.Outcome{nowhere: consumer.ClassExhausted, forged.Link: refused} {
		t.Run(string(want), func(t *testing.T) {
			w := newWorld(t)
			w.putChain(chain)
			w.put("manifests", forged.Link.Hash(), forged.Encoded())
			cfg := w.config()
			cfg.RetryLimit = 2
			c, _ := w.run(cfg)
			w.announce(chain.ID, chain.Head().Link, 1, `,"heads":["`+other.String()+`"]`)
			if e := w.wait(consumer.EventApplied); e.Link != chain.Head().Link || e.Versions != 5 {
				t.Errorf("got %+v, want the announced head applied", e)
			}
			end := consumer.EventRejected
			if want == consumer.ClassExhausted {
				end = consumer.EventDead
			}
			e := w.wait(end)
			if e.Class != string(want) || e.Link != other || !strings.Contains(e.Reason, other.String()) {
				t.Errorf("got %+v, want class %s of %s", e, want, other)
			}
			if n := c.Outcomes()[consumer.KindHeads][consumer.ClassApplied]; n != 1 {
				t.Errorf("%d announced heads count as applied, want 1", n)
			}
			b, err := w.log.Bucket(t.Context(), chain.ID)
			if blocked := want == consumer.ClassExhausted; err != nil || blocked != (b.Condition.Link == other) {
				t.Errorf("got condition %+v, %v, want one of the other head: %t", b.Condition, err, blocked)
			}
		})
	}
}

// A fork is named once it is in the log, whatever becomes of the head that led to it: the next try would not see it any more.
func TestForksAreNamed_BelowARefusedHead(t *testing.T) {
	w := newWorld(t)
	ours := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 60)
	theirs := ours.Fork(50).Grow(t, 1000)
	w.putChain(ours)
	w.putChain(theirs)
	w.runsNarrow(ours, 60, 1)
	hints := w.packChain(theirs.Versions)
	refused := signedBy(t, theirs, buckettest.Identity(t, 9))
	w.put("manifests", refused.Link.Hash(), refused.Encoded())
	w.tell(refused, hints)
	e := w.wait(consumer.EventForked)
	if want := []bucket.Link{ours.Head().Link, refused.Link}; e.Ancestor != ours.Versions[50].Link || !slices.Equal(e.Heads, want) {
		t.Errorf("got ancestor %s, heads %s, want %s, %s", e.Ancestor, e.Heads, ours.Versions[50].Link, want)
	}
	w.wait(consumer.EventRejected)
}
