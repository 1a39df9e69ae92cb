package author

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"headwater/bucket"
	"headwater/tree"
)

// Change is what the next version is to have otherwise than the one before. The zero Change makes a version with the same
// tree and name, shared with the same peers, and not published.
type Change struct {
	// Tree is the whole new tree; its files' blobs must have been put. nil: the tree stays as it is.
	Tree *tree.Listing
	// Prev is the tree of the version before, where the caller has it, read by [tree.Load] or built by Next. nil: it is read.
	Prev *tree.Listing
	// Merged are the tips of forks that Tree holds the changes of. They must be forks that Heads has found.
	Merged []bucket.Link
	// Publish lets everybody who holds the version read it. It is said anew for every version.
	Publish bool
	// Name is the bucket's new name. Empty: it stays.
	Name string
	// Share gives a share to a peer, or another role to one that has a share.
	Share map[bucket.PublicKey]bucket.Role
	// Unshare takes away shares. Whoever had one as an owner can still read what they could, and every file that stays
	// unchanged: see Rotate.
	Unshare []bucket.PublicKey
	// Rotate puts every file and every directory anew, under secrets that nobody had before. It reads and writes the whole
	// content of the bucket.
	Rotate bool
}

// Written is what was put for a version.
type Written struct {
	Tree    *tree.Listing // of the new version: Prev of the next [Change]
	Nodes   int           // directories written
	Rotated int           // files put anew
	Blobs   int           // put, nodes, files, operation log and pins list among them
	Octets  int64         // of those
	Pins    int           // that the version needs
	Ops     int           // in its operation log; 0 where there is none, and where there were too many for one
}

// Create makes a bucket: a genesis with an empty tree, owned by us alone. Once it is kept it is announced; where only that
// fails the version is returned with [ErrNotAnnounced].
func (a *Author) Create(ctx context.Context, name string) (*bucket.Version, error) {
	d := &draft{Author: a, w: &counting{Writer: a.Writer}, secret: tree.NewSecret()}
	d.m = bucket.Manifest{Bucket: bucket.NewID(), Name: name}
	v, err := d.create(ctx)
	if err != nil {
		return nil, fmt.Errorf("create bucket %q: %w", name, err)
	}
	return v, a.announced(ctx, v)
}

func (d *draft) create(ctx context.Context) (*bucket.Version, error) {
	var err error
	if d.m.Shares, err = wrapAll(map[bucket.PublicKey]bucket.Role{d.me: bucket.Owner}, nil, d.secret); err != nil {
		return nil, err
	}
	if err := d.build(ctx, tree.NewListing(), nil); err != nil {
		return nil, err
	}
	v, err := d.sign(ctx)
	if err != nil {
		return nil, err
	}
	return v, d.State.change(ctx, v.Bucket, func(*record) (*record, error) {
		return &record{v.Link, v, map[bucket.Link]tip{}}, d.Manifests.PutManifest(ctx, v.Encoded())
	})
}

// Next makes the version after prev, which must be the newest one that this author knows: the Head of Heads, or what Next
// has made. On return it is durable and announced; where only the announcement fails, the version is returned with
// [ErrNotAnnounced].
//
// It returns [ErrNotOwner] where we may not write, [ErrNoOwner] and [ErrNoShare] where the shares cannot become what is asked
// for, [ErrNotFork] for a merged tip that is none, and [ErrStale] where another version has become the newest meanwhile, which
// is found out at the start or at the very end. What was put by then is garbage; nothing points to it. Other errors are those
// of the tree, the ports and the state.
func (a *Author) Next(ctx context.Context, prev *bucket.Version, c Change) (*bucket.Version, Written, error) {
	d := &draft{Author: a, prev: prev, w: &counting{Writer: a.Writer}, secret: tree.NewSecret()}
	v, err := d.next(ctx, c)
	if err != nil {
		return nil, Written{}, fmt.Errorf("next version of bucket %s: %w", prev.Bucket, err)
	}
	d.out.Blobs, d.out.Octets = int(d.w.blobs.Load()), d.w.octets.Load()
	return v, d.out, a.announced(ctx, v)
}

// draft is a version in the making.
type draft struct {
	*Author
	prev   *bucket.Version // nil for a genesis
	w      *counting
	secret bucket.Secret // made for this version
	m      bucket.Manifest
	pins   bucket.Pins
	out    Written
}

