package durable_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"headwater/durable"
)

func TestLockNamesItsHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	h := durable.Holder{PID: 4711, Since: time.Now().UTC().Round(time.Second), Role: "run"}
	lock, err := durable.Acquire(path, h)
	if err != nil {
		t.Fatal(err)
	}
	_, err = durable.Acquire(path, durable.Holder{PID: 1})
	held, ok := errors.AsType[*durable.HeldError](err)
	if !ok || held.Holder != h || held.Path != path || !errors.Is(err, durable.ErrHeld) {
		t.Errorf("got %v, want a HeldError that names %+v", err, h)
	}
	if got, held, err := durable.ReadHolder(path); got != h || !held || err != nil {
		t.Errorf("a look: got %+v, %t, %v, want %+v", got, held, err, h)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := durable.AcquireWait(ctx, path, h); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, durable.ErrHeld) {
		t.Errorf("got %v, want the context's error and ErrHeld", err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	if got, held, err := durable.ReadHolder(path); got != (durable.Holder{}) || held || err != nil {
		t.Errorf("a look after the release: got %+v, %t, %v, want nobody", got, held, err)
	}
	if lock, err = durable.AcquireWait(t.Context(), path, h); err != nil {
		t.Fatalf("a lock that was given free: %v", err)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
}

// Whoever only looks keeps nobody from taking the lock, and makes no file.
func TestReadHolderIsNoHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if _, held, err := durable.ReadHolder(path); held || err != nil {
		t.Errorf("no lock: got %t, %v, want nobody", held, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want no file", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var looking sync.WaitGroup
	for range 4 {
		looking.Go(func() {
			for ctx.Err() == nil {
				if _, _, err := durable.ReadHolder(path); err != nil {
					t.Error(err)
				}
			}
		})
	}
	defer looking.Wait()
	defer cancel()
	for range 500 {
		lock, err := durable.Acquire(path, durable.Holder{PID: os.Getpid()})
		if err != nil {
			t.Fatal(err)
		}
		if err := lock.Release(); err != nil {
			t.Fatal(err)
		}
	}
}

// A process that dies leaves its name, and no lock.
func TestLockOfADeadProcessIsFree(t *testing.T) {
	if path := os.Getenv("HEADWATER_TEST_LOCK"); path != "" {
		if _, err := durable.Acquire(path, durable.Holder{PID: os.Getpid(), Role: "child"}); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("held\n")
		os.Stdin.Read(make([]byte, 1)) // until it is killed
		return
	}
	path := filepath.Join(t.TempDir(), "lock")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestLockOfADeadProcessIsFree$")
	cmd.Env = append(os.Environ(), "HEADWATER_TEST_LOCK="+path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	_, err = durable.Acquire(path, durable.Holder{})
	if held, ok := errors.AsType[*durable.HeldError](err); !ok || held.Holder.PID != cmd.Process.Pid {
		t.Errorf("got %v, want the child named", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if got, held, err := durable.ReadHolder(path); held || err != nil {
		t.Errorf("a look after its death: got %+v, %t, %v, want nobody", got, held, err)
	}
	lock, err := durable.Acquire(path, durable.Holder{})
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
}

func TestCreateNewReplacesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := durable.CreateNew(path, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := durable.CreateNew(path, []byte("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want fs.ErrExist", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "first" {
		t.Errorf("got %q, %v, want the first content", got, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("got %v, %v, want the file alone", entries, err)
	}
}
