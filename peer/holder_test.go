package peer_test

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/goleak"

	"headwater/bucket"
	"headwater/jetstream"
	"headwater/peer"
	"headwater/peer/local"
	"headwater/peer/local/localtest"
	"headwater/test/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// config is of a new peer, whose identity is made.
func config(t *testing.T, url string) (peer.Config, bucket.Identity) {
	t.Helper()
	dir := t.TempDir()
	id, err := peer.EnsureIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	return peer.Config{Dir: dir, NATS: jetstream.Config{URL: url}}, id
}

// open opens a peer until the test ends.
func open(t *testing.T, cfg peer.Config) *peer.Peer {
	t.Helper()
	p, err := peer.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closes(t, p.Session) })
	return p
}

// use is a session on a directory until the test ends.
func use(t *testing.T, cfg peer.Config) *peer.Session {
	t.Helper()
	s, err := peer.Use(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closes(t, s) })
	return s
}

func closes(t *testing.T, s *peer.Session) {
	t.Helper()
	if err := s.Close(context.Background()); err != nil {
		t.Errorf("close: %v", err)
	}
}

// ensure makes on a server what peers need.
func ensure(t *testing.T, url string) {
	t.Helper()
	c, err := jetstream.Dial(t.Context(), jetstream.Config{URL: url})
	if err == nil {
		_, err = c.Ensure(t.Context(), jetstream.EnsureConfig{})
	}
	if err == nil {
		err = c.Close(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Whoever holds the directory, and whoever asks: one interface, one suite.
func TestHolder(t *testing.T) {
	url := natstest.Start(t).URL()
	ensure(t, url) // so that the server's own goroutines are there before the suite looks for leaks
	for _, broker := range []string{url, "nats://127.0.0.1:1"} {
		fixture := func(id bucket.Identity) localtest.Fixture {
			return localtest.Fixture{Identity: id, Offline: broker != url}
		}
		t.Run("this process", func(t *testing.T) {
			localtest.Run(t, func(t *testing.T) (local.Holder, localtest.Fixture) {
				cfg, id := config(t, broker)
				return open(t, cfg).Holder(), fixture(id)
			})
		})
		t.Run("another one", func(t *testing.T) {
			localtest.Run(t, func(t *testing.T) (local.Holder, localtest.Fixture) {
				cfg, id := config(t, broker)
				open(t, cfg)
				return use(t, cfg).Holder(), fixture(id)
			})
		})
		t.Run("nobody yet", func(t *testing.T) {
			localtest.Run(t, func(t *testing.T) (local.Holder, localtest.Fixture) {
				cfg, id := config(t, broker)
				return use(t, cfg).Holder(), fixture(id)
			})
		})
	}
}

func TestOpenRefusesADirectoryThatIsHeld(t *testing.T) {
	cfg, _ := config(t, "")
	first := open(t, cfg)
	if _, err := peer.Open(t.Context(), cfg); err == nil {
		t.Error("got no error for a directory that is held")
	}
	cfg.Role = peer.RoleRun
	closes(t, first.Session)
	runs := open(t, cfg)
	if _, err := peer.Open(t.Context(), cfg); !errors.Is(err, peer.ErrRunning) {
		t.Errorf("got %v beside a running peer, want ErrRunning", err)
	}
	if err := peer.Running(cfg.Dir); !errors.Is(err, peer.ErrRunning) {
		t.Errorf("got %v, want ErrRunning", err)
	}
	closes(t, runs.Session)
	if err := peer.Running(cfg.Dir); err != nil {
		t.Errorf("got %v of a directory that nobody holds", err)
	}
	if _, err := peer.Open(t.Context(), peer.Config{Dir: t.TempDir()}); !errors.Is(err, peer.ErrNoIdentity) {
		t.Errorf("got %v, want ErrNoIdentity", err)
	}
}
