package test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/test/natstest"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

// Many buckets that all get a new version, against what nats.go takes and acknowledges; and once more while the peer catches
// up with one bucket that is far behind, which must not make the others wait.

const (
	manyBuckets = 10_000
	longStretch = 100_000         // versions of the bucket that is far behind
	pacedFor    = 8 * time.Second // of announcements that come evenly
)

func BenchmarkRatioManyBuckets(b *testing.B) {
	for range b.N {
		benchManyBuckets(b)
	}
}

func benchManyBuckets(b *testing.B) {
	m := newMany(b)
	alone := m.prepare(manyBuckets).run(0)
	raw := m.env.rawConsume(b, manyBuckets)
	if err := m.env.js.DeleteConsumer(m.env.ctx(), m.env.names.HeadsStream(), "raw"); err != nil {
		b.Fatal(err)
	}
	busy, beside := m.runBeside(manyBuckets, 0)
	perSecond := alone.rate() / 2
	some, every := min(manyBuckets, int(pacedFor.Seconds()*perSecond)), time.Duration(float64(time.Second)/perSecond)
	paced := m.prepare(some).run(every)
	pacedBusy, pacedBeside := m.runBeside(some, every)
	m.peer.stop()

	times := func(busy, alone wave) float64 { return busy.at(99).Seconds() / alone.at(99).Seconds() }
	b.ReportMetric(alone.rate()/raw, "of-raw")
	b.ReportMetric(times(busy, alone), "ratio-p99")
	b.ReportMetric(times(pacedBusy, paced), "ratio-p99-paced")
	b.ReportMetric(alone.rate(), "versions/s")
	b.ReportMetric(raw, "raw/s")
	b.Logf("%d buckets, a new version of each announced at once: %.3f of the rate at which nats.go consumes and acknowledges as many; "+
		"%.0f versions/s, %.0f/s raw; %s\n"+
		"the same while one more bucket catches up with %d versions: p99 %.1f times that; %.0f versions/s; %s; %s\n"+
		"%d of them announced evenly, %.0f a second, half of the rate above: %s\n"+
		"the same while one more bucket catches up: p99 %.1f times that; %s; %s",
		manyBuckets, alone.rate()/raw, alone.rate(), raw, alone,
		longStretch, times(busy, alone), busy.rate(), busy, beside,
		some, perSecond, paced, times(pacedBusy, paced), pacedBusy, pacedBeside)
}

// many is a running peer that has many buckets, all in sync.
type many struct {
	tb     testing.TB
	env    *env
	peer   *peer
	chains []*buckettest.Chain
	seen   arrivals
}

// newMany returns a peer that has the first version of each bucket.
func newMany(tb testing.TB) *many {
	tb.Helper()
	m := &many{tb: tb, env: newEnv(tb, natstest.Start(tb).URL(), 1)}
	m.peer = m.env.newPeer(200, peerConfig{change: func(c *consumer.Config) { c.Events = &m.seen }})
	for range manyBuckets {
		m.chains = append(m.chains, buckettest.New(tb, buckettest.Identity(tb, 1), m.peer.key()))
	}
	m.peer.start()
	m.prepare(manyBuckets).run(0)
	return m
}

// arrivals notes when the versions that are expected were applied, and how many of them are not complete yet. Safe for
// concurrent use.
type arrivals struct {
	mu         sync.Mutex
	applied    map[bucket.Link]time.Time
	incomplete map[bucket.Link]bool
}

// expect begins anew.
func (a *arrivals) expect(versions []*bucket.Version) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.applied, a.incomplete = map[bucket.Link]time.Time{}, map[bucket.Link]bool{}
	for _, v := range versions {
		a.applied[v.Link], a.incomplete[v.Link] = time.Time{}, true
	}
}

// Emit implements [consumer.Events].
func (a *arrivals) Emit(e consumer.Event) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, expected := a.applied[e.Link]; expected && e.Kind == consumer.EventApplied {
		a.applied[e.Link] = now
	}
	if e.Kind == consumer.EventComplete {
		delete(a.incomplete, e.Link)
	}
}

// at returns when an expected version was applied; zero if it is not yet.
func (a *arrivals) at(v *bucket.Version) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.applied[v.Link]
}

// left is how many expected versions are not complete. At times a version is complete before the event that it was applied.
func (a *arrivals) left() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.incomplete)
}

// wave is how long each version of a round took from its announcement until it was applied.
type wave struct {
	took        []time.Duration // ascending
	first, last time.Time       // announced, applied
}

// rate is how many versions were applied a second.
func (w wave) rate() float64 { return rate(len(w.took), w.last.Sub(w.first)) }

