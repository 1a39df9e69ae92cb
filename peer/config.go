package peer

import (
	"cmp"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
)

// Config says whose peer it is and how it reaches the broker. Only Dir is required.
type Config struct {
	// Dir is the peer's directory, with its identity: see [EnsureIdentity].
	Dir string
	// Role is what other processes are told about the one that holds the directory: "run", or a command's name. Empty: "program".
	Role string
	// NATS says how the broker is reached. If it names neither URL, context nor connection, the broker is the one that the last
	// run on the directory used; if there was none, the peer works without.
	NATS jetstream.Config
	// Embedded says that NATS.URL is a server in this process, which is gone with it.
	Embedded bool
	// Ensure says what [Peer.Run] makes on the broker. Its Peer is filled in.
	Ensure jetstream.EnsureConfig

	// AllowUnsigned accepts unsigned versions, but never after a signed one.
	AllowUnsigned bool
	// AllVersions downloads the pins of every version, not only of the newest of each sync.
	AllVersions bool
	// ManifestStores and BlobStores are the object stores that are asked, in order: NAME or DOMAIN/NAME. The first one is
	// written to. Empty: those of the prefix.
	ManifestStores, BlobStores []string

	// Limits that differ from the defaults of package consumer; zero fields stand for these.
	Limits Limits

	// Events is told what happens, in order, and must not block; nil: nobody is.
	Events func(consumer.Event)
	Logger *slog.Logger // nil discards
	// Version is the program's, for those who ask.
	Version string

	free func(dir string) (uint64, error) // bytes of disk; nil asks the file system
}

// Limits bound what the peer does at a time. Zero fields stand for the defaults of [consumer.Config].
type Limits struct {
	Buckets, PinJobs, Fetches, RetryLimit         int
	RetryMin, RetryMax, FetchTimeout, SyncTimeout time.Duration
	MaxVersions                                   uint64
	MaxBlobSize /* bytes */, StageLimit/* bytes */ int64
}

// lookTimeout is how long a first look at the broker may take.
const lookTimeout = 5 * time.Second

func (c *Config) setDefaults() error {
	if c.Dir == "" {
		return fmt.Errorf("%w: a peer needs a directory", ErrUsage)
	}
	abs, err := filepath.Abs(c.Dir)
	if err != nil {
		return fmt.Errorf("the peer's directory: %w", err)
	}
	if err := c.NATS.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	c.Dir, c.Role, c.Version = abs, cmp.Or(c.Role, "program"), cmp.Or(c.Version, "unknown")
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	for _, s := range append(append([]string(nil), c.ManifestStores...), c.BlobStores...) {
		if err := bucket.CheckStoreName(s); err != nil {
			return fmt.Errorf("%w: %w", ErrUsage, err)
		}
	}
	return nil
}

func (c *Config) rules() bucket.Rules { return bucket.Rules{AllowUnsigned: c.AllowUnsigned} }
