package local

import (
	"context"
	"errors"
	"io"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/logstore"
)

// Sentinels that a [Holder] returns, wrapped with what failed and what to do. They cross the socket.
var (
	// ErrNoBucket: the log has no version of the bucket, and none that is announced could be verified.
	ErrNoBucket = errors.New("no such bucket")
	// ErrNoVersion: the chain has no such version.
	ErrNoVersion = errors.New("no such version")
	// ErrStale: a version made here does not follow on the newest version any more; make it again on the new one.
	ErrStale = errors.New("no longer the newest version")
	// ErrOffline: the broker does not answer, and what was asked for needs it.
	ErrOffline = errors.New("the broker does not answer")
	// ErrGone: the holder has closed, and the call was not begun. Whoever holds the directory next can be asked the same.
	ErrGone = errors.New("the process that held the directory is gone")
	// ErrRefused: the holder does not speak this version of the protocol, has too many connections, or does not give the directory
	// up.
	ErrRefused = errors.New("refused by the process that holds the directory")
)

// Holder is the process that holds a peer's directory, as seen by a process that works on the directory: either the same process
// or, over a socket, another one. All methods are safe for concurrent use, and end early if their context does.
type Holder interface {
	Content
	History
	Maker
	Teller
}

// Content is bytes by hash: the peer's own blobs first, then, for what is not held, the object stores.
type Content interface {
	blobstore.Reader
	// Put keeps the size bytes of r under their hash in the peer's own store, durably on return. It reads r at most once. A blob
	// that is held is left alone, and r need not be read. blobstore.ErrMismatch for other bytes, or another number of them.
	Put(ctx context.Context, h bucket.Hash, size int64, r io.Reader) error
	// Add is Put for bytes whose hash is not known before; it returns the hash.
	Add(ctx context.Context, size int64, r io.Reader) (bucket.Hash, error)
	// Manifest returns the bytes of a manifest: from the peer's own, or else from the object stores. They hash to the link.
	// blobstore.ErrNotFound if nobody has it.
	Manifest(ctx context.Context, link bucket.Link) ([]byte, error)
}

// History is the versions of buckets, all of them verified.
type History interface {
	// Find returns the buckets that a person may mean: whose id begins with name, or that are called so. Those of the log come
	// first; only if there are none, those that are announced and shared with us.
	Find(ctx context.Context, name string) ([]bucket.ID, error)
	// Look returns the newest versions of a bucket. If bus is set, it first looks at what is announced, for a bounded time,
	// and takes into the log what verifies; without a broker it answers from the log alone and says so. ErrNoBucket.
	Look(ctx context.Context, id bucket.ID, bus bool) (View, error)
	// Ancestor returns a version in the chain of a version: see [AncestorQuery]. ErrNoVersion.
	Ancestor(ctx context.Context, q AncestorQuery) (bucket.Head, error)
	// Carried returns what the version after the known head has to pin so that everybody sees what is merged: the manifests of the
	// branches that end in tips, down to where they leave what the head has, and what the head and these tips hold as merged.
	Carried(ctx context.Context, id bucket.ID, tips []bucket.Link) (bucket.Pins, error)
	// Log returns up to limit versions, newest first, those before the given head (zero: all).
	Log(ctx context.Context, id bucket.ID, before bucket.Head, limit int) (LogPage, error)
}

// View is how a bucket stands: its head, and the branches that did not become the head.
type View struct {
	Head     []byte      `json:"head"` // manifest of the known head
	Complete bucket.Head `json:"complete"`
	Tips     []Tip       `json:"tips,omitempty"` // unmerged ones besides the head, the greatest first
	// Unshared is the manifest of a newer version, verified, that has no share for this peer, so that the log does not have it.
	Unshared []byte    `json:"unshared,omitempty"`
	Ignored  []Ignored `json:"ignored,omitempty"` // announced heads that were not taken
	Offline  string    `json:"offline,omitempty"` // why the bus was not looked at; empty if it was, or was not to be
}

