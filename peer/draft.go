package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"headwater/bucket"
	"headwater/tree"
)

// change says how the next version differs from the one before. The zero change makes a version with the same tree and
// name, shared with the same peers, and not published.
type change struct {
	tree    *tree.Listing // nil: it stays. Its files' blobs were put.
	before  *tree.Listing // of the version before; nil: it is read
	merged  []tip         // branches whose changes tree holds
	publish bool          // let everybody who holds the version read it; said anew for every version
	share   map[bucket.PublicKey]bucket.Role
	unshare []bucket.PublicKey
	rotate  bool // put every file and directory anew, under secrets that nobody had before
}

// draft is a version in the making.
type draft struct {
	*Session
	prev   *bucket.Version // nil for a genesis
	w      *counting
	secret bucket.Secret // made for this version
	m      bucket.Manifest
	pins   bucket.Pins
}

func (s *Session) newDraft(prev *bucket.Version) *draft {
	return &draft{Session: s, prev: prev, w: &counting{Writer: s.holder}, secret: tree.NewSecret()}
}

// genesis makes the first version of a new bucket: an empty tree, owned by us alone.
func (d *draft) genesis(ctx context.Context, name string) (v *bucket.Version, err error) {
	d.m = bucket.Manifest{Bucket: bucket.NewID(), Name: name}
	d.m.Shares, err = wrapAll(map[bucket.PublicKey]bucket.Role{d.id.PublicKey(): bucket.Owner}, nil, d.secret)
	if err == nil {
		err = d.build(ctx, tree.NewListing(), nil)
	}
	if err != nil {
		return nil, err
	}
	return d.sign(ctx)
}

// next makes the version after prev. All that it needs is put, durably; the manifest is not kept yet. [ErrNotOwner],
// [ErrNoOwner], [ErrNoShare], or what the tree and the holder say.
func (d *draft) next(ctx context.Context, c change) (v *bucket.Version, err error) {
	prev := d.prev
	if err := mayWrite(prev, d.ID()); errors.Is(err, ErrNotShared) {
		return nil, fmt.Errorf("%w: %w", ErrNotOwner, err)
	} else if err != nil {
		return nil, err
	}
	d.m = bucket.Manifest{
		Bucket: prev.Bucket, Name: prev.Name, Height: prev.Height + 1, Previous: prev.Link, Format: prev.Format,
	}
	if c.publish {
		d.m.Public = &d.secret
	}
	if d.m.Shares, err = sharesAfter(prev, c, d.secret); err != nil {
		return nil, err
	}
	tips := make([]bucket.Link, len(c.merged))
	for i, t := range c.merged {
		tips[i] = t.Link
	}
	if d.pins, err = d.holder.Carried(ctx, prev.Bucket, tips); err != nil {
		return nil, d.lacking(ctx, prev, err)
	}
	d.pins = append(d.pins, prev.Link.Hash())
	if err := d.content(ctx, c); err != nil {
		return nil, err
	}
	return d.sign(ctx)
}

// content puts the tree and the operation log.
func (d *draft) content(ctx context.Context, c change) (err error) {
	before := c.before
	if before == nil {
		if before, err = d.loadTree(ctx, d.prev); err != nil {
			return err
		}
	}
	after, reuse := c.tree, before
	if after == nil {
		after = before
	}
	if c.rotate {
		if after, err = d.rotate(ctx, after); err != nil {
			return d.lacking(ctx, d.prev, err)
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
	return nil
}

// sign puts the pins list and makes the version, as one that every receiver accepts.
func (d *draft) sign(ctx context.Context) (*bucket.Version, error) {
	list := d.pins.Encode()
	if len(list) > bucket.MaxPinsSize {
		return nil, bucket.Refuse(bucket.TooLarge, bucket.Link{}, "the version needs %d blobs; the limit is %d",
			len(list)/len(bucket.Hash{}), bucket.MaxPinsSize/len(bucket.Hash{}))
	}
	var err error
	if d.m.Pins, err = d.put(ctx, list); err != nil {
		return nil, fmt.Errorf("put pins list: %w", err)
	}
	b, err := d.m.Sign(d.id)
	if err != nil {
		return nil, err
	}
	v, err := bucket.Open(bucket.ManifestLink(b), b)
	if err != nil {
		return nil, err
	}
	return v, d.rules.Succeed(d.m.Bucket, d.prev, v)
}

// put puts a small blob.
func (d *draft) put(ctx context.Context, b []byte) (bucket.Link, error) {
	link := bucket.RawLink(b)
	return link, d.w.Put(ctx, link.Hash(), int64(len(b)), bytes.NewReader(b))
}

// counting counts what is put.
type counting struct {
	tree.Writer
	blobs, bytes atomic.Int64
}

// Put implements [tree.Writer].
func (c *counting) Put(ctx context.Context, h bucket.Hash, size int64, r io.Reader) error {
	return c.count(size, c.Writer.Put(ctx, h, size, r))
}

// Add implements [tree.Writer].
func (c *counting) Add(ctx context.Context, size int64, r io.Reader) (bucket.Hash, error) {
	h, err := c.Writer.Add(ctx, size, r)
	return h, c.count(size, err)
}

func (c *counting) count(size int64, err error) error {
	if err == nil {
		c.blobs.Add(1)
		c.bytes.Add(size)
	}
	return err
}
