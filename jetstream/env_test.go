package jetstream_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/jetstream"
	"headwater/test/natstest"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The client's library leaves it behind now and then when it puts an object. Headwater puts its own way.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"))
}

// peers are the keys of peers in tests: what they consist of does not matter here.
func peer(n byte) bucket.PublicKey { return bucket.PublicKey{31: n, 0: 0xfe} }

// limit bounds everything a test waits for.
const limit = 20 * time.Second

func within(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	tb.Cleanup(cancel)
	return ctx
}

// dial connects with the defaults changed by change, and closes the client when the test ends.
func dial(tb testing.TB, url string, change ...func(*jetstream.Config)) *jetstream.Client {
	tb.Helper()
	cfg := jetstream.Config{URL: url}
	if testing.Verbose() {
		cfg.Logger = slog.New(slog.NewTextHandler(writer{tb}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := jetstream.Dial(within(tb), cfg)
	if err != nil {
		tb.Fatalf("dial: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return c
}

// writer sends a log to the test's.
type writer struct{ tb testing.TB }

func (w writer) Write(b []byte) (int, error) {
	w.tb.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// ensured is a client whose server holds everything that peer needs.
func ensured(tb testing.TB, url string, p bucket.PublicKey) *jetstream.Client {
	tb.Helper()
	c := dial(tb, url)
	if d, err := c.Ensure(within(tb), jetstream.EnsureConfig{Peer: p}); err != nil || len(d) > 0 {
		tb.Fatalf("ensure: got %v, %v, want no difference", d, err)
	}
	return c
}

// plain is a connection without Headwater, as other programs have.
func plain(tb testing.TB, url string) (*nats.Conn, natsjs.JetStream) {
	tb.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		nc.Close()
		eventually(tb, "the plain connection is closed", func() bool { return nc.IsClosed() })
	})
	js, err := natsjs.New(nc)
	if err != nil {
		tb.Fatal(err)
	}
	return nc, js
}

// eventually looks until holds does.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatalf("waited %s until %s", limit, what)
		}
	}
}

func wantErr(tb testing.TB, what string, got, want error) {
	tb.Helper()
	if !errors.Is(got, want) {
		tb.Fatalf("%s: got error %v, want %v", what, got, want)
	}
}

func noErr(tb testing.TB, what string, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatalf("%s: %v", what, err)
	}
}

// bytes are n bytes that depend on seed alone.
func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed, 1}).Read(b)
	return b
}

func manifestLink(n byte) bucket.Link { return bucket.ManifestLink([]byte{n}) }

// userURL is the server's URL with a user's name, whose password is the same.
func userURL(s *natstest.Server, user string) string {
	return strings.Replace(s.URL(), "nats://", "nats://"+user+":"+user+"@", 1)
}
