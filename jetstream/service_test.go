package jetstream_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/test/natstest"

	"github.com/google/go-cmp/cmp"
)

type handlers = map[string]func(context.Context, []byte) ([]byte, error)

// serve answers for p until the test ends, and returns once it does.
func serve(tb testing.TB, c *jetstream.Client, p bucket.PublicKey, h handlers) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	if h == nil {
		h = handlers{}
	}
	h["ready"] = func(context.Context, []byte) ([]byte, error) { return nil, nil }
	go func() { done <- c.Serve(ctx, jetstream.ServiceConfig{Peer: p, Version: "1.2.3", Handlers: h}) }()
	eventually(tb, "the peer answers", func() bool { _, err := c.Ask(tb.Context(), p, "ready", nil); return err == nil })
	var stopped atomic.Bool
	stop = func() {
		if stopped.CompareAndSwap(false, true) {
			cancel()
			if err := <-done; err != nil {
				tb.Errorf("serve: %v", err)
			}
		}
	}
	tb.Cleanup(stop)
	return stop
}

func TestEachPeerAnswersItsOwnQuestions(t *testing.T) {
	s := natstest.Start(t)
	asker := dial(t, s.URL())
	for p := range byte(3) {
		c := dial(t, s.URL())
		serve(t, c, peer(p+1), handlers{
			"who": func(_ context.Context, req []byte) ([]byte, error) { return fmt.Appendf(nil, "%d %s", p+1, req), nil },
		})
	}
	for range 10 {
		for p := range byte(3) {
			got, err := asker.Ask(within(t), peer(p+1), "who", []byte("hello"))
			if want := fmt.Sprintf("%d hello", p+1); err != nil || string(got) != want {
				t.Fatalf("got %q, %v, want %q", got, err, want)
			}
		}
	}
	peers, err := asker.Peers(within(t))
	want := []jetstream.RunningPeer{{peer(1), "1.2.3"}, {peer(2), "1.2.3"}, {peer(3), "1.2.3"}}
	if d := cmp.Diff(want, peers); err != nil || d != "" {
		t.Errorf("peers: %v (-want +got):\n%s", err, d)
	}
	other := dial(t, s.URL(), func(c *jetstream.Config) { c.Prefix = "acme" })
	if peers, err := other.Peers(within(t)); err != nil || len(peers) != 0 {
		t.Errorf("peers of another prefix: got %v, %v, want none", peers, err)
	}
}

func TestErrorsOfAnswersArriveAsTheyAre(t *testing.T) {
	s := natstest.StartWith(t, natstest.Config{MaxPayload: 64 << 10})
	c := dial(t, s.URL())
	serve(t, c, peer(1), handlers{
		"coded": func(context.Context, []byte) ([]byte, error) {
			return nil, fmt.Errorf("look: %w", &jetstream.ServiceError{Code: 404, Text: "no such bucket"})
		},
		"plain": func(context.Context, []byte) ([]byte, error) { return nil, errors.New("it\nbroke") },
		"large": func(context.Context, []byte) ([]byte, error) { return make([]byte, 64<<10+1), nil },
		"empty": func(context.Context, []byte) ([]byte, error) { return nil, &jetstream.ServiceError{} },
	})
	for question, want := range map[string]jetstream.ServiceError{
		"coded": {404, "no such bucket"}, "plain": {500, "it broke"},
		"large": {413, "the answer has 65537 bytes, the server allows 65536"}, "empty": {0, "no reason was given"},
	} {
		_, err := c.Ask(within(t), peer(1), question, nil)
		got, ok := errors.AsType[*jetstream.ServiceError](err)
		if !ok || *got != want {
			t.Errorf("%s: got %v, want %+v", question, err, want)
		}
	}
	_, err := c.Ask(within(t), peer(1), "unknown", nil)
	wantErr(t, "unknown question", err, jetstream.ErrNoPeer)
	_, err = c.Ask(within(t), peer(2), "coded", nil)
	wantErr(t, "unknown peer", err, jetstream.ErrNoPeer)
	if peers, err := dial(t, s.URL()).Peers(within(t)); err != nil || len(peers) != 1 {
		t.Errorf("peers: got %v, %v", peers, err)
	}
}

func TestServeWaitsForAnswersAndStops(t *testing.T) {
	s := natstest.Start(t)
	c := dial(t, s.URL())
	started, finished := make(chan struct{}), atomic.Bool{}
	stop := serve(t, c, peer(1), handlers{"slow": func(ctx context.Context, _ []byte) ([]byte, error) {
		close(started)
		<-ctx.Done()
		finished.Store(true)
		return []byte("late"), nil
	}})
	answer := make(chan string)
	ctx := within(t)
	go func() {
		b, err := c.Ask(ctx, peer(1), "slow", nil)
		answer <- fmt.Sprint(string(b), err)
	}()
	<-started
	stop()
	if !finished.Load() {
		t.Error("serve returned before its handler")
	}
	if got := <-answer; got != "late<nil>" {
		t.Errorf("got %s, want the late answer", got)
	}
	_, err := c.Ask(within(t), peer(1), "slow", nil)
	wantErr(t, "ask a stopped peer", err, jetstream.ErrNoPeer)
}

func TestThePeerIsANatsService(t *testing.T) {
	s := natstest.Start(t)
	serve(t, dial(t, s.URL()), peer(1), nil)
	cli := natstest.NewCLI(t, s.URL())
	if out := cli.Run("service", "ls"); !strings.Contains(out, "headwater") {
		t.Errorf("nats service ls does not show it:\n%s", out)
	}
}

func TestMisconfiguredServicesAreRefused(t *testing.T) {
	s := natstest.Start(t)
	c := dial(t, s.URL())
	noop := func(context.Context, []byte) ([]byte, error) { return nil, nil }
	for name, cfg := range map[string]jetstream.ServiceConfig{
		"no peer": {Handlers: handlers{"a": noop}}, "no word": {Peer: peer(1), Handlers: handlers{"a b": noop}},
	} {
		if err := c.Serve(within(t), cfg); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func TestWatchShowsEventsAsTheyHappen(t *testing.T) {
	s := natstest.Start(t)
	c := dial(t, s.URL())
	one, two := bucket.NewID(), bucket.NewID()
	ctx, cancel := context.WithCancel(within(t))
	ready, done, events := make(chan struct{}), make(chan error, 1), make(chan consumer.Event, 10)
	go func() {
		done <- c.Watch(ctx, jetstream.EventFilter{Bucket: one}, func() { close(ready) }, func(b []byte) {
			var e consumer.Event
			if err := json.Unmarshal(b, &e); err != nil {
				t.Errorf("event %q: %v", b, err)
			}
			events <- e
		})
	}()
	<-ready
	other := dial(t, s.URL())
	want := consumer.Event{At: time.Now().UTC(), Kind: consumer.EventApplied, BucketID: one, Link: manifestLink(1), Height: 4}
	other.Events(peer(1)).Emit(consumer.Event{Kind: consumer.EventApplied, BucketID: two})
	other.Events(peer(1)).Emit(want)
	if d := cmp.Diff(want, <-events); d != "" {
		t.Errorf("event (-want +got):\n%s", d)
	}
	cancel()
	wantErr(t, "watch", <-done, context.Canceled)
}

func TestEventsWithoutAConnectionAreDropped(t *testing.T) {
	s := natstest.Start(t)
	c := dial(t, s.URL())
	s.Stop()
	eventually(t, "the client knows", func() bool { return !c.Connected() })
	c.Events(peer(1)).Emit(consumer.Event{Kind: consumer.EventApplied})
}
