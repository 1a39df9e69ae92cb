package jetstream_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/test/natstest"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
)

// letters lists what matches f.
func letters(tb testing.TB, c *jetstream.Client, f jetstream.LetterFilter) (all []jetstream.Letter) {
	tb.Helper()
	for l, err := range c.Letters(within(tb), f) {
		noErr(tb, "list", err)
		all = append(all, l)
	}
	return all
}

func TestDeadLettersKeepTheMessageAndSayWhy(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	b := bucket.NewID()
	nc, _ := plain(t, s.URL())
	header := nats.Header{"Content-Type": {"application/json"}, "Nats-Msg-Id": {"abc"}, "traceparent": {"00-1", "00-2"},
		"Nats-Expected-Stream": {"HEADWATER_HEADS"}, "Headwater-Reason": {"mine"}, "Nats-Rollup": {"sub"}}
	sent := &nats.Msg{Subject: c.Names().Head(b, peer(2)), Data: []byte(`{"link":1}`), Header: nats.Header{}}
	for k, v := range header {
		if k != "Nats-Rollup" {
			sent.Header[k] = v
		}
	}
	_, err := nc.RequestMsgWithContext(within(t), sent)
	noErr(t, "publish", err)
	d := next(t, source(t, c, consumer.KindHeads))
	m := d.Message()
	m.Header["Nats-Rollup"] = header["Nats-Rollup"] // as another broker may deliver it
	for range 2 {
		noErr(t, "bury", c.DeadLetters(peer(1)).Bury(within(t), m, "malformed", "it is\nnot CBOR"))
	}
	noErr(t, "terminate", d.Terminate(within(t), "malformed"))
	all := letters(t, c, jetstream.LetterFilter{})
	if len(all) != 1 {
		t.Fatalf("got %d letters, want 1", len(all))
	}
	l := all[0]
	if d := cmp.Diff(map[string][]string(header), l.Header); d != "" {
		t.Errorf("original headers (-want +got):\n%s", d)
	}
	if l.Owner != peer(1) || l.Kind != consumer.KindHeads || l.Bucket != b || l.Peer != peer(2) || l.Class != "malformed" ||
		l.Reason != "it is not CBOR" || l.Subject != sent.Subject || l.Sequence != m.Sequence || l.Deliveries != 1 ||
		!bytes.Equal(l.Body, sent.Data) || time.Since(l.At) > time.Minute || l.Truncated != 0 {
		t.Errorf("got %+v", l)
	}
	got, err := c.Letter(within(t), l.Letter)
	if d := cmp.Diff(l, got); d != "" || err != nil {
		t.Errorf("one letter: %v (-list +one):\n%s", err, d)
	}
}

// dead makes a letter of owner without a message behind it.
func dead(tb testing.TB, c *jetstream.Client, owner bucket.PublicKey, k consumer.Kind, b bucket.ID, seq uint64) {
	tb.Helper()
	m := consumer.Message{Kind: k, Bucket: b, Sequence: seq, Deliveries: 3, Body: []byte("body"), Subject: c.Names().Head(b, peer(9))}
	if k == consumer.KindPins {
		m.Subject = c.Names().Pins(owner, b)
	}
	noErr(tb, "bury", c.DeadLetters(owner).Bury(within(tb), m, "exhausted", "no store answered"))
}

func TestDeadLettersAreListedCountedAndDropped(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	one, two := bucket.NewID(), bucket.NewID()
	dead(t, c, peer(1), consumer.KindHeads, one, 1)
	dead(t, c, peer(1), consumer.KindHeads, one, 2)
	dead(t, c, peer(1), consumer.KindPins, two, 1)
	dead(t, c, peer(1), consumer.KindHeads, bucket.ID{}, 4)
	dead(t, c, peer(2), consumer.KindHeads, one, 1)
	for _, f := range []struct {
		filter jetstream.LetterFilter
		want   int
	}{
		{jetstream.LetterFilter{}, 5}, {jetstream.LetterFilter{Owner: peer(1)}, 4}, {jetstream.LetterFilter{Kind: consumer.KindPins}, 1},
		{jetstream.LetterFilter{Owner: peer(1), Bucket: one}, 2}, {jetstream.LetterFilter{Owner: peer(3)}, 0},
	} {
		if got := len(letters(t, c, f.filter)); got != f.want {
			t.Errorf("%+v: got %d letters, want %d", f.filter, got, f.want)
		}
	}
	counts, err := c.CountLetters(within(t), peer(1))
	noErr(t, "count", err)
	if d := cmp.Diff(map[bucket.ID]uint64{one: 2, two: 1, {}: 1}, counts); d != "" {
		t.Errorf("counts (-want +got):\n%s", d)
	}
	l := letters(t, c, jetstream.LetterFilter{Kind: consumer.KindPins})[0]
	noErr(t, "drop", c.DropLetter(within(t), l.Letter))
	for _, n := range []uint64{l.Letter, 1000} {
		wantErr(t, "drop again", c.DropLetter(within(t), n), jetstream.ErrNotFound)
		_, err = c.Letter(within(t), n)
		wantErr(t, "letter", err, jetstream.ErrNotFound)
		wantErr(t, "replay", c.ReplayLetter(within(t), n, false), jetstream.ErrNotFound)
	}
}

