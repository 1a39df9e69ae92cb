package natstest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"

	"headwater/test/natstest"
)

func TestOldServerIsOldAndHandsOverToANewOne(t *testing.T) {
	old := natstest.StartOld(t)
	nc := connect(t, old.URL())
	if got := nc.ConnectedServerVersion(); !strings.HasPrefix(got, "2.10.") {
		t.Errorf("got version %s, want 2.10", got)
	}
	stream := createStream(t, newJetStream(t, nc), natsjs.StreamConfig{Name: "S", Subjects: []string{"s"}})
	publish(t, newJetStream(t, nc), "s", "kept")
	old.Stop()
	old.Stop()
	natstest.StartWith(t, natstest.Config{Port: old.Port(), Dir: old.Dir()})
	publishSoon(t, newJetStream(t, nc), "s", "more")
	if got := lastBody(t, stream, "s"); got != "more" {
		t.Errorf("got %q, want what was published last", got)
	}
	if info, err := stream.Info(t.Context()); err != nil || info.State.Msgs != 2 {
		t.Errorf("got %+v, %v, want the message that the old server stored, and another", info, err)
	}
}

func TestOldServerJoinsANewOneAsALeaf(t *testing.T) {
	hub := natstest.StartWith(t, natstest.Config{Domain: "hub", AcceptLeafs: true})
	old := natstest.StartOldLeaf(t, hub, "leaf")
	createStream(t, newJetStream(t, connect(t, old.URL())), natsjs.StreamConfig{Name: "S", Subjects: []string{"s"}})
	js, err := natsjs.NewWithDomain(connect(t, hub.URL()), "leaf")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := js.Stream(ctx, "S")
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("ask the leaf through the hub: %v", err)
		}
	}
}
