package natstest_test

import (
	"fmt"
	"testing"

	natsjs "github.com/nats-io/nats.go/jetstream"

	"headwater/test/natstest"
)

func TestClusterOutlivesItsLeader(t *testing.T) {
	c := natstest.StartCluster(t, 3)
	if got := len(c.Nodes()); got != 3 {
		t.Fatalf("got %d nodes, want 3", got)
	}
	js := newJetStream(t, connect(t, c.URL()))
	stream := createStream(t, js, natsjs.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Replicas: 3})
	publish(t, js, "s.0", "0")

	for round := 1; round <= 2; round++ {
		leader := c.LeaderOf("S")
		c.Stop(leader)
		if c.Nodes()[leader].Running() {
			t.Fatalf("got node %d running after Stop, want it stopped", leader)
		}
		subject, body := fmt.Sprintf("s.%d", round), fmt.Sprint(round)
		publishSoon(t, js, subject, body)
		if got := c.LeaderOf("S"); got == leader {
			t.Errorf("got node %d as leader while it is stopped, want another", got)
		}
		c.Restart(leader)
		c.WaitReady()
		c.WaitCurrent("S", 3)
		if got := lastBody(t, stream, subject); got != body {
			t.Errorf("got %q, want %q, published while node %d was away", got, body, leader)
		}
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Msgs != 3 || len(info.Cluster.Replicas) != 2 {
		t.Errorf("got %d messages and %d followers, want 3 and 2", info.State.Msgs, len(info.Cluster.Replicas))
	}
}

func TestClusterIsReadyForReplicas(t *testing.T) {
	c := natstest.StartClusterWith(t, 3, natstest.Config{SyncAlways: true})
	js := newJetStream(t, connect(t, c.URL()))
	// Fresh from WaitReady, no retry.
	createStream(t, js, natsjs.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3})
	publish(t, js, "s", "synced")
}
