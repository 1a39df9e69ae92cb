package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/jetstream"
	"headwater/jetstream/embedded"
	"headwater/peer"
)

// runOptions are the flags of run.
type runOptions struct {
	embedded     bool // no other server is named
	listen       string
	syncInterval time.Duration
	ensure       jetstream.EnsureConfig

	allowUnsigned  bool
	allVersions    bool
	buckets        int
	pinJobs        int
	fetches        int
	retryLimit     int
	retryMin       time.Duration
	retryMax       time.Duration
	fetchTimeout   time.Duration
	syncTimeout    time.Duration
	maxVersions    uint64
	maxBlobSize    int64
	stageLimit     int64
	memoryLimit    int64
	manifestStores []string
	blobStores     []string
}

const runHelp = `Run the peer: consume announcements and pin jobs, keep the log and the blobs in
--dir, and answer the questions of the other commands.

Without --nats and --context it starts an embedded NATS server with JetStream on
loopback, durable in --dir, and the nats CLI works against it at once. It makes the
streams, durables and object stores that are missing, and never changes what exists;
with --bind-only it makes nothing and says what is missing.

It writes one line that begins with "ready" once it consumes. Interrupt it to stop:
what it has not finished is given back to the broker.`

func (a *app) runCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use: "run", Short: "Run the peer", Long: runHelp, Args: usageArgs(cobra.NoArgs),
		Example: `  headwater run
  headwater run --dir ./bob --nats nats://127.0.0.1:4222
  headwater run --context production --bind-only`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.embedded = a.nats.URL == "" && a.nats.Context == ""
			return a.runPeer(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", embedded.DefaultListen, "where the embedded server listens, host:port; port 0 is any")
	f.DurationVar(&o.syncInterval, "sync-interval", 0, "how often the embedded server syncs to disk; 0: before each acknowledgement")
	f.BoolVar(&o.ensure.BindOnly, "bind-only", false, "make no streams, durables or stores: fail where one is missing")
	f.IntVar(&o.ensure.Replicas, "replicas", 1, "replicas of the streams and stores that are made")
	f.BoolVar(&o.allowUnsigned, "allow-unsigned", false, "accept unsigned versions, but never after a signed one")
	f.BoolVar(&o.allVersions, "all-versions", false, "download the pins of every version, not of the newest of each sync")
	f.IntVar(&o.buckets, "buckets", 64, "buckets worked on side by side")
	f.IntVar(&o.pinJobs, "pin-jobs", 4, "pin jobs worked on side by side")
	f.IntVar(&o.fetches, "fetches", 16, "blobs fetched side by side for one pin job")
	f.IntVar(&o.retryLimit, "retry-limit", 10, "failures after which a message is set aside as a dead letter")
	f.DurationVar(&o.retryMin, "retry-min", 250*time.Millisecond, "first delay before a retry; it doubles with each failure")
	f.DurationVar(&o.retryMax, "retry-max", 5*time.Minute, "longest delay before a retry")
	f.DurationVar(&o.fetchTimeout, "fetch-timeout", 10*time.Second, "how long a store may be silent during a fetch")
	f.DurationVar(&o.syncTimeout, "sync-timeout", time.Hour, "how long one message may be worked on before it is retried, going on where it stopped")
	f.Uint64Var(&o.maxVersions, "max-versions", bucket.MaxChainLength, "versions that one catch-up may fetch")
	f.Int64Var(&o.maxBlobSize, "max-blob-size", 64<<30, "bytes that a pinned blob may have")
	f.Int64Var(&o.stageLimit, "stage-limit", 8<<30, "bytes of disk for long catch-ups that are not verified yet")
	f.Int64Var(&o.memoryLimit, "memory-limit", 0, "bytes of memory that the garbage collector aims at; 0: 128 MiB, or none with an embedded server")
	f.StringSliceVar(&o.manifestStores, "manifest-store", nil, "object stores asked for manifests, in order: NAME or DOMAIN/NAME (default PREFIX-manifests)")
	f.StringSliceVar(&o.blobStores, "blob-store", nil, "object stores asked for blobs, in order: NAME or DOMAIN/NAME (default PREFIX-blobs)")
	return cmd
}

