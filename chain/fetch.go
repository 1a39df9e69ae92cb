package chain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"

	"headwater/blobstore"
	"headwater/bucket"
)

// ErrNotFound: the store answered, and has no such object, as far as it can tell. It may appear later.
var ErrNotFound = errors.New("not in the object store")

// Objects reads object stores by name ("name" or "domain/name"). Safe for concurrent use.
type Objects interface {
	// Get opens the object whose name is the lower-case hex of h. What is read is not verified: the caller hashes it. The size
	// is what the store says, and may be a lie; -1 means unknown. A plain read may be answered by a replica that lags; fresh
	// asks for the newest state, at the price of one more round trip to the leader. An error other than ErrNotFound means that
	// the store could not be asked or did not answer.
	Get(ctx context.Context, store string, h bucket.Hash, fresh bool) (r io.ReadCloser, size int64, err error)
	// GetMany reads small objects of one store in as few round trips as it can, and calls take with each that is there and
	// right: their hashes have been compared. They come in any order, each once; those that cannot be had this way are left
	// out. The bytes are the receiver's. An error of take ends it; any other says that the store could not be asked, or not
	// this way.
	GetMany(ctx context.Context, store string, hashes []bucket.Hash, take func(h bucket.Hash, b []byte) error) error
}

// Fetcher reads objects from several stores: what one lacks, or has wrong, another may have. Safe for concurrent use.
type Fetcher struct {
	Objects Objects
	Timeout time.Duration // of each silent stretch of a transfer
}

// Bytes returns the verified bytes of an object that is small enough to hold in memory. One that no store has is asked for again
// for a quarter of a second, since a replica may lag behind an announcement. The errors are those of [Fetcher.Stream].
func (f *Fetcher) Bytes(ctx context.Context, what string, stores []string, link bucket.Link, limit int64) (b []byte, err error) {
	err = f.Stream(ctx, what, stores, link, true, func(r io.Reader, size int64) error {
		if size > limit {
			return fmt.Errorf("%w: %d bytes, the limit is %d", blobstore.ErrTooLarge, size, limit)
		}
		b, err = io.ReadAll(blobstore.Verify(r, link.Hash(), -1, limit))
		return err
	})
	return b, err
}

// notYetVisible is for how long an object that no store has is asked for again.
const notYetVisible = 250 * time.Millisecond

// Stream opens the object in one store after another until take is content with what it reads, which take has to verify. With
// patience, an object that no store has is asked for again every few milliseconds, from the stores' leaders, for a quarter of a
// second.
//
// If take is content with none, the error says what each store answered, and is
//
//   - of no class and not ErrNotFound, if a store did not answer: another time it may;
//   - a [*bucket.Refusal], if every store answered and one has bytes that cannot be the link's;
//   - ErrNotFound, if no store has the object.
func (f *Fetcher) Stream(
	ctx context.Context, what string, stores []string, link bucket.Link, patience bool, take func(r io.Reader, size int64) error,
) error {
	err := f.once(ctx, what, stores, link, false, take)
	if !patience || !errors.Is(err, ErrNotFound) {
		return err
	}
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(2*time.Millisecond), backoff.WithMaxInterval(80*time.Millisecond),
		backoff.WithMultiplier(2), backoff.WithMaxElapsedTime(notYetVisible),
	)
	return backoff.Retry(func() error {
		err := f.once(ctx, what, stores, link, true, take)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return backoff.Permanent(err)
		}
		return err
	}, backoff.WithContext(b, ctx))
}

func (f *Fetcher) once(
	ctx context.Context, what string, stores []string, link bucket.Link, fresh bool, take func(io.Reader, int64) error,
) error {
	var answers answers
	for i, store := range stores {
		if slices.Contains(stores[:i], store) {
			continue
		}
		err := f.guard(ctx, func(ctx context.Context, w *watch) error {
			r, size, err := f.Objects.Get(ctx, store, link.Hash(), fresh)
			if err != nil {
				return err
			}
			return errors.Join(take(&watchedReader{r, w}, size), r.Close())
		})
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("fetch %s %s: %w", what, link, ctx.Err())
		}
		answers.add(store, err)
	}
	return answers.verdict(what, link)
}

// Many reads many small objects from each store in turn, and calls take with those that come, verified, one at a time. What
// no store has is left out. An error of take ends it. Any other says that a store could not be asked, and something is
// missing.
func (f *Fetcher) Many(ctx context.Context, stores []string, hashes []bucket.Hash, take func(bucket.Hash, []byte) error) error {
	came := make(map[bucket.Hash]bool, len(hashes))
	var refused, worst error
	for i, store := range stores {
		missing := slices.DeleteFunc(slices.Clone(hashes), func(h bucket.Hash) bool { return came[h] })
		if len(missing) == 0 {
			return nil
		}
		if slices.Contains(stores[:i], store) {
			continue
		}
		err := f.guard(ctx, func(ctx context.Context, w *watch) error {
			return f.Objects.GetMany(ctx, store, missing, func(h bucket.Hash, b []byte) error {
				w.calm()
				came[h] = true
				refused = take(h, b)
				return refused
			})
		})
		if refused != nil {
			return refused
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			worst = fmt.Errorf("%s: %w", store, err)
		}
	}
	return worst
}

// answers gathers what the stores said of one object.
type answers struct {
	said     []string
	silent   bool // one did not answer
	mismatch bool
	tooLarge bool
}

func (a *answers) add(store string, err error) {
	switch {
	case errors.Is(err, ErrNotFound):
		a.said = append(a.said, store+": no such object")
		return
	case errors.Is(err, blobstore.ErrMismatch):
		a.mismatch = true
	case errors.Is(err, blobstore.ErrTooLarge):
		a.tooLarge = true
	default:
		a.silent = true
	}
	a.said = append(a.said, fmt.Sprintf("%s: %v", store, err))
}

func (a *answers) verdict(what string, link bucket.Link) error {
	if len(a.said) == 0 {
		return fmt.Errorf("fetch %s %s: no object store is named or configured: %w", what, link, ErrNotFound)
	}
	said := strings.Join(a.said, "; ")
	switch {
	case a.silent:
		return fmt.Errorf("fetch %s %s: a store did not answer (%s)", what, link, said)
	case a.mismatch:
		return bucket.Refuse(bucket.HashMismatch, link, "the %s is in no store with the right bytes (%s)", what, said)
	case a.tooLarge:
		return bucket.Refuse(bucket.TooLarge, link, "the %s is too large (%s)", what, said)
	}
	return fmt.Errorf("fetch %s %s: %w (%s)", what, link, ErrNotFound, said)
}

// watch ends a transfer that stands still.
type watch struct {
	patience time.Duration
	timer    *time.Timer
	ended    atomic.Bool
}

// guard calls do with a context that ends once nothing has been read for the timeout.
func (f *Fetcher) guard(ctx context.Context, do func(context.Context, *watch) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &watch{patience: f.Timeout}
	w.timer = time.AfterFunc(f.Timeout, func() {
		w.ended.Store(true)
		cancel()
	})
	defer w.timer.Stop()
	err := do(ctx, w)
	if err != nil && w.ended.Load() {
		return fmt.Errorf("no answer for %s", f.Timeout)
	}
	return err
}

func (w *watch) calm() { w.timer.Reset(w.patience) }

// watchedReader is a reader whose every Read that brings something starts the timeout anew.
type watchedReader struct {
	r io.Reader
	w *watch
}

func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if n > 0 {
		r.w.calm()
	}
	return n, err
}
