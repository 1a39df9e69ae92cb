package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/spf13/cobra"

	"headwater/author"
	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/tree"
)

// storeNames are the object stores that commands read versions from and write them to.
type storeNames struct{ manifests, blobs []string }

func (s *storeNames) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&s.manifests, "manifest-store", nil,
		"object stores of manifests, NAME or DOMAIN/NAME; read in order, written to the first (default PREFIX-manifests)")
	f.StringSliceVar(&s.blobs, "blob-store", nil,
		"object stores of blobs, NAME or DOMAIN/NAME; read in order, written to the first (default PREFIX-blobs)")
}

// check refuses names that are none, and fills in the defaults.
func (s storeNames) check(n jetstream.Names) (storeNames, error) {
	for _, name := range append(s.manifests, s.blobs...) {
		if err := bucket.CheckStoreName(name); err != nil {
			return s, usageError{err}
		}
	}
	return storeNames{orDefault(s.manifests, n.ManifestStore()), orDefault(s.blobs, n.BlobStore())}, nil
}

// bus is the broker as the author of versions sees it: announced heads, manifests and blobs. Safe for concurrent use.
type bus struct {
	c      *jetstream.Client
	stores storeNames
	small  *jetstream.Gathering // into the first store of blobs

	mu    sync.Mutex
	wrong map[place]bool // where blobs turned out to be others than their hash says, so that they are not asked for again
}

// place is a blob in a store.
type place struct {
	store string
	hash  bucket.Hash
}

func newBus(c *jetstream.Client, stores storeNames) *bus {
	return &bus{c: c, stores: stores, small: c.Gather(stores.blobs[0]), wrong: map[place]bool{}}
}

func (b *bus) isWrong(p place) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.wrong[p]
}

// foundWrong takes note of a blob whose octets turned out to be others.
func (b *bus) foundWrong(p place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong[p] = true
}

// Heads returns what stands announced for a bucket. Announcements that cannot be read are left out: the peers that
// consume them set them aside.
func (b *bus) Heads(ctx context.Context, id bucket.ID) ([]bucket.Announcement, error) {
	announced, err := b.c.Heads(ctx, id)
	if errors.Is(err, jetstream.ErrNotFound) {
		return nil, nil // no peer and no author was here yet
	}
	if err != nil {
		return nil, err
	}
	heads := make([]bucket.Announcement, 0, len(announced))
	for _, m := range announced {
		a, err := bucket.DecodeAnnouncement(m.ContentType, m.Body)
		if err != nil {
			continue
		}
		a.Bucket, a.Peer = id, m.Peer // the subject decides
		heads = append(heads, a)
	}
	return heads, nil
}

// Announce publishes a head.
func (b *bus) Announce(ctx context.Context, a bucket.Announcement) (duplicate bool, err error) {
	return b.c.Announce(ctx, a)
}

// Manifest fetches a manifest from the first of the stores that has its octets.
func (b *bus) Manifest(ctx context.Context, link bucket.Link, stores []string) ([]byte, error) {
	return b.read(ctx, slices.Concat(stores, b.stores.manifests), link, bucket.MaxManifestSize)
}

// GetMany reads many manifests and packs: see [author.Manifests].
func (b *bus) GetMany(ctx context.Context, hashes []bucket.Hash, stores []string, take func(bucket.Hash, []byte) error) error {
	came := make(map[bucket.Hash]bool, len(hashes))
	var refused, worst error
	for _, store := range slices.Concat(stores, b.stores.manifests) {
		missing := slices.DeleteFunc(slices.Clone(hashes), func(h bucket.Hash) bool { return came[h] })
		if len(missing) == 0 {
			return nil
		}
		err := b.c.Objects().GetMany(ctx, store, missing, func(h bucket.Hash, octets []byte) error {
			came[h] = true
			refused = take(h, octets)
			return refused
		})
		if refused != nil || ctx.Err() != nil {
			return cmp.Or(refused, err)
		}
		worst = cmp.Or(worst, err)
	}
	if len(came) == len(hashes) {
		return nil
	}
	return worst
}

// PutManifest stores a manifest.
func (b *bus) PutManifest(ctx context.Context, m []byte) error {
	return b.c.PutObjects(ctx, b.stores.manifests[0], []jetstream.Small{{Hash: bucket.Sum(m), Bytes: m}})
}

// PutPack stores a pack of manifests beside them.
func (b *bus) PutPack(ctx context.Context, p []byte) error { return b.PutManifest(ctx, p) }

