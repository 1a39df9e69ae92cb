package blobstore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"sync"

	"headwater/bucket"
)

// Memory is a store in memory: for tests, and for tools that need a store for a moment. Durable means nothing here. The zero
// Memory is ready for use.
type Memory struct {
	// MaxBlobSize is the limit of one blob in bytes; zero means [DefaultMaxBlobSize]. It must not change once in use.
	MaxBlobSize int64

	mu    sync.RWMutex
	blobs map[bucket.Hash][]byte
}

var (
	_ Store       = (*Memory)(nil)
	_ Adder       = (*Memory)(nil)
	_ BatchPutter = (*Memory)(nil)
	_ Lister      = (*Memory)(nil)
	_ Deleter     = (*Memory)(nil)
	_ Sizer       = (*Memory)(nil)
)

func (m *Memory) limit() int64 {
	if m.MaxBlobSize == 0 {
		return DefaultMaxBlobSize
	}
	return m.MaxBlobSize
}

func (m *Memory) blob(h bucket.Hash) ([]byte, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	b, ok := m.blobs[h]
	return b, ok
}

func (m *Memory) keep(blobs ...Small) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.blobs == nil {
		m.blobs = make(map[bucket.Hash][]byte)
	}
	for _, b := range blobs {
		m.blobs[b.Hash] = b.Data
	}
}

// Has implements [Reader].
func (m *Memory) Has(ctx context.Context, h bucket.Hash) (bool, error) {
	_, ok := m.blob(h)
	return ok && ctx.Err() == nil, ctx.Err()
}

// Get implements [Reader].
func (m *Memory) Get(ctx context.Context, h bucket.Hash) (*Blob, error) {
	b, ok := m.blob(h)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("get blob %s: %w", h, err)
	}
	if !ok {
		return nil, fmt.Errorf("get blob %s: %w", h, ErrNotFound)
	}
	return NewBlob(h, int64(len(b)), io.NopCloser(bytes.NewReader(b))), nil
}

// Size implements [Sizer].
func (m *Memory) Size(ctx context.Context, h bucket.Hash) (int64, error) {
	b, ok := m.blob(h)
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("size of blob %s: %w", h, err)
	}
	if !ok {
		return 0, fmt.Errorf("size of blob %s: %w", h, ErrNotFound)
	}
	return int64(len(b)), nil
}

// Put implements [Store].
func (m *Memory) Put(ctx context.Context, h bucket.Hash, r io.Reader) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("put blob %s: %w", h, err)
	}
	if b, ok := m.blob(h); ok {
		return int64(len(b)), nil
	}
	b, err := io.ReadAll(Verify(&contextReader{ctx, r}, h, -1, m.limit()))
	if err != nil {
		return 0, fmt.Errorf("put blob %s: %w", h, err)
	}
	m.keep(Small{h, b})
	return int64(len(b)), nil
}

// Add implements [Adder].
func (m *Memory) Add(ctx context.Context, size int64, r io.Reader) (bucket.Hash, error) {
	var b bytes.Buffer
	if err := copyExactly(ctx, &b, r, size, m.limit()); err != nil {
		return bucket.Hash{}, fmt.Errorf("add blob: %w", err)
	}
	h := bucket.Sum(b.Bytes())
	m.keep(Small{h, b.Bytes()})
	return h, nil
}

// PutBatch implements [BatchPutter].
func (m *Memory) PutBatch(ctx context.Context, blobs []Small) error {
	if err := checkBatch(ctx, blobs, m.limit()); err != nil {
		return err
	}
	own := make([]Small, len(blobs))
	for i, b := range blobs {
		own[i] = Small{b.Hash, bytes.Clone(b.Data)}
	}
	m.keep(own...)
	return nil
}

// Delete implements [Deleter].
func (m *Memory) Delete(ctx context.Context, hashes ...bucket.Hash) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete blobs: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range hashes {
		delete(m.blobs, h)
	}
	return nil
}

// All implements [Lister].
func (m *Memory) All(ctx context.Context) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		m.mu.RLock()
		hashes := slices.Collect(maps.Keys(m.blobs))
		m.mu.RUnlock()
		for _, h := range hashes {
			if err := ctx.Err(); err != nil {
				yield(Info{}, fmt.Errorf("list blobs: %w", err))
				return
			}
			if b, ok := m.blob(h); ok && !yield(Info{h, int64(len(b))}, nil) {
				return
			}
		}
	}
}

// checkBatch refuses a batch if any of its blobs is too large or does not match its hash.
func checkBatch(ctx context.Context, blobs []Small, limit int64) error {
	limit = min(limit, SmallSize)
	for _, b := range blobs {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("put batch: %w", err)
		}
		if int64(len(b.Data)) > limit {
			return fmt.Errorf("put batch: blob %s: %w: %d bytes, at most %d are allowed", b.Hash, ErrTooLarge, len(b.Data), limit)
		}
		if got := bucket.Sum(b.Data); got != b.Hash {
			return fmt.Errorf("put batch: blob %s: %w: they hash to %s", b.Hash, ErrMismatch, got)
		}
	}
	return nil
}
