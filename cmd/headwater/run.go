package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/jetstream/embedded"
	"headwater/peer"
)

const runHelp = `Run the peer: consume announcements and pin jobs, keep the log and the blobs in
--dir, and answer the questions of the other commands.

Without --nats and --context it starts an embedded NATS server with JetStream on
loopback, durable in --dir, and the nats CLI works against it at once. It makes the
streams, durables and object stores that are missing, and never changes what exists;
with --bind-only it makes nothing and says what is missing.

It writes one line that begins with "ready" once it consumes. Interrupt it to stop:
what it has not finished is given back to the broker.`

func (a *app) runCommand() *cobra.Command {
	var server embedded.Config
	var memory int64
	cmd := &cobra.Command{
		Use: "run", Short: "Run the peer", Long: runHelp, Args: usageArgs(cobra.NoArgs),
		Example: `  headwater run
  headwater run --dir ./bob --nats nats://127.0.0.1:4222
  headwater run --context production --bind-only`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkRun(cmd, server.Listen); err != nil {
				return err
			}
			a.cfg.Embedded = a.cfg.NATS.URL == "" && a.cfg.NATS.Context == ""
			return a.runPeer(cmd.Context(), server, memory)
		},
	}
	a.bindStores(cmd)
	f, l := cmd.Flags(), &a.cfg.Limits
	f.StringVar(&server.Listen, "listen", embedded.DefaultListen, "where the embedded server listens, host:port; port 0 is any")
	f.DurationVar(&server.SyncInterval, "sync-interval", 0, "how often the embedded server syncs to disk; 0: before each acknowledgement")
	f.BoolVar(&a.cfg.Ensure.BindOnly, "bind-only", false, "make no streams, durables or stores: fail where one is missing")
	f.IntVar(&a.cfg.Ensure.Replicas, "replicas", 1, "replicas of the streams and stores that are made")
	f.BoolVar(&a.cfg.AllVersions, "all-versions", false, "download the pins of every version, not of the newest of each sync")
	f.IntVar(&l.Buckets, "buckets", 64, "buckets worked on side by side")
	f.IntVar(&l.PinJobs, "pin-jobs", 4, "pin jobs worked on side by side")
	f.IntVar(&l.Fetches, "fetches", 16, "blobs fetched side by side for one pin job")
	f.IntVar(&l.RetryLimit, "retry-limit", 10, "failures after which a message is set aside as a dead letter")
	f.DurationVar(&l.RetryMin, "retry-min", 250*time.Millisecond, "first delay before a retry; it doubles with each failure")
	f.DurationVar(&l.RetryMax, "retry-max", 5*time.Minute, "longest delay before a retry")
	f.DurationVar(&l.FetchTimeout, "fetch-timeout", 10*time.Second, "how long a store may be silent during a fetch")
	f.DurationVar(&l.SyncTimeout, "sync-timeout", time.Hour, "how long one message may be worked on before it is retried, going on where it stopped")
	f.Uint64Var(&l.MaxVersions, "max-versions", bucket.MaxChainLength, "versions that one catch-up may fetch")
	f.Int64Var(&l.MaxBlobSize, "max-blob-size", 64<<30, "bytes that a pinned blob may have")
	f.Int64Var(&l.StageLimit, "stage-limit", 8<<30, "bytes of disk for long catch-ups that are not verified yet")
	f.Int64Var(&memory, "memory-limit", 0, "bytes of memory that the garbage collector aims at; 0: 128 MiB, or none with an embedded server")
	return cmd
}

// checkRun refuses settings that make no sense, before anything is made.
func (a *app) checkRun(cmd *cobra.Command, listen string) error {
	for _, s := range slices.Concat(a.cfg.ManifestStores, a.cfg.BlobStores) {
		if err := bucket.CheckStoreName(s); err != nil {
			return usageError{err}
		}
	}
	if _, _, err := net.SplitHostPort(listen); err != nil {
		return usagef("--listen: %w", err)
	}
	return moreThanZero(cmd, "replicas", "buckets", "pin-jobs", "fetches", "retry-limit", "retry-min", "retry-max", "fetch-timeout",
		"sync-timeout", "max-versions", "max-blob-size", "stage-limit")
}

// runPeer runs until ctx ends; then it stops from the outside in, and everything it started has ended when it returns.
func (a *app) runPeer(ctx context.Context, server embedded.Config, memory int64) (err error) {
	line := newStatusLine(a.err)
	defer line.end()
	log, err := a.logger(line)
	if err != nil {
		return err
	}
	if err := peer.Running(a.cfg.Dir); err != nil {
		return err // before a second server is started for nothing
	}
	if _, err := peer.EnsureIdentity(a.cfg.Dir); err != nil {
		return err
	}
	a.limitMemory(memory)
	server.Logger = log.With("part", "nats-server")
	stopServer, err := a.startServer(server)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopServer()) }()
	a.cfg.Role, a.cfg.Events, a.cfg.Logger, a.cfg.Version = peer.RoleRun, line.hear, log, version()
	a.cfg.NATS.Logger, a.cfg.NATS.Name = log, "headwater peer"
	p, err := peer.Open(ctx, a.cfg)
	if err != nil {
		return stopped(ctx, err)
	}
	defer func() { err = errors.Join(err, p.Close(ctx)) }()
	var failed error
	err = p.Run(ctx, func(url string) { failed = a.printReady(url, p.ID()) })
	return stopped(ctx, errors.Join(err, failed))
}

// defaultMemoryLimit is what a peer without a server in its process aims at: 128 MiB, so that with the log's tables, which are
// mapped, it stays below 256 MiB.
const defaultMemoryLimit = 128 << 20

// limitMemory sets what the garbage collector aims at. A peer that needs more takes it, at the cost of processor time. If
// GOMEMLIMIT is set, only an explicit --memory-limit overrides it.
func (a *app) limitMemory(asked int64) {
	limit := asked
	if limit == 0 && !a.cfg.Embedded {
		limit = defaultMemoryLimit
	}
	if _, set := a.env("GOMEMLIMIT"); limit > 0 && (!set || asked > 0) {
		debug.SetMemoryLimit(limit)
	}
}

// stopped returns err, or nil if err only says that the peer was asked to stop: that is how run is meant to end.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())) {
		return nil
	}
	return err
}

// startServer starts the embedded server if no other is named. The function it returns stops it.
func (a *app) startServer(cfg embedded.Config) (stop func() error, err error) {
	if !a.cfg.Embedded {
		return func() error { return nil }, nil
	}
	cfg.Dir = filepath.Join(a.cfg.Dir, "nats")
	s, err := embedded.Start(cfg)
	if errors.Is(err, embedded.ErrListen) {
		return nil, fmt.Errorf("%w; name another address with --listen, or the server that runs there with --nats", err)
	}
	if err != nil {
		return nil, err
	}
	a.cfg.NATS.URL = s.URL()
	return s.Stop, nil
}

// printReady writes the one line that says that the peer consumes and answers.
func (a *app) printReady(url string, peer bucket.PublicKey) error {
	return a.answer(struct {
		Ready  bool             `json:"ready"`
		NATS   string           `json:"nats"`
		PeerID bucket.PublicKey `json:"peer_id"`
	}{true, url, peer}, "ready %s peer %s\n", url, peer)
}