func TestReplayedLettersArriveAgain(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	src := source(t, c, consumer.KindHeads)
	a := announce(t, c, 1)
	d := next(t, src)
	m := d.Message()
	noErr(t, "bury", c.DeadLetters(peer(1)).Bury(within(t), m, "exhausted", "no store answered"))
	noErr(t, "terminate", d.Terminate(within(t), "exhausted"))
	noErr(t, "replay", c.ReplayLetter(within(t), letters(t, c, jetstream.LetterFilter{})[0].Letter, false))
	again := next(t, src)
	if got := again.Message(); got.Bucket != a.Bucket || got.Sequence == m.Sequence || !bytes.Equal(got.Body, m.Body) || got.Header["Content-Type"][0] != bucket.ContentTypeCBOR {
		t.Errorf("got %+v, want the message again", got)
	}
	if rest := letters(t, c, jetstream.LetterFilter{}); len(rest) != 0 {
		t.Errorf("%d letters are left, want none", len(rest))
	}
	noErr(t, "ack", again.Ack(within(t)))
}

func TestReplayingDoesNotHideANewerAnnouncement(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	src := source(t, c, consumer.KindHeads)
	a := announce(t, c, 1)
	d := next(t, src)
	noErr(t, "bury", c.DeadLetters(peer(1)).Bury(within(t), d.Message(), "exhausted", "no store answered"))
	noErr(t, "terminate", d.Terminate(within(t), "exhausted"))
	a.Link = manifestLink(2)
	_, err := c.Announce(within(t), a)
	noErr(t, "announce", err)
	l := letters(t, c, jetstream.LetterFilter{})[0]
	wantErr(t, "replay", c.ReplayLetter(within(t), l.Letter, false), jetstream.ErrSuperseded)
	heads, err := c.Heads(within(t), a.Bucket)
	if err != nil || len(heads) != 1 || heads[0].Sequence == l.Sequence {
		t.Errorf("got heads %v, %v, want the newer one", heads, err)
	}
	noErr(t, "replay with force", c.ReplayLetter(within(t), l.Letter, true))
	if heads, err = c.Heads(within(t), a.Bucket); err != nil || !bytes.Equal(heads[0].Body, l.Body) {
		t.Errorf("got heads %v, %v, want the replayed one", heads, err)
	}
}

func TestPinLettersAreReplayedToTheirPeer(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	b := bucket.NewID()
	dead(t, c, peer(1), consumer.KindPins, b, 1)
	noErr(t, "replay", c.ReplayLetter(within(t), letters(t, c, jetstream.LetterFilter{})[0].Letter, false))
	m := next(t, source(t, c, consumer.KindPins)).Message()
	if m.Bucket != b || string(m.Body) != "body" {
		t.Errorf("got %+v", m)
	}
}

func TestALetterTooLargeToCarryItsReasonIsCut(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	m := consumer.Message{Kind: consumer.KindHeads, Bucket: bucket.NewID(), Sequence: 1, Body: noise(1, 1<<20), Subject: "headwater.heads.x.y",
		Header: map[string][]string{"A": {"kept"}, "B": {strings.Repeat("x", 100<<10)}}}
	noErr(t, "bury", c.DeadLetters(peer(1)).Bury(within(t), m, "too_large", "1 MiB"))
	l := letters(t, c, jetstream.LetterFilter{})[0]
	if l.Truncated != 1<<20 || len(l.Body) < 900<<10 || !bytes.HasPrefix(m.Body, l.Body) || l.Header["A"] == nil {
		t.Errorf("got a body of %d, truncated from %d, headers %v", len(l.Body), l.Truncated, len(l.Header))
	}
	wantErr(t, "replay", c.ReplayLetter(within(t), l.Letter, true), jetstream.ErrPayload)
}

// A letter's headers can be written by whoever may publish to the stream.
func TestForgedLettersDoNotReachOtherSubjects(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	nc, _ := plain(t, s.URL())
	for _, subject := range []string{"", "elsewhere", "$JS.API.STREAM.DELETE.HEADWATER_HEADS", "headwater.heads.*.x", "headwater.pins.a.b", "headwater.heads.a.b.c", "headwater.heads.a.b c"} {
		_, err := nc.RequestMsgWithContext(within(t), &nats.Msg{Subject: c.Names().Dead(peer(1), consumer.KindHeads, bucket.NewID()),
			Header: nats.Header{"Headwater-Subject": {subject}, "Headwater-Sequence": {"x"}}, Data: []byte("x")})
		noErr(t, "publish", err)
	}
	for _, l := range letters(t, c, jetstream.LetterFilter{}) {
		if err := c.ReplayLetter(within(t), l.Letter, true); !errors.Is(err, jetstream.ErrPayload) {
			t.Errorf("subject %q: got %v, want it refused", l.Subject, err)
		}
	}
}
