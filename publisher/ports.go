package publisher

import (
	"context"
	"io"
	"iter"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/logstore"
)

// Log is the part of a log that the publisher needs. Every [logstore.Store] has it. See [logstore.Reader], [logstore.Tips] and, for
// what is owed, [logstore.Uploads].
type Log interface {
	Bucket(ctx context.Context, id bucket.ID) (logstore.Bucket, error)
	Entry(ctx context.Context, id bucket.ID, h bucket.Head) (logstore.Entry, error)
	Tips(ctx context.Context, id bucket.ID) ([]logstore.Tip, error)
	Uploads(ctx context.Context, id bucket.ID) iter.Seq2[logstore.Upload, error]
	Announced(ctx context.Context, id bucket.ID, h bucket.Head) error
	Uploaded(ctx context.Context, id bucket.ID, heads ...bucket.Head) error
}

// Stores writes object stores by name. Safe for concurrent use. An error says that nothing is certain; asking and putting
// again is safe.
type Stores interface {
	// Absent returns those of the hashes whose objects the store lacks, in any order. It may return one that is there, which
	// costs another put; it never leaves out one that is not.
	Absent(ctx context.Context, store string, hashes []bucket.Hash) ([]bucket.Hash, error)
	// Put stores the size bytes of r, which are read once, of an object that Absent returned. It returns once the store has
	// acknowledged all of them.
	Put(ctx context.Context, store string, h bucket.Hash, size int64, r io.Reader) error
	// PutMany stores blobs of up to [bucket.MaxPackSize] bytes each, and returns once the store has acknowledged all.
	PutMany(ctx context.Context, store string, blobs []blobstore.Small) error
}

// Bus is where heads are announced. Safe for concurrent use.
type Bus interface {
	// Announce publishes a head and returns once the bus has stored it, or has found that it did so before (duplicate).
	Announce(ctx context.Context, a bucket.Announcement) (duplicate bool, err error)
	// Heads returns what is announced of a bucket now, a bounded number.
	Heads(ctx context.Context, id bucket.ID) ([]bucket.Announcement, error)
}

// Progress is how far a bucket is worked off. It begins anew each time that the bucket is taken up.
type Progress struct {
	Absent    int         // objects that a store lacked and are held here
	Done      int         // of Absent, acknowledged by the store
	Bytes     int64       // of Done
	Announced bucket.Head // told to the bus meanwhile; zero for none
	Duplicate bool        // the bus had been told of that before
}
