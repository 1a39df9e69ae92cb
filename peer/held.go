package peer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
	"headwater/logstore"
	"headwater/peer/local"
	"headwater/publisher"
)

// held is the [local.Holder] that this process is: what the session and other processes call. Every call passes the gate.
type held struct{ *Peer }

var _ local.Holder = held{}

// calling makes a call that comes to its end by itself.
func calling[A any](h held, f func() (A, error)) (a A, err error) {
	done, err := h.calls.enter()
	if err != nil {
		return a, err
	}
	defer done()
	return f()
}

// waiting makes a call that may wait for the broker, or for others.
func waiting[A any](ctx context.Context, h held, f func(context.Context) (A, error)) (a A, err error) {
	ctx, done, err := h.calls.wait(ctx)
	if err != nil {
		return a, err
	}
	defer done()
	a, err = f(ctx)
	return a, ended(ctx, err)
}

// Has implements [blobstore.Reader].
func (h held) Has(ctx context.Context, hash bucket.Hash) (bool, error) {
	return calling(h, func() (bool, error) { return h.stores.blobs.Has(ctx, hash) })
}

// Get implements [blobstore.Reader]. What is not held is fetched first, so that it is held from then on.
func (h held) Get(ctx context.Context, hash bucket.Hash) (*blobstore.Blob, error) {
	done, err := h.calls.enter()
	if err != nil {
		return nil, err
	}
	blob, err := h.stores.blobs.Get(ctx, hash)
	if blobstore.IsMissing(err) {
		if _, err = waiting(ctx, h, func(ctx context.Context) (struct{}, error) { return struct{}{}, h.fetch(ctx, hash) }); err == nil {
			blob, err = h.stores.blobs.Get(ctx, hash)
		}
	}
	if err != nil {
		done()
		return nil, err
	}
	blob.OnClose(done)
	return blob, nil
}

// fetch holds a blob that some object store has.
func (p *Peer) fetch(ctx context.Context, hash bucket.Hash) error {
	if _, err := p.broker.wait(ctx); err != nil {
		return fmt.Errorf("blob %s is not held here: %w", hash, err)
	}
	return notHeld(p.consumer.Hold(ctx, hash))
}

// notHeld turns an error of the object stores into one of the peer's own: blobstore.ErrNotFound if nobody has the object,
// [ErrOffline] if they could not be asked.
func notHeld(err error) error {
	if errors.Is(err, consumer.ErrNotFound) {
		return fmt.Errorf("%w: %w", blobstore.ErrNotFound, err)
	}
	return offline(err)
}

// Put implements [local.Content].
func (h held) Put(ctx context.Context, hash bucket.Hash, size int64, r io.Reader) error {
	done, err := h.calls.enter()
	if err != nil {
		return err
	}
	defer done()
	var n int64
	if size < 0 || size > blobstore.SmallSize {
		n, err = h.stores.blobs.Put(ctx, hash, r)
	} else {
		n, err = h.putSmall(ctx, hash, size, r)
	}
	if err == nil && n != size {
		err = fmt.Errorf("put blob %s: %w: %d bytes, not %d", hash, blobstore.ErrMismatch, n, size)
	}
	return err
}

// putSmall puts a blob whose size is known to be small: it does not look for a file that the blob could be in.
func (h held) putSmall(ctx context.Context, hash bucket.Hash, size int64, r io.Reader) (int64, error) {
	b := make([]byte, size+1) // a byte more, to see the end
	n, err := io.ReadFull(r, b)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, fmt.Errorf("put blob %s: %w", hash, err)
	}
	if int64(n) != size {
		return int64(n), nil
	}
	return size, h.stores.blobs.PutBatch(ctx, []blobstore.Small{{Hash: hash, Data: b[:size]}})
}

// Add implements [local.Content].
func (h held) Add(ctx context.Context, size int64, r io.Reader) (bucket.Hash, error) {
	return calling(h, func() (bucket.Hash, error) { return h.stores.blobs.Add(ctx, size, r) })
}

// Manifest implements [local.Content].
func (h held) Manifest(ctx context.Context, link bucket.Link) ([]byte, error) {
	return waiting(ctx, h, func(ctx context.Context) ([]byte, error) { return h.manifest(ctx, link) })
}

func (p *Peer) manifest(ctx context.Context, link bucket.Link) ([]byte, error) {
	b, err := blobstore.ReadAll(ctx, p.stores.manifests, link.Hash(), bucket.MaxManifestSize)
	if !blobstore.IsMissing(err) {
		return b, err
	}
	if _, waitErr := p.broker.wait(ctx); waitErr != nil {
		return nil, fmt.Errorf("manifest %s is not held here: %w", link, waitErr)
	}
	v, err := p.consumer.Manifest(ctx, link)
	if err != nil {
		return nil, notHeld(err)
	}
	return v.Encoded(), nil
}

