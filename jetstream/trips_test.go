package jetstream_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"headwater/bucket"
	"headwater/jetstream"
	"headwater/test/natstest"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

// sent counts the messages that do sends, each of which is a round trip where they are sent one after another.
func sent(c *jetstream.Client, do func()) uint64 {
	before := c.Sent()
	do()
	return c.Sent() - before
}

func TestRoundTripsAreFew(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	_, js := plain(t, s.URL())
	_, err := js.CreateObjectStore(within(t), natsjs.ObjectStoreConfig{Bucket: "theirs"})
	noErr(t, "create", err)
	theirs, err := js.ObjectStore(within(t), "theirs")
	noErr(t, "object store", err)
	small, large := noise(1, 2000), noise(2, 4<<20)
	check := func(what string, want uint64, do func() error) {
		t.Helper()
		if got := sent(c, func() { noErr(t, what, do()) }); got != want {
			t.Errorf("%s: got %d messages sent, want %d", what, got, want)
		}
	}
	get := func(store string, b []byte, fresh bool) func() error {
		return func() error {
			r, _, err := c.Objects().Get(within(t), store, bucket.Sum(b), fresh)
			if err != nil {
				return err
			}
			_, err = bytes.NewBuffer(nil).ReadFrom(r)
			_ = r.Close()
			return err
		}
	}
	check("put", 3, func() error { return c.PutObject(within(t), blobs, bucket.Sum(small), 2000, bytes.NewReader(small)) })
	check("put what is there", 1, func() error { return c.PutObject(within(t), blobs, bucket.Sum(small), 2000, bytes.NewReader(small)) })
	absent, unasked := noise(3, 1<<20), noise(4, 1<<20)
	direct := sent(c, func() { put(t, c, absent) })
	check("put what is known to be absent", direct-1, func() error {
		return c.PutAbsent(within(t), blobs, bucket.Sum(unasked), 1<<20, bytes.NewReader(unasked))
	})
	check("get ours", 1, get(blobs, small, false))
	check("get ours fresh", 1, get(blobs, small, true))
	put(t, c, large)
	check("get a large one", 3, get(blobs, large, false)) // the hash, the meta, one window
	for n := range byte(4) {
		b := noise(50+n, 1000)
		_, err = theirs.PutBytes(within(t), bucket.Sum(b).String(), b)
		noErr(t, "library's put", err)
		want := uint64(3)
		if n >= 1 {
			want = 2 // it has learnt to ask for the meta first
		}
		check(fmt.Sprintf("get theirs, number %d", n), want, get("theirs", b, false))
	}
}

// oldServer plays an old server, whose domain is old: a subscriber who hands on what the real one says to what the old one
// would have read of a request.
func oldServer(t *testing.T, s *natstest.Server, reads func(m *nats.Msg) (body []byte, answer string)) {
	t.Helper()
	nc, _ := plain(t, s.URL())
	_, err := nc.Subscribe("$JS.old.API.>", func(m *nats.Msg) {
		asked := nats.NewMsg("$JS.API" + strings.TrimPrefix(m.Subject, "$JS.old.API"))
		body, said := reads(m)
		if asked.Data = body; said != "" {
			noError(t, m.Respond([]byte(said)))
			return
		}
		answer, err := nc.RequestMsg(asked, limit)
		if err != nil {
			t.Errorf("hand on %s: %v", m.Subject, err)
			return
		}
		answer.Subject = m.Reply
		noError(t, nc.PublishMsg(answer))
	})
	noErr(t, "subscribe", err)
	noErr(t, "flush", nc.Flush())
}

// A server before 2.12 that is strict refuses settings which it does not know.
func TestStrictServersThatKnowNoBatchesGetStoresWithoutThem(t *testing.T) {
	s := natstest.Start(t)
	oldServer(t, s, func(m *nats.Msg) (body []byte, answer string) {
		if bytes.Contains(m.Data, []byte(`"allow_atomic"`)) {
			return nil, `{"error":{"code":400,"err_code":10025,"description":"invalid JSON: json: unknown field \"allow_atomic\""}}`
		}
		return m.Data, ""
	})
	c := dial(t, s.URL(), func(c *jetstream.Config) { c.Domain = "old" })
	if d, err := c.Ensure(within(t), jetstream.EnsureConfig{Peer: peer(1)}); err != nil || len(d) > 0 {
		t.Errorf("ensure: got %v, %v, want no difference", d, err)
	}
	objects, _ := smallObjects(1, 50, 100)
	noErr(t, "put", c.PutObjects(within(t), blobs, objects))
	wantObject(t, c, objects[49].Data)
}

// A server before 2.11 answers a request for the messages of one subject with a single one.
func TestServersWithoutBatchesAreReadChunkByChunk(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	b := noise(1, 700_000)
	h := put(t, c, b)
	oldServer(t, s, func(m *nats.Msg) (body []byte, answer string) {
		if i := bytes.Index(m.Data, []byte(`,"batch"`)); i > 0 {
			return append(bytes.Clone(m.Data[:i]), '}'), ""
		}
		return m.Data, ""
	})
	r, _, err := c.Objects().Get(within(t), "old/"+blobs, h, false)
	noErr(t, "get", err)
	defer r.Close()
	var got bytes.Buffer
	if _, err := got.ReadFrom(r); err != nil || !bytes.Equal(got.Bytes(), b) {
		t.Errorf("got %d bytes, %v", got.Len(), err)
	}
	old := dial(t, s.URL(), func(c *jetstream.Config) { c.Domain = "old" })
	id := bucket.NewID()
	for p := range byte(3) {
		_, err := c.Announce(within(t), bucket.Announcement{Bucket: id, Peer: peer(p + 1), Link: manifestLink(p)})
		noErr(t, "announce", err)
	}
	if heads, err := old.Heads(within(t), id); err != nil || len(heads) != 3 {
		t.Errorf("heads: got %v, %v, want 3", heads, err)
	}
}
