package consumer_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/logstore"
)

// pinned makes a chain of n versions, each with one more blob than the one before, and puts all but the missing blobs.
func pinned(t *testing.T, w *world, n int, missing ...int) (*buckettest.Chain, []bucket.Hash) {
	t.Helper()
	c := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey())
	var pins bucket.Pins
	for i := range n {
		blob := fmt.Appendf(nil, "blob %d of %s", i, c.ID)
		pins = append(pins, bucket.Sum(blob))
		w.put("blobs", bucket.Sum(blob), blob)
		edit, list := buckettest.WithPins(pins)
		w.put("blobs", bucket.Sum(list), list)
		c.Add(t, edit)
	}
	w.putChain(c)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, i := range missing {
		delete(w.stores["blobs"], pins[i])
	}
	return c, pins
}

func TestContentBeforeVisible_MissingBlobEndsAsDeadLetterAndIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.RetryLimit = 3
	chain, pins := pinned(t, w, 5, 2)
	c, _ := w.run(cfg)
	w.announce(chain.ID, chain.Head().Link, 1, "")
	w.wait(consumer.EventDead)
	l := w.letters()
	if len(l) != 1 || l[0].class != string(consumer.ClassExhausted) || !strings.Contains(l[0].reason, pins[2].String()) &&
		!strings.Contains(l[0].reason, bucket.NewLink(bucket.CodecRaw, pins[2]).String()) {
		t.Errorf("got dead letters %+v, want one of class exhausted that names %s", l, pins[2])
	}
	s, err := c.Status(t.Context(), chain.ID)
	if err != nil || s.State != consumer.StateBlocked || s.Complete != nil || s.Pins.Held != 4 || s.Pins.Needed != 5 {
		t.Errorf("got %+v, %v, want blocked, nothing complete, 4 of 5 pins held", s, err)
	}
	blob := fmt.Appendf(nil, "blob 2 of %s", chain.ID)
	w.put("blobs", pins[2], blob)
	w.announce(chain.ID, chain.Head().Link, 2, "")
	w.wait(consumer.EventComplete)
	waitState(t, c, chain.ID, consumer.StateInSync)
	if s, err = c.Status(t.Context(), chain.ID); err != nil || *s.Complete != chain.Head().Head() {
		t.Errorf("after the blob came: got %+v, %v, want in sync", s, err)
	}
}

func TestBrokerIsNotTrusted_WrongBytesInOneStoreDoNotCondemn(t *testing.T) {
	w := newWorld(t)
	chain, pins := pinned(t, w, 3)
	w.mu.Lock()
	good := w.stores["blobs"]
	w.mu.Unlock()
	for _, v := range chain.Versions {
		w.put("lying", v.Link.Hash(), chain.Versions[0].Encoded()[1:])
	}
	for h := range good {
		w.put("lying", h, []byte("something else"))
	}
	w.run(w.config())
	w.announce(chain.ID, chain.Head().Link, 1, `,"stores":["lying"]`)
	e := w.wait(consumer.EventComplete)
	if e.Pins != uint64(len(pins)) {
		t.Errorf("got %d pins, want %d", e.Pins, len(pins))
	}
	checkPrefix(t, w.log, chain)
}

func TestBrokerIsNotTrusted_StoreThatDoesNotAnswerIsRetriedThenExhausted(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.RetryLimit = 4
	chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 2)
	w.putChain(chain)
	w.broken["manifests"] = true
	c, _ := w.run(cfg)
	w.announce(chain.ID, chain.Head().Link, 1, "")
	for i := range 3 {
		if e := w.wait(consumer.EventRetrying); e.Attempt != i+1 {
			t.Errorf("got attempt %d, want %d", e.Attempt, i+1)
		}
	}
	if e := w.wait(consumer.EventDead); e.Class != string(consumer.ClassExhausted) {
		t.Errorf("got class %q, want %q", e.Class, consumer.ClassExhausted)
	}
	if s, err := c.Status(t.Context(), chain.ID); err != nil || s.State != consumer.StateBlocked || s.LastError == "" {
		t.Errorf("got %+v, %v, want blocked with a reason", s, err)
	}
	w.mu.Lock()
	w.broken["manifests"] = false
	w.mu.Unlock()
	w.announce(chain.ID, chain.Head().Link, 1, "")
	w.wait(consumer.EventComplete)
	waitState(t, c, chain.ID, consumer.StateInSync)
}

