package jetstream_test

import (
	"testing"

	"headwater/consumer"
	"headwater/jetstream"
	"headwater/test/natstest"
)

// TestWhatADeadProcessHeldIsDeliveredAtOnce: without waiting for the lease, which is longer than the test may take.
func TestWhatADeadProcessHeldIsDeliveredAtOnce(t *testing.T) {
	s := natstest.Start(t)
	dead := ensured(t, s.URL(), peer(1))
	a := announce(t, dead, 1)
	next(t, source(t, dead, consumer.KindHeads)) // taken, and never settled

	c := dial(t, s.URL())
	noErr(t, "reclaim", c.Reclaim(within(t), jetstream.EnsureConfig{Peer: peer(1)}))
	if m := next(t, source(t, c, consumer.KindHeads)).Message(); m.Bucket != a.Bucket || m.Deliveries != 1 {
		t.Errorf("got %+v, want the announcement anew", m)
	}
}

func TestReclaimLeavesWhatOthersSetUp(t *testing.T) {
	s := natstest.Start(t)
	dead := ensured(t, s.URL(), peer(1))
	announce(t, dead, 1)
	next(t, source(t, dead, consumer.KindHeads))
	c := dial(t, s.URL())
	_, js := plain(t, s.URL())
	for name, cfg := range map[string]jetstream.EnsureConfig{
		"bind only":       {Peer: peer(1), BindOnly: true},
		"another setting": {Peer: peer(1), AckWait: jetstream.DefaultAckWait * 2},
		"another peer":    {Peer: peer(2)},
		"no peer":         {},
	} {
		noErr(t, name, c.Reclaim(within(t), cfg))
		d, err := js.Consumer(within(t), c.Names().HeadsStream(), c.Names().Durable(consumer.KindHeads, peer(1)))
		noErr(t, "durable", err)
		if held := d.CachedInfo().NumAckPending; held != 1 {
			t.Errorf("%s: %d deliveries are held, want one as before", name, held)
		}
	}
}
