package local_test

import (
	"context"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headwater/bucket/buckettest"
	"headwater/peer/local"
	"headwater/peer/local/localtest"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(childRole); role != "" {
		os.Exit(child(role, os.Getenv(childDir)))
	}
	goleak.VerifyTestMain(m)
}

func TestHolderInTheSameProcess(t *testing.T) {
	for _, offline := range []bool{false, true} {
		localtest.Run(t, func(t *testing.T) (local.Holder, localtest.Fixture) { return newMemory(t, offline) })
	}
}

func TestHolderBehindASocket(t *testing.T) {
	for _, offline := range []bool{false, true} {
		localtest.Run(t, func(t *testing.T) (local.Holder, localtest.Fixture) {
			h, fx := newMemory(t, offline)
			return dial(t, serve(t, h, nil)), fx
		})
	}
}

func newMemory(t *testing.T, offline bool) (*localtest.Memory, localtest.Fixture) {
	id := buckettest.Identity(t, 1)
	m := &localtest.Memory{PeerID: id.PublicKey(), Offline: offline}
	return m, localtest.Fixture{Identity: id, Offline: offline, Event: func() {
		if err := m.Emit(map[string]string{"kind": "applied"}); err != nil {
			t.Error(err)
		}
	}}
}

func info(t testing.TB) local.Info {
	return local.Info{
		PeerID: buckettest.Identity(t, 1).PublicKey(), PID: 7, Since: time.Unix(1e9, 0).UTC(), Role: "run", Version: "test",
		Broker: local.BrokerSettings{URL: "nats://localhost", Prefix: "headwater"},
	}
}

// serve serves a holder until the test ends, and returns its directory.
func serve(t testing.TB, h local.Holder, yield func()) string {
	dir := t.TempDir()
	l, err := local.Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(serveOn(t, l, h, yield))
	return dir
}

// serveOn serves a holder until stop is called.
func serveOn(t testing.TB, l net.Listener, h local.Holder, yield func()) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var server sync.WaitGroup
	server.Go(func() {
		if err := local.Serve(ctx, l, h, info(t), yield); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return func() {
		cancel()
		server.Wait()
	}
}

// dial connects to the holder of a directory until the test ends.
func dial(t testing.TB, dir string) *local.Client {
	t.Helper()
	c, err := local.Dial(context.Background(), dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
