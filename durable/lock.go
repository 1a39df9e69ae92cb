package durable

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gofrs/flock"
)

// Holder says which process holds a lock.
type Holder struct {
	PID   int       `json:"pid"`
	Since time.Time `json:"since"`
	Role  string    `json:"role"` // what the process does, for people
}

// HeldError is returned for a lock that another process, or another lock of this one, holds.
type HeldError struct {
	Path   string
	Holder Holder // zero if it cannot be told
}

// Error names the holder, as far as it is known.
func (e *HeldError) Error() string {
	if e.Holder.PID == 0 {
		return fmt.Sprintf("%s is held by another process", e.Path)
	}
	return fmt.Sprintf("%s is held by process %d (%s), since %s", e.Path, e.Holder.PID, e.Holder.Role,
		e.Holder.Since.Local().Format(time.DateTime))
}

// Lock excludes other processes from what it stands for. The system gives it free when the process dies.
type Lock struct{ file *flock.Flock }

// holderFile is where the holder's name stands: not in the lock's own file, since Windows lets nobody read what is locked.
func holderFile(path string) string { return path + ".holder" }

// Acquire takes the lock whose file is at path, which is made if it is missing, and leaves h for others to read. It never waits:
// [*HeldError].
func Acquire(path string, h Holder) (*Lock, error) {
	l := &Lock{flock.New(path, flock.SetPermissions(0o600))}
	got, err := l.file.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if !got {
		return nil, &HeldError{path, ReadHolder(path)}
	}
	b, err := json.Marshal(h)
	if err == nil {
		err = os.WriteFile(holderFile(path), b, 0o600)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), l.Release())
	}
	return l, nil
}

// acquireEvery is how often [AcquireWait] tries.
const acquireEvery = 10 * time.Millisecond

// AcquireWait takes the lock as soon as it is free. If ctx ends before, the error is a [*HeldError] and that of ctx.
func AcquireWait(ctx context.Context, path string, h Holder) (*Lock, error) {
	tick := time.NewTicker(acquireEvery)
	defer tick.Stop()
	for {
		l, err := Acquire(path, h)
		if _, held := errors.AsType[*HeldError](err); !held {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-tick.C:
		}
	}
}

// ReadHolder returns who took the lock last: zero if that cannot be told. Only while the lock is held it means anything.
func ReadHolder(path string) (h Holder) {
	if b, err := os.ReadFile(holderFile(path)); err == nil {
		if json.Unmarshal(b, &h) != nil {
			return Holder{}
		}
	}
	return h
}

// Release gives the lock free. The files stay.
func (l *Lock) Release() error { return l.file.Close() }
