package publisher

import (
	"errors"
	"log/slog"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
)

// ErrIncomplete: a version that is owed needs bytes that are neither held here nor in the stores. The message names version
// and blob. It is tried again; fetching the rest from another peer, or uploading it from there, ends it.
var ErrIncomplete = errors.New("not all that the version added is held")

// Config is what a publisher is made of. Everything up to BlobStore is required.
type Config struct {
	Peer bucket.PublicKey // in whose name heads are announced
	Log  Log
	// Manifests and Blobs are the peer's own.
	Manifests, Blobs blobstore.Reader
	Stores           Stores
	Bus              Bus
	// ManifestStore and BlobStore are the object stores that are written to.
	ManifestStore, BlobStore string

	// Announced is told of each head that the bus was told of, and of the links that were named beside it. It must return soon;
	// nil for nobody.
	Announced func(id bucket.ID, head bucket.Head, heads []bucket.Link)
	Logger    *slog.Logger  // nil discards
	RetryMin  time.Duration // before the first try after a failure, give or take a half; 0 means 1 s
	RetryMax  time.Duration // before any later one, likewise; 0 means 1 min
}

// check refuses what cannot work, and sets what is not set.
func (c *Config) check() error {
	switch {
	case c.Peer.IsZero():
		return errors.New("publisher: no peer")
	case c.Log == nil || c.Manifests == nil || c.Blobs == nil || c.Stores == nil || c.Bus == nil:
		return errors.New("publisher: log, manifests, blobs, stores and bus are required")
	case c.ManifestStore == "" || c.BlobStore == "":
		return errors.New("publisher: no store to write to")
	}
	if c.Announced == nil {
		c.Announced = func(bucket.ID, bucket.Head, []bucket.Link) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.RetryMin <= 0 {
		c.RetryMin = time.Second
	}
	if c.RetryMax <= 0 {
		c.RetryMax = time.Minute
	}
	c.RetryMax = max(c.RetryMin, c.RetryMax)
	return nil
}
