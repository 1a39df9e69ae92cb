package jetstream_test

import (
	"encoding/binary"
	"testing"

	"headwater/bucket"
	"headwater/jetstream"
	"headwater/test/natstest"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

// announcers publishes announcements of a bucket by n peers, whose keys are numbers from first on.
func announcers(t *testing.T, nc *nats.Conn, names jetstream.Names, b bucket.ID, first, n int, body []byte) {
	t.Helper()
	for i := range n {
		noErr(t, "publish", nc.Publish(names.Head(b, numbered(first+i)), body))
	}
	noErr(t, "flush", nc.Flush())
}

func numbered(n int) (k bucket.PublicKey) {
	k[0] = 0xfe
	binary.BigEndian.PutUint32(k[28:], uint32(n))
	return k
}

func TestBounded_HeadsOfManyAnnouncersAreReadInPart(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	nc, js := plain(t, s.URL())
	b := bucket.NewID()
	announcers(t, nc, c.Names(), b, 0, 3000, []byte(`{}`))
	eventually(t, "all are stored", func() bool { return inStream(t, js, c.Names().HeadsStream()) == 3000 })

	heads, err := c.Heads(within(t), b)
	if err != nil || len(heads) != 1024 || heads[0].Peer != numbered(0) || heads[1023].Peer != numbered(1023) {
		t.Errorf("got %d heads, error %v, want the first 1,024", len(heads), err)
	}
	heads, err = c.Heads(within(t), bucket.NewID())
	if err != nil || len(heads) != 0 {
		t.Errorf("of another bucket: got %d heads, error %v", len(heads), err)
	}
}

func TestBounded_LargeHeadsAreLeftOutAndEndTheReading(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	nc, js := plain(t, s.URL())
	b := bucket.NewID()
	announcers(t, nc, c.Names(), b, 0, 1, []byte(`{}`))
	announcers(t, nc, c.Names(), b, 1, 80, make([]byte, 1<<20-1000))
	announcers(t, nc, c.Names(), b, 100, 1, []byte(`{}`))
	eventually(t, "all are stored", func() bool { return inStream(t, js, c.Names().HeadsStream()) == 82 })
	if heads, err := c.Heads(within(t), b); err != nil || len(heads) != 1 {
		t.Errorf("got %d heads, error %v, want the one before the large ones", len(heads), err)
	}
}

// inStream counts the messages of a stream.
func inStream(t *testing.T, js natsjs.JetStream, name string) uint64 {
	t.Helper()
	st, err := js.Stream(within(t), name)
	noErr(t, "stream", err)
	return st.CachedInfo().State.Msgs
}
