package peer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/peer"
	"headwater/test/natstest"
)

// run runs a peer until the test ends or stop is called. It hears when run returns.
func run(t *testing.T, cfg peer.Config) (p *peer.Peer, stop func()) {
	t.Helper()
	cfg.Role = peer.RoleRun
	p, err := peer.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- p.Run(ctx, func(string) { close(ready) }) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-ended, p.Close(context.Background())); err != nil {
			t.Errorf("end of the run: %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatal("the run ended before it was ready")
	}
	return p, stop
}

// awaits polls until f returns no error.
func awaits(t *testing.T, what string, f func() error) {
	t.Helper()
	ticker, limit := time.NewTicker(20*time.Millisecond), time.Now().Add(30*time.Second)
	defer ticker.Stop()
	for err := f(); err != nil; err = f() {
		if time.Now().After(limit) {
			t.Fatalf("waited for %s: %v", what, err)
		}
		<-ticker.C
	}
}

// state polls until a bucket stands as wanted.
func state(t *testing.T, s *peer.Session, id bucket.ID, want consumer.State) {
	t.Helper()
	awaits(t, "state "+string(want), func() error {
		status, err := s.Status(t.Context(), id)
		if err == nil && status.Buckets[0].State != want {
			err = fmt.Errorf("it is %s: %s", status.Buckets[0].State, status.Buckets[0].LastError)
		}
		return err
	})
}

// wipe makes a server lose everything.
func wipe(t *testing.T, s *natstest.Server) {
	t.Helper()
	s.Stop()
	if err := os.RemoveAll(filepath.Join(s.Dir(), "jetstream")); err != nil {
		t.Fatal(err)
	}
	s.Restart()
}

// shared is a bucket of a session's peer with one file, shared with another peer.
func shared(t *testing.T, s *peer.Session, with bucket.Identity) (id bucket.ID, src string) {
	t.Helper()
	made := must[*peer.Made](t)
	src = t.TempDir()
	files(t, src, map[string]string{"a": "one"})
	id = made(s.Create(t.Context(), "photos", peer.Upload{})).BucketID
	made(s.Commit(t.Context(), id, src, peer.CommitOptions{}))
	if m := made(s.Share(t.Context(), id, with.PublicKey(), bucket.Owner, peer.Upload{})); !m.Announced {
		t.Fatalf("got %+v, want it announced", m)
	}
	return id, src
}

func TestCarriedAgain_ACommandNoticesANewBroker(t *testing.T) {
	first, second := natstest.Start(t), natstest.Start(t)
	aliceConfig, _ := config(t, first.URL())
	bobConfig, bob := config(t, second.URL())
	s := use(t, aliceConfig)
	id, src := shared(t, s, bob)
	closes(t, s)
	first.Stop()
	aliceConfig.NATS.URL = second.URL()
	m := must[*peer.Made](t)(use(t, aliceConfig).Commit(t.Context(), id, src, peer.CommitOptions{}))
	if !m.Unchanged || !m.Announced {
		t.Errorf("got %+v of a commit of nothing new, want it unchanged and announced", m)
	}
	if c, err := use(t, bobConfig).Checkout(t.Context(), id, t.TempDir(), peer.CheckoutOptions{}); err != nil || c.Written != 1 {
		t.Errorf("got %+v, %v from the new broker, want the file", c, err)
	}
}

func TestCarriedAgain_ABrokerWipedUnderARunningPeerIsToldOfEverythingAgain(t *testing.T) {
	server := natstest.Start(t)
	aliceConfig, _ := config(t, server.URL())
	bobConfig, bob := config(t, server.URL())
	alice, _ := run(t, aliceConfig)
	id, _ := shared(t, alice.Session, bob)
	wipe(t, server)
	s := use(t, bobConfig)
	awaits(t, "the bucket on the broker that lost it", func() error {
		_, err := s.Checkout(t.Context(), id, t.TempDir(), peer.CheckoutOptions{})
		return err
	})
	state(t, alice.Session, id, consumer.StateInSync)
}

func TestItSaysWhenItDoesNotKnow_InSyncOnlyWhileItHears(t *testing.T) {
	server := natstest.Start(t)
	cfg, _ := config(t, server.URL())
	_, other := config(t, server.URL())
	p, stop := run(t, cfg)
	id, _ := shared(t, p.Session, other)
	command := use(t, cfg)
	for range 2 {
		state(t, command, id, consumer.StateInSync)
		server.Stop()
		state(t, command, id, consumer.StateOffline)
		server.Restart()
	}
	state(t, command, id, consumer.StateInSync)
	stop()
	state(t, command, id, consumer.StateNotRunning)
}

