package author

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"headwater/bucket"
	"headwater/durable"
)

// State keeps what an author has verified, a file per bucket, so that no broker can take it back. The files are for the
// owner only, replaced whole and synced; a lock file beside each keeps commands apart that run at the same time. Safe for
// concurrent use, also by several processes.
type State struct{ dir string }

// OpenState returns the state kept in dir/buckets, which is made where it is missing.
func OpenState(dir string) (*State, error) {
	s := &State{filepath.Join(dir, "buckets")}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the state of buckets: %w", err)
	}
	if err := durable.SyncDir(dir); err != nil {
		return nil, fmt.Errorf("open the state of buckets: %w", err)
	}
	return s, nil
}

// Known returns the genesis that is trusted for a bucket, and the newest head that was verified; both are zero for a bucket
// that was never met. A file that cannot be read is [ErrState].
func (s *State) Known(id bucket.ID) (genesis bucket.Link, head bucket.Head, err error) {
	r, err := s.load(id)
	if err != nil || r == nil {
		return bucket.Link{}, bucket.Head{}, err
	}
	return r.genesis, r.head.Head(), nil
}

func (s *State) path(id bucket.ID) string { return filepath.Join(s.dir, id.String()+".json") }

// load returns the record of a bucket, nil where there is none.
func (s *State) load(id bucket.ID) (*record, error) {
	f, err := os.Open(s.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the state of bucket %s: %w", id, err)
	}
	defer f.Close()
	r, err := readRecord(f, id)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w: %w; without %s the bucket is met anew, and the first genesis seen is trusted",
			id, ErrState, err, s.path(id))
	}
	return r, nil
}

// lockRetry is how often a lock that another command holds is asked for again.
const lockRetry = 20 * time.Millisecond

// change runs f on the record of a bucket (nil where there is none), alone among all commands, and keeps what it returns,
// durably. A nil record is not kept. A head below the one that is kept, or of another genesis, is refused: the state never
// goes back.
func (s *State) change(ctx context.Context, id bucket.ID, f func(old *record) (*record, error)) (err error) {
	lock := flock.New(filepath.Join(s.dir, id.String()+".lock"), flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, lockRetry); err != nil {
		return fmt.Errorf("lock the state of bucket %s: %w", id, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	old, err := s.load(id)
	if err != nil {
		return err
	}
	r, err := f(old)
	if err != nil || r == nil {
		return err
	}
	if old != nil {
		if r.genesis != old.genesis {
			return fmt.Errorf("bucket %s: %w: %s, while %s is trusted", id, ErrDiverged, r.genesis, old.genesis)
		}
		if r.head.Head().Compare(old.head.Head()) < 0 {
			return fmt.Errorf("bucket %s: version %s: %w: %s is", id, r.head.Link, ErrStale, old.head.Link)
		}
	}
	b, err := r.encode()
	if err == nil {
		err = durable.WriteFile(s.path(id), b)
	}
	if err != nil {
		return fmt.Errorf("keep the state of bucket %s: %w", id, err)
	}
	return nil
}
