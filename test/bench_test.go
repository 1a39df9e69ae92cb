package test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/test/natstest"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

// These benchmarks print ratios: what Headwater does against the limit that the broker or the machine sets, or against the
// original's way, both measured in the same run, because the numbers alone say more about the machine. Nothing here fails
// because it is slow.

// each returns the events that a peer emits from now on, in order, through a channel. It replaces the peer's record.
func each(p *peer) <-chan consumer.Event {
	events := make(eventChannel, 1<<16)
	change := p.cfg.change
	p.cfg.change = func(c *consumer.Config) {
		if change != nil {
			change(c)
		}
		c.Events = events
	}
	return events
}

// eventChannel is the Events of a peer that is measured.
type eventChannel chan consumer.Event

// Emit implements [consumer.Events].
func (c eventChannel) Emit(e consumer.Event) {
	select {
	case c <- e:
	default:
	}
}

// await returns when an event of a kind names the version.
func await(tb testing.TB, events <-chan consumer.Event, kind consumer.EventKind, v *bucket.Version) {
	tb.Helper()
	timeout := time.After(10 * time.Minute)
	for {
		select {
		case e := <-events:
			if e.Kind == kind && e.Link == v.Link {
				return
			}
		case <-timeout:
			tb.Fatalf("no event %s of version %s", kind, v.Link)
		}
	}
}

// rate is so many per second.
func rate(n int, took time.Duration) float64 { return float64(n) / took.Seconds() }

// (a) Announcements of heads that are known already.

func BenchmarkRatioDuplicates(b *testing.B) {
	for _, c := range []struct{ buckets, announcers int }{{500, 40}, {20, 1000}, {1, 2000}} {
		b.Run(fmt.Sprintf("%d buckets announced by %d", c.buckets, c.announcers), func(b *testing.B) {
			for range b.N {
				benchDuplicates(b, c.buckets, c.announcers)
			}
		})
	}
}

func benchDuplicates(b *testing.B, buckets, announcers int) {
	e := newEnv(b, natstest.Start(b).URL(), 1)
	p := e.startPeer(200, peerConfig{})
	heads := make([]*bucket.Version, buckets)
	for i := range heads {
		c := buckettest.New(b, buckettest.Identity(b, 1), p.key()).Grow(b, 1)
		e.putVersions(c.Versions...)
		heads[i] = c.Head()
		e.announce(c.Head(), 1)
	}
	for _, v := range heads {
		p.waitComplete(v)
	}
	p.checkSettled()
	p.stop()
	n := e.announceFromMany(heads, announcers)
	raw := e.rawConsume(b, n)

	p.open()
	start := time.Now()
	p.run()
	waitUntil(b, "all announcements are done", func() bool { return total(p.outcomes(consumer.KindHeads)) >= uint64(n) })
	ours := rate(n, time.Since(start))
	if got := p.outcomes(consumer.KindHeads); got[consumer.ClassDuplicate] != uint64(n) {
		b.Errorf("got outcomes %v, want %d duplicates", got, n)
	}
	p.stop()
	b.ReportMetric(ours, "announcements/s")
	b.ReportMetric(raw, "raw/s")
	b.ReportMetric(ours/raw, "ratio")
	b.Logf("%d buckets announced by %d: %.0f announcements/s deduplicated, %.0f/s consumed and acknowledged by nats.go: ratio %.2f",
		buckets, announcers, ours, raw, ours/raw)
}

// announceFromMany announces each head as so many announcers, each on a subject of its own, and returns the number of
// announcements.
func (e *env) announceFromMany(heads []*bucket.Version, announcers int) int {
	e.tb.Helper()
	for a := range announcers {
		for _, v := range heads {
			peer := bucket.PublicKey{0: 1, 1: byte(a), 2: byte(a >> 8)}
			body, err := bucket.Announcement{Link: v.Link}.Encode()
			if err == nil {
				_, err = e.js.PublishAsync(e.names.Head(v.Bucket, peer), body, natsjs.WithStallWait(patience))
			}
			if err != nil {
				e.tb.Fatal(err)
			}
		}
	}
	<-e.js.PublishAsyncComplete()
	return announcers * len(heads)
}

