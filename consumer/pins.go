package consumer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/logstore"
)

// handlePinJob fetches what a version needs and is not held, and marks the version complete.
func (c *Consumer) handlePinJob(ctx context.Context, m Message) (result, error) {
	j, err := c.readPinJob(m)
	if err != nil {
		return result{}, &badMessage{err}
	}
	e, err := c.Find(ctx, j.Bucket, j.Head())
	if err != nil {
		return result{}, err // not logged here, or not yet: another time
	}
	r := result{outcome: ClassDuplicate, event: Event{Link: e.Link, Height: e.Height}}
	if e.Complete {
		return r, nil
	}
	if stale, err := c.superseded(ctx, e); stale || err != nil {
		r.outcome = ClassStale
		return r, err
	}
	n, err := c.download(ctx, e, append(j.Stores, c.BlobStores...))
	if err != nil {
		return result{}, err
	}
	owed, err := c.owed(ctx, e)
	if err != nil {
		return result{}, err
	}
	if err := c.Log.Complete(ctx, e.Bucket, e.Head(), n, !owed); err != nil {
		return result{}, err
	}
	if err := c.clearCondition(ctx, e.Bucket); err != nil {
		return result{}, err
	}
	r.outcome, r.event.Pins, r.event.Bytes = ClassApplied, n.Needed, n.Bytes
	return r, nil
}

// owed reports whether this peer still owes a version to the broker. One that it does not owe was announced by others, and its content
// came from the stores: everybody can hear of it.
func (c *Consumer) owed(ctx context.Context, e logstore.Entry) (bool, error) {
	for u, err := range c.Log.Uploads(ctx, e.Bucket) {
		if err != nil || u.Link == e.Link {
			return err == nil, err
		}
	}
	return false, nil
}

// readPinJob decodes a job and compares it with its subject.
func (c *Consumer) readPinJob(m Message) (bucket.PinJob, error) {
	j, err := bucket.DecodePinJob(contentType(m), m.Body)
	switch {
	case err != nil:
		return j, err
	case m.Bucket.IsZero() || m.Peer != c.Peer:
		return j, bucket.Refuse(bucket.Malformed, j.Link, "the subject %.200q names no bucket, or not this peer", m.Subject)
	case !j.Bucket.IsZero() && j.Bucket != m.Bucket:
		return j, bucket.Refuse(bucket.WrongBucket, j.Link, "a job for bucket %s on the subject of %s", j.Bucket, m.Bucket)
	}
	j.Bucket = m.Bucket
	return j, nil
}

// superseded reports whether a newer version of the bucket is logged, whose own job makes this one needless, and drops it. The end
// of a branch that nobody has merged is needed beside the head: a merge needs both.
func (c *Consumer) superseded(ctx context.Context, e logstore.Entry) (bool, error) {
	if c.AllVersions {
		return false, nil
	}
	b, err := c.Log.Bucket(ctx, e.Bucket)
	if err != nil || b.Known.Compare(e.Head()) <= 0 {
		return false, err
	}
	tips, err := c.Log.Tips(ctx, e.Bucket)
	if err != nil || slices.ContainsFunc(tips, func(t logstore.Tip) bool { return t.Link == e.Link && !t.Merged }) {
		return false, err
	}
	return true, c.Log.Drop(ctx, e.Bucket, e.Head())
}

// download holds all pins of a version when it returns without an error. It fetches several at a time, and goes on after a
// failure, so that what can be had is held; it then returns the worst failure, with how many there were.
func (c *Consumer) download(ctx context.Context, e logstore.Entry, stores []string) (logstore.PinCount, error) {
	stores = append(stores, c.ManifestStores...) // pins name the predecessor's manifest too
	pins, err := c.pins(ctx, e.Pins, stores)
	if err != nil {
		return logstore.PinCount{}, err
	}
	t := c.board.fetching(e.Bucket, e.Head(), len(pins))
	defer c.board.fetchEnded(e.Bucket)
	var g errgroup.Group
	g.SetLimit(c.Fetches)
	var failed failures
	for _, h := range pins {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			size, err := c.hold(ctx, h, stores, t, failed.none())
			if err != nil {
				failed.add(err)
				return nil
			}
			t.hold(size)
			return nil
		})
	}
	_ = g.Wait()
	if err := ctx.Err(); err != nil {
		return logstore.PinCount{}, fmt.Errorf("fetch pins of version %s: %w", e.Link, err)
	}
	count := logstore.PinCount{Needed: uint64(len(pins)), Bytes: uint64(t.bytes.Load())}
	return count, failed.verdict(e.Link, len(pins))
}

