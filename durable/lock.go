package durable

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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

// Self is this process as a holder, from now on.
func Self(role string) Holder { return Holder{PID: os.Getpid(), Since: time.Now(), Role: role} }

// ErrHeld is what errors.Is finds in every [*HeldError].
var ErrHeld = errors.New("lock is held")

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

// Is reports whether target is [ErrHeld].
func (e *HeldError) Is(target error) bool { return target == ErrHeld }

// Lock excludes other processes, and other locks of this one, from what it stands for. The system releases it when the process
// dies.
type Lock struct{ file *flock.Flock }

// holderFile is where the holder's name stands: not in the lock's own file, since Windows lets nobody read what is locked.
func holderFile(path string) string { return path + ".holder" }

// Acquire takes the lock whose file is at path, which is made if it is missing, and leaves h for others to read. It never
// waits: if the lock is held, the error is a [*HeldError].
func Acquire(path string, h Holder) (*Lock, error) {
	l, err := tryLock(path)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if l == nil {
		return nil, &HeldError{path, readHolder(path)}
	}
	// The name is for people: a full disk, on which it cannot be written, is no reason to keep them out.
	if b, err := json.Marshal(h); err == nil {
		_ = os.WriteFile(holderFile(path), b, 0o600)
	}
	return l, nil
}

// tryLock returns nil if the lock is held. Whoever looks ([ReadHolder]) shares it for a moment, and is not taken for a holder:
// a lock that can be shared is free a moment later.
func tryLock(path string) (*Lock, error) {
	for {
		file := flock.New(path, flock.SetPermissions(0o600))
		if got, err := file.TryLock(); err != nil {
			return nil, err
		} else if got {
			return &Lock{file}, nil
		}
		if shared, err := file.TryRLock(); !shared || err != nil {
			return nil, err
		}
		if err := file.Close(); err != nil {
			return nil, err
		}
	}
}

// acquireEvery is how often [AcquireWait] tries.
const acquireEvery = 10 * time.Millisecond

// AcquireWait takes the lock as soon as it is free. It tries at least once; if ctx ends before it is free the error is a
// [*HeldError] and that of ctx.
func AcquireWait(ctx context.Context, path string, h Holder) (*Lock, error) {
	tick := time.NewTicker(acquireEvery)
	defer tick.Stop()
	for {
		l, err := Acquire(path, h)
		if !errors.Is(err, ErrHeld) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// ReadHolder reports whether the lock is held, and by whom: zero if that cannot be told. It takes nothing from anybody, and makes
// no file. The answer may be old when it arrives.
func ReadHolder(path string) (h Holder, held bool, err error) {
	file := flock.New(path, flock.SetFlag(os.O_RDONLY))
	free, err := file.TryRLock()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Holder{}, false, nil
	case err != nil:
		return Holder{}, false, fmt.Errorf("look at lock %s: %w", path, err)
	case free:
		return Holder{}, false, file.Close()
	}
	return readHolder(path), true, nil
}

// readHolder returns the name that the last holder has left. One that died is named until the next has written its own.
func readHolder(path string) (h Holder) {
	b, err := os.ReadFile(holderFile(path))
	if err != nil || json.Unmarshal(b, &h) != nil {
		return Holder{}
	}
	return h
}

// Release releases the lock. Its file stays; the holder's name goes, so that it is not read as that of the next.
func (l *Lock) Release() error {
	_ = os.Remove(holderFile(l.file.Path())) // one that stays is written over
	return l.file.Close()
}
