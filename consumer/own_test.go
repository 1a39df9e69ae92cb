package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/logstore"
)

// made is a consumer that does not run, and a chain of ours.
func made(t *testing.T, n int) (*world, *consumer.Consumer, *buckettest.Chain) {
	w := newWorld(t)
	c, err := consumer.New(w.config())
	if err != nil {
		t.Fatal(err)
	}
	return w, c, buckettest.New(t, w.me).Grow(t, n)
}

// signedBy adds a version that somebody else signed, with the shares that the chain has.
func signedBy(t *testing.T, c *buckettest.Chain, author bucket.Identity) *bucket.Version {
	c.Owner = author
	return c.Add(t, nil)
}

func TestLocalFirst_AVersionMadeHereNeedsNoBroker(t *testing.T) {
	w, c, chain := made(t, 2)
	w.broken["manifests"], w.broken["blobs"] = true, true
	for i, v := range chain.Versions {
		var held *logstore.PinCount
		if i > 0 {
			held = &logstore.PinCount{Needed: 1, Bytes: 2}
		}
		if err := c.AppendOwn(t.Context(), v, held); err != nil {
			t.Fatal(err)
		}
		if err := c.AppendOwn(t.Context(), v, held); err != nil {
			t.Fatalf("again: %v", err)
		}
	}
	b, err := w.log.Bucket(t.Context(), chain.ID)
	if err != nil || b.Known != chain.Head().Head() || b.Complete != chain.Head().Head() {
		t.Errorf("got %+v, %v, want head %s complete", b, err, chain.Head().Link)
	}
	if key := fmt.Sprintf("%s.%s.%d", chain.ID, chain.Versions[0].Link, 0); w.publishedAs(key) == 0 {
		t.Error("the pin job of the version that is not all held was not published")
	}
	n := 0
	for u, err := range w.log.Uploads(t.Context(), chain.ID) {
		if err != nil {
			t.Fatal(err)
		}
		if u.Link != chain.Versions[n].Link {
			t.Errorf("upload %d is of %s", n, u.Link)
		}
		n++
	}
	if n != len(chain.Versions) {
		t.Errorf("got %d uploads, want one for each of %d versions", n, len(chain.Versions))
	}
}

func TestOnlyWhoMay_AVersionMadeHereKeepsTheRules(t *testing.T) {
	w, c, chain := made(t, 3)
	held := &logstore.PinCount{}
	if err := c.AppendOwn(t.Context(), chain.Versions[1], held); err == nil {
		t.Error("got no error for a version whose predecessor is not in the log")
	}
	for _, v := range chain.Versions[:2] {
		if err := c.AppendOwn(t.Context(), v, held); err != nil {
			t.Fatal(err)
		}
	}
	stranger := signedBy(t, chain.Fork(1), buckettest.Identity(t, 9))
	if err := c.AppendOwn(t.Context(), stranger, held); bucket.ClassOf(err) == "" {
		t.Errorf("got %v, want a refusal of a stranger's version", err)
	}
	if err := c.AppendOwn(t.Context(), chain.Versions[2], held); err != nil {
		t.Fatal(err)
	}
	if err := c.AppendOwn(t.Context(), chain.Fork(1).Grow(t, 1).Head(), held); !errors.Is(err, logstore.ErrStale) {
		t.Errorf("got %v, want ErrStale for a second version after the same one", err)
	}
	checkPrefix(t, w.log, chain)
}

// overtakenLog appends another version just before the one that is made here.
type overtakenLog struct {
	logstore.Store
	by *bucket.Version
}

func (l *overtakenLog) AppendOwn(ctx context.Context, e logstore.Entry, job *logstore.Job, held *logstore.PinCount) error {
	other := logstore.Entry{Bucket: l.by.Bucket, Link: l.by.Link, Height: l.by.Height, Previous: l.by.Previous, Pins: l.by.Pins}
	if _, err := l.Append(ctx, []logstore.Entry{other}, nil, true); err != nil {
		return err
	}
	return l.Store.AppendOwn(ctx, e, job, held)
}

