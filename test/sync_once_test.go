package test

import (
	"math/rand/v2"
	"sync"
	"testing"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/test/natstest"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

// deliveries is how many announcements of one bucket the tests of Once publish.
const deliveries = 1000

func TestOnce_ThousandAnnouncementsLeaveOneLogAndEachJobOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		cfg    peerConfig
		latest bool // the stream keeps the newest announcement of each announcer only
	}{
		{"one consumer fed by two sources", peerConfig{sources: 2}, false},
		{"two consumers on one log", peerConfig{consumers: 2}, false},
		{"two consumers of two sources each on one log", peerConfig{consumers: 2, sources: 2}, false},
		{"one consumer on a stream as we make it", peerConfig{sources: 2}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := dialEnv(t, natstest.Start(t).URL())
			if !c.latest {
				e.keepEveryAnnouncement()
			}
			e.ensure(1)
			p := e.newPeer(200, c.cfg)
			chain := e.grow(buckettest.New(t, buckettest.Identity(t, 1), p.key()), 20, 2)
			jobs := e.listenForJobs(p)
			order := shuffled(chain)
			e.publishAll(order[:deliveries/2])
			p.start()
			e.publishAll(order[deliveries/2:])
			p.waitComplete(chain.Head())
			p.checkSettled()
			p.checkLog(chain.Versions)
			checkCounts(t, p, c.latest)
			jobs.check(t, p)
		})
	}
}

// keepEveryAnnouncement makes a stream of announcements that, unlike ours, delivers every one of them: ours replaces what nobody
// has read yet.
func (e *env) keepEveryAnnouncement() {
	e.tb.Helper()
	_, err := e.js.CreateStream(e.ctx(), natsjs.StreamConfig{
		Name: e.names.HeadsStream(), Subjects: []string{e.names.AllHeads()}, AllowDirect: true,
	})
	if err != nil {
		e.tb.Fatal(err)
	}
}

// shuffled are a thousand announcements in any order: the head two times of three, else an older version. The last is of the
// head, because a stream that keeps the newest only may deliver nothing but that.
func shuffled(c *buckettest.Chain) []*bucket.Version {
	order := make([]*bucket.Version, deliveries)
	for i := range order {
		order[i] = c.Head()
		if i%3 == 0 {
			order[i] = c.Versions[rand.IntN(len(c.Versions))]
		}
	}
	last := len(order) - 1
	rand.Shuffle(last, func(i, j int) { order[i], order[j] = order[j], order[i] })
	order[last] = c.Head()
	return order
}

// publishAll publishes announcements as three announcers, without ids, and returns when the stream has them.
func (e *env) publishAll(versions []*bucket.Version) {
	e.tb.Helper()
	for i, v := range versions {
		subject := e.names.Head(v.Bucket, buckettest.Identity(e.tb, byte(1+i%3)).PublicKey())
		if _, err := e.js.PublishAsync(subject, announcementBody(e.tb, v), natsjs.WithStallWait(patience)); err != nil {
			e.tb.Fatal(err)
		}
	}
	select {
	case <-e.js.PublishAsyncComplete():
	case <-e.ctx().Done():
		e.tb.Fatal("the stream does not acknowledge the announcements")
	}
}

// checkCounts compares the outcomes with what was delivered: each delivery ended once, and well.
func checkCounts(t *testing.T, p *peer, latest bool) {
	t.Helper()
	got := p.outcomes(consumer.KindHeads)
	known := got[consumer.ClassApplied] + got[consumer.ClassDuplicate] + got[consumer.ClassStale]
	if total(got) != known || got[consumer.ClassApplied] == 0 {
		t.Errorf("got outcomes %v, want only applied, duplicate and stale", got)
	}
	settled := p.env.durableState(consumer.KindHeads, p).AckFloor.Stream
	switch {
	case !latest && known != deliveries:
		t.Errorf("got outcomes %v, %d in all, want %d", got, known, deliveries)
	case latest && (known > deliveries || known == 0):
		t.Errorf("got outcomes %v, %d in all, want at most %d", got, known, deliveries)
	case settled != deliveries:
		t.Errorf("the durable says that announcements up to %d are acknowledged, want %d", settled, deliveries)
	}
	if l := p.env.letters(p); len(l) > 0 {
		t.Errorf("got dead letters %q, want none", letterTexts(l))
	}
}

// publishedJobs counts the pin jobs that anybody sends to the broker, by their ids.
type publishedJobs struct {
	mu   sync.Mutex
	sent map[string]int
}

// listenForJobs hears what is published for a peer, before any stream drops a repetition.
func (e *env) listenForJobs(p *peer) *publishedJobs {
	e.tb.Helper()
	j := &publishedJobs{sent: map[string]int{}}
	_, err := e.nc.Subscribe(e.names.PinsOf(p.key()), func(m *nats.Msg) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.sent[m.Header.Get(natsjs.MsgIDHeader)]++
	})
	if err == nil {
		err = e.nc.FlushWithContext(e.ctx())
	}
	if err != nil {
		e.tb.Fatal(err)
	}
	return j
}

// check fails unless the stream stored each job once, no more than there were syncs, and none is left.
func (j *publishedJobs) check(t *testing.T, p *peer) {
	t.Helper()
	if err := p.env.nc.FlushWithContext(p.env.ctx()); err != nil {
		t.Fatal(err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	state := p.env.streamState(p.env.names.PinsStream())
	if stored := state.LastSeq; stored != uint64(len(j.sent)) {
		t.Errorf("the stream stored %d jobs, want each of %d once", stored, len(j.sent))
	}
	applied := p.outcomes(consumer.KindHeads)[consumer.ClassApplied]
	if len(j.sent) == 0 || uint64(len(j.sent)) > applied {
		t.Errorf("got %d different jobs, want one for each of %d syncs at most", len(j.sent), applied)
	}
	if len(p.working) == 1 && uint64(len(j.sent)) != applied {
		t.Errorf("got %d different jobs, want one for each of %d syncs", len(j.sent), applied)
	}
	if state.Msgs != 0 {
		t.Errorf("the queue still holds %d jobs", state.Msgs)
	}
	if got, want := total(p.outcomes(consumer.KindPins)), uint64(len(j.sent)); got != want {
		t.Errorf("got outcomes %v of jobs, want %d in all", p.outcomes(consumer.KindPins), want)
	}
}
