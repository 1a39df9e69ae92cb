//go:build unix

package test_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"headwater/test/natstest"
)

// blockedAfter is when a command surely waits for what does not come.
const blockedAfter = 2 * time.Second

// endLimit is how long a command may take to end after a signal, on a busy machine.
const endLimit = 10 * time.Second

// A command that waits for somebody to write or to read ends with the first signal.
func TestLocalFirst_BlockedReadsAndWritesAreInterrupted(t *testing.T) {
	t.Parallel()
	h, _ := newDesk(t, natstest.Start(t).URL())
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	src := t.TempDir()
	writeTree(t, src, "large", markedBytes(newRand(81), 8<<20), 0o644)
	id := h.made("create", "photos").BucketID
	h.made("commit", id, src)
	for _, tt := range []struct {
		name string
		h    headwater
		args []string
	}{
		{"put of standard input", h, []string{"put", "-"}},
		{"put of a pipe", h, []string{"put", fifo}},
		{"put of a file without an end", h, []string{"put", "/dev/full"}},
		{"init from standard input", h.with("--dir", filepath.Join(t.TempDir(), "new")), []string{"init", "--import", "-"}},
		{"watch", h, []string{"watch"}},
		{"config in a pipe", h, []string{"status", "--config", fifo}},
		{"cat that nobody reads", h, []string{"cat", id, "large"}},
	} {
		for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
			t.Run(tt.name+", "+signal.String(), func(t *testing.T) {
				t.Parallel()
				b := block(t, tt.h.command(t.Context(), tt.args...))
				b.signal(signal)
				if code := b.cmd.ProcessState.ExitCode(); code != 130 {
					t.Errorf("got exit %d of an interrupted command, want 130: %s", code, b.stderr.String())
				}
				if said := b.stderr.String(); !strings.Contains(said, "interrupted") || strings.Contains(said, "context canceled") {
					t.Errorf("got %q of an interrupted command, want it to say that it was interrupted", said)
				}
			})
		}
	}
}

// blocked is a command whose standard input nobody writes to, and whose output nobody reads.
type blocked struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr bytes.Buffer
	ended  chan struct{}
}

// block starts a command and returns when it waits.
func block(t *testing.T, cmd *exec.Cmd) *blocked {
	t.Helper()
	b := &blocked{t: t, cmd: cmd, ended: make(chan struct{})}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, &b.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	go func() { _ = cmd.Wait(); close(b.ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-b.ended
		_ = in.Close()
		_, _ = io.Copy(io.Discard, r)
		_ = r.Close()
	})
	<-time.After(blockedAfter)
	select {
	case <-b.ended:
		t.Fatalf("%v ended (%v), want it to wait: %s", cmd.Args, cmd.ProcessState, b.stderr.String())
	default:
	}
	return b
}

// signal sends a signal, and waits until the command has ended.
func (b *blocked) signal(s os.Signal) {
	b.t.Helper()
	if err := b.cmd.Process.Signal(s); err != nil {
		b.t.Fatal(err)
	}
	timer := time.NewTimer(endLimit)
	defer timer.Stop()
	select {
	case <-b.ended:
	case <-timer.C:
		b.t.Fatalf("%v had not ended %s after %s", b.cmd.Args, endLimit, s)
	}
}

// An output that cannot be written to is a failure, reported once.
func TestLocalFirst_FullOutputFails(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatalf("this system has no /dev/full: %v", err)
	}
	defer full.Close()
	h, _ := newDesk(t, natstest.Start(t).URL())
	src := t.TempDir()
	writeTree(t, src, "file", []byte("text"), 0o644)
	id := h.made("create", "photos").BucketID
	h.made("commit", id, src)
	cmd := h.command(t.Context(), "cat", id, "file")
	cmd.Stdout = full
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("got %v of cat to a full disk, want exit 1", err)
	}
}
