package natstest_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"headwater/test/natstest"
)

func TestProxyDelaysEachWay(t *testing.T) {
	s := natstest.Start(t)
	const oneWay = 20 * time.Millisecond
	p := natstest.StartProxy(t, s.URL(), oneWay)
	nc := connect(t, p.URL())
	rtt, err := nc.RTT()
	if err != nil {
		t.Fatal(err)
	}
	if rtt < 2*oneWay || rtt > 20*oneWay {
		t.Errorf("got a round trip of %s, want %s and a little", rtt, 2*oneWay)
	}
	if direct, err := connect(t, s.URL()).RTT(); err != nil || direct >= oneWay {
		t.Errorf("got a round trip of %s past the proxy (%v), want far less than %s", direct, err, oneWay)
	}
}

// Latency must not become a limit on the rate: much data under way at once arrives a delay later, in order.
func TestProxyKeepsOrderAndRate(t *testing.T) {
	const (
		oneWay = 50 * time.Millisecond
		count  = 64
		size   = 512 << 10
	)
	p := natstest.StartProxy(t, natstest.Start(t).URL(), oneWay)
	nc := connect(t, p.URL())
	sub, err := nc.SubscribeSync("flood")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for i := range count {
		if err := nc.Publish("flood", bytes.Repeat([]byte{byte(i)}, size)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range count {
		msg, err := sub.NextMsgWithContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := bytes.Repeat([]byte{byte(i)}, size); !bytes.Equal(msg.Data, want) {
			t.Fatalf("got message %d changed or out of order", i)
		}
	}
	if took, oneByOne := time.Since(start), count*2*oneWay; took < 2*oneWay || took > oneByOne {
		t.Errorf("got %d messages in %s, want more than %s, and far less than one by one in %s", count, took, 2*oneWay, oneByOne)
	}
	up, down := p.Bytes()
	if up < count*size || down < count*size || up > 2*count*size {
		t.Errorf("got %d bytes up and %d down, want a little more than %d each", up, down, count*size)
	}
}

func TestProxyStopCutsConnections(t *testing.T) {
	p := natstest.StartProxy(t, natstest.Start(t).URL(), time.Hour)
	if _, err := nats.Connect(p.URL(), nats.Timeout(100*time.Millisecond)); err == nil {
		t.Error("got a connection over a delay of an hour, want a timeout")
	}
	p.Stop()
	p.Stop()
	if _, err := nats.Connect(p.URL(), nats.Timeout(time.Second)); err == nil {
		t.Error("got a connection through a stopped proxy, want an error")
	}
}

func TestProxyFollowsItsServerOverRestart(t *testing.T) {
	s := natstest.Start(t)
	p := natstest.StartProxy(t, s.URL(), time.Millisecond)
	nc := connect(t, p.URL())
	gone, back := nc.StatusChanged(nats.RECONNECTING), nc.StatusChanged(nats.CONNECTED)
	s.Stop()
	<-gone
	s.Restart()
	<-back
	if _, err := nc.RTT(); err != nil {
		t.Errorf("got %v after the server came back, want a round trip", err)
	}
}