// read fetches a small object: from each store as it comes, then, for what no replica had, from the stores' leaders.
func (b *bus) read(ctx context.Context, stores []string, link bucket.Link, limit int64) ([]byte, error) {
	var worst error
	for _, fresh := range []bool{false, true} {
		for _, store := range stores {
			octets, err := b.readFrom(ctx, store, link, limit, fresh)
			if err == nil {
				return octets, nil
			}
			if ctx.Err() != nil {
				return nil, err
			}
			if worst == nil || !errors.Is(err, consumer.ErrNotFound) {
				worst = err
			}
		}
		if !errors.Is(worst, consumer.ErrNotFound) {
			break
		}
	}
	return nil, worst
}

func (b *bus) readFrom(ctx context.Context, store string, link bucket.Link, limit int64, fresh bool) ([]byte, error) {
	r, size, err := b.c.Objects().Get(ctx, store, link.Hash(), fresh)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	octets, err := io.ReadAll(blobstore.Verify(r, link.Hash(), size, limit))
	if errors.Is(err, blobstore.ErrMismatch) {
		return nil, bucket.Refuse(bucket.HashMismatch, link, "what %s holds under it is not what the hash names", store)
	}
	return octets, err
}

// maxWhole is the most octets of a blob that is read into memory to be verified before anybody sees it, so that a store
// that holds wrong octets is passed over for one that does not.
const maxWhole = 1 << 20

// Get opens a blob: see [blobstore.Reader].
func (b *bus) Get(ctx context.Context, h bucket.Hash) (*blobstore.Blob, error) {
	var worst error
	for _, fresh := range []bool{false, true} {
		for _, store := range b.stores.blobs {
			blob, err := b.open(ctx, store, h, fresh)
			if err == nil {
				return blob, nil
			}
			if ctx.Err() != nil {
				return nil, err
			}
			if worst == nil || !errors.Is(err, blobstore.ErrNotFound) {
				worst = err
			}
		}
		if !errors.Is(worst, blobstore.ErrNotFound) {
			break
		}
	}
	return nil, worst
}

func (b *bus) open(ctx context.Context, store string, h bucket.Hash, fresh bool) (*blobstore.Blob, error) {
	if b.isWrong(place{store, h}) {
		return nil, bucket.Refuse(bucket.HashMismatch, bucket.NewLink(bucket.CodecRaw, h), "what %s holds under it is not what the hash names", store)
	}
	r, size, err := b.c.Objects().Get(ctx, store, h, fresh)
	if errors.Is(err, consumer.ErrNotFound) {
		return nil, fmt.Errorf("blob %s in %s: %w", h, store, blobstore.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	if size < 0 || size > maxWhole {
		blob := blobstore.NewBlob(h, size, r)
		blob.OnCorrupt(func() { b.foundWrong(place{store, h}) })
		return blob, nil
	}
	defer r.Close()
	octets, err := io.ReadAll(blobstore.Verify(r, h, size, maxWhole))
	if errors.Is(err, blobstore.ErrMismatch) {
		err = bucket.Refuse(bucket.HashMismatch, bucket.NewLink(bucket.CodecRaw, h), "what %s holds under it is not what the hash names", store)
	}
	if err != nil {
		return nil, err
	}
	return blobstore.NewBlob(h, size, io.NopCloser(bytes.NewReader(octets))), nil
}

// Has says whether one of the stores describes a blob.
func (b *bus) Has(ctx context.Context, h bucket.Hash) (bool, error) {
	for _, store := range b.stores.blobs {
		_, err := b.c.StatObject(ctx, store, h)
		if err == nil || !errors.Is(err, consumer.ErrNotFound) {
			return err == nil, err
		}
	}
	return false, nil
}

// maxChunk is the most octets of an object that is put without asking first whether it is there: new blobs never are.
const maxChunk = 128 << 10

// Put stores a blob: see [tree.Writer].
func (b *bus) Put(ctx context.Context, h bucket.Hash, size int64, r io.Reader) error {
	if size > maxChunk {
		return b.c.PutObject(ctx, b.stores.blobs[0], h, size, r)
	}
	octets := make([]byte, size)
	if _, err := io.ReadFull(r, octets); err != nil {
		return fmt.Errorf("put blob %s: %w", h, err)
	}
	return b.small.Put(ctx, jetstream.Small{Hash: h, Bytes: octets})
}

var (
	_ author.Bus       = (*bus)(nil)
	_ author.Manifests = (*bus)(nil)
	_ blobstore.Reader = (*bus)(nil)
	_ tree.Writer      = (*bus)(nil)
)
