package local_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"

	"headwater/bucket"
	"headwater/peer/local"
	"headwater/peer/local/localtest"
)

// The environment of a child process: what it does, and on which directory.
const (
	childRole = "HEADWATER_LOCAL_TEST_ROLE"
	childDir  = "HEADWATER_LOCAL_TEST_DIR"
)

// child is the main function of a child process: a holder, or one that puts a blob without end.
func child(role, dir string) int {
	ctx := context.Background()
	err := errors.New("no such role")
	switch role {
	case "holder":
		l, listenErr := local.Listen(dir)
		if err = listenErr; err == nil {
			fmt.Println("ready")
			err = local.Serve(ctx, l, newTransit(gib), local.Info{PID: os.Getpid()}, nil)
		}
	case "putter":
		c, dialErr := local.Dial(ctx, dir, 0)
		if err = dialErr; err == nil {
			err = c.Put(ctx, bucket.Hash{}, 1<<40, io.MultiReader(io.LimitReader(zeros{}, 1<<20), readyReader{}, zeros{}))
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// readyReader is empty, and tells the parent that the child has come that far.
type readyReader struct{}

func (readyReader) Read([]byte) (int, error) {
	fmt.Println("ready")
	return 0, io.EOF
}

// start starts a child process and waits until it is ready.
func start(t *testing.T, role, dir string) *os.Process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childRole+"="+role, childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("child: got %q, %v", line, err)
	}
	return cmd.Process
}

func TestKilledHolder(t *testing.T) {
	dir := t.TempDir()
	holder := start(t, "holder", dir)
	c := dial(t, dir)
	source := &signal{left: 50 << 20, started: make(chan struct{})}
	watching := make(chan struct{})
	var calls sync.WaitGroup
	lost := func(what string, err error) {
		if !errors.Is(err, local.ErrLost) {
			t.Errorf("%s: got %v, want %v", what, err, local.ErrLost)
		}
	}
	calls.Go(func() { lost("put", c.Put(t.Context(), bucket.Hash{}, 1<<40, source)) })
	calls.Go(func() { lost("watch", c.Watch(t.Context(), func() { close(watching) }, func([]byte) {})) })
	blob, err := c.Get(t.Context(), bucket.Hash{})
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	<-source.started
	<-watching
	within(t, "the end of the calls", func() {
		if err := holder.Kill(); err != nil {
			t.Fatal(err)
		}
		calls.Wait()
		_, err := io.Copy(io.Discard, blob)
		lost("get", err)
	})
	// A connection that was kept for the next call may end while the call goes into it: then the call is lost.
	if _, err := c.Has(t.Context(), bucket.Hash{}); !errors.Is(err, local.ErrGone) && !errors.Is(err, local.ErrLost) {
		t.Errorf("a call after that: got %v, want %v or %v", err, local.ErrGone, local.ErrLost)
	}
	if _, err := local.Dial(t.Context(), dir, 0); !errors.Is(err, local.ErrNoHolder) {
		t.Errorf("dial: got %v, want %v", err, local.ErrNoHolder)
	}
	defer serveOn(t, listen(t, dir), &localtest.Memory{}, nil)() // in the place of what the dead one left
	if _, err := c.Has(t.Context(), bucket.Hash{}); err != nil {
		t.Errorf("a call to the next holder: %v", err)
	}
}

func TestKilledClient(t *testing.T) {
	d := newTransit(0)
	dir := serve(t, d, nil)
	client := start(t, "putter", dir)
	within(t, "the end of the call", func() {
		if err := client.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := <-d.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("put: got %v, want %v", err, context.Canceled)
		}
	})
}
