package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/jetstream"
	"headwater/peer"
	"headwater/peer/local"
)

// sessionOptions are the flags of every command that works on buckets.
type sessionOptions struct {
	manifestStores, blobStores []string
	allowUnsigned              bool
}

func (o *sessionOptions) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&o.manifestStores, "manifest-store", nil,
		"object stores of manifests, NAME or DOMAIN/NAME; read in order, written to the first (default PREFIX-manifests)")
	f.StringSliceVar(&o.blobStores, "blob-store", nil,
		"object stores of blobs, NAME or DOMAIN/NAME; read in order, written to the first (default PREFIX-blobs)")
	f.BoolVar(&o.allowUnsigned, "allow-unsigned", false, "accept unsigned versions, but never after a signed one")
}

// withSession calls f with a session on the directory, in the name of the command.
func (a *app) withSession(cmd *cobra.Command, o sessionOptions, f func(context.Context, *peer.Session) error) error {
	ctx := cmd.Context()
	if !cmd.Flags().Changed("log-level") {
		a.level = "warn" // what a command did is its answer
	}
	log, err := a.logger(a.err)
	if err != nil {
		return err
	}
	nats := a.nats
	nats.RequestLimit, nats.Name = a.timeout, "headwater "+cmd.Name()
	s, err := peer.Use(ctx, peer.Config{
		Dir: a.dir, Role: cmd.Name(), NATS: nats, AllowUnsigned: o.allowUnsigned,
		ManifestStores: o.manifestStores, BlobStores: o.blobStores, Logger: log, Version: version(),
	})
	if err != nil {
		return err
	}
	return foundWrong(errors.Join(f(ctx, s), s.Close(ctx)))
}

// withBucket is withSession for a command whose first argument is a bucket.
func (a *app) withBucket(
	cmd *cobra.Command, name string, o sessionOptions, f func(context.Context, *peer.Session, bucket.ID) error,
) error {
	return a.withSession(cmd, o, func(ctx context.Context, s *peer.Session) error {
		id, err := s.Find(ctx, name)
		if err != nil {
			return err
		}
		return f(ctx, s, id)
	})
}

// foundWrong makes wrong bytes of a large blob, which are only found out while they are read, the refusal that those of a
// small one are.
func foundWrong(err error) error {
	if bucket.ClassOf(err) != "" || !errors.Is(err, blobstore.ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w: %w", err, bucket.Refuse(bucket.HashMismatch, bucket.Link{}, "what the store holds is not what the hash names"))
}

// answers is who tells how things stand: the directory's own peer, whoever holds it, or another one on the bus.
type answers interface {
	Find(ctx context.Context, name string) (bucket.ID, error)
	Status(ctx context.Context, id bucket.ID) (local.Status, error)
	Log(ctx context.Context, id bucket.ID, before bucket.Head, limit int) (local.LogPage, error)
}

// withAnswers calls f with whoever the flags name.
func (a *app) withAnswers(cmd *cobra.Command, t target, f func(context.Context, answers) error) error {
	id, err := peer.ReadIdentity(a.dir)
	own := err == nil && (t.peer == "" || t.peer == id.PublicKey().String())
	if own {
		return a.withSession(cmd, sessionOptions{}, func(ctx context.Context, s *peer.Session) error { return f(ctx, s) })
	}
	return a.withClient(cmd.Context(), func(c *jetstream.Client) error {
		other, err := t.resolve(cmd.Context(), a, c)
		if err != nil {
			return err
		}
		return f(cmd.Context(), peer.Remote{Client: c, Peer: other})
	})
}

// uploadFlags say whether to wait for the announcement of a version.
type uploadFlags struct{ noWait bool }

func (u *uploadFlags) bind(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&u.noWait, "no-wait", false, "return once the version is durable here; it is uploaded and announced afterwards")
}

// upload returns what the flags ask for, with progress on a terminal. end clears that.
func (a *app) upload(u uploadFlags) (peer.Upload, func()) {
	c := newCount(a.err, "upload", 0)
	return peer.Upload{NoWait: u.noWait, Progress: func(p local.UploadProgress) { c.objects(p.Done, p.Objects, p.Bytes) }}, c.end
}

// note tells a person something beside the answer; a script finds it in the answer itself.
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

// noteMade tells what else there is to say of a version that was made.
func (a *app) noteMade(m *peer.Made) {
	for _, i := range m.Ignored {
		a.note("ignored an announced head of bucket %s, %s: %s", m.BucketID, i.Link, i.Reason)
	}
	if m.Waiting != "" && m.Waiting != peer.NotWaitedFor {
		a.note("version %d is made, and not announced yet (%s).\n"+
			"  The running peer announces it as soon as it can; if none runs, the next version or 'headwater announce' does.", m.Height, m.Waiting)
	}
}

// printMade says what version was made, and of what.
func (a *app) printMade(did string, m *peer.Made) error {
	a.noteMade(m)
	if a.json {
		return writeJSON(a.out, m)
	}
	_, err := fmt.Fprintf(a.out, "%s version %d of %s, %s\n", did, m.Height, printable(m.Name), m.Link)
	return err
}

// versionFlag names a version on the command line.
type versionFlag struct{ at string }

func (v *versionFlag) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&v.at, "at", "", "version to read: its height or its link (default: the newest that can be read)")
}