// at is the time that so many percent of the versions took at most.
func (w wave) at(percent int) time.Duration { return w.took[len(w.took)*percent/100] }

func (w wave) String() string {
	return fmt.Sprintf("p50 %v, p99 %v", w.at(50).Round(100*time.Microsecond), w.at(99).Round(100*time.Microsecond))
}

// round is a new version of each of some buckets, all stored and ready to be announced.
type round struct {
	m             *many
	versions      []*bucket.Version
	announcements []*nats.Msg
	beside        *bucket.Version // awaited like the others, but announced before; nil if there is none
}

// prepare adds a version to so many of the buckets.
func (m *many) prepare(n int) *round {
	m.tb.Helper()
	r := &round{m: m}
	for _, c := range m.chains[:n] {
		r.versions = append(r.versions, c.Grow(m.tb, 1).Head())
		r.announcements = append(r.announcements, m.hinted(c))
	}
	m.env.putVersions(r.versions...)
	return r
}

// hinted is the announcement of a chain's head, as authors make it.
func (m *many) hinted(c *buckettest.Chain) *nats.Msg {
	m.tb.Helper()
	head := c.Head()
	hints, _ := buckettest.Hints(m.tb, c.Versions)
	a := bucket.Announcement{Bucket: c.ID, Peer: c.Owner.PublicKey(), Link: head.Link, Height: &head.Height, Hints: hints}
	body, err := a.Encode()
	if err != nil {
		m.tb.Fatal(err)
	}
	return &nats.Msg{Subject: m.env.names.Head(a.Bucket, a.Peer), Data: body, Header: nats.Header{
		natsjs.MsgIDHeader: {a.MessageID()}, "Content-Type": {bucket.ContentTypeCBOR},
	}}
}

// run announces the versions at this interval, 0 for all at once. It returns when all are applied and complete.
func (r *round) run(every time.Duration) wave {
	r.m.tb.Helper()
	seen := &r.m.seen
	seen.expect(slices.DeleteFunc(append([]*bucket.Version{r.beside}, r.versions...), func(v *bucket.Version) bool { return v == nil }))
	announced := r.announce(every)
	waitUntil(r.m.tb, "all versions are complete", func() bool { return seen.left() == 0 })
	w := wave{first: announced[0]}
	for i, v := range r.versions {
		waitUntil(r.m.tb, "the version is applied", func() bool { return !seen.at(v).IsZero() })
		at := seen.at(v)
		w.took = append(w.took, at.Sub(announced[i]))
		if at.After(w.last) {
			w.last = at
		}
	}
	slices.Sort(w.took)
	return w
}

// announce returns when each version was announced.
func (r *round) announce(every time.Duration) (announced []time.Time) {
	r.m.tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	start := time.Now()
	for i, msg := range r.announcements {
		for time.Since(start) < time.Duration(i)*every {
			<-tick.C
		}
		announced = append(announced, time.Now())
		if _, err := r.m.env.js.PublishMsgAsync(msg, natsjs.WithStallWait(patience)); err != nil {
			r.m.tb.Fatal(err)
		}
	}
	<-r.m.env.js.PublishAsyncComplete()
	return announced
}

// runBeside runs a round while the peer catches up with one more bucket, of which it has the first version. It also returns
// a sentence on how that catch-up went.
func (m *many) runBeside(n int, every time.Duration) (w wave, beside string) {
	m.tb.Helper()
	long := buckettest.New(m.tb, buckettest.Identity(m.tb, 1), m.peer.key()).Grow(m.tb, 1)
	m.env.prepareHinted(long.Versions)()
	waitUntil(m.tb, "the first version is complete", func() bool { return m.peer.bucket(long.ID).Complete == long.Head().Head() })
	long.Grow(m.tb, longStretch)
	m.env.putVersions(long.Versions[longStretch-bucket.PackVersions:]...) // those that are in no pack
	announce := m.env.prepareHinted(long.Versions)
	r := m.prepare(n)
	r.beside = long.Head()
	start := time.Now()
	announce()
	waitUntil(m.tb, "the catch-up is under way", func() bool { return m.peer.status(long.ID).CatchUp.Fetched > 0 })
	before := m.peer.status(long.ID).CatchUp.Fetched
	w = r.run(every)
	waitUntil(m.tb, "the catch-up has ended", func() bool { return !m.seen.at(r.beside).IsZero() })
	end := m.seen.at(r.beside)
	during := 0
	for _, v := range r.versions {
		if m.seen.at(v).Before(end) {
			during++
		}
	}
	return w, fmt.Sprintf("that catch-up had fetched %d versions when the first was announced, and had all in the log %v after it began, "+
		"when %d of them were applied", before, end.Sub(start).Round(10*time.Millisecond), during)
}
