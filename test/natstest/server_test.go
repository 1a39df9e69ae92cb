package natstest_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"headwater/test/natstest"
)

func TestServerKeepsStreamsOverRestart(t *testing.T) {
	s := natstest.Start(t)
	url := s.URL()
	nc := connect(t, url)
	js := newJetStream(t, nc)
	stream := createStream(t, js, natsjs.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	publish(t, js, "s.a", "before")

	back := nc.StatusChanged(nats.CONNECTED)
	s.Stop()
	if s.Running() {
		t.Error("got a running server after Stop, want a stopped one")
	}
	if _, err := nats.Connect(url, nats.Timeout(time.Second)); err == nil {
		t.Error("got a connection to a stopped server, want an error")
	}
	s.Restart()
	if got := s.URL(); got != url {
		t.Errorf("got URL %s after restart, want %s", got, url)
	}
	<-back
	if got := lastBody(t, stream, "s.a"); got != "before" {
		t.Errorf("got %q after restart, want what was published before it", got)
	}
}

func TestServersTakeOverADirectory(t *testing.T) {
	dir := t.TempDir()
	first := natstest.StartWith(t, natstest.Config{Dir: dir})
	js := newJetStream(t, connect(t, first.URL()))
	createStream(t, js, natsjs.StreamConfig{Name: "S", Subjects: []string{"s"}})
	publish(t, js, "s", "kept")
	first.Stop()

	second := natstest.StartWith(t, natstest.Config{Dir: dir})
	stream, err := newJetStream(t, connect(t, second.URL())).Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	if got := lastBody(t, stream, "s"); got != "kept" {
		t.Errorf("got %q, want what the first server stored", got)
	}
}

func TestServerListensWhereTold(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := natstest.StartWith(t, natstest.Config{Port: port})
	if want := fmt.Sprintf("nats://127.0.0.1:%d", port); s.URL() != want {
		t.Errorf("got URL %s, want %s", s.URL(), want)
	}
}

func TestConfigLimits(t *testing.T) {
	const limit = 64 << 20
	dir := t.TempDir()
	s := natstest.StartWith(t, natstest.Config{
		Dir: dir, Domain: "east", SyncAlways: true, MaxMemory: limit, MaxStore: 2 * limit, MaxPayload: 4096,
	})
	conn := connect(t, s.URL())
	if got := conn.MaxPayload(); got != 4096 {
		t.Errorf("got payloads up to %d bytes, want 4096", got)
	}
	js, err := natsjs.NewWithDomain(conn, "east")
	if err != nil {
		t.Fatal(err)
	}
	createStream(t, js, natsjs.StreamConfig{Name: "FITS", Subjects: []string{"fits"}, MaxBytes: limit})
	for storage, size := range map[natsjs.StorageType]int64{natsjs.MemoryStorage: 2 * limit, natsjs.FileStorage: 4 * limit} {
		big := natsjs.StreamConfig{Name: "BIG", Subjects: []string{"big"}, Storage: storage, MaxBytes: size}
		if _, err := js.CreateStream(t.Context(), big); err == nil {
			t.Errorf("got a stream of %d bytes in %s, twice what the server may use, want an error", size, storage)
		}
	}
	if s.Dir() != dir {
		t.Errorf("got directory %s, want %s", s.Dir(), dir)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) == 0 {
		t.Errorf("got %d entries in %s (%v), want the server's files", len(entries), dir, err)
	}
}

func TestLeafReachesHubByDomain(t *testing.T) {
	hub := natstest.StartWith(t, natstest.Config{Domain: "hub", AcceptLeafs: true})
	leaf := natstest.StartWith(t, natstest.Config{Domain: "leaf", LeafOf: hub})

	atHub, err := natsjs.NewWithDomain(connect(t, hub.URL()), "hub")
	if err != nil {
		t.Fatal(err)
	}
	createStream(t, atHub, natsjs.StreamConfig{Name: "S", Subjects: []string{"s"}})
	fromLeaf, err := natsjs.NewWithDomain(connect(t, leaf.URL()), "hub")
	if err != nil {
		t.Fatal(err)
	}
	publishSoon(t, fromLeaf, "s", "through the leaf")
	stream, err := fromLeaf.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	if got := lastBody(t, stream, "s"); got != "through the leaf" {
		t.Errorf("got %q, want what was published through the leaf", got)
	}
}

func TestUsersAreHeldToTheirSubjects(t *testing.T) {
	s := natstest.StartWith(t, natstest.Config{Users: []natstest.User{
		{Name: "all", Password: "a"},
		{Name: "writer", Password: "w", Publish: []string{"open"}, Subscribe: []string{}},
	}})
	if _, err := nats.Connect(s.URL()); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("got %v for a client without a name, want %v", err, nats.ErrAuthorization)
	}
	reader := connect(t, s.URL(), nats.UserInfo("all", "a"))
	sub, err := reader.SubscribeSync("*")
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Flush(); err != nil { // the server knows of the subscription from here on
		t.Fatal(err)
	}
	refused := make(chan error, 2)
	writer := connect(t, s.URL(), nats.UserInfo("writer", "w"),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	for _, subject := range []string{"shut", "open"} {
		if err := writer.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	msg, err := sub.NextMsgWithContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if msg.Subject != "open" {
		t.Errorf("got a message on %s, want only the one on open", msg.Subject)
	}
	if err := <-refused; !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("got %v for a subject that is not allowed, want %v", err, nats.ErrPermissionViolation)
	}
}
