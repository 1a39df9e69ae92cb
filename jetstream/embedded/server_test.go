package embedded_test

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/jetstream"
	"headwater/jetstream/embedded"
)

func startServer(tb testing.TB, cfg embedded.Config) *embedded.Server {
	tb.Helper()
	s, err := embedded.Start(cfg)
	noErr(tb, "start", err)
	tb.Cleanup(func() { noErr(tb, "stop", s.Stop()) })
	return s
}

func TestTheEmbeddedServerKeepsWhatItAcknowledged(t *testing.T) {
	for name, sync := range map[string]time.Duration{"every message synced": 0, "synced now and then": time.Minute} {
		t.Run(name, func(t *testing.T) {
			cfg := embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", SyncInterval: sync}
			s := startServer(t, cfg)
			c := ensured(t, s.URL())
			b := bytes.Repeat([]byte("kept"), 75_000)
			put(t, c, b)
			a := announce(t, c)
			noErr(t, "close", c.Close(within(t)))
			noErr(t, "stop", s.Stop())
			noErr(t, "stop twice", s.Stop())
			c = ensured(t, startServer(t, cfg).URL())
			wantObject(t, c, b)
			if heads, err := c.Heads(within(t), a.Bucket); err != nil || len(heads) != 1 {
				t.Errorf("heads after a restart: got %v, %v", heads, err)
			}
		})
	}
}

func TestASecondServerOnTheDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, embedded.Config{Dir: dir, Listen: "127.0.0.1:0"})
	_, err := embedded.Start(embedded.Config{Dir: dir, Listen: "127.0.0.1:0"})
	wantErr(t, "second server", err, embedded.ErrLocked)
	if !strings.Contains(err.Error(), dir) {
		t.Errorf("the error does not name the directory: %v", err)
	}
	noErr(t, "stop", s.Stop())
	startServer(t, embedded.Config{Dir: dir, Listen: "127.0.0.1:0"})
}

func TestAnAddressThatCannotBeListenedOnIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noErr(t, "listen", err)
	defer l.Close()
	dir := t.TempDir()
	for _, listen := range []string{l.Addr().String(), "nonsense", "127.0.0.1:x", "127.0.0.1:70000"} {
		_, err := embedded.Start(embedded.Config{Dir: dir, Listen: listen})
		wantErr(t, listen, err, embedded.ErrListen)
		if !strings.Contains(err.Error(), listen) || !strings.Contains(err.Error(), "--listen") {
			t.Errorf("the error names neither address nor flag: %v", err)
		}
	}
	startServer(t, embedded.Config{Dir: dir, Listen: "127.0.0.1:0"}) // nothing of it holds the directory
}

func TestTheEmbeddedServerLogsToSlog(t *testing.T) {
	var mu sync.Mutex
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(lockedWriter{&mu, &out}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := startServer(t, embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", Logger: log, MaxPayload: 32 << 10, Name: "mine"})
	c := ensured(t, s.URL())
	_, err := c.Announce(within(t), bucket.Announcement{Bucket: bucket.NewID(), Peer: owner, Link: bucket.ManifestLink(nil),
		Stores: []string{strings.Repeat("x", 40<<10)}})
	wantErr(t, "announce more than the server takes", err, jetstream.ErrPayload)
	noErr(t, "stop", s.Stop())
	mu.Lock()
	defer mu.Unlock()
	if text := out.String(); !strings.Contains(text, "mine") || strings.Contains(text, "level=INFO") {
		t.Errorf("got log:\n%s", text)
	}
	if _, err := embedded.Start(embedded.Config{}); err == nil {
		t.Error("without a directory: got no error")
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}
