package chain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/logstore"
)

// Log is what the engine asks of the log. It never writes.
type Log interface {
	// Entry returns one version of a bucket, or [logstore.ErrNotFound].
	Entry(ctx context.Context, id bucket.ID, h bucket.Head) (logstore.Entry, error)
}

// Config says what an Engine works on. Fields without a default are required.
type Config struct {
	Peer      bucket.PublicKey // this peer: a head that has no share for it is not taken
	Visit     bool             // unless this is set
	Log       Log
	Manifests blobstore.Reader // of the versions in the log
	Objects   Objects
	Stores    []string // object stores asked for manifests and packs, in order, after those that a request names
	Rules     bucket.Rules

	Dir          string        // where runs are kept; made if it is missing
	DiskLimit    int64         // bytes that all of them may take; default 8 GiB
	Memory       int64         // bytes that all catch-ups together may hold; default 64 MiB
	MaxVersions  uint64        // that one catch-up may find missing; default bucket.MaxChainLength
	FetchTimeout time.Duration // of each silent stretch of a transfer; default 10 s
	Logger       *slog.Logger  // nil discards
}

const (
	defaultDiskLimit = 8 << 30
	defaultMemory    = 64 << 20
)

// Engine catches up with announced heads. It keeps what catch-ups share: memory, processors, room on disk, and what is known
// of keys. Safe for concurrent use; two catch-ups of one bucket must not run at the same time.
type Engine struct {
	cfg        Config
	fetcher    *Fetcher
	opener     *bucket.Opener
	memory     memory
	processors *processors
	disk       *disk
}

// New opens the directory of runs. It starts nothing, and there is nothing to close.
func New(cfg Config) (*Engine, error) {
	cfg.DiskLimit = cmp.Or(cfg.DiskLimit, defaultDiskLimit)
	cfg.Memory = cmp.Or(cfg.Memory, defaultMemory)
	cfg.MaxVersions = cmp.Or(cfg.MaxVersions, bucket.MaxChainLength)
	cfg.FetchTimeout = cmp.Or(cfg.FetchTimeout, 10*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Engine{
		cfg: cfg, fetcher: &Fetcher{Objects: cfg.Objects, Timeout: cfg.FetchTimeout}, opener: new(bucket.Opener),
		processors: newProcessors(),
	}
	e.memory.free.Store(cfg.Memory)
	var err error
	if e.disk, err = openDisk(cfg.Dir, cfg.DiskLimit, e.opener); err != nil {
		return nil, fmt.Errorf("chain: %w", err)
	}
	return e, nil
}

// Fetcher returns the engine's reader of object stores.
func (e *Engine) Fetcher() *Fetcher { return e.fetcher }

// Open makes a version of the bytes that somebody says link points to: see [bucket.Open].
func (e *Engine) Open(link bucket.Link, b []byte) (*bucket.Version, error) {
	return e.opener.Open(link, b)
}

// Manifest returns the version at link: from our own manifests if they have it, else from the first of the given stores and the
// configured ones that has the right bytes. The errors are those of [Fetcher.Stream]. Bytes that hash to the link but are no
// strict manifest are a [*bucket.Refusal] too: no other store can have better ones.
func (e *Engine) Manifest(ctx context.Context, stores []string, link bucket.Link) (*bucket.Version, error) {
	if v := e.Held(ctx, link); v != nil {
		return v, nil
	}
	stores = append(stores[:len(stores):len(stores)], e.cfg.Stores...)
	b, err := e.fetcher.Bytes(ctx, "manifest", stores, link, bucket.MaxManifestSize)
	if err != nil {
		return nil, err
	}
	return e.opener.Open(link, b)
}

// Held returns the version at link if our own manifests have it, and nil if not, or if it cannot be read. Every version in the log is
// among them, unless it was lost.
func (e *Engine) Held(ctx context.Context, link bucket.Link) *bucket.Version {
	b, err := blobstore.ReadAll(ctx, e.cfg.Manifests, link.Hash(), bucket.MaxManifestSize)
	if err != nil {
		return nil
	}
	v, _ := e.opener.Open(link, b)
	return v
}

func (e *Engine) logged(ctx context.Context, id bucket.ID, h bucket.Head) (bool, error) {
	_, err := e.cfg.Log.Entry(ctx, id, h)
	if errors.Is(err, logstore.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Shared returns [ErrNotShared] for a head that has no share for this peer, unless [Config.Visit] is set.
func (e *Engine) Shared(head *bucket.Version) error {
	if _, shared := head.Share(e.cfg.Peer); shared || e.cfg.Visit {
		return nil
	}
	return fmt.Errorf("%w: peer %s is not among the shares of version %s", ErrNotShared, e.cfg.Peer, head.Link)
}
