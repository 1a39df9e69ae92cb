package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"headwater/jetstream/embedded"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(cfg)
	noErr(t, "start", err)
	t.Cleanup(func() { noErr(t, "stop", s.Stop()) })
	return s
}

// connect returns a handle on the server, and what ends the connection.
func connect(t *testing.T, url string) (js natsjs.JetStream, disconnect func()) {
	t.Helper()
	closed := make(chan struct{})
	nc, err := nats.Connect(url, nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	noErr(t, "connect", err)
	js, err = natsjs.New(nc)
	noErr(t, "handle", err)
	disconnect = sync.OnceFunc(func() { nc.Close(); <-closed })
	t.Cleanup(disconnect)
	return js, disconnect
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func noErr(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func TestServerKeepsWhatItAcknowledged(t *testing.T) {
	for name, sync := range map[string]time.Duration{"every message synced": 0, "synced now and then": time.Minute} {
		t.Run(name, func(t *testing.T) {
			cfg := embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", SyncInterval: sync}
			s := start(t, cfg)
			js, disconnect := connect(t, s.URL())
			_, err := js.CreateStream(within(t), natsjs.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
			noErr(t, "create a stream", err)
			_, err = js.Publish(within(t), "s.1", []byte("kept"))
			noErr(t, "publish", err)
			disconnect()
			noErr(t, "stop", s.Stop())
			noErr(t, "stop twice", s.Stop())

			js, _ = connect(t, start(t, cfg).URL())
			stream, err := js.Stream(within(t), "S")
			noErr(t, "find the stream", err)
			m, err := stream.GetLastMsgForSubject(within(t), "s.1")
			if err != nil || string(m.Data) != "kept" {
				t.Errorf("after a restart: got %v, %v", m, err)
			}
		})
	}
}

func TestSecondServerOnTheDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := start(t, embedded.Config{Dir: dir, Listen: "127.0.0.1:0"})
	_, err := embedded.Start(embedded.Config{Dir: dir, Listen: "127.0.0.1:0"})
	if !errors.Is(err, embedded.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second server: got error %v, want ErrLocked that names the directory", err)
	}
	noErr(t, "stop", s.Stop())
	start(t, embedded.Config{Dir: dir, Listen: "127.0.0.1:0"})
}

func TestAddressThatCannotBeListenedOnIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noErr(t, "listen", err)
	defer l.Close()
	dir := t.TempDir()
	for _, listen := range []string{l.Addr().String(), "nonsense", "127.0.0.1:x", "127.0.0.1:70000"} {
		_, err := embedded.Start(embedded.Config{Dir: dir, Listen: listen})
		if !errors.Is(err, embedded.ErrListen) {
			t.Fatalf("%s: got error %v, want ErrListen", listen, err)
		}
		if !strings.Contains(err.Error(), listen) || !strings.Contains(err.Error(), "--listen") {
			t.Errorf("the error names neither address nor flag: %v", err)
		}
	}
	start(t, embedded.Config{Dir: dir, Listen: "127.0.0.1:0"}) // nothing of it holds the directory
}

func TestServerLogsToSlog(t *testing.T) {
	var mu sync.Mutex
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(lockedWriter{&mu, &out}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := start(t, embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", Logger: log})
	noErr(t, "stop", s.Stop())
	mu.Lock()
	defer mu.Unlock()
	if text := out.String(); !strings.Contains(text, "headwater") || strings.Contains(text, "level=INFO") {
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