func (d *draft) next(ctx context.Context, c Change) (*bucket.Version, error) {
	prev := d.prev
	if share, ok := prev.Share(d.me); !ok || share.Role != bucket.Owner {
		return nil, fmt.Errorf("%w of version %s: our key is %s", ErrNotOwner, prev.Link, d.me)
	}
	known, err := d.State.load(prev.Bucket)
	if err == nil {
		err = known.newest(prev)
	}
	if err != nil {
		return nil, err
	}
	d.m = bucket.Manifest{
		Bucket: prev.Bucket, Name: prev.Name, Height: prev.Height + 1, Previous: prev.Link, Format: prev.Format,
	}
	if c.Name != "" {
		d.m.Name = c.Name
	}
	if c.Publish {
		d.m.Public = &d.secret
	}
	if d.m.Shares, err = sharesAfter(prev, c, d.secret); err != nil {
		return nil, err
	}
	if d.pins, err = d.mergedVersions(ctx, known, c.Merged); err != nil {
		return nil, err
	}
	d.pins = append(d.pins, prev.Link.Hash())
	if err := d.content(ctx, c); err != nil {
		return nil, err
	}
	v, err := d.sign(ctx)
	if err != nil {
		return nil, err
	}
	return v, d.commit(ctx, v, c.Merged)
}

// newest says whether v is the newest version that is known.
func (r *record) newest(v *bucket.Version) error {
	if r == nil {
		return fmt.Errorf("version %s: %w: its head was never looked for here", v.Link, ErrNoBucket)
	}
	if r.head.Link != v.Link {
		return fmt.Errorf("version %s: %w: %s is, of height %d; start again from that", v.Link, ErrStale, r.head.Link,
			r.head.Height)
	}
	return nil
}

// content puts the tree and the operation log.
func (d *draft) content(ctx context.Context, c Change) error {
	before := c.Prev
	if before == nil {
		secret, err := d.Open(d.prev)
		if err != nil {
			return err
		}
		if before, err = tree.Load(ctx, d.Blobs, d.prev.Entry, secret); err != nil {
			return fmt.Errorf("tree of version %s: %w", d.prev.Link, err)
		}
	}
	after, reuse := c.Tree, before
	if after == nil {
		after = before
	}
	if c.Rotate {
		var err error
		if after, err = d.rotate(ctx, after); err != nil {
			return err
		}
		reuse = nil
	}
	if err := d.build(ctx, after, reuse); err != nil {
		return err
	}
	return d.putOps(ctx, tree.Diff(before, after))
}

// build puts the nodes of the tree.
func (d *draft) build(ctx context.Context, l, reuse *tree.Listing) error {
	built, err := tree.Build(ctx, d.w, l, reuse, d.secret)
	if err != nil {
		return err
	}
	d.m.Entry = built.Entry
	d.pins = append(append(d.pins, built.Blobs...), built.Entry.Hash())
	d.out.Tree, d.out.Nodes = built.Tree, built.Nodes
	return nil
}

// sign puts the pins list and makes the version, as one that every receiver accepts.
func (d *draft) sign(ctx context.Context) (*bucket.Version, error) {
	list := d.pins.Encode()
	if len(list) > bucket.MaxPinsSize {
		return nil, bucket.Refuse(bucket.TooLarge, bucket.Link{}, "the version needs %d blobs; the limit is %d",
			len(list)/len(bucket.Hash{}), bucket.MaxPinsSize/len(bucket.Hash{}))
	}
	d.out.Pins = len(list) / len(bucket.Hash{})
	var err error
	if d.m.Pins, err = d.put(ctx, list); err != nil {
		return nil, fmt.Errorf("put pins list: %w", err)
	}
	b, err := d.m.Sign(d.Identity)
	if err != nil {
		return nil, err
	}
	v, err := bucket.Open(bucket.ManifestLink(b), b)
	if err != nil {
		return nil, err
	}
	return v, d.Rules.Succeed(d.m.Bucket, d.prev, v)
}

// commit makes the version the newest one: its manifest is put, then it becomes the state. No other command comes between.
func (d *draft) commit(ctx context.Context, v *bucket.Version, merged []bucket.Link) error {
	return d.State.change(ctx, v.Bucket, func(old *record) (*record, error) {
		if err := old.newest(d.prev); err != nil {
			return nil, err
		}
		if err := d.Manifests.PutManifest(ctx, v.Encoded()); err != nil {
			return nil, fmt.Errorf("put manifest %s: %w", v.Link, err)
		}
		for _, l := range merged {
			if t, ok := old.tips[l]; ok {
				old.tips[l] = tip{Height: t.Height, Kind: tipMerged}
			}
		}
		return &record{old.genesis, v, old.tips}, nil
	})
}

// put puts a small blob.
func (d *draft) put(ctx context.Context, b []byte) (bucket.Link, error) {
	link := bucket.RawLink(b)
	return link, d.w.Put(ctx, link.Hash(), int64(len(b)), bytes.NewReader(b))
}

// counting counts what is put.
type counting struct {
	tree.Writer
	blobs, octets atomic.Int64
}

// Put implements [tree.Writer].
func (c *counting) Put(ctx context.Context, h bucket.Hash, size int64, r io.Reader) error {
	err := c.Writer.Put(ctx, h, size, r)
	if err == nil {
		c.blobs.Add(1)
		c.octets.Add(size)
	}
	return err
}
