package jetstream_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"headwater/bucket"
	"headwater/jetstream"
	"headwater/test/natstest"
)

func TestAbsentTellsWhatAStoreLacks(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	store := c.Names().BlobStore()
	var hashes, want []bucket.Hash
	for i := range 2500 {
		b := octets(byte(i), 64+i)
		hashes = append(hashes, bucket.Sum(b))
		if i%500 != 0 {
			want = append(want, bucket.Sum(b))
			continue
		}
		put(t, c, b)
	}
	large := octets(7, 300_000)
	hashes = append(hashes, put(t, c, large))
	got, err := c.Absent(within(t), store, hashes)
	noErr(t, "absent", err)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("absent (-want +got):\n%s", d)
	}
	_, js := plain(t, s.URL())
	o, err := js.ObjectStore(within(t), store)
	noErr(t, "object store", err)
	noErr(t, "delete", o.Delete(within(t), bucket.Sum(large).String()))
	got, err = c.Absent(within(t), store, hashes[len(hashes)-1:])
	noErr(t, "absent after deletion", err)
	if len(got) != 1 {
		t.Errorf("a deleted object counts as there")
	}
	_, err = c.Absent(within(t), "nowhere", hashes)
	wantErr(t, "no such store", err, jetstream.ErrNotFound)
}

func TestAConnectionThatWasHandedInStaysOpen(t *testing.T) {
	s := natstest.Start(t)
	nc, err := nats.Connect(s.URL())
	noErr(t, "connect", err)
	defer nc.Close()
	c, err := jetstream.Dial(within(t), jetstream.Config{Conn: nc})
	noErr(t, "dial", err)
	_, err = c.Ensure(within(t), jetstream.EnsureConfig{Peer: peer(1)})
	noErr(t, "ensure", err)
	wantObject(t, c, func() []byte { b := octets(1, 1000); put(t, c, b); return b }())
	if connected, since := c.Since(); !connected || since.IsZero() {
		t.Errorf("got connected %t since %s", connected, since)
	}
	noErr(t, "close", c.Close(within(t)))
	noErr(t, "close again", c.Close(within(t)))
	if !nc.IsConnected() {
		t.Error("the connection is closed with the client")
	}
	nc.Close()
	_, err = jetstream.Dial(within(t), jetstream.Config{Conn: nc})
	wantErr(t, "a closed connection", err, jetstream.ErrUnreachable)
}
