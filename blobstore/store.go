package blobstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"headwater/bucket"
)

// Sentinels of this package. They arrive wrapped with the operation and the hash.
var (
	// ErrNotFound is returned by Get and Size for a blob that is not held.
	ErrNotFound = errors.New("blob not held")
	// ErrMismatch is returned by Put, PutBatch and the reader of [Verify] for bytes that are not those of the hash.
	ErrMismatch = errors.New("bytes do not match the hash")
	// ErrTooLarge is returned for a blob of more bytes than the store, the batch or the caller allows.
	ErrTooLarge = errors.New("blob too large")
	// ErrCorrupt is returned by Get, or by the last Read of a [Blob], if a store holds wrong bytes under a hash.
	ErrCorrupt = errors.New("stored blob is damaged")
	// ErrLocked is returned by [OpenDisk] while another process, or another Disk of this one, has the directory open.
	ErrLocked = errors.New("blob store is in use")
	// ErrClosed is returned by every method of a [Disk] after Close.
	ErrClosed = errors.New("blob store is closed")
)

// IsMissing reports whether an error of a store says that it does not have a blob, or has it no more: [ErrNotFound], [ErrCorrupt].
func IsMissing(err error) bool { return errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt) }

const (
	// SmallSize is the largest size in bytes of a small blob. A large one costs three syncs and a file (at least one 4 KiB
	// block); at 64 KiB that block is a sixteenth at most, and the copy through a segment still costs less than the syncs.
	// Manifests, nodes and most pins lists are far below, file contents above.
	SmallSize = 64 << 10
	// DefaultMaxBlobSize is the limit in bytes of a store whose configuration names none: 64 GiB, more than any file that
	// is likely to be shared, and less than would fill a disk unnoticed.
	DefaultMaxBlobSize = 64 << 30
)

// Reader hands out blobs. All methods are safe for concurrent use.
type Reader interface {
	// Has reports whether the blob is held. What it reports as held is durable, but was not read: damage shows on Get.
	Has(ctx context.Context, h bucket.Hash) (bool, error)

	// Get opens a blob for reading; the caller closes it. It returns [ErrNotFound] for one that is not held. Wrong bytes
	// are [ErrCorrupt], from Get itself or from the Read that would complete the blob. ctx covers the call, and in stores
	// that read over a network the reading too. A blob that is deleted while it is read can be read to its end.
	Get(ctx context.Context, h bucket.Hash) (*Blob, error)
}

// Store is a Reader that takes blobs too. All methods are safe for concurrent use.
type Store interface {
	Reader

	// Put reads r to its end, keeps the bytes under h and returns their number. They are durable on return. Bytes that do
	// not hash to h are [ErrMismatch], more than the store's limit [ErrTooLarge]; then, and when r or ctx fails, nothing is
	// kept. A blob that is held already is left alone: its size is returned and r is not read.
	Put(ctx context.Context, h bucket.Hash, r io.Reader) (size int64, err error)
}

// Adder is a store that finds the hash itself.
type Adder interface {
	// Add keeps the size bytes of r under their hash, and returns it. They are durable on return. Another number of bytes is
	// [ErrMismatch], more than the store's limit [ErrTooLarge]; then, and if r or ctx fails, nothing is kept.
	Add(ctx context.Context, size int64, r io.Reader) (bucket.Hash, error)
}

// Small is a blob in memory, for [BatchPutter].
type Small struct {
	Hash bucket.Hash
	Data []byte // at most SmallSize bytes; not kept, not changed
}

// BatchPutter is a store that takes many small blobs for the price of one.
type BatchPutter interface {
	// PutBatch keeps all blobs; all are durable on return. Each is hashed before anything is written, so [ErrMismatch] and
	// [ErrTooLarge] (more than [SmallSize] bytes, or the store's limit) mean that nothing was kept. After any other error
	// some may be held. Blobs held already, or twice in the batch, cost nothing.
	PutBatch(ctx context.Context, blobs []Small) error
}

// Info is the name and the size in bytes of a held blob.
type Info struct {
	Hash bucket.Hash
	Size int64
}

// Lister is a store that can say what it holds.
type Lister interface {
	// All iterates over the blobs held, each once, in no particular order. A blob put or deleted meanwhile may come or not;
	// the loop's body may use the store. An error comes with a zero Info and ends the iteration.
	All(ctx context.Context) iter.Seq2[Info, error]
}

// Deleter is a store that can forget.
type Deleter interface {
	// Delete removes blobs, durably on return; one that is not held is no error. After an error some may be gone.
	Delete(ctx context.Context, hashes ...bucket.Hash) error
}

// Sizer is a store that knows sizes without reading.
type Sizer interface {
	// Size returns the size of a blob in bytes, or [ErrNotFound].
	Size(ctx context.Context, h bucket.Hash) (int64, error)
}

// ReadAll returns the verified bytes of a blob of at most limit bytes, and [ErrTooLarge] without reading on for a larger
// one. Never more than limit bytes are held in memory, whatever size r claims. Other errors are those of Get.
func ReadAll(ctx context.Context, r Reader, h bucket.Hash, limit int64) ([]byte, error) {
	blob, err := r.Get(ctx, h)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	if blob.Size() > limit {
		return nil, fmt.Errorf("read blob %s: %w: %d bytes, at most %d are allowed", h, ErrTooLarge, blob.Size(), limit)
	}
	var b bytes.Buffer
	b.Grow(int(min(max(blob.Size(), 0), 1<<20)) + bytes.MinRead)
	if _, err := b.ReadFrom(&contextReader{ctx, blob}); err != nil {
		return nil, fmt.Errorf("read blob %s: %w", h, err)
	}
	return b.Bytes(), nil
}

// contextReader stops reading once its call is cancelled. It lives no longer than that call.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

// Read reads from the reader behind, or returns why the call was cancelled.
func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