// When one command gives the directory up, the next one may be faster than the run: it is asked too.
func TestARunGetsTheDirectoryFromCommandsThatHoldItInTurn(t *testing.T) {
	server := natstest.Start(t)
	cfg, other := config(t, server.URL())
	s := use(t, cfg)
	id, _ := shared(t, s, other)
	ctx, enough := context.WithCancel(t.Context())
	var commands sync.WaitGroup
	began := make(chan struct{}, 8)
	for range cap(began) {
		s := use(t, cfg)
		commands.Go(func() {
			for first := true; ctx.Err() == nil; first = false {
				if _, err := s.Head(t.Context(), id); err != nil {
					t.Errorf("a command: %v", err)
				}
				if first {
					began <- struct{}{}
				}
			}
		})
	}
	for range cap(began) {
		<-began
	}
	p, _ := run(t, cfg)
	enough()
	commands.Wait()
	state(t, p.Session, id, consumer.StateInSync)
}

func TestAClosedSessionSaysSo(t *testing.T) {
	cfg, _ := config(t, "")
	for what, holder := range map[string]func(){
		"that holds the directory": func() {},
		"of another's directory":   func() { open(t, cfg) },
	} {
		holder()
		s := use(t, cfg)
		if _, err := s.Create(t.Context(), "photos", peer.Upload{NoWait: true}); err != nil {
			t.Fatal(err)
		}
		waiting := make(chan error, 1)
		started := make(chan struct{})
		go func() { waiting <- s.Watch(t.Context(), func() { close(started) }, func([]byte) {}) }()
		<-started
		closes(t, s)
		if err := <-waiting; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a session %s: got %v of a call under way, want net.ErrClosed", what, err)
		}
		if _, err := s.Find(t.Context(), "photos"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a session %s: got %v of a call after it, want net.ErrClosed", what, err)
		}
	}
}

func TestLocalFirst_CallsOfOneSessionGoOnTogetherWhenTheHolderGoesAway(t *testing.T) {
	cfg, _ := config(t, "")
	holder := open(t, cfg)
	s := use(t, cfg)
	m, err := s.Create(t.Context(), "photos", peer.Upload{NoWait: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, enough := context.WithCancel(t.Context())
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			for ctx.Err() == nil {
				if h, err := s.Head(t.Context(), m.BucketID); err != nil || h.Link != m.Link {
					t.Errorf("got %v, %v", h, err)
					return
				}
			}
		})
	}
	for range 3 {
		closes(t, holder.Session)
		cfg.Role = peer.RoleRun // the session holds the directory by now, or will in a moment
		if holder, err = peer.Open(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	enough()
	calls.Wait()
	closes(t, holder.Session)
}

// What a run was told about the broker need not be told again, to a program nor to a command.
func TestSettingsOfTheLastRunServeWhoNamesTheDirectoryAlone(t *testing.T) {
	server := natstest.Start(t)
	cfg, other := config(t, server.URL())
	cfg.NATS.Prefix = "elsewhere"
	p, stop := run(t, cfg)
	id, _ := shared(t, p.Session, other)
	stop()
	for range 2 {
		duplicate, err := use(t, peer.Config{Dir: cfg.Dir}).Announce(t.Context(), id, bucket.Link{})
		if err != nil || !duplicate {
			t.Errorf("a command: got duplicate %v, %v, want it to stand announced where the run has announced it", duplicate, err)
		}
		p, stop = run(t, peer.Config{Dir: cfg.Dir}) // and it leaves them as they were
		state(t, p.Session, id, consumer.StateInSync)
		stop()
	}
}

func TestAwaitIsNotHeldUpByAnOlderVersionThatNobodyCanComplete(t *testing.T) {
	broker := dial(t, natstest.Start(t).URL())
	cfg, me := config(t, broker.URL())
	c := buckettest.New(t, me).Grow(t, 1)
	edit, list := buckettest.WithPins(bucket.Pins{bucket.Sum([]byte("nobody has it"))})
	lacks := c.Add(t, edit)
	broker.put(c.Versions, list)
	broker.announce(lacks)
	s := use(t, cfg)
	tips(t, s, lacks.Bucket)
	if _, err := s.Announce(t.Context(), lacks.Bucket, lacks.Link); err == nil {
		t.Fatal("got no error of announcing a version that lacks a blob")
	}
	next := c.Add(t, nil)
	if err := s.Holder().Put(t.Context(), bucket.Sum(nil), 0, bytes.NewReader(nil)); err != nil { // its pins list
		t.Fatal(err)
	}
	if err := s.Holder().Keep(t.Context(), next.Encoded()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Holder().Await(ctx, next.Bucket, next.Link, nil); err != nil {
		t.Errorf("got %v of a version that lacks nothing", err)
	}
}
