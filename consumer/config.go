package consumer

import (
	"cmp"
	"errors"
	"log/slog"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/logstore"
)

// Manifests is the blob store that the peer keeps its manifests in.
type Manifests interface {
	blobstore.Store
	blobstore.BatchPutter
	blobstore.Deleter
	blobstore.Sizer
}

// Blobs is the blob store that the peer keeps pinned blobs in.
type Blobs interface {
	blobstore.Store
	blobstore.Sizer
}

// Config says what a Consumer works on. Fields without a default are required.
type Config struct {
	Peer      bucket.PublicKey // this peer
	Log       logstore.Store
	Manifests Manifests
	Blobs     Blobs

	// The broker behind these ports may be out of reach at any time: then their calls fail, and are made again.
	Objects     Objects
	Jobs        Jobs
	DeadLetters DeadLetters
	Events      Events // nil: nobody is told

	ManifestStores []string // object stores asked for manifests, in order, after those that a message names
	BlobStores     []string // likewise for pins lists and pinned blobs; manifests are looked for in ManifestStores last

	Rules bucket.Rules
	// Visit takes buckets into the log that are not shared with this peer: for a log that is thrown away after it was read.
	Visit       bool
	AllVersions bool // a pin job for every version; default: one per sync, for the newest

	Buckets    int // announcements worked on side by side; default 64
	PinJobsMax int // pin jobs worked on side by side; default 4
	Fetches    int // blobs fetched side by side per pin job; default 16

	MaxVersions   uint64        // versions that one catch-up may fetch; default bucket.MaxChainLength
	FetchTimeout  time.Duration // of each silent stretch of a transfer; default 10 s
	SyncTimeout   time.Duration // for one delivery, or head looked at; the next try goes on where it stopped; default 1 h
	LeaseInterval time.Duration // how often the lease of work in hand is extended; default 10 s
	Reconcile     time.Duration // how often jobs are compared with the broker's queue; default 1 min
	RetryLimit    int           // failures after which a message is set aside; default 10
	RetryMin      time.Duration // first delay, give or take 30 %; default 250 ms
	RetryMax      time.Duration // longest delay, likewise; default 5 min

	StageDir   string // where catch-ups that are under way keep what they have; made if it is missing
	StageLimit int64  // bytes that all of them may take; default 8 GiB
	Memory     int64  // bytes that all of them may hold in memory; default 64 MiB

	Logger *slog.Logger // nil discards
}

func (c *Config) check() error {
	missing := map[string]bool{
		"Peer": c.Peer.IsZero(), "Log": c.Log == nil, "Manifests": c.Manifests == nil, "Blobs": c.Blobs == nil,
		"Objects": c.Objects == nil, "Jobs": c.Jobs == nil, "DeadLetters": c.DeadLetters == nil,
		"StageDir": c.StageDir == "",
	}
	for name, is := range missing {
		if is {
			return errors.New("consumer: configuration lacks " + name)
		}
	}
	return nil
}

func (c *Config) setDefaults() {
	c.Buckets = cmp.Or(c.Buckets, 64)
	c.PinJobsMax = cmp.Or(c.PinJobsMax, 4)
	c.Fetches = cmp.Or(c.Fetches, 16)
	c.SyncTimeout = cmp.Or(c.SyncTimeout, time.Hour)
	c.LeaseInterval = cmp.Or(c.LeaseInterval, 10*time.Second)
	c.Reconcile = cmp.Or(c.Reconcile, time.Minute)
	c.RetryLimit = cmp.Or(c.RetryLimit, 10)
	c.RetryMin = cmp.Or(c.RetryMin, 250*time.Millisecond)
	c.RetryMax = cmp.Or(c.RetryMax, 5*time.Minute)
	if c.Events == nil {
		c.Events = silence{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

type silence struct{}

func (silence) Emit(Event) {}