// rawConsume returns how many messages a second nats.go takes and acknowledges from the stream of announcements, with a
// durable like ours.
func (e *env) rawConsume(b *testing.B, n int) float64 {
	b.Helper()
	d, err := e.js.CreateConsumer(e.ctx(), e.names.HeadsStream(), natsjs.ConsumerConfig{
		Durable: "raw", AckPolicy: natsjs.AckExplicitPolicy, FilterSubject: e.names.AllHeads(), MaxAckPending: 1000,
		DeliverPolicy: natsjs.DeliverByStartSequencePolicy, OptStartSeq: e.streamState(e.names.HeadsStream()).LastSeq - uint64(n) + 1,
	})
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	messages, err := d.Messages(natsjs.PullMaxMessages(500))
	if err != nil {
		b.Fatal(err)
	}
	defer messages.Stop()
	for range n {
		m, err := messages.Next(natsjs.NextContext(e.ctx()))
		if err == nil {
			err = m.Ack()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := e.nc.FlushWithContext(e.ctx()); err != nil {
		b.Fatal(err)
	}
	return rate(n, time.Since(start))
}

// (b) Catching up.

// benchChain is a broker that holds a chain of n versions without pins, and a peer it is shared with, which is not running.
func benchChain(tb testing.TB, n int) (*env, *buckettest.Chain, *peer) {
	tb.Helper()
	e := newEnv(tb, natstest.Start(tb).URL(), 1)
	p := e.newPeer(200, peerConfig{})
	chain := buckettest.New(tb, buckettest.Identity(tb, 1), p.key()).Grow(tb, n)
	e.putVersions(chain.Versions...)
	return e, chain, p
}

func BenchmarkRatioCatchUp(b *testing.B) {
	for _, c := range []struct{ versions, reference int }{{1_000, 200}, {10_000, 500}} {
		b.Run(fmt.Sprintf("%d versions", c.versions), func(b *testing.B) {
			for range b.N {
				e, chain, p := benchChain(b, c.versions)
				reportCatchUp(b, c.versions, c.reference, e.catchUp(p, chain), e.catchUpReference(chain, c.reference))
			}
		})
	}
}

func BenchmarkRatioCatchUpCluster(b *testing.B) {
	for range b.N {
		const versions, reference = 1_000, 100
		e := newEnv(b, natstest.StartCluster(b, 3).URL(), 3)
		p := e.newPeer(200, peerConfig{ensure: jetstream.EnsureConfig{Replicas: 3}})
		chain := buckettest.New(b, buckettest.Identity(b, 1), p.key()).Grow(b, versions)
		e.putVersions(chain.Versions...)
		reportCatchUp(b, versions, reference, e.catchUp(p, chain), e.catchUpReference(chain, reference))
	}
}

// A broker that is ten milliseconds away, there and back: what counts is the number of round trips.
func BenchmarkRatioCatchUpFar(b *testing.B) {
	for range b.N {
		const versions, reference = 300, 30
		s := natstest.Start(b)
		near := newEnv(b, s.URL(), 1)
		far := natstest.StartProxy(b, s.URL(), 5*time.Millisecond).URL()
		p := near.newPeer(200, peerConfig{url: far})
		chain := buckettest.New(b, buckettest.Identity(b, 1), p.key()).Grow(b, versions)
		near.putVersions(chain.Versions...)
		ours := near.catchUp(p, chain)
		reportCatchUp(b, versions, reference, ours, dialEnv(b, far).catchUpReference(chain, reference))
		b.Logf("at 10 ms there and back that is %.2f round trips for each version", 100/ours)
	}
}

// catchUp returns how many versions a second a peer that knows nothing takes, from the announcement until all is applied.
func (e *env) catchUp(p *peer, c *buckettest.Chain) float64 {
	e.tb.Helper()
	events := each(p)
	p.start()
	waitUntil(e.tb, "the peer waits for deliveries", func() bool { return e.durableState(consumer.KindHeads, p).NumWaiting > 0 })
	start := time.Now()
	e.announce(c.Head(), 1)
	await(e.tb, events, consumer.EventApplied, c.Head())
	took := time.Since(start)
	if known := p.bucket(c.ID); known.Versions != uint64(len(c.Versions)) || known.Known != c.Head().Head() {
		e.tb.Errorf("got %d versions up to %v, want %d", known.Versions, known.Known, len(c.Versions))
	}
	p.stop()
	return rate(len(c.Versions), took)
}

// catchUpReference returns how many versions a second the original's way takes, for the first n versions.
func (e *env) catchUpReference(c *buckettest.Chain, n int) float64 {
	e.tb.Helper()
	r := e.newReference()
	start := time.Now()
	if err := r.sync(e.ctx(), c.Versions[n-1]); err != nil {
		e.tb.Fatal(err)
	}
	return rate(n, time.Since(start))
}

func reportCatchUp(b *testing.B, versions, reference int, ours, theirs float64) {
	b.ReportMetric(ours, "versions/s")
	b.ReportMetric(theirs, "reference/s")
	b.ReportMetric(ours/theirs, "ratio")
	b.Logf("%d versions: %.0f versions/s; the original's way, measured with %d: %.0f versions/s: ratio %.1f",
		versions, ours, reference, theirs, ours/theirs)
}

// (c) From publishing one new version until it is applied.

func BenchmarkRatioPublishToApplied(b *testing.B) {
	for _, always := range []bool{false, true} {
		b.Run(fmt.Sprintf("broker syncs always: %v", always), func(b *testing.B) {
			for range b.N {
				benchPublishToApplied(b, always)
			}
		})
	}
}

func benchPublishToApplied(b *testing.B, always bool) {
	const versions = 500
	e := newEnv(b, natstest.StartWith(b, natstest.Config{SyncAlways: always}).URL(), 1)
	p := e.newPeer(200, peerConfig{})
	chain := buckettest.New(b, buckettest.Identity(b, 1), p.key()).Grow(b, versions+1)
	e.putVersions(chain.Versions...)
	events := each(p)
	p.start()
	e.announce(chain.Versions[0], 1)
	await(b, events, consumer.EventComplete, chain.Versions[0])
	var ours []time.Duration
	for _, v := range chain.Versions[1:] {
		body := announcementBody(b, v)
		start := time.Now()
		if _, err := e.js.Publish(b.Context(), e.names.Head(chain.ID, chain.Owner.PublicKey()), body); err != nil {
			b.Fatal(err)
		}
		await(b, events, consumer.EventApplied, v)
		ours = append(ours, time.Since(start))
	}
	p.stop()
	bare := e.bareRoundTrips(b, versions)
	slices.Sort(ours)
	slices.Sort(bare)
	at := func(d []time.Duration, percent int) time.Duration {
		return d[len(d)*percent/100].Round(time.Microsecond)
	}
	for _, percent := range []int{50, 99} {
		b.ReportMetric(float64(at(ours, percent).Microseconds()), fmt.Sprintf("p%d-us", percent))
		b.ReportMetric(float64(at(bare, percent).Microseconds()), fmt.Sprintf("bare-p%d-us", percent))
		b.ReportMetric(at(ours, percent).Seconds()/at(bare, percent).Seconds(), fmt.Sprintf("ratio-p%d", percent))
	}
	b.Logf("publish to applied, %d versions: p50 %v, p99 %v; publish, consume and acknowledge alone: p50 %v, p99 %v: ratio %.1f and %.1f",
		versions, at(ours, 50), at(ours, 99), at(bare, 50), at(bare, 99),
		at(ours, 50).Seconds()/at(bare, 50).Seconds(), at(ours, 99).Seconds()/at(bare, 99).Seconds())
}

// bareRoundTrips publishes messages on the stream of announcements one after the other, and returns how long each takes until
// a durable like ours was handed it and the server has its acknowledgement.
func (e *env) bareRoundTrips(b *testing.B, n int) (took []time.Duration) {
	b.Helper()
	d, err := e.js.CreateConsumer(e.ctx(), e.names.HeadsStream(), natsjs.ConsumerConfig{
		Durable: "bare", AckPolicy: natsjs.AckExplicitPolicy, FilterSubject: e.names.AllHeads(), DeliverPolicy: natsjs.DeliverNewPolicy,
	})
	if err != nil {
		b.Fatal(err)
	}
	messages, err := d.Messages(natsjs.PullMaxMessages(16))
	if err != nil {
		b.Fatal(err)
	}
	defer messages.Stop()
	subject, body := e.names.Head(bucket.NewID(), bucket.PublicKey{1}), make([]byte, 76)
	for range n {
		start := time.Now()
		_, err := e.js.Publish(e.ctx(), subject, body)
		if err != nil {
			b.Fatal(err)
		}
		m, err := messages.Next(natsjs.NextContext(e.ctx()))
		if err == nil {
			err = m.DoubleAck(e.ctx())
		}
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	return took
}
