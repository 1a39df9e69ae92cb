package test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/logstore"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

// reference catches up as the original does: it walks the chain twice, first to find a common ancestor and then to download,
// and gets every manifest of both walks from the object store, one after the other. What it gets it does not keep, since the
// original asks its peer each time too.
//
// It is treated kindly: it may append the whole stretch at once, while the original appends one version for each time the
// head is announced; it need not verify any signature; and it reads the store with the client's own library, as anybody
// would who ports the original.
type reference struct {
	objects   natsjs.ObjectStore
	log       *logstore.Badger
	manifests *blobstore.Disk
}

func (e *env) newReference() *reference {
	e.tb.Helper()
	dir := e.tb.TempDir()
	r := &reference{}
	var err error
	if r.objects, err = e.js.ObjectStore(e.ctx(), e.names.ManifestStore()); err != nil {
		e.tb.Fatal(err)
	}
	if r.log, err = logstore.OpenBadger(logstore.Config{Dir: filepath.Join(dir, "log")}); err != nil {
		e.tb.Fatal(err)
	}
	e.tb.Cleanup(func() { r.log.Close() })
	if r.manifests, err = blobstore.OpenDisk(blobstore.Config{Dir: filepath.Join(dir, "manifests")}); err != nil {
		e.tb.Fatal(err)
	}
	e.tb.Cleanup(func() { r.manifests.Close() })
	return r
}

// sync brings a head into the log.
func (r *reference) sync(ctx context.Context, head *bucket.Version) error {
	_, ancestor, err := r.walk(ctx, head.Link, func(v *bucket.Version) (bool, error) {
		_, err := r.log.Entry(ctx, head.Bucket, v.Head())
		if errors.Is(err, logstore.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return err
	}
	chain, _, err := r.walk(ctx, head.Link, func(v *bucket.Version) (bool, error) { return v.Link == ancestor, nil })
	if err != nil {
		return err
	}
	slices.Reverse(chain)
	return r.append(ctx, chain)
}

// walk gets manifests from the link on, newest first, until one ends it or the genesis is reached.
func (r *reference) walk(
	ctx context.Context, link bucket.Link, ends func(*bucket.Version) (bool, error),
) (chain []*bucket.Version, end bucket.Link, err error) {
	for !link.IsZero() {
		b, err := r.objects.GetBytes(ctx, link.Hash().String())
		if err != nil {
			return nil, end, fmt.Errorf("get manifest %s: %w", link, err)
		}
		v, err := bucket.Open(link, b)
		if err != nil {
			return nil, end, err
		}
		if here, err := ends(v); err != nil || here {
			return chain, link, err
		}
		chain = append(chain, v)
		link = v.Previous
	}
	return chain, end, nil
}

// append makes the stretch durable, as Headwater does.
func (r *reference) append(ctx context.Context, chain []*bucket.Version) error {
	small := make([]blobstore.Small, len(chain))
	entries := make([]logstore.Entry, len(chain))
	for i, v := range chain {
		small[i] = blobstore.Small{Hash: v.Link.Hash(), Data: v.Encoded()}
		entries[i] = logstore.Entry{
			Bucket: v.Bucket, Link: v.Link, Height: v.Height, Previous: v.Previous, Author: *v.Author, Pins: v.Pins, Name: v.Name,
		}
	}
	if err := r.manifests.PutBatch(ctx, small); err != nil {
		return err
	}
	_, err := r.log.Append(ctx, entries, nil, false)
	return err
}

// The reference is only worth a comparison if it does its work.
func TestReferenceCatchesUp(t *testing.T) {
	e, chain, _ := benchChain(t, 30)
	r := e.newReference()
	for _, n := range []int{10, 30} { // from nothing, then from an ancestor
		if err := r.sync(t.Context(), chain.Versions[n-1]); err != nil {
			t.Fatal(err)
		}
		if b, err := r.log.Bucket(t.Context(), chain.ID); err != nil || b.Versions != uint64(n) {
			t.Errorf("got %d versions (%v), want %d", b.Versions, err, n)
		}
	}
}