// Keep implements [local.Maker].
func (h held) Keep(ctx context.Context, manifest []byte) error {
	done, err := h.calls.enter()
	if err != nil {
		return err
	}
	defer done()
	v, err := bucket.Open(bucket.ManifestLink(manifest), manifest)
	if err != nil {
		return err
	}
	count, missing, err := consumer.CountPins(ctx, h.stores.blobs, h.stores.manifests, v.Pins)
	if err != nil {
		return err
	}
	all := &count
	if missing > 0 {
		all = nil
	}
	err = h.consumer.AppendOwn(ctx, v, all)
	if errors.Is(err, logstore.ErrStale) {
		return fmt.Errorf("version %d of bucket %s: %w", v.Height, v.Bucket, local.ErrStale)
	}
	if err == nil {
		h.publisher.Wake(v.Bucket)
	}
	return err
}

// Await implements [local.Maker].
func (h held) Await(ctx context.Context, id bucket.ID, link bucket.Link, report func(local.UploadProgress)) error {
	ctx, done, err := h.calls.wait(ctx)
	if err != nil {
		return err
	}
	defer done()
	if owes, err := h.owes(ctx, id, link); !owes || err != nil {
		return err
	}
	uploading, enough := context.WithCancel(ctx)
	defer enough()
	err = h.upload(uploading, id, func(p publisher.Progress) {
		if report != nil {
			report(local.UploadProgress{Objects: p.Absent, Done: p.Done, Bytes: p.Bytes})
		}
		if h.hears.Load() && !p.Announced.IsZero() {
			if owes, err := h.owes(ctx, id, link); err == nil && !owes {
				enough() // older versions go on without us
			}
		}
	})
	if err == nil || ctx.Err() != nil {
		return err
	}
	// Older versions may be held up by what nobody has. This one counts.
	if owes, owesErr := h.owes(ctx, id, link); owes || owesErr != nil {
		return errors.Join(err, owesErr)
	}
	return nil
}

// Announce implements [local.Maker].
func (h held) Announce(ctx context.Context, id bucket.ID, link bucket.Link) (duplicate bool, err error) {
	ctx, done, err := h.calls.wait(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	if link.IsZero() {
		b, err := h.bucket(ctx, id)
		if err != nil {
			return false, err
		}
		link = b.Known.Link
	}
	e, err := h.named(ctx, id, link)
	if err == nil {
		err = h.stores.log.AddUpload(ctx, id, e.Head())
	}
	if err != nil {
		if errors.Is(err, logstore.ErrNotFound) {
			return false, fmt.Errorf("bucket %s: %w: %s is not in the log", id, ErrNoVersion, link)
		}
		return false, err
	}
	err = h.upload(ctx, id, func(p publisher.Progress) { duplicate = p.Duplicate })
	return duplicate, err
}

// owes reports whether a version is still to be uploaded or announced, or, for the zero link, any of the bucket.
func (p *Peer) owes(ctx context.Context, id bucket.ID, link bucket.Link) (bool, error) {
	for u, err := range p.stores.log.Uploads(ctx, id) {
		if err != nil || link.IsZero() || u.Link == link {
			return err == nil, err
		}
	}
	return false, nil
}

// upload works off what is owed of a bucket.
func (p *Peer) upload(ctx context.Context, id bucket.ID, report func(publisher.Progress)) error {
	_, err := p.broker.wait(ctx)
	if err == nil {
		p.lookAtBroker(ctx, true)
		err = offline(p.publisher.Publish(ctx, id, report))
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// bucket returns what the log knows of a bucket that has versions.
func (p *Peer) bucket(ctx context.Context, id bucket.ID) (logstore.Bucket, error) {
	b, err := p.stores.log.Bucket(ctx, id)
	if errors.Is(err, logstore.ErrNotFound) || err == nil && b.Known.IsZero() {
		return b, fmt.Errorf("bucket %s: %w: the log has no version of it", id, ErrNoBucket)
	}
	return b, err
}

// Watch implements [local.Teller].
func (h held) Watch(ctx context.Context, started func(), handle func([]byte)) error {
	_, err := waiting(ctx, h, func(ctx context.Context) (struct{}, error) { return struct{}{}, h.events.watch(ctx, started, handle) })
	return err
}