func TestMessagesThatDisagreeWithTheirSubject(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 2)
	w.putChain(c)
	w.run(w.config())
	for _, tt := range []struct{ more, class string }{
		{`,"height":7`, string(bucket.HeightGap)},
		{`,"bucket_id":"` + bucket.NewID().String() + `"`, string(bucket.WrongBucket)},
		{`,"peer_id":"` + buckettest.Identity(t, 3).PublicKey().String() + `"`, string(bucket.Malformed)},
		{`,"v":2`, string(bucket.Malformed)},
		{`,"stores":["no such/name/at all"]`, string(bucket.Malformed)},
	} {
		w.announce(c.ID, c.Head().Link, 1, tt.more)
		if e := w.wait(consumer.EventRejected); e.Class != tt.class {
			t.Errorf("%s: got class %s (%s), want %s", tt.more, e.Class, e.Reason, tt.class)
		}
	}
	if _, err := w.log.Bucket(t.Context(), c.ID); err == nil {
		t.Error("the log has the bucket, want nothing")
	}
	w.announce(c.ID, c.Head().Link, 1, `,"height":1`)
	w.wait(consumer.EventApplied)
}

func TestNotShared(t *testing.T) {
	w := newWorld(t)
	c, _ := w.run(w.config())
	t.Run("a bucket of strangers costs one manifest", func(t *testing.T) {
		chain := buckettest.New(t, buckettest.Identity(t, 1)).Grow(t, 5)
		w.putChain(chain)
		w.announce(chain.ID, chain.Head().Link, 1, "")
		waitState(t, c, chain.ID, consumer.StateNotShared)
		for _, v := range chain.Versions[:4] {
			if n := w.fetches(v.Link.Hash()); n != 0 {
				t.Errorf("version %d was fetched %d times, want never", v.Height, n)
			}
		}
	})
	t.Run("a removal that no owner signed is refused", func(t *testing.T) {
		chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 2)
		w.putChain(chain)
		w.announce(chain.ID, chain.Head().Link, 1, "")
		w.wait(consumer.EventComplete)
		forged := chain.Fork(1)
		forged.Owner = buckettest.Identity(t, 66)
		forged.Add(t, func(m *bucket.Manifest) { m.Shares = m.Shares[:1] })
		w.putChain(forged)
		w.announce(chain.ID, forged.Head().Link, 2, "")
		if e := w.wait(consumer.EventRejected); e.Class != string(bucket.AuthorNotInShares) {
			t.Errorf("got class %s, want %s", e.Class, bucket.AuthorNotInShares)
		}
		waitState(t, c, chain.ID, consumer.StateInSync)
		removed := chain.Fork(1)
		removed.Add(t, func(m *bucket.Manifest) { m.Shares = m.Shares[:1] })
		w.putChain(removed)
		w.announce(chain.ID, removed.Head().Link, 3, "")
		waitState(t, c, chain.ID, consumer.StateNotShared)
		checkPrefix(t, w.log, chain)
	})
}

func TestNothingAcknowledgedIsLost_OutboxAfterRestart(t *testing.T) {
	w := newWorld(t)
	chain, _ := pinned(t, w, 3)
	var entries []logstore.Entry
	for _, v := range chain.Versions { // as a process left it that died between append and publish
		if _, err := w.kept.Put(t.Context(), v.Link.Hash(), strings.NewReader(string(v.Encoded()))); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, logstore.Entry{Bucket: v.Bucket, Link: v.Link, Height: v.Height, Previous: v.Previous, Pins: v.Pins})
	}
	head := chain.Head()
	job := &logstore.Job{PinJob: bucket.PinJob{Bucket: head.Bucket, Link: head.Link, Height: head.Height, Pins: head.Pins}}
	if _, err := w.log.Append(t.Context(), entries, job, true); err != nil {
		t.Fatal(err)
	}
	w.run(w.config())
	w.wait(consumer.EventComplete)
	if n := w.jobsPublished(); n != 1 {
		t.Errorf("got %d jobs published, want 1", n)
	}
}

func TestPrefix_RebuiltFromManifests(t *testing.T) {
	w := newWorld(t)
	chain, _ := pinned(t, w, 5)
	fork := chain.Fork(2).Grow(t, 4)
	w.putChain(fork)
	_, stop := w.run(w.config())
	w.announce(chain.ID, chain.Head().Link, 1, "")
	w.wait(consumer.EventComplete)
	w.announce(chain.ID, fork.Head().Link, 2, "")
	w.wait(consumer.EventComplete)
	stop()
	before, err := w.log.Bucket(t.Context(), chain.ID)
	if err != nil {
		t.Fatal(err)
	}
	stray := buckettest.New(t, buckettest.Identity(t, 5)).Grow(t, 3) // its genesis was lost
	for _, v := range stray.Versions[1:] {
		if _, err := w.kept.Put(t.Context(), v.Link.Hash(), strings.NewReader(string(v.Encoded()))); err != nil {
			t.Fatal(err)
		}
	}
	w.log = logstore.NewMemory()
	versions, passedOver, err := consumer.Rebuild(t.Context(), w.log, w.kept, bucket.Rules{}, nil)
	if err != nil || versions != int(before.Versions) || passedOver != 2 {
		t.Errorf("got %d versions, %d passed over, %v; want %d, 2", versions, passedOver, err, before.Versions)
	}
	after, err := w.log.Bucket(t.Context(), chain.ID)
	if err != nil || after.Known != before.Known || after.Forks != before.Forks {
		t.Errorf("got %+v, %v, want %+v", after, err, before)
	}
	w.run(w.config())
	w.wait(consumer.EventComplete)
}

