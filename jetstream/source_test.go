package jetstream_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/test/natstest"

	"github.com/nats-io/nats.go"
)

func source(tb testing.TB, c *jetstream.Client, k consumer.Kind, change ...func(*jetstream.SourceConfig)) *jetstream.Source {
	tb.Helper()
	cfg := jetstream.SourceConfig{Kind: k, Ensure: jetstream.EnsureConfig{Peer: peer(1)}}
	for _, f := range change {
		f(&cfg)
	}
	s, err := c.NewSource(cfg)
	noErr(tb, "source", err)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			tb.Errorf("close the source: %v", err)
		}
	})
	return s
}

func next(tb testing.TB, s *jetstream.Source) consumer.Delivery {
	tb.Helper()
	d, err := s.Next(within(tb))
	noErr(tb, "next", err)
	return d
}

// announce announces link n of a fresh bucket by peer 2 and returns what it announced.
func announce(tb testing.TB, c *jetstream.Client, n byte) bucket.Announcement {
	tb.Helper()
	a := bucket.Announcement{Bucket: bucket.NewID(), Peer: peer(2), Link: manifestLink(n)}
	_, err := c.Announce(within(tb), a)
	noErr(tb, "announce", err)
	return a
}

func TestAnnouncementsArriveWithWhatTheirSubjectSays(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	src := source(t, c, consumer.KindHeads)
	a := announce(t, c, 1)
	if dup, err := c.Announce(within(t), a); err != nil || !dup {
		t.Errorf("announce again: got duplicate %v, %v, want a duplicate", dup, err)
	}
	d := next(t, src)
	m := d.Message()
	if m.Kind != consumer.KindHeads || m.Bucket != a.Bucket || m.Peer != a.Peer || m.Sequence != 1 || m.Deliveries != 1 ||
		m.Subject != c.Names().Head(a.Bucket, a.Peer) {
		t.Errorf("got %+v", m)
	}
	got, err := bucket.DecodeAnnouncement(m.Header["Content-Type"][0], m.Body)
	if err != nil || got.Link != a.Link || m.Header["Nats-Msg-Id"][0] != a.MessageID() {
		t.Errorf("got %+v, %v, headers %v", got, err, m.Header)
	}
	noErr(t, "ack", d.Ack(within(t)))
	noErr(t, "ack twice", d.Ack(within(t)))
	noErr(t, "retry after ack", d.Retry(within(t), 0))
	noErr(t, "extend after ack", d.Extend(within(t)))
}

func TestSubjectsOfOthersArriveWithZeroValues(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	nc, _ := plain(t, s.URL())
	noErr(t, "publish", nc.Publish("headwater.heads.some-bucket."+peerText, []byte(`{`)))
	m := next(t, source(t, c, consumer.KindHeads)).Message()
	if !m.Bucket.IsZero() || m.Peer != peer(1) || string(m.Body) != "{" {
		t.Errorf("got %+v", m)
	}
}

func TestPinJobsArriveAtTheirPeerOnceAndAreCounted(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	_, err := c.Ensure(within(t), jetstream.EnsureConfig{Peer: peer(2)})
	noErr(t, "ensure", err)
	job := bucket.PinJob{Bucket: bucket.NewID(), Link: manifestLink(1), Height: 3, Pins: bucket.RawLink([]byte("p"))}
	for _, p := range []byte{1, 2} { // the same job for two peers is two jobs
		for range 3 {
			publishJob(t, c, peer(p), job, 1)
		}
	}
	publishJob(t, c, peer(1), job, 2)
	counts, err := c.Jobs(peer(1)).QueuedJobs(within(t))
	if err != nil || len(counts) != 1 || counts[job.Bucket] != 2 {
		t.Errorf("got %v, %v, want 2 jobs of one bucket", counts, err)
	}
	src := source(t, c, consumer.KindPins)
	for range 2 {
		d := next(t, src)
		m := d.Message()
		if got, err := bucket.DecodePinJob(m.Header["Content-Type"][0], m.Body); err != nil || got.Pins != job.Pins || m.Bucket != job.Bucket || m.Peer != peer(1) {
			t.Errorf("got %+v of %+v, %v", got, m, err)
		}
		noErr(t, "ack", d.Ack(within(t)))
	}
	if counts, err = c.Jobs(peer(1)).QueuedJobs(within(t)); err != nil || len(counts) != 0 {
		t.Errorf("after the acks: got %v, %v, want none", counts, err)
	}
	if counts, err = c.Jobs(peer(2)).QueuedJobs(within(t)); err != nil || counts[job.Bucket] != 1 {
		t.Errorf("of the other peer: got %v, %v, want 1", counts, err)
	}
}

