package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"headwater/author"
	"headwater/blobstore"
	"headwater/bucket"
	"headwater/jetstream"
	"headwater/tree"
	"headwater/worktree"
)

// desk is what the commands work with that make versions of buckets and read them. They never touch what a running peer has
// open: heads come from the bus and are verified here, content comes from the object stores.
type desk struct {
	*app
	client  *jetstream.Client
	bus     *bus
	author  *author.Author
	state   *author.State
	records worktree.Records
	notes   notes
	me      bucket.PublicKey
	walk    *count // back from the heads that are looked for
}

// deskOptions are the flags of every command that works at a desk.
type deskOptions struct {
	stores        storeNames
	allowUnsigned bool
}

func (o *deskOptions) bind(cmd *cobra.Command) {
	o.stores.bind(cmd)
	cmd.Flags().BoolVar(&o.allowUnsigned, "allow-unsigned", false, "accept unsigned versions, but never after a signed one")
}

// withDesk connects, and calls f in the name of the directory's identity.
func (a *app) withDesk(ctx context.Context, o deskOptions, f func(*desk) error) error {
	id, err := a.readIdentity()
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has no identity (%w); make one with 'headwater init', or name the peer's directory with --dir",
			a.dir, errNotFound)
	}
	if err != nil {
		return err
	}
	return a.withClient(ctx, func(c *jetstream.Client) error {
		d, err := a.openDesk(c, id, o)
		if err != nil {
			return err
		}
		return foundWrong(f(d))
	})
}

// foundWrong makes wrong octets of a large blob, which are only found out while they are read, the refusal that those of a
// small one are.
func foundWrong(err error) error {
	if bucket.ClassOf(err) != "" || !errors.Is(err, blobstore.ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w: %w", err, bucket.Refuse(bucket.HashMismatch, bucket.Link{}, "what the store holds is not what the hash names"))
}

func (a *app) openDesk(c *jetstream.Client, id bucket.Identity, o deskOptions) (*desk, error) {
	stores, err := o.stores.check(c.Names())
	if err != nil {
		return nil, err
	}
	log, err := a.logger(a.err)
	if err != nil {
		return nil, err
	}
	d := &desk{
		app: a, client: c, bus: newBus(c, stores), records: worktree.OpenRecords(a.dir), me: id.PublicKey(),
		walk: newCount(a.err, "verify", 0),
	}
	d.notes.Records = worktree.OpenRecords(filepath.Join(a.dir, "commits"))
	if d.state, err = author.OpenState(a.dir); err != nil {
		return nil, err
	}
	d.author, err = author.New(author.Config{
		Identity: id, Bus: d.bus, Manifests: notedManifests{d.bus, &d.notes}, Blobs: d.bus, Writer: d.bus, State: d.state,
		Rules: bucket.Rules{AllowUnsigned: o.allowUnsigned}, Progress: d.walk.versions, Logger: log,
	})
	return d, err
}

// find resolves how people name a bucket: by its id, by the beginning of it, or by its name. What was verified here before
// comes first, then what the running peer knows, then what is announced on the bus.
func (d *desk) find(ctx context.Context, name string) (bucket.ID, error) {
	if id, err := bucket.ParseID(name); err == nil {
		return id, nil
	}
	if name == "" {
		return bucket.ID{}, usagef("a bucket's name is empty; give its id, the beginning of it, or its name")
	}
	for _, look := range []func(context.Context, string) ([]bucket.ID, error){d.knownAs, d.peerKnowsAs, d.announcedAs} {
		found, err := look(ctx, name)
		if err != nil {
			return bucket.ID{}, err
		}
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return bucket.ID{}, usagef("%q names %d buckets, such as %s and %s; give the id", name, len(found), found[0], found[1])
		}
	}
	return bucket.ID{}, fmt.Errorf("bucket %q: %w: neither made or read here before, nor known to the peer, nor announced", name, errNotFound)
}

func isCalled(id bucket.ID, name, asked string) bool {
	return name == asked || strings.HasPrefix(id.String(), asked)
}

// knownAs looks among the buckets that were verified here before.
func (d *desk) knownAs(_ context.Context, name string) (found []bucket.ID, err error) {
	known, err := d.state.Buckets()
	for _, k := range known {
		if isCalled(k.Bucket, k.Name, name) {
			found = append(found, k.Bucket)
		}
	}
	return found, err
}

// peerKnowsAs asks the peer of the directory, where it runs.
func (d *desk) peerKnowsAs(ctx context.Context, name string) (found []bucket.ID, err error) {
	all, err := askStatuses(ctx, d.client, d.me)
	if errors.Is(err, jetstream.ErrNoPeer) {
		return nil, nil
	}
	for _, s := range all.Buckets {
		if isCalled(s.BucketID, s.Name, name) {
			found = append(found, s.BucketID)
		}
	}
	return found, err
}

