package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/jetstream"
	"headwater/peer"
	"headwater/peer/local"
)

// bindStores adds the flags of every command that works on buckets.
func (a *app) bindStores(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&a.cfg.ManifestStores, "manifest-store", nil,
		"object stores of manifests, NAME or DOMAIN/NAME; read in order, written to the first (default PREFIX-manifests)")
	f.StringSliceVar(&a.cfg.BlobStores, "blob-store", nil,
		"object stores of blobs, NAME or DOMAIN/NAME; read in order, written to the first (default PREFIX-blobs)")
	f.BoolVar(&a.cfg.AllowUnsigned, "allow-unsigned", false, "accept unsigned versions, but never after a signed one")
}

// bindMaking adds the flags of every command that makes a version.
func (a *app) bindMaking(cmd *cobra.Command) {
	a.bindStores(cmd)
	cmd.Flags().BoolVar(&a.noWait, "no-wait", false, "return once the version is durable here; it is uploaded and announced afterwards")
}

// bindReading adds the flags of every command that reads a version.
func (a *app) bindReading(cmd *cobra.Command) {
	a.bindStores(cmd)
	cmd.Flags().StringVar(&a.at, "at", "", "version to read: its height or its link (default: the newest that can be read)")
}

// withSession calls f with a session on the directory, in the name of the command.
func (a *app) withSession(cmd *cobra.Command, f func(context.Context, *peer.Session) error) error {
	a.collectLess()
	ctx := cmd.Context()
	if !cmd.Flags().Changed("log-level") {
		a.level = "warn" // what a command did is its answer
	}
	log, err := a.logger(a.err)
	if err != nil {
		return err
	}
	a.cfg.Role, a.cfg.NATS.Name, a.cfg.Logger, a.cfg.Version = cmd.Name(), "headwater "+cmd.Name(), log, version()
	s, err := peer.Use(ctx, a.cfg)
	if err != nil {
		return err
	}
	return foundWrong(errors.Join(f(ctx, s), s.Close(ctx)))
}

// collectLess makes the garbage collector of a command, which ends soon, run less often: after four times the memory in use was
// allocated, instead of as much again, as long as the whole stays below 96 MiB. That saves a fifth of the processor time of a
// commit of many files. GOGC and GOMEMLIMIT win if they are set.
func (a *app) collectLess() {
	if _, set := a.env("GOGC"); !set {
		debug.SetGCPercent(400)
	}
	if _, set := a.env("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(96 << 20)
	}
}

// onBucket makes a command from f. The command's first argument is a bucket.
func (a *app) onBucket(f func(context.Context, *peer.Session, bucket.ID, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return a.withSession(cmd, func(ctx context.Context, s *peer.Session) error {
			id, err := s.Find(ctx, args[0])
			if err != nil {
				return err
			}
			return f(ctx, s, id, args)
		})
	}
}

// making carries out a command that makes a version, and says what it did.
func (a *app) making(
	cmd *cobra.Command, args []string, did string, f func(context.Context, *peer.Session, bucket.ID, peer.Upload) (*peer.Made, error),
) error {
	return a.onBucket(func(ctx context.Context, s *peer.Session, id bucket.ID, args []string) error {
		upload, end := a.upload()
		m, err := f(ctx, s, id, upload)
		end()
		if err != nil {
			return err
		}
		a.noteMade(args[0], m)
		return a.answer(m, "%s version %d of %s, %s\n", did, m.Height, printable(m.Name), m.Link)
	})(cmd, args)
}

// foundWrong turns the error for wrong bytes of a large blob, which only show while it is read, into the same refusal as for a
// small blob.
func foundWrong(err error) error {
	if bucket.ClassOf(err) != "" || !errors.Is(err, blobstore.ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w: %w", err, bucket.Refuse(bucket.HashMismatch, bucket.Link{}, "what the store holds is not what the hash names"))
}

// answers is who reports how things stand: the directory's own peer, whichever process holds it, or another one on the bus.
type answers interface {
	Find(ctx context.Context, name string) (bucket.ID, error)
	Status(ctx context.Context, id bucket.ID) (local.Status, error)
	Log(ctx context.Context, id bucket.ID, before bucket.Head, limit int) (local.LogPage, error)
}

// withAnswers calls f with whoever the flags name.
func (a *app) withAnswers(cmd *cobra.Command, f func(context.Context, answers) error) error {
	id, err := peer.ReadIdentity(a.cfg.Dir)
	own := err == nil && (a.peer == "" || a.peer == id.PublicKey().String())
	if own {
		return a.withSession(cmd, func(ctx context.Context, s *peer.Session) error { return f(ctx, s) })
	}
	return a.withClient(cmd.Context(), func(c *jetstream.Client) error {
		other, err := a.target(cmd.Context(), c)
		if err != nil {
			return err
		}
		return f(cmd.Context(), peer.Remote{Client: c, Peer: other})
	})
}

// upload returns what the flags ask for, with progress on a terminal, and a function that clears the progress.
func (a *app) upload() (peer.Upload, func()) {
	p := newProgress(a.err, "upload")
	return peer.Upload{NoWait: a.noWait, Progress: func(u local.UploadProgress) {
		p.count(int64(u.Done), int64(u.Objects), "objects", u.Bytes)
	}}, p.end
}

// note tells a person something besides the answer. With --json it writes nothing: a script finds it in the answer itself.
func (a *app) note(format string, args ...any) {
	if !a.json {
		fmt.Fprintf(a.err, "headwater: "+format+"\n", args...)
	}
}

// noteForks says that a bucket has forks, and how to go on.
func (a *app) noteForks(name string, id bucket.ID, forks []peer.Fork) {
	for _, f := range forks {
		a.note("%s is forked: version %d by %s (%s) is beside the one that everybody takes as head.\n"+
			"  Both stay. Bring them together with: headwater merge %s", name, f.Height, shortKey(f.Author), short(f.Link), id)
	}
}

// noteMade notes what a person should know of a version that was made: forks, heads that were ignored, why it is not announced.
func (a *app) noteMade(name string, m *peer.Made) {
	a.noteForks(name, m.BucketID, m.Forks)
	for _, i := range m.Ignored {
		a.note("ignored an announced head of bucket %s, %s: %s", m.BucketID, i.Link, i.Reason)
	}
	if m.Waiting != "" && m.Waiting != peer.NotWaitedFor {
		a.note("version %d is made, and not announced yet (%s).\n"+
			"  The running peer announces it as soon as it can; if none runs, the next version or 'headwater announce' does.", m.Height, m.Waiting)
	}
}