func TestRetriedDeliveriesComeBackAndTerminatedOnesDoNot(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	src := source(t, c, consumer.KindHeads)
	first := announce(t, c, 1)
	d := next(t, src)
	noErr(t, "retry", d.Retry(within(t), 30*time.Millisecond))
	d = next(t, src)
	if d.Message().Deliveries != 2 || d.Message().Bucket != first.Bucket {
		t.Fatalf("got %+v, want the second delivery", d.Message())
	}
	noErr(t, "extend", d.Extend(within(t)))
	noErr(t, "retry at once", d.Retry(within(t), 0))
	d = next(t, src)
	noErr(t, "terminate", d.Terminate(within(t), "line\none\x00"))
	second := announce(t, c, 2)
	if d = next(t, src); d.Message().Bucket != second.Bucket {
		t.Errorf("got bucket %s, want the second one", d.Message().Bucket)
	}
}

func TestWhatWasNotHandedOutIsGivenBack(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	for n := range byte(20) {
		announce(t, c, n)
	}
	src := source(t, c, consumer.KindHeads)
	d := next(t, src)
	noErr(t, "ack", d.Ack(within(t)))
	held := next(t, src)
	noErr(t, "close", src.Close(within(t)))
	if _, err := src.Next(within(t)); !errors.Is(err, consumer.ErrClosed) {
		t.Errorf("next after close: got %v, want %v", err, consumer.ErrClosed)
	}
	// All but the two handed out are there at once, for whoever asks.
	again := source(t, c, consumer.KindHeads)
	for range 18 {
		noErr(t, "ack", next(t, again).Ack(within(t)))
	}
	noErr(t, "ack after close", held.Ack(within(t)))
}

func TestNextReturnsWhenItsContextOrTheSourceEnds(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	src := source(t, c, consumer.KindHeads)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := src.Next(ctx)
	wantErr(t, "next", err, context.DeadlineExceeded)
	done := make(chan error)
	go func() {
		_, err := src.Next(context.Background())
		done <- err
	}()
	noErr(t, "close", src.Close(within(t)))
	wantErr(t, "next", <-done, consumer.ErrClosed)
}

func TestADeletedDurableIsMadeAgain(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	_, js := plain(t, s.URL())
	src := source(t, c, consumer.KindHeads)
	announce(t, c, 1)
	noErr(t, "ack", next(t, src).Ack(within(t)))
	noErr(t, "delete", js.DeleteConsumer(within(t), "HEADWATER_HEADS", c.Names().Durable(consumer.KindHeads, peer(1))))
	announce(t, c, 2)
	// The new durable starts at the beginning.
	for range 2 {
		noErr(t, "ack", next(t, src).Ack(within(t)))
	}
	noErr(t, "delete", js.DeleteStream(within(t), "HEADWATER_HEADS"))
	type result struct {
		d   consumer.Delivery
		err error
	}
	got := make(chan result)
	ctx := within(t)
	go func() {
		d, err := src.Next(ctx)
		got <- result{d, err}
	}()
	var a bucket.Announcement
	eventually(t, "the stream is there again", func() bool {
		a = bucket.Announcement{Bucket: bucket.NewID(), Peer: peer(2), Link: manifestLink(3)}
		_, err := c.Announce(ctx, a)
		return err == nil
	})
	r := <-got
	noErr(t, "next", r.err)
	if r.d.Message().Bucket != a.Bucket {
		t.Errorf("got %+v", r.d.Message())
	}
}

func TestABoundSourceWaitsForItsDurable(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(2)) // streams, and another peer's durables
	announce(t, c, 1)
	src := source(t, c, consumer.KindHeads, func(c *jetstream.SourceConfig) { c.Ensure.BindOnly = true })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := src.Next(ctx)
	wantErr(t, "next without a durable", err, context.DeadlineExceeded)
	_, err = c.Ensure(within(t), jetstream.EnsureConfig{Peer: peer(1)})
	noErr(t, "ensure", err)
	noErr(t, "ack", next(t, src).Ack(within(t)))
}

func TestDeliveriesGoOnAfterARestartOfTheServer(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	src := source(t, c, consumer.KindHeads)
	announce(t, c, 1)
	held := next(t, src)
	s.Stop()
	eventually(t, "the client knows", func() bool { return !c.Connected() })
	if err := held.Ack(within(t)); err == nil {
		t.Error("ack without a server: got no error")
	}
	s.Restart()
	eventually(t, "the client is back", c.Connected)
	noErr(t, "ack", held.Ack(within(t)))
	a := announce(t, c, 2)
	if d := next(t, src); d.Message().Bucket != a.Bucket {
		t.Errorf("got %+v, want the second announcement", d.Message())
	}
}

func TestDeliveriesGoOnUnderANewLeader(t *testing.T) {
	cl := natstest.StartCluster(t, 3)
	c := dial(t, cl.URL())
	_, err := c.Ensure(within(t), jetstream.EnsureConfig{Peer: peer(1), Replicas: 3})
	noErr(t, "ensure", err)
	src := source(t, c, consumer.KindHeads, func(c *jetstream.SourceConfig) { c.Ensure.Replicas = 3 })
	announce(t, c, 1)
	noErr(t, "ack", next(t, src).Ack(within(t)))
	cl.Stop(cl.LeaderOf("HEADWATER_HEADS"))
	a := bucket.Announcement{Bucket: bucket.NewID(), Peer: peer(2), Link: manifestLink(9)}
	eventually(t, "it can be announced", func() bool {
		_, err := c.Announce(t.Context(), a)
		return err == nil
	})
	for {
		d := next(t, src)
		noErr(t, "ack", eventuallyAck(t, d))
		if d.Message().Bucket == a.Bucket {
			return
		}
	}
}