func TestBounded_ChainTooLongAndStageFull(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.MaxVersions = 3
	chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 5)
	w.putChain(chain)
	w.run(cfg)
	w.announce(chain.ID, chain.Head().Link, 1, "")
	if e := w.wait(consumer.EventRejected); e.Class != string(bucket.TooLong) {
		t.Errorf("got class %s, want %s", e.Class, bucket.TooLong)
	}
	w.announce(chain.ID, chain.Versions[2].Link, 1, "")
	w.wait(consumer.EventApplied)
	w.announce(chain.ID, chain.Head().Link, 1, "")
	w.wait(consumer.EventApplied)
	checkPrefix(t, w.log, chain)
}

// TestPrefix_InterruptedCatchUpFetchesNothingTwice: what was staged before the interruption is not fetched again.
func TestPrefix_InterruptedCatchUpFetchesNothingTwice(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.RetryLimit = 1000
	chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 2100)
	w.putChain(chain)
	w.mu.Lock()
	hidden := w.stores["manifests"][chain.Versions[10].Link.Hash()]
	delete(w.stores["manifests"], chain.Versions[10].Link.Hash())
	w.mu.Unlock()
	_, stop := w.run(cfg)
	w.announce(chain.ID, chain.Head().Link, 1, "")
	w.wait(consumer.EventRetrying)
	stop()
	if _, err := os.Stat(filepath.Join(cfg.StageDir, chain.ID.String())); err != nil {
		t.Errorf("nothing is staged: %v", err)
	}
	w.put("manifests", chain.Versions[10].Link.Hash(), hidden)
	w.run(cfg)
	w.wait(consumer.EventComplete)
	checkPrefix(t, w.log, chain)
	again := 0
	for _, v := range chain.Versions[100:] {
		again += w.fetches(v.Link.Hash()) - 1
	}
	if again > 2*1024 { // at most one batch per try; the stop may have come during a second one
		t.Errorf("%d versions were fetched again, want at most a batch for each interruption", again)
	}
	if n := w.fetches(chain.Versions[1500].Link.Hash()); n != 1 {
		t.Errorf("a staged version was fetched %d times, want once", n)
	}
}

func TestGracefulStopGivesBackWhatIsNotDone(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 3)
	entered := make(chan struct{})
	slow := &slowObjects{w, entered}
	cfg.Objects = slow
	w.putChain(chain)
	_, stop := w.run(cfg)
	w.announce(chain.ID, chain.Head().Link, 1, "")
	<-entered
	stop()
	if n := w.heads.counts("return"); n != 1 {
		t.Errorf("got %d deliveries given back at once, want 1", n)
	}
	if l := w.letters(); len(l) != 0 {
		t.Errorf("got dead letters %v, want none", l)
	}
	w.run(w.config())
	w.wait(consumer.EventComplete)
	checkPrefix(t, w.log, chain)
}

// slowObjects never answers.
type slowObjects struct {
	*world
	entered chan struct{}
}

func (s *slowObjects) Get(ctx context.Context, _ string, _ bucket.Hash, _ bool) (io.ReadCloser, int64, error) {
	s.entered <- struct{}{}
	<-ctx.Done()
	return nil, 0, ctx.Err()
}

func TestAllVersions_EachVersionHasItsJob(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.AllVersions = true
	chain, _ := pinned(t, w, 5)
	w.run(cfg)
	w.announce(chain.ID, chain.Head().Link, 1, "")
	for range chain.Versions {
		w.wait(consumer.EventComplete)
	}
	if n := w.jobsPublished(); n != 5 {
		t.Errorf("got %d jobs published, want 5", n)
	}
	for _, v := range chain.Versions {
		if e, err := w.log.Entry(t.Context(), chain.ID, v.Head()); err != nil || !e.Complete {
			t.Errorf("version %d: got %+v, %v, want complete", v.Height, e, err)
		}
	}
}

func TestBrokerIsNotTrusted_LostJobIsPublishedAgain(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Reconcile = 5 * time.Millisecond
	lost := newQueue() // takes jobs and forgets them
	w.pins, w.from.PinJobs = lost, []consumer.Source{newQueue()}
	chain, _ := pinned(t, w, 2)
	c, _ := w.run(cfg)
	w.announce(chain.ID, chain.Head().Link, 1, "")
	w.wait(consumer.EventApplied)
	waitState(t, c, chain.ID, consumer.StateFetching)
	lost.forget()
	again := fmt.Sprintf("%s.%s.%d", chain.ID, chain.Head().Link, 1)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); w.publishedAs(again) == 0; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("the job that the broker lost was not published again under its next attempt")
		}
	}
}
