package publisher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"headwater/blobstore"
	"headwater/bucket"
)

const (
	askBatch   = 2000    // hashes in one question
	batchBytes = 8 << 20 // of the blobs of one batch
	batchBlobs = 2000
)

// upload puts what a store lacks of some blobs, and returns what it lacked, and what of that is not held here either. All else is
// in the store, as far as the store says.
func (r *round) upload(
	ctx context.Context, store string, from blobstore.Reader, hashes []bucket.Hash,
) (lacked, missing []bucket.Hash, err error) {
	g, puts := errgroup.WithContext(ctx)
	t := &transfer{round: r, store: store, from: from, group: g}
	err = t.all(puts, hashes)
	if failed := g.Wait(); failed != nil { // its end ends the asking too
		err = failed
	}
	if err != nil {
		return nil, nil, fmt.Errorf("upload to store %s: %w", store, err)
	}
	return t.lacked, t.missing, nil
}

// transfer is an upload under way.
type transfer struct {
	*round
	store  string
	from   blobstore.Reader
	group  *errgroup.Group
	lacked []bucket.Hash     // absent before
	batch  []blobstore.Small // being filled; while it is not empty, this transfer holds a token for it
	size   int

	mu      sync.Mutex
	missing []bucket.Hash
}

// all asks for one batch of hashes after the other; what is lacking is put meanwhile.
func (t *transfer) all(ctx context.Context, hashes []bucket.Hash) error {
	defer t.drop()
	for some := range slices.Chunk(hashes, askBatch) {
		absent, err := t.cfg.Stores.Absent(ctx, t.store, some)
		if err != nil {
			return err
		}
		t.note(func(g *Progress) { g.Absent += len(absent) })
		t.lacked = append(t.lacked, absent...)
		for _, h := range absent {
			if err := t.put(ctx, h); err != nil {
				return err
			}
		}
	}
	t.flush(ctx)
	return nil
}

// put puts a blob: a small one into the batch, a large one as a stream.
func (t *transfer) put(ctx context.Context, h bucket.Hash) error {
	blob, err := t.from.Get(ctx, h)
	if blobstore.IsMissing(err) {
		t.miss(h)
		return nil
	}
	if err != nil {
		return err
	}
	if blob.Size() > blobstore.SmallSize {
		return t.stream(ctx, h, blob)
	}
	defer blob.Close()
	if len(t.batch) == batchBlobs || t.size+int(blob.Size()) > batchBytes {
		t.flush(ctx)
	}
	b := make([]byte, blob.Size())
	if _, err := io.ReadFull(blob, b); blobstore.IsMissing(err) {
		t.miss(h)
		return nil
	} else if err != nil {
		return fmt.Errorf("read blob %s: %w", h, err)
	}
	if len(t.batch) == 0 {
		if err := take(ctx, t.batches); err != nil {
			return err
		}
	}
	t.batch, t.size = append(t.batch, blobstore.Small{Hash: h, Data: b}), t.size+len(b)
	return nil
}

// flush puts the batch, beside what follows.
func (t *transfer) flush(ctx context.Context) {
	if len(t.batch) == 0 {
		return
	}
	batch, size := t.batch, t.size
	t.batch, t.size = nil, 0
	t.group.Go(func() error {
		defer give(t.batches)
		if err := t.cfg.Stores.PutMany(ctx, t.store, batch); err != nil {
			return err
		}
		t.done(len(batch), int64(size))
		return nil
	})
}

// drop forgets a batch that will not be put.
func (t *transfer) drop() {
	if len(t.batch) > 0 {
		t.batch, t.size = nil, 0
		give(t.batches)
	}
}

// stream puts a large blob, beside what follows, and closes it. If it has to wait, the batch goes first: its token is not kept
// meanwhile.
func (t *transfer) stream(ctx context.Context, h bucket.Hash, blob *blobstore.Blob) error {
	select {
	case t.streams <- struct{}{}:
	default:
		t.flush(ctx)
		if err := take(ctx, t.streams); err != nil {
			_ = blob.Close() // it was only read
			return err
		}
	}
	t.group.Go(func() error {
		defer give(t.streams)
		defer blob.Close()
		err := t.cfg.Stores.Put(ctx, t.store, h, blob.Size(), blob)
		if errors.Is(err, blobstore.ErrCorrupt) {
			t.miss(h)
			return nil
		}
		if err != nil {
			return err
		}
		t.done(1, blob.Size())
		return nil
	})
	return nil
}

// miss notes a blob that is neither here nor in the store.
func (t *transfer) miss(h bucket.Hash) {
	t.mu.Lock()
	t.missing = append(t.missing, h)
	t.mu.Unlock()
	t.note(func(g *Progress) { g.Absent-- })
}

func (t *transfer) done(n int, size int64) {
	t.note(func(g *Progress) {
		g.Done += n
		g.Bytes += size
	})
}

// take waits for a token.
func take(ctx context.Context, tokens chan struct{}) error {
	select {
	case tokens <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func give(tokens chan struct{}) { <-tokens }