// eventuallyAck acknowledges, however long a new leader takes.
func eventuallyAck(t *testing.T, d consumer.Delivery) (err error) {
	eventually(t, "it can be acknowledged", func() bool { err = d.Ack(t.Context()); return err == nil })
	return err
}

func TestAnAcknowledgementThatIsForbiddenFails(t *testing.T) {
	s := natstest.StartWith(t, natstest.Config{Users: []natstest.User{
		{Name: "all", Password: "all"},
		{Name: "noack", Password: "noack", Publish: []string{"$JS.API.>"}},
	}})
	all := ensured(t, userURL(s, "all"), peer(1))
	announce(t, all, 1)
	d := next(t, source(t, dial(t, userURL(s, "noack")), consumer.KindHeads))
	wantErr(t, "ack", d.Ack(within(t)), jetstream.ErrNotPermitted)
}

func TestMisconfiguredSourcesAreRefused(t *testing.T) {
	s := natstest.Start(t)
	c := dial(t, s.URL())
	for _, cfg := range []jetstream.SourceConfig{
		{}, {Kind: consumer.KindHeads}, {Ensure: jetstream.EnsureConfig{Peer: peer(1)}},
		{Kind: "other", Ensure: jetstream.EnsureConfig{Peer: peer(1)}},
	} {
		if _, err := c.NewSource(cfg); err == nil {
			t.Errorf("%+v: got no error", cfg)
		}
	}
}

func TestHeadsReturnsTheNewestOfEachPeer(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	b := bucket.NewID()
	if heads, err := c.Heads(within(t), b); err != nil || len(heads) != 0 {
		t.Errorf("before any: got %v, %v", heads, err)
	}
	for n := range byte(3) {
		for p := range byte(2) {
			_, err := c.Announce(within(t), bucket.Announcement{Bucket: b, Peer: peer(p + 1), Link: manifestLink(n)})
			noErr(t, "announce", err)
		}
	}
	announce(t, c, 7) // another bucket
	nc, _ := plain(t, s.URL())
	// What a stored message says of its own sequence is not believed.
	_, err := nc.RequestMsgWithContext(within(t), &nats.Msg{Subject: c.Names().Head(b, peer(3)), Data: []byte("x"),
		Header: nats.Header{"Nats-Sequence": {"1"}, "Nats-Subject": {"elsewhere"}}})
	noErr(t, "publish", err)
	heads, err := c.Heads(within(t), b)
	if err != nil || len(heads) != 3 {
		t.Fatalf("got %v, %v, want 3", heads, err)
	}
	for i, h := range heads {
		if h.Peer != peer(byte(i+1)) || h.Sequence == 0 || time.Since(h.At) > time.Minute {
			t.Errorf("head %d: got %+v", i, h)
		}
	}
	if a, err := bucket.DecodeAnnouncement(heads[1].ContentType, heads[1].Body); err != nil || a.Link != manifestLink(2) {
		t.Errorf("got %+v, %v, want the newest", a, err)
	}
}

func TestStreamsThatAllowNoDirectGetsAreScannedThroughTheirLeader(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	_, js := plain(t, s.URL())
	st, err := js.Stream(within(t), "HEADWATER_HEADS")
	noErr(t, "stream", err)
	cfg := st.CachedInfo().Config
	cfg.AllowDirect = false
	_, err = js.UpdateStream(within(t), cfg)
	noErr(t, "update", err)
	b := bucket.NewID()
	for p := range byte(3) {
		_, err := c.Announce(within(t), bucket.Announcement{Bucket: b, Peer: peer(p + 1), Link: manifestLink(p)})
		noErr(t, "announce", err)
	}
	if heads, err := c.Heads(within(t), b); err != nil || len(heads) != 3 {
		t.Errorf("got %v, %v, want 3", heads, err)
	}
	noErr(t, "delete", js.DeleteStream(within(t), "HEADWATER_HEADS"))
	_, err = c.Heads(within(t), b)
	wantErr(t, "heads of no stream", err, jetstream.ErrNotFound)
	_, err = c.Announce(within(t), bucket.Announcement{Bucket: b, Peer: peer(1), Link: manifestLink(1)})
	wantErr(t, "announce to no stream", err, jetstream.ErrNotFound)
}

func publishJob(t testing.TB, c *jetstream.Client, peer bucket.PublicKey, job bucket.PinJob, attempt uint32) (duplicate bool) {
	t.Helper()
	duplicate, err := c.Jobs(peer).PublishJob(within(t), job, attempt)
	noErr(t, "publish", err)
	return duplicate
}
