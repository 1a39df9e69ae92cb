package test

import (
	"testing"
	"time"

	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/test/natstest"

	"go.uber.org/goleak"
)

// A stop in the middle of everything: a long catch-up, many buckets, pins that are missing. The lease is so long that a
// delivery which is not given back would not come again while anybody waits.
func TestNothingAcknowledgedIsLost_StopInTheMiddleGivesAllBack(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
	e := newEnv(t, natstest.Start(t).URL(), 1)
	p := e.newPeer(200, peerConfig{
		ensure: jetstream.EnsureConfig{AckWait: time.Hour}, change: quickly(1 << 30),
	})
	var chains []*buckettest.Chain
	for i := range 40 {
		c := buckettest.New(t, buckettest.Identity(t, 1), p.key())
		e.grow(c, 1, 3)
		if i == 0 {
			e.putVersions(c.Grow(t, 1100).Versions[1:]...) // more than one batch
			e.grow(c, 1, 3)
		}
		chains = append(chains, c)
	}
	late := buckettest.New(t, buckettest.Identity(t, 1), p.key())
	missing := e.addVersion(late, e.newBlobs(5, 1<<10))
	e.putVersions(late.Versions...)
	chains = append(chains, late)
	for _, c := range chains {
		e.announce(c.Head(), 1)
	}

	// The first life ends while a long catch-up is in work, the second when some buckets are applied, and so on.
	for _, until := range []struct {
		what  string
		holds func() bool
	}{
		{"versions are fetched", func() bool { return p.status(chains[0].ID).CatchUp.Fetched > 0 || p.applied() > 0 }},
		{"some buckets are applied", func() bool { return p.applied() >= 10 }},
		{"a job waits for its pins", func() bool { return p.outcomes(consumer.KindPins)[consumer.ClassRetry] > 0 }},
	} {
		p.start()
		waitUntil(t, until.what, until.holds)
		p.stop()
	}
	e.put(e.names.BlobStore(), missing...)
	p.start()
	for _, c := range chains {
		p.waitComplete(c.Head())
		p.checkLog(c.Versions)
	}
	p.checkSettled()
	p.stop()
	for _, kind := range []consumer.Kind{consumer.KindHeads, consumer.KindPins} {
		if d := e.durableState(kind, p); d.NumAckPending != 0 || d.NumPending != 0 {
			t.Errorf("%d deliveries of %s wait for their lease, %d were not delivered; want none", d.NumAckPending, kind, d.NumPending)
		}
	}
}

// applied counts the buckets of all lives that were applied.
func (p *peer) applied() int { return len(p.events.of(consumer.EventApplied)) }

// An idle peer stops at once, and holds nothing.
func TestNothingAcknowledgedIsLost_IdlePeerStops(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
	e := newEnv(t, natstest.Start(t).URL(), 1)
	p := e.startPeer(200, peerConfig{consumers: 2, sources: 2})
	waitUntil(t, "requests for deliveries wait at the broker", func() bool {
		return e.durableState(consumer.KindHeads, p).NumWaiting > 0
	})
	p.stop()
	if got := e.durableState(consumer.KindHeads, p); got.NumAckPending != 0 {
		t.Errorf("%d deliveries wait for their lease, want none", got.NumAckPending)
	}
}
