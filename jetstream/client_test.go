package jetstream_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/jetstream"
	"headwater/test/natstest"
)

func TestDialFailsSoonWhereNoServerAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never says anything
	noErr(t, "listen", err)
	defer l.Close()
	for name, url := range map[string]string{
		"refused": "nats://127.0.0.1:1", "silent": "nats://" + l.Addr().String(),
		"several": "nats://127.0.0.1:1,nats://" + l.Addr().String(),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			begin := time.Now()
			_, err := jetstream.Dial(ctx, jetstream.Config{URL: url})
			wantErr(t, "dial", err, jetstream.ErrUnreachable)
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("it took %s, want about 300 ms", took)
			}
		})
	}
}

func TestDialWithWaitGoesOnUntilAServerAnswers(t *testing.T) {
	s := natstest.Start(t)
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := jetstream.Dial(ctx, jetstream.Config{URL: s.URL(), Wait: true})
	wantErr(t, "dial without a server", err, jetstream.ErrUnreachable)
	wantErr(t, "dial without a server", err, context.DeadlineExceeded)

	type result struct {
		c   *jetstream.Client
		err error
	}
	dialled := make(chan result)
	bound, url := within(t), s.URL()
	go func() {
		c, err := jetstream.Dial(bound, jetstream.Config{URL: url, Wait: true})
		dialled <- result{c, err}
	}()
	s.Restart()
	got := <-dialled
	noErr(t, "dial", got.err)
	noErr(t, "close", got.c.Close(within(t)))
}

func TestDialReportsRefusedCredentials(t *testing.T) {
	s := natstest.StartWith(t, natstest.Config{Users: []natstest.User{{Name: "a", Password: "a"}}})
	for _, wait := range []bool{false, true} {
		_, err := jetstream.Dial(within(t), jetstream.Config{URL: userURL(s, "b"), Wait: wait})
		wantErr(t, "dial", err, jetstream.ErrNotPermitted)
	}
}

func TestDialReportsConfigurationThatCannotBeUsed(t *testing.T) {
	s := natstest.Start(t)
	for name, cfg := range map[string]jetstream.Config{
		"prefix": {Prefix: "a.b"}, "creds": {Creds: "/nowhere"}, "nkey": {NKey: "/nowhere"}, "context": {Context: "/nowhere.json"},
		"ca": {TLS: jetstream.TLS{CA: "/nowhere"}}, "cert": {TLS: jetstream.TLS{Cert: "/nowhere", Key: "/nowhere"}},
	} {
		cfg.URL, cfg.Wait = s.URL(), true
		if _, err := jetstream.Dial(within(t), cfg); err == nil || errors.Is(err, jetstream.ErrUnreachable) {
			t.Errorf("%s: got error %v, want one that says what is wrong", name, err)
		}
	}
}

func TestContextsOfTheNatsCommandAreUnderstood(t *testing.T) {
	s := natstest.StartWith(t, natstest.Config{Domain: "hub", Users: []natstest.User{{Name: "a", Password: "a"}}})
	path := filepath.Join(t.TempDir(), "c.json")
	write := func(settings map[string]string) {
		b, err := json.Marshal(settings)
		noErr(t, "marshal", err)
		noErr(t, "write", os.WriteFile(path, b, 0o600))
	}
	write(map[string]string{"url": s.URL(), "user": "a", "password": "a", "jetstream_domain": "hub", "inbox_prefix": "_INBOX_a"})
	c := dial(t, "", func(cfg *jetstream.Config) { cfg.Context = path })
	if _, err := c.Ensure(within(t), jetstream.EnsureConfig{}); err != nil {
		t.Errorf("ensure in the context's domain: %v", err)
	}
	// A URL wins over that of the context, whose credentials stay.
	write(map[string]string{"url": "nats://127.0.0.1:1", "user": "a", "password": "a"})
	dial(t, s.URL(), func(cfg *jetstream.Config) { cfg.Context = path })
}

func TestWhatIsForbiddenFailsAtOnce(t *testing.T) {
	s := natstest.StartWith(t, natstest.Config{Users: []natstest.User{
		{Name: "all", Password: "all"},
		{Name: "none", Password: "none", Publish: []string{}, Subscribe: []string{"_INBOX.>"}},
		{Name: "deaf", Password: "deaf", Subscribe: []string{}},
	}})
	ensured(t, userURL(s, "all"), peer(1))
	for _, user := range []string{"none", "deaf"} {
		c := dial(t, userURL(s, user))
		a := bucket.Announcement{Bucket: bucket.NewID(), Peer: peer(1), Link: manifestLink(1)}
		h := bucket.Sum([]byte("x"))
		for what, call := range map[string]func(context.Context) error{
			"announce": func(ctx context.Context) error { _, err := c.Announce(ctx, a); return err },
			"ensure":   func(ctx context.Context) error { _, err := c.Ensure(ctx, jetstream.EnsureConfig{}); return err },
			"put": func(ctx context.Context) error {
				return c.PutObjects(ctx, "headwater-blobs", []blobstore.Small{{Hash: h, Data: []byte("x")}})
			},
			"get": func(ctx context.Context) error {
				_, _, err := c.Objects().Get(ctx, "headwater-blobs", h, false)
				return err
			},
			"get fresh": func(ctx context.Context) error {
				_, _, err := c.Objects().Get(ctx, "headwater-blobs", h, true)
				return err
			},
			"heads":        func(ctx context.Context) error { _, err := c.Heads(ctx, a.Bucket); return err },
			"ask":          func(ctx context.Context) error { _, err := c.Ask(ctx, peer(2), "status", nil); return err },
			"queued":       func(ctx context.Context) error { _, err := c.Jobs(peer(1)).QueuedJobs(ctx); return err },
			"dead letters": func(ctx context.Context) error { _, err := c.CountLetters(ctx, peer(1)); return err },
		} {
			begin := time.Now()
			wantErr(t, user+": "+what, call(within(t)), jetstream.ErrNotPermitted)
			if took := time.Since(begin); took > time.Second {
				t.Errorf("%s: %s: it took %s to be refused", user, what, took)
			}
		}
	}
	deaf := dial(t, userURL(s, "deaf"))
	wantErr(t, "watch", deaf.Watch(within(t), jetstream.EventFilter{}, nil, func([]byte) {}), jetstream.ErrNotPermitted)
}

func TestRequestsEndWithTheConnectionAndWorkAfterIt(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	a := bucket.Announcement{Bucket: bucket.NewID(), Peer: peer(1), Link: manifestLink(1)}
	s.Stop()
	eventually(t, "the client knows", func() bool { return !c.Connected() })
	_, err := c.Announce(within(t), a)
	wantErr(t, "announce without a server", err, jetstream.ErrUnreachable)
	s.Restart()
	eventually(t, "the client is back", c.Connected)
	_, err = c.Announce(within(t), a)
	noErr(t, "announce", err)
}