// Tip is the end of a branch that nobody merged.
type Tip struct {
	Manifest []byte      `json:"manifest"`
	Base     bucket.Head `json:"base"` // newest version that the head has all of
}

// Ignored is an announced head that was not taken into the log.
type Ignored struct {
	Link   bucket.Link      `json:"link"`
	Height uint64           `json:"height"` // as told, 0 if it is not told
	Peer   bucket.PublicKey `json:"peer"`
	Class  string           `json:"class"` // outcome class
	Reason string           `json:"reason"`
}

// AncestorQuery asks for a version in the chain of a version of the log, that version included. Exactly one of Height, Link
// and Published says which one.
type AncestorQuery struct {
	Bucket    bucket.ID   `json:"bucket_id"`
	Of        bucket.Head `json:"of"` // zero, with Link alone: any version of the log
	Height    *uint64     `json:"height,omitempty"`
	Link      bucket.Link `json:"link,omitzero"`
	Published bool        `json:"published,omitempty"` // the newest published one
}

// LogPage is some versions of a bucket.
type LogPage struct {
	Head     bucket.Head `json:"head"` // the known one
	Versions []LogEntry  `json:"versions"`
	More     bool        `json:"more,omitempty"`
}

// LogEntry is one version as the log tells it.
type LogEntry struct {
	BucketID  bucket.ID         `json:"bucket_id"`
	Link      bucket.Link       `json:"link"`
	Height    uint64            `json:"height"`
	Previous  *bucket.Link      `json:"previous"` // null for a genesis
	Author    *bucket.PublicKey `json:"author"`   // null if it is unsigned
	Published bool              `json:"published"`
	Head      bool              `json:"head"`
	Complete  bool              `json:"complete"`
	Name      string            `json:"name"`
	Added     time.Time         `json:"added"`
}

// Maker takes the versions that are made here.
type Maker interface {
	// Keep takes a version whose blobs were put: it is verified against its predecessor, then durable in the peer's own store
	// and log on return, with its outbox entry, and with a pin job if it has pins that are not held. ErrStale if it does not
	// follow on the newest version any more.
	Keep(ctx context.Context, manifest []byte) error
	// Await returns once a version is announced, by itself or below one that is, or once there is nothing to wait for: then
	// ErrOffline says that the broker does not answer, and another error what hinders the upload. report, if not nil, is told how
	// the upload goes, one call at a time.
	Await(ctx context.Context, id bucket.ID, link bucket.Link, report func(UploadProgress)) error
	// Announce announces a version of the log again, or its known head if link is zero. It reports whether it was announced
	// already. ErrNoBucket, ErrNoVersion, ErrOffline.
	Announce(ctx context.Context, id bucket.ID, link bucket.Link) (duplicate bool, err error)
}

// UploadProgress is how far the upload of a version is.
type UploadProgress struct {
	Objects int   `json:"objects"` // that the object stores lack, or lacked
	Done    int   `json:"done"`    // of those
	Bytes   int64 `json:"bytes"`   // of Done
}

// Teller says how things stand. What it says is JSON already, so that it crosses the socket as it is printed.
type Teller interface {
	// Status tells how buckets stand: one, or, for the zero ID, all after a bucket, up to limit (0: as many as a page holds).
	Status(ctx context.Context, id, after bucket.ID, limit int) (Status, error)
	// Watch calls handle with each event of this peer as it happens, one at a time, as JSON, until ctx ends, whose error it
	// returns. A reader that is too slow misses events. started, if not nil, is called once no event is missed any more.
	Watch(ctx context.Context, started func(), handle func(event []byte)) error
}

// NewLogEntry returns an entry of the log as it is told; known is the bucket's known head.
func NewLogEntry(e logstore.Entry, known bucket.Head) LogEntry {
	l := LogEntry{
		BucketID: e.Bucket, Link: e.Link, Height: e.Height, Published: e.Published, Head: e.Head() == known,
		Complete: e.Complete, Name: e.Name, Added: e.Added,
	}
	if !e.Previous.IsZero() {
		l.Previous = &e.Previous
	}
	if !e.Author.IsZero() {
		l.Author = &e.Author
	}
	return l
}