// maxAnnounced is the most announced buckets whose manifests are fetched to learn their names.
const maxAnnounced = 1000

// announcedAs looks at what is announced. A name on the bus is nobody's proof, so a bucket that is found this way counts only
// where it is shared with us.
func (d *desk) announcedAs(ctx context.Context, name string) (found []bucket.ID, err error) {
	ids, err := d.client.Buckets(ctx)
	if errors.Is(err, jetstream.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		if strings.HasPrefix(id.String(), name) {
			found = append(found, id)
		} else if i < maxAnnounced && d.sharedAs(ctx, id, name) {
			found = append(found, id)
		}
	}
	return found, nil
}

// sharedAs says whether somebody announces a version of the bucket that bears the name and has a share for us.
func (d *desk) sharedAs(ctx context.Context, id bucket.ID, name string) bool {
	heads, err := d.bus.Heads(ctx, id)
	if err != nil {
		return false
	}
	for _, a := range heads {
		v, err := d.announced(ctx, a)
		if err != nil || v.Name != name || v.Bucket != id {
			continue
		}
		if _, ok := v.Share(d.me); ok {
			return true
		}
	}
	return false
}

// announced returns the version that an announcement is about: as it came with it, or fetched.
func (d *desk) announced(ctx context.Context, a bucket.Announcement) (*bucket.Version, error) {
	if v, err := bucket.Open(a.Link, a.Hints.Manifest); err == nil {
		return v, nil
	}
	b, err := d.bus.Manifest(ctx, a.Link, a.Stores)
	if err != nil {
		return nil, err
	}
	return bucket.Open(a.Link, b)
}

// heads finds the verified head of a bucket and its forks. The head that the running peer knows is one more hint.
func (d *desk) heads(ctx context.Context, id bucket.ID) (author.Heads, error) {
	var hints []bucket.Head
	switch head, err := ask[bucket.Head](ctx, d.client, d.me, questionHead, bucketRequest{id}); {
	case err == nil:
		hints = append(hints, head)
	case errors.Is(err, jetstream.ErrNoPeer), isNotFoundAnswer(err):
	default:
		return author.Heads{}, err
	}
	heads, err := d.author.Heads(ctx, id, hints...)
	d.walk.end()
	for _, i := range heads.Ignored {
		d.note("ignored an announced head of bucket %s, %s: %v", id, i.Head.Link, i.Err)
	}
	return heads, err
}

// open returns the tree of a version that can be read.
func (d *desk) open(ctx context.Context, v *bucket.Version) (*tree.Listing, error) {
	secret, err := d.author.Open(v)
	if err != nil {
		return nil, err
	}
	return tree.Load(ctx, d.bus, v.Entry, secret)
}

// note tells a person something beside the answer; a script finds it in the answer itself.
func (a *app) note(format string, args ...any) {
	if !a.json {
		fmt.Fprintf(a.err, "headwater: "+format+"\n", args...)
	}
}

// noteForks says that a bucket has forks, and how to go on.
func (d *desk) noteForks(name string, heads author.Heads) {
	for _, f := range heads.Forks {
		d.note("%s is forked: version %d by %s (%s) is beside version %d by %s (%s), which everybody takes as head.\n"+
			"  Both stay. Bring them together with: headwater merge %s",
			name, f.Tip.Height, shortKey(f.Author), short(f.Tip.Link),
			heads.Head.Height, authorOf(heads.Head), short(heads.Head.Link), heads.Head.Bucket)
	}
}

func authorOf(v *bucket.Version) string {
	if v.Author == nil {
		return shortKey(bucket.PublicKey{})
	}
	return shortKey(*v.Author)
}

// which names a version on the command line.
type which struct{ at string }

func (w *which) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.at, "at", "", "version to read: its height or its link (default: the newest that can be read)")
}

// version resolves which version is meant, below the head.
func (d *desk) version(ctx context.Context, head *bucket.Version, at string) (*bucket.Version, error) {
	if at == "" {
		v, _, err := d.author.Readable(ctx, head)
		return v, err
	}
	if link, err := bucket.ParseLink(at); err == nil {
		return d.author.AtLink(ctx, head, link)
	}
	var height uint64
	if _, err := fmt.Sscanf(at+"\n", "%d\n", &height); err != nil {
		return nil, usagef("--at: %q is neither a height nor a link", at)
	}
	return d.author.At(ctx, head, height)
}

// read finds the bucket, its head, and the version that is meant.
func (d *desk) read(ctx context.Context, name, at string) (*bucket.Version, author.Heads, error) {
	id, err := d.find(ctx, name)
	if err != nil {
		return nil, author.Heads{}, err
	}
	heads, err := d.heads(ctx, id)
	if err != nil {
		return nil, heads, err
	}
	v, err := d.version(ctx, heads.Head, at)
	return v, heads, err
}
