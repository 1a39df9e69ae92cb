package jetstream_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/test/natstest"

	"github.com/nats-io/nats.go"
)

// lent is a client on a connection that the test owns, and what that connection's owner hears.
func lent(t *testing.T, url string, change ...func(*jetstream.Config)) (*jetstream.Client, *nats.Conn, func() []string) {
	t.Helper()
	var mu sync.Mutex
	var heard []string
	hear := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, what)
	}
	closed := make(chan struct{})
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { hear("lost") }),
		nats.ReconnectHandler(func(*nats.Conn) { hear("back") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { hear("error") }),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	noErr(t, "connect", err)
	t.Cleanup(func() { nc.Close(); <-closed })
	c := dial(t, "", append(change, func(cfg *jetstream.Config) { cfg.Conn = nc })...)
	return c, nc, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return heard
	}
}

func TestConnectionThatIsGivenStaysItsOwners(t *testing.T) {
	s := natstest.Start(t)
	c, nc, heard := lent(t, s.URL())
	_, err := c.Ensure(within(t), jetstream.EnsureConfig{Peer: peer(1)})
	noErr(t, "ensure", err)
	b := noise(1, 300_000)
	put(t, c, b)
	wantObject(t, c, b)
	src := source(t, c, consumer.KindHeads)
	announce(t, c, 1)
	noErr(t, "acknowledge", next(t, src).Ack(within(t)))

	watched := make(chan error, 1)
	started := make(chan struct{})
	ctx := within(t)
	go func() {
		watched <- c.Watch(ctx, jetstream.EventFilter{}, func() { close(started) }, func([]byte) {})
	}()
	<-started
	served := make(chan error, 1)
	go func() { served <- c.Serve(ctx, jetstream.ServiceConfig{Peer: peer(1)}) }()

	noErr(t, "close the source", src.Close(within(t)))
	noErr(t, "close", c.Close(within(t)))
	noErr(t, "close twice", c.Close(within(t)))
	wantErr(t, "watch", <-watched, jetstream.ErrUnreachable)
	wantErr(t, "serve", <-served, jetstream.ErrUnreachable)
	_, err = c.Heads(within(t), bucket.NewID())
	wantErr(t, "heads after close", err, jetstream.ErrUnreachable)
	if connected, _ := c.Since(); connected {
		t.Error("a closed client says that it is connected")
	}
	// The one for answers is the connection's own.
	eventually(t, "the subscriptions are gone", func() bool { return nc.NumSubscriptions() <= 1 })
	s.Restart()
	eventually(t, "the owner hears of both", func() bool { return len(heard()) == 2 })
	if got := heard(); got[0] != "lost" || got[1] != "back" {
		t.Errorf("the owner heard %q", got)
	}
}

func TestClosingEndsWithItsContext(t *testing.T) {
	s := natstest.Start(t)
	hanging, end := make(chan struct{}), make(chan struct{})
	defer close(end)
	c, _, _ := lent(t, s.URL(), func(cfg *jetstream.Config) {
		cfg.OnConnected = func() { close(hanging); <-end }
	})
	s.Restart()
	<-hanging
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- c.Close(ctx) }()
	select {
	case err := <-closed:
		wantErr(t, "close", err, context.DeadlineExceeded)
	case <-within(t).Done():
		t.Fatal("closing outlasts its context")
	}
	_, err := c.Heads(within(t), bucket.NewID())
	wantErr(t, "heads after close", err, jetstream.ErrUnreachable)
}

func TestConnectionThatIsGivenIsAllThereIsToSay(t *testing.T) {
	s := natstest.Start(t)
	_, nc, _ := lent(t, s.URL())
	_, err := jetstream.Dial(within(t), jetstream.Config{Conn: nc, URL: s.URL()})
	if err == nil || errors.Is(err, jetstream.ErrUnreachable) {
		t.Errorf("with a URL: got error %v, want one that says what is wrong", err)
	}
	gone, err := nats.Connect(s.URL())
	noErr(t, "connect", err)
	gone.Close()
	_, err = jetstream.Dial(within(t), jetstream.Config{Conn: gone})
	wantErr(t, "a closed one", err, jetstream.ErrUnreachable)
}

func TestRefusalsOverAConnectionThatIsGivenAreTold(t *testing.T) {
	s := natstest.StartWith(t, natstest.Config{Users: []natstest.User{
		{Name: "all", Password: "all"}, {Name: "none", Password: "none", Publish: []string{}, Subscribe: []string{"_INBOX.>"}},
	}})
	c, _, heard := lent(t, userURL(s, "none"), func(cfg *jetstream.Config) { cfg.RequestLimit = 200 * time.Millisecond })
	_, err := c.Heads(within(t), bucket.NewID())
	wantErr(t, "heads", err, jetstream.ErrNotPermitted)
	_, err = c.Announce(within(t), bucket.Announcement{Bucket: bucket.NewID(), Peer: peer(1), Link: manifestLink(1)})
	wantErr(t, "announce", err, jetstream.ErrNotPermitted)
	eventually(t, "the owner hears of it", func() bool { return len(heard()) >= 2 })
}

func TestChangesOfTheConnectionAreTold(t *testing.T) {
	for name, given := range map[string]bool{"own": false, "given": true} {
		t.Run(name, func(t *testing.T) {
			s := natstest.Start(t)
			back := make(chan struct{}, 10)
			tell := func(cfg *jetstream.Config) { cfg.OnConnected = func() { back <- struct{}{} } }
			var c *jetstream.Client
			if given {
				c, _, _ = lent(t, s.URL(), tell)
			} else {
				c = dial(t, s.URL(), tell)
			}
			connected, begun := c.Since()
			if !connected || time.Since(begun) > limit {
				t.Errorf("at first: connected %v since %s", connected, begun)
			}
			s.Stop()
			eventually(t, "the connection is lost", func() bool { connected, _ = c.Since(); return !connected })
			connected, lost := c.Since()
			if connected || !lost.After(begun) {
				t.Errorf("without a server: connected %v since %s, begun %s", connected, lost, begun)
			}
			_, err := c.Heads(within(t), bucket.NewID())
			wantErr(t, "heads without a server", err, jetstream.ErrUnreachable)
			s.Restart()
			select {
			case <-back:
			case <-within(t).Done():
				t.Fatal("nothing is told")
			}
			if connected, since := c.Since(); !connected || !since.After(lost) {
				t.Errorf("with the server again: connected %v since %s", connected, since)
			}
			_, err = c.Ensure(within(t), jetstream.EnsureConfig{})
			noErr(t, "ensure", err)
			noErr(t, "close", c.Close(within(t)))
			if len(back) > 0 {
				t.Error("it is told twice")
			}
		})
	}
}

func TestDialSaysAtOnceThatAConnectionIsRefused(t *testing.T) {
	for _, url := range []string{"nats://127.0.0.1:1", "nats://localhost:1", "nats://127.0.0.1:1,nats://127.0.0.1:2"} {
		begin := time.Now()
		_, err := jetstream.Dial(context.Background(), jetstream.Config{URL: url})
		wantErr(t, url, err, jetstream.ErrUnreachable)
		if took := time.Since(begin); took > 500*time.Millisecond {
			t.Errorf("%s: it took %s", url, took)
		}
	}
}