// check refuses settings that make no sense.
func (o runOptions) check() error {
	for name, n := range map[string]int{
		"buckets": o.buckets, "pin-jobs": o.pinJobs, "fetches": o.fetches, "retry-limit": o.retryLimit, "replicas": o.ensure.Replicas,
	} {
		if n < 1 {
			return usagef("--%s: %d is less than 1", name, n)
		}
	}
	for name, d := range map[string]time.Duration{
		"retry-min": o.retryMin, "retry-max": o.retryMax, "fetch-timeout": o.fetchTimeout, "sync-timeout": o.syncTimeout,
	} {
		if d <= 0 {
			return usagef("--%s: %s is not more than 0", name, d)
		}
	}
	if o.memoryLimit < 0 {
		return usagef("--memory-limit: %d is less than 0", o.memoryLimit)
	}
	if _, _, err := net.SplitHostPort(o.listen); err != nil {
		return usagef("--listen: %w", err)
	}
	for _, s := range append(o.manifestStores, o.blobStores...) {
		if err := bucket.CheckStoreName(s); err != nil {
			return usageError{err}
		}
	}
	return nil
}

// runPeer runs until ctx ends; then it stops from the outside in, and everything it started has ended when it returns.
func (a *app) runPeer(ctx context.Context, o runOptions) (err error) {
	line := newStatusLine(a.err)
	defer line.end()
	log, err := a.logger(line)
	if err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	if err := peer.Running(a.dir); err != nil {
		return err // before a second server is started for nothing
	}
	if _, err := peer.EnsureIdentity(a.dir); err != nil {
		return err
	}
	a.limitMemory(o)
	stopServer, err := a.startServer(o, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopServer()) }()
	p, err := peer.Open(ctx, a.peerConfig(o, log, line))
	if err != nil {
		return stopped(ctx, err)
	}
	defer func() { err = errors.Join(err, p.Close(ctx)) }()
	var failed error
	err = p.Run(ctx, func(url string) { failed = a.printReady(url, p.ID()) })
	return stopped(ctx, errors.Join(err, failed))
}

// peerConfig is what the flags say.
func (a *app) peerConfig(o runOptions, log *slog.Logger, line *statusLine) peer.Config {
	nats := a.nats
	nats.Logger, nats.Name, nats.RequestLimit = log, "headwater peer", a.timeout
	return peer.Config{
		Dir: a.dir, Role: peer.RoleRun, NATS: nats, Embedded: o.embedded, Ensure: o.ensure,
		AllowUnsigned: o.allowUnsigned, AllVersions: o.allVersions, ManifestStores: o.manifestStores, BlobStores: o.blobStores,
		Limits: peer.Limits{
			Buckets: o.buckets, PinJobs: o.pinJobs, Fetches: o.fetches, RetryLimit: o.retryLimit, RetryMin: o.retryMin, RetryMax: o.retryMax,
			FetchTimeout: o.fetchTimeout, SyncTimeout: o.syncTimeout, MaxVersions: o.maxVersions, MaxBlobSize: o.maxBlobSize, StageLimit: o.stageLimit,
		},
		Events: line.hear, Logger: log, Version: version(),
	}
}

// defaultMemoryLimit is what a peer aims at that has no server in its process: 128 MiB, so that with the log's tables, which are
// mapped, it stays below 256 MiB.
const defaultMemoryLimit = 128 << 20

// limitMemory tells the garbage collector what to aim at. What is really needed beyond that is taken all the same, and costs
// processor time. GOMEMLIMIT, where it is set, has been heard already.
func (a *app) limitMemory(o runOptions) {
	limit := o.memoryLimit
	if limit == 0 && !o.embedded {
		limit = defaultMemoryLimit
	}
	if _, set := a.env("GOMEMLIMIT"); limit > 0 && (!set || o.memoryLimit > 0) {
		debug.SetMemoryLimit(limit)
	}
}

// stopped is nil where the peer was asked to stop: that is what run is for.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())) {
		return nil
	}
	return err
}

// startServer starts the embedded server if no other is named. The function it returns stops it.
func (a *app) startServer(o runOptions, log *slog.Logger) (stop func() error, err error) {
	if !o.embedded {
		return func() error { return nil }, nil
	}
	s, err := embedded.Start(embedded.Config{
		Dir: filepath.Join(a.dir, "nats"), Listen: o.listen, SyncInterval: o.syncInterval, Logger: log.With("part", "nats-server"),
	})
	if errors.Is(err, embedded.ErrListen) {
		return nil, fmt.Errorf("%w; name another address with --listen, or the server that runs there with --nats", err)
	}
	if err != nil {
		return nil, err
	}
	a.nats.URL = s.URL()
	return s.Stop, nil
}

// printReady writes the one line that says that the peer consumes and answers.
func (a *app) printReady(url string, peer bucket.PublicKey) error {
	if a.json {
		return writeJSON(a.out, struct {
			Ready  bool             `json:"ready"`
			NATS   string           `json:"nats"`
			PeerID bucket.PublicKey `json:"peer_id"`
		}{true, url, peer})
	}
	_, err := fmt.Fprintf(a.out, "ready %s peer %s\n", url, peer)
	return err
}