// pins returns a version's pins list, which becomes a held blob itself.
func (c *Consumer) pins(ctx context.Context, link bucket.Link, stores []string) (bucket.Pins, error) {
	b, err := blobstore.ReadAll(ctx, c.Blobs, link.Hash(), bucket.MaxPinsSize)
	if blobstore.IsMissing(err) {
		if b, err = c.chain.Fetcher().Bytes(ctx, "pins list", stores, link, bucket.MaxPinsSize); err != nil {
			return nil, err
		}
		_, err = c.Blobs.Put(ctx, link.Hash(), bytes.NewReader(b))
	}
	if err != nil {
		return nil, fmt.Errorf("pins list %s: %w", link, err)
	}
	return bucket.ParsePins(b)
}

// hold makes sure that one blob is held, and returns its size. With patience, a blob that no store has is asked for again. A
// download drops it after the first failure: if one blob has not become visible in time, waiting for each of the others would only
// take longer.
func (c *Consumer) hold(ctx context.Context, h bucket.Hash, stores []string, t *transfer, patient bool) (int64, error) {
	size, err := sizeOf(ctx, c.Blobs, c.Manifests, h)
	if !errors.Is(err, blobstore.ErrNotFound) {
		return size, err
	}
	take := func(r io.Reader, told int64) (err error) {
		defer t.expect(told)()
		size, err = c.Blobs.Put(ctx, h, r) // which verifies it
		return err
	}
	err = c.chain.Fetcher().Stream(ctx, "blob", stores, bucket.NewLink(bucket.CodecRaw, h), patient, take)
	return size, err
}

// CountPins counts the pins that a list names, the bytes of those that are held, and how many are missing. If the list itself is
// not held, the error is its store's: see [blobstore.IsMissing].
func CountPins(
	ctx context.Context, blobs Blobs, manifests blobstore.Sizer, list bucket.Link,
) (count logstore.PinCount, missing int, err error) {
	b, err := blobstore.ReadAll(ctx, blobs, list.Hash(), bucket.MaxPinsSize)
	if err != nil {
		return count, 0, fmt.Errorf("pins list %s: %w", list, err)
	}
	pins, err := bucket.ParsePins(b)
	if err != nil {
		return count, 0, err
	}
	count.Needed = uint64(len(pins))
	for _, h := range pins {
		size, err := sizeOf(ctx, blobs, manifests, h)
		switch {
		case errors.Is(err, blobstore.ErrNotFound):
			missing++
		case err != nil:
			return count, missing, err
		default:
			count.Bytes += uint64(size)
		}
	}
	return count, missing, nil
}

// sizeOf returns the size of what a version pins, or blobstore.ErrNotFound: a blob, or the manifest of a version before.
func sizeOf(ctx context.Context, blobs, manifests blobstore.Sizer, h bucket.Hash) (int64, error) {
	size, err := blobs.Size(ctx, h)
	if errors.Is(err, blobstore.ErrNotFound) {
		return manifests.Size(ctx, h)
	}
	return size, err
}

// failures gathers what went wrong with the pins of one version, from several goroutines.
type failures struct {
	mu    sync.Mutex
	n     int
	worst error // one that a later try may mend comes before a refusal
}

func (f *failures) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	if f.worst == nil || (bucket.ClassOf(f.worst) != "" && bucket.ClassOf(err) == "") {
		f.worst = err
	}
}

func (f *failures) none() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n == 0
}

func (f *failures) verdict(link bucket.Link, pins int) error {
	if f.n == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d pins of version %s are not held: %w", f.n, pins, link, f.worst)
}

// transfer counts the pins of one version while they are fetched.
type transfer struct {
	head     bucket.Head
	needed   int
	pins     atomic.Int64 // held
	bytes    atomic.Int64 // of those
	inFlight atomic.Int64 // bytes of blobs that are being fetched, as told by stores
}

// expect takes note of the size that a store told of a blob, until the function that it returns is called.
func (t *transfer) expect(size int64) func() {
	size = max(size, 0)
	t.inFlight.Add(size)
	return func() { t.inFlight.Add(-size) }
}

func (t *transfer) hold(size int64) {
	t.pins.Add(1)
	t.bytes.Add(size)
}
