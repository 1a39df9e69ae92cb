package tree

import (
	"context"
	"io"

	"headwater/bucket"
)

// Writer takes the blobs of a version that is being made. Safe for concurrent use.
type Writer interface {
	// Put keeps the size bytes of r under their hash, durably. It reads r once, to its end, and fails if the bytes are others
	// or their number is another. Blobs that are there already are left alone, and r need not be read then.
	Put(ctx context.Context, h bucket.Hash, size int64, r io.Reader) error
	// Add keeps the size bytes of r, durably, and returns their hash: for a blob whose hash costs as much as making the blob.
	// It reads r once, to its end. If r fails, or does not have that many bytes, nothing is kept.
	Add(ctx context.Context, size int64, r io.Reader) (bucket.Hash, error)
}
