package author

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"reflect"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/tree"
)

// Bus is where heads are announced. Safe for concurrent use.
type Bus interface {
	// Heads returns what stands announced for a bucket, each with the announcing peer; nothing of it is proven. A bucket
	// that nobody announced is an empty list.
	Heads(ctx context.Context, id bucket.ID) ([]bucket.Announcement, error)
	// Announce publishes a head, and returns once the broker has stored it, or has found that it did so before (duplicate).
	Announce(ctx context.Context, a bucket.Announcement) (duplicate bool, err error)
}

// Manifests is where manifests are kept. Safe for concurrent use.
type Manifests interface {
	// Manifest returns the octets that some store holds under a link, at most [bucket.MaxManifestSize]. They need not be
	// verified. The stores given are asked before those that are configured.
	Manifest(ctx context.Context, link bucket.Link, stores []string) ([]byte, error)
	// GetMany hands on those of many objects that are there and right, manifests and packs, with as few round trips as it can:
	// their hashes are compared already. They come in any order, each once, from one goroutine at a time, and the octets are
	// the receiver's. Each store is asked for what those before it lacked, the stores given before those that are configured.
	// What is missing in the end may still be had by itself. An error of take ends it; any other says that some store could
	// not be asked for what is missing.
	GetMany(ctx context.Context, hashes []bucket.Hash, stores []string, take func(h bucket.Hash, octets []byte) error) error
	// PutManifest keeps a manifest, durably.
	PutManifest(ctx context.Context, b []byte) error
	// PutPack keeps an encoded [bucket.Pack] beside the manifests, durably.
	PutPack(ctx context.Context, b []byte) error
}

// Config is what an author works with. All fields are required but those that say what their zero means.
type Config struct {
	Identity  bucket.Identity
	Bus       Bus
	Manifests Manifests
	Blobs     blobstore.Reader
	Writer    tree.Writer
	State     *State
	Rules     bucket.Rules // zero: strict

	// MaxVersions is the most versions that one walk back takes. 0: [bucket.MaxChainLength].
	MaxVersions int
	// MaxStrangerVersions is the same for a head that is announced only by peers without a share in the newest version
	// that was verified before: so that nobody outside the bucket can make a command walk for hours. A hint is not bound
	// by it, nor is first contact. 0: 10,000.
	MaxStrangerVersions int
	// MaxHeads is the most announced heads that are looked at; members of the bucket come first. 0: 256.
	MaxHeads int

	// SpoolDir is where [Change].Rotate keeps encrypted blobs that are too large for memory while it works on them. Empty:
	// the system's directory for temporary files.
	SpoolDir string
	// Progress is told how a walk back from a head goes: of total versions above the one that was verified before, done are
	// verified, or fetched and their signatures checked. It is called often, from one goroutine at a time. Total is what the
	// head says of itself, and heads that are walked side by side each have their own. nil: nobody is told.
	Progress func(done, total uint64)
	// Logger is told about heads that are ignored, and announcements made again. nil: nobody is.
	Logger *slog.Logger
}

const (
	defaultStrangerVersions = 10_000
	defaultHeads            = 256
)

// Author finds and makes versions in the name of one identity. Safe for concurrent use.
type Author struct {
	Config
	me     bucket.PublicKey
	opener bucket.Opener
	heard  heard
}

// New returns an author, or an error that names the field that is missing.
func New(cfg Config) (*Author, error) {
	for _, f := range []struct {
		name    string
		missing bool
	}{
		{"Identity", reflect.ValueOf(cfg.Identity).IsZero()}, {"Bus", cfg.Bus == nil}, {"Manifests", cfg.Manifests == nil},
		{"Blobs", cfg.Blobs == nil}, {"Writer", cfg.Writer == nil}, {"State", cfg.State == nil},
	} {
		if f.missing {
			return nil, errors.New("author: " + f.name + " is required")
		}
	}
	if cfg.MaxVersions < 0 || cfg.MaxStrangerVersions < 0 || cfg.MaxHeads < 0 {
		return nil, errors.New("author: limits must not be negative")
	}
	cfg.MaxVersions = orDefault(cfg.MaxVersions, bucket.MaxChainLength)
	cfg.MaxStrangerVersions = min(cfg.MaxVersions, orDefault(cfg.MaxStrangerVersions, defaultStrangerVersions))
	cfg.MaxHeads = orDefault(cfg.MaxHeads, defaultHeads)
	if cfg.SpoolDir == "" {
		cfg.SpoolDir = os.TempDir()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Author{Config: cfg, me: cfg.Identity.PublicKey()}, nil
}

func orDefault(n, byDefault int) int {
	if n == 0 {
		return byDefault
	}
	return n
}

// fetch returns the version at link.
func (a *Author) fetch(ctx context.Context, link bucket.Link, stores []string) (*bucket.Version, error) {
	if link.Codec() != bucket.CodecDagCBOR {
		return bucket.Open(link, nil) // refused by its codec, without asking anybody
	}
	b, err := a.Manifests.Manifest(ctx, link, stores)
	if err != nil {
		return nil, err
	}
	return a.opener.Open(link, b)
}
