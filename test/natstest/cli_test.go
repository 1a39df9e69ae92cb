package natstest_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	natsjs "github.com/nats-io/nats.go/jetstream"

	"headwater/test/natstest"
)

func TestCLIPublishes(t *testing.T) {
	s := natstest.Start(t)
	js := newJetStream(t, connect(t, s.URL()))
	stream := createStream(t, js, natsjs.StreamConfig{Name: "S", Subjects: []string{"s.>"}})

	cli := natstest.NewCLI(t, s.URL())
	cli.Run("pub", "s.arg", `{"link":"a"}`)
	if got := lastBody(t, stream, "s.arg"); got != `{"link":"a"}` {
		t.Errorf("got %q, want the argument", got)
	}
	cli.RunInput([]byte("from a pipe"), "pub", "s.pipe", "--force-stdin")
	if got := lastBody(t, stream, "s.pipe"); got != "from a pipe" {
		t.Errorf("got %q, want what was piped in", got)
	}
}

func TestCLIPutsAndGetsObjects(t *testing.T) {
	s := natstest.Start(t)
	js := newJetStream(t, connect(t, s.URL()))
	store, err := js.CreateObjectStore(t.Context(), natsjs.ObjectStoreConfig{Bucket: "things"})
	if err != nil {
		t.Fatal(err)
	}
	cli := natstest.NewCLI(t, s.URL())
	dir := t.TempDir()
	want := bytes.Repeat([]byte("object "), 50_000) // more than two chunks

	in := filepath.Join(dir, "in")
	if err := os.WriteFile(in, want, 0o600); err != nil {
		t.Fatal(err)
	}
	cli.Run("object", "put", "things", in, "--name", "theirs", "--no-progress", "--force")
	got, err := store.GetBytes(t.Context(), "theirs")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got %d bytes of what the program put, want the same %d", len(got), len(want))
	}

	if _, err := store.PutBytes(t.Context(), "ours", want); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	// Often enough to meet the fault that a read is tried again for.
	for range 10 {
		cli.Run("object", "get", "things", "ours", "--output", out, "--no-progress", "--force")
		if got, err = os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %d bytes (%v) of what we put, want the same %d", len(got), err, len(want))
		}
	}
}

func TestCLIReportsFailure(t *testing.T) {
	cli := natstest.NewCLI(t, natstest.Start(t).URL())
	out, err := cli.Try(nil, "object", "get", "NONE", "x", "--force")
	if err == nil {
		t.Fatalf("got %q from a store that is not there, want an error", out)
	}
	for _, want := range []string{"nats object get NONE x", "exit status 1", "nats: error:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got error %q, want it to contain %q", err, want)
		}
	}
}

// The fault of the real program shows in one run of twenty; here a stand-in shows it in every second one.
func TestCLITriesAnObjectAgain(t *testing.T) {
	dir := t.TempDir()
	const script = `#!/bin/sh
if mkdir "$0.seen" 2>/dev/null; then echo "nats: error: context canceled" >&2; exit 1; fi
rmdir "$0.seen"
echo "$3"
`
	bin := filepath.Join(dir, "nats")
	if err := os.WriteFile(bin, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv(natstest.CLIVariable, bin)
	cli := natstest.NewCLI(t, "nats://127.0.0.1:1")
	if out, err := cli.Try(nil, "object", "get", "things", "x"); err != nil || out != "object\n" {
		t.Errorf("got %q and %v, want the second try to count", out, err)
	}
	if out, err := cli.Try(nil, "pub", "s", "x"); err == nil {
		t.Errorf("got %q, want the failure of what is no read of an object", out)
	}
}

func TestMissingCLIFailsTheTest(t *testing.T) {
	t.Setenv(natstest.CLIVariable, filepath.Join(t.TempDir(), "none"))
	failed := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		natstest.NewCLI(failed, "nats://127.0.0.1:1")
	}()
	<-done
	for _, want := range []string{"make tools", natstest.CLIVariable} {
		if !strings.Contains(failed.text, want) {
			t.Errorf("got failure %q, want one that says what to do and mentions %s", failed.text, want)
		}
	}
}

// failing is a test that notes why it fails.
type failing struct {
	testing.TB
	text string
}

func (f *failing) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestCLIReadsNobodysSettings(t *testing.T) {
	// A context of the person who runs the tests, which points elsewhere.
	home := t.TempDir()
	dir := filepath.Join(home, ".config", "nats", "context")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{
		filepath.Join(dir, "mine.json"):         `{"url":"nats://127.0.0.1:1"}`,
		filepath.Join(dir, "..", "context.txt"): "mine",
	} {
		if err := os.WriteFile(name, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, ".config"))
	t.Setenv("NATS_URL", "nats://127.0.0.1:1")
	cli := natstest.NewCLI(t, natstest.Start(t).URL())
	cli.Run("rtt")
	if got := cli.Run("context", "ls"); strings.Contains(got, "mine") {
		t.Errorf("got %q, want no contexts of the person who runs the tests", got)
	}
}

func TestCLIIsFoundThroughTheEnvironment(t *testing.T) {
	bin, err := filepath.Abs(filepath.Join("..", "..", "bin", "nats"))
	if err != nil {
		t.Fatal(err)
	}
	if set := os.Getenv(natstest.CLIVariable); set != "" {
		bin = set
	}
	link := filepath.Join(t.TempDir(), "nats-elsewhere")
	if err := os.Symlink(bin, link); err != nil {
		t.Fatal(err)
	}
	t.Setenv(natstest.CLIVariable, link)
	if got := natstest.NewCLI(t, natstest.Start(t).URL()).Run("--version"); got == "" {
		t.Error("got no version, want one")
	}
}
