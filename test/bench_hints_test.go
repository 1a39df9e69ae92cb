package test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/test/natstest"
)

// Catching up with what authors announce: a head with its hints.

// prepareHinted puts the packs of versions, and returns what announces the last one as authors do, with its hints.
func (e *env) prepareHinted(versions []*bucket.Version) (announce func()) {
	e.tb.Helper()
	hints, packs := buckettest.Hints(e.tb, versions)
	var objects []blobstore.Small
	for h, b := range packs {
		objects = append(objects, blobstore.Small{Hash: h, Data: b})
	}
	e.put(e.names.ManifestStore(), objects...)
	head := versions[len(versions)-1]
	return func() {
		e.insist("announce", func(ctx context.Context) error {
			_, err := e.client.Announce(ctx, bucket.Announcement{
				Bucket: head.Bucket, Peer: buckettest.Identity(e.tb, 1).PublicKey(), Link: head.Link, Height: &head.Height, Hints: hints,
			})
			return err
		})
	}
}

func BenchmarkRatioHintedCatchUp(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprintf("%d versions", n), func(b *testing.B) {
			for range b.N {
				benchHintedCatchUp(b, n)
			}
		})
	}
}

// benchHintedCatchUp compares the catching up of a bucket that is new to the peer with only checking its signatures, and with the
// original's way.
func benchHintedCatchUp(b *testing.B, n int) {
	const reference, tries = 500, 3
	var ours, limit, own float64 // the fastest: what other programs do meanwhile says nothing
	var e *env
	var chain *buckettest.Chain
	for range tries {
		var took time.Duration
		e, chain, took = hintedCatchUp(b, 0, n)
		ours = max(ours, rate(n, took))
		limit = max(limit, buckettest.VerifyRate(b, chain.Versions))
		own = max(own, buckettest.OpenerVerifyRate(b, chain.Versions))
	}
	theirs := e.catchUpReference(chain, reference)
	b.ReportMetric(ours/limit, "of-verifying")
	b.ReportMetric(ours/theirs, "ratio")
	b.ReportMetric(ours/own, "of-own-verifying")
	b.ReportMetric(ours, "versions/s")
	b.ReportMetric(limit, "signatures/s")
	b.Logf("%d versions: %.2f of the rate at which crypto/ed25519 only checks their signatures, %.1f times the original's way; %.0f versions/s, "+
		"%.0f signatures/s on %d cores, %.0f/s by the original's way, measured with %d; %.2f of the %.0f signatures/s of our own check",
		n, ours/limit, ours/theirs, ours, limit, runtime.GOMAXPROCS(0), theirs, reference, ours/own, own)
}

// hintedCatchUp returns how long a peer that has so many versions of a chain takes, from the announcement of n more with hints,
// until they are in its log.
func hintedCatchUp(b *testing.B, before, n int) (e *env, chain *buckettest.Chain, took time.Duration) {
	b.Helper()
	e = newEnv(b, natstest.Start(b).URL(), 1)
	p := e.newPeer(200, peerConfig{})
	chain = buckettest.New(b, buckettest.Identity(b, 1), p.key()).Grow(b, before+n)
	e.putVersions(chain.Versions...)
	events := each(p)
	p.start()
	if before > 0 {
		e.prepareHinted(chain.Versions[:before])()
		await(b, events, consumer.EventApplied, chain.Versions[before-1])
	}
	waitUntil(b, "the peer waits for deliveries", func() bool {
		d := e.durableState(consumer.KindHeads, p)
		return d.NumWaiting > 0 && d.NumAckPending == 0
	})
	announce := e.prepareHinted(chain.Versions)
	start := time.Now()
	announce()
	await(b, events, consumer.EventApplied, chain.Head())
	took = time.Since(start)
	p.stop()
	return e, chain, took
}

// A broker that is 100 ms away, there and back. What is counted is time, in round trips, from the announcement until the
// version is in the log.
func BenchmarkRatioRoundTrips(b *testing.B) {
	const away = 100 * time.Millisecond
	for _, n := range []int{1, 100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("%d versions", n), func(b *testing.B) {
			for range b.N {
				near, far := timeToLog(b, n, 0), timeToLog(b, n, away/2)
				for range 2 { // the fastest of three: what other programs do meanwhile is no round trip
					near, far = min(near, timeToLog(b, n, 0)), min(far, timeToLog(b, n, away/2))
				}
				trips := (far - near).Seconds() / away.Seconds()
				b.ReportMetric(trips, "round-trips")
				b.Logf("%d versions: %.2f round trips; %v at 0 ms, %v at 100 ms", n, trips,
					near.Round(100*time.Microsecond), far.Round(100*time.Microsecond))
			}
		})
	}
}

// timeToLog returns how long a peer that is n versions behind takes to log them, over a connection with the delay.
func timeToLog(b *testing.B, n int, oneWay time.Duration) time.Duration {
	b.Helper()
	s := natstest.Start(b)
	near := newEnv(b, s.URL(), 1)
	p := near.newPeer(200, peerConfig{url: natstest.StartProxy(b, s.URL(), oneWay).URL()})
	const before = 10
	chain := buckettest.New(b, buckettest.Identity(b, 1), p.key()).Grow(b, n+before)
	near.putVersions(chain.Versions...)
	p.start()
	near.prepareHinted(chain.Versions[:before])()
	waitUntil(b, "the first versions are logged", func() bool { return p.bucket(chain.ID).Known == chain.Versions[before-1].Head() })
	waitUntil(b, "the peer waits for deliveries", func() bool { return near.durableState(consumer.KindHeads, p).NumAckPending == 0 })
	announce := near.prepareHinted(chain.Versions)
	start := time.Now()
	announce()
	waitUntil(b, "the head is logged", func() bool { return p.bucket(chain.ID).Known == chain.Head().Head() })
	took := time.Since(start)
	p.stop()
	return took
}