// A version that comes too late was refused to its maker: no rebuild may bring it back.
func TestAVersionMadeHereThatIsStaleLeavesNothing(t *testing.T) {
	for _, name := range []string{"another one is there", "another one comes just before", "a second genesis"} {
		t.Run(name, func(t *testing.T) {
			w, c, chain := made(t, 2)
			held := &logstore.PinCount{}
			late := chain.Fork(0).Grow(t, 1).Head()
			if err := c.AppendOwn(t.Context(), chain.Versions[0], held); err != nil {
				t.Fatal(err)
			}
			switch name {
			case "another one is there":
				if err := c.AppendOwn(t.Context(), chain.Versions[1], held); err != nil {
					t.Fatal(err)
				}
			case "another one comes just before":
				c.Log = &overtakenLog{w.log, chain.Versions[1]}
			case "a second genesis":
				late = chain.Fork(0).Restart(t).Head()
			}
			if err := c.AppendOwn(t.Context(), late, held); !errors.Is(err, logstore.ErrStale) {
				t.Errorf("got %v, want %v", err, logstore.ErrStale)
			}
			if has, err := w.kept.Has(t.Context(), late.Link.Hash()); has || err != nil {
				t.Errorf("its manifest is kept (%v)", err)
			}
		})
	}
}

func TestLookTakesWhatIsAnnouncedAndSaysWhatNot(t *testing.T) {
	w := newWorld(t)
	chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 5)
	other := buckettest.New(t, buckettest.Identity(t, 2)).Grow(t, 1)
	w.putChain(chain)
	w.putChain(other)
	c, err := consumer.New(w.config())
	if err != nil {
		t.Fatal(err)
	}
	missing := bucket.ManifestLink([]byte("nowhere"))
	height := uint64(77)
	announced := []bucket.Announcement{
		{Link: missing, Height: &height, Peer: bucket.PublicKey{1}}, {Link: chain.Head().Link}, {Link: chain.Head().Link},
		{Link: other.Head().Link, Peer: bucket.PublicKey{2}},
	}
	ignored, err := c.Look(t.Context(), chain.ID, announced)
	if err != nil || len(ignored) != 2 {
		t.Fatalf("got %+v, %v, want two heads ignored", ignored, err)
	}
	if i := ignored[0]; i.Link != missing || i.Height != height || !errors.Is(i.Err, consumer.ErrNotFound) {
		t.Errorf("got %+v, want the one that is nowhere", i)
	}
	if i := ignored[1]; bucket.ClassOf(i.Err) != bucket.WrongBucket {
		t.Errorf("got %+v, want the one of another bucket", i)
	}
	checkPrefix(t, w.log, chain)
	if len(w.letters()) > 0 {
		t.Errorf("got dead letters %+v, want none", w.letters())
	}
	if ignored, err = c.Look(t.Context(), other.ID, announced[3:]); err != nil || len(ignored) != 1 || !errors.Is(ignored[0].Err, consumer.ErrNotShared) {
		t.Errorf("got %+v, %v, want it not shared", ignored, err)
	}
}

// A part that hints brought is appended before the head turns out to be refused. Its job goes out all the same.
func TestNothingAcknowledgedIsLost_JobOfAPartBelowARefusedHead(t *testing.T) {
	w := newWorld(t)
	chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 1049)
	w.putChain(chain)
	hints := w.packChain(chain.Versions)
	cfg := w.config()
	cfg.Reconcile = time.Hour // the job goes out with the announcement, not by a later comparison
	cfg.Memory = 1
	w.run(cfg)
	w.announce(chain.ID, chain.Versions[50].Link, 1, "")
	w.wait(consumer.EventComplete)
	refused := signedBy(t, chain.Fork(int(chain.Head().Height)), buckettest.Identity(t, 9))
	w.put("manifests", refused.Link.Hash(), refused.Encoded())
	w.tell(refused, hints)
	w.wait(consumer.EventRejected)
	w.wait(consumer.EventComplete)
	b, err := w.log.Bucket(t.Context(), chain.ID)
	if err != nil || b.Known.Height <= 50 || b.Known != b.Complete {
		t.Errorf("got known %d, complete %d, %v, want the part below the refused head complete", b.Known.Height, b.Complete.Height, err)
	}
}

// A walk that is cut short again and again, long before it fills anything, gets there all the same.
func TestBrokerIsNotTrusted_AShortWalkThatIsCutGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 300)
		w.putChain(chain)
		cfg := w.config()
		cfg.SyncTimeout, cfg.RetryLimit = 100*time.Millisecond, 10
		w.hangs = 60
		_, stop := w.run(cfg)
		w.announce(chain.ID, chain.Head().Link, 1, "")
		w.wait(consumer.EventApplied)
		checkPrefix(t, w.log, chain)
		stop()
	})
}
