package peer

import (
	"context"
	"errors"
	"io"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/peer/local"
)

// ask calls f with whoever holds the directory, and again with the next one if that has gone: all calls can be made twice.
func ask[A any](ctx context.Context, r *roaming, f func(local.Holder) (A, error)) (A, error) {
	for {
		h, err := r.holder(ctx)
		if err != nil {
			return *new(A), err
		}
		a, err := f(h)
		if err = r.hung(err); !errors.Is(err, local.ErrGone) && !errors.Is(err, local.ErrLost) || ctx.Err() != nil {
			return a, err
		}
		r.lost(h)
		if !pause(ctx, moment) { // it may be closing still
			return a, err
		}
	}
}

// none is ask for calls without an answer.
func none(f func(local.Holder) error) func(local.Holder) (struct{}, error) {
	return func(h local.Holder) (struct{}, error) { return struct{}{}, f(h) }
}

// What follows implements [local.Holder]: each call is made of whoever holds the directory.

func (r *roaming) Has(ctx context.Context, hash bucket.Hash) (bool, error) {
	return ask(ctx, r, func(h local.Holder) (bool, error) { return h.Has(ctx, hash) })
}

func (r *roaming) Get(ctx context.Context, hash bucket.Hash) (*blobstore.Blob, error) {
	return ask(ctx, r, func(h local.Holder) (*blobstore.Blob, error) { return h.Get(ctx, hash) })
}

func (r *roaming) Put(ctx context.Context, hash bucket.Hash, size int64, from io.Reader) error {
	_, err := send(ctx, r, from, func(h local.Holder, from io.Reader) (struct{}, error) {
		return struct{}{}, h.Put(ctx, hash, size, from)
	})
	return err
}

func (r *roaming) Add(ctx context.Context, size int64, from io.Reader) (bucket.Hash, error) {
	return send(ctx, r, from, func(h local.Holder, from io.Reader) (bucket.Hash, error) { return h.Add(ctx, size, from) })
}

// send is ask for a call that reads from. What was read of it cannot be sent to the next holder, unless from can go back.
func send[A any](ctx context.Context, r *roaming, from io.Reader, f func(local.Holder, io.Reader) (A, error)) (A, error) {
	back, canSeek := from.(io.Seeker)
	var start int64
	if canSeek {
		var err error
		if start, err = back.Seek(0, io.SeekCurrent); err != nil {
			canSeek = false // a pipe, perhaps
		}
	}
	noted := &noting{Reader: from}
	return ask(ctx, r, func(h local.Holder) (a A, err error) {
		switch {
		case canSeek:
			if _, err := back.Seek(start, io.SeekStart); err != nil {
				return a, err
			}
		case noted.begun:
			return a, errors.New("the process that held the directory is gone; try again")
		}
		return f(h, noted)
	})
}

// noting notes that it was read from.
type noting struct {
	io.Reader
	begun bool
}

func (n *noting) Read(p []byte) (int, error) {
	n.begun = true
	return n.Reader.Read(p)
}

func (r *roaming) Manifest(ctx context.Context, link bucket.Link) ([]byte, error) {
	return ask(ctx, r, func(h local.Holder) ([]byte, error) { return h.Manifest(ctx, link) })
}

func (r *roaming) Find(ctx context.Context, name string) ([]bucket.ID, error) {
	return ask(ctx, r, func(h local.Holder) ([]bucket.ID, error) { return h.Find(ctx, name) })
}

func (r *roaming) Look(ctx context.Context, id bucket.ID, bus bool) (local.View, error) {
	return ask(ctx, r, func(h local.Holder) (local.View, error) { return h.Look(ctx, id, bus) })
}

func (r *roaming) Ancestor(ctx context.Context, q local.AncestorQuery) (bucket.Head, error) {
	return ask(ctx, r, func(h local.Holder) (bucket.Head, error) { return h.Ancestor(ctx, q) })
}

func (r *roaming) Carried(ctx context.Context, id bucket.ID, tips []bucket.Link) (bucket.Pins, error) {
	return ask(ctx, r, func(h local.Holder) (bucket.Pins, error) { return h.Carried(ctx, id, tips) })
}

func (r *roaming) Log(ctx context.Context, id bucket.ID, before bucket.Head, limit int) (local.LogPage, error) {
	return ask(ctx, r, func(h local.Holder) (local.LogPage, error) { return h.Log(ctx, id, before, limit) })
}

func (r *roaming) Keep(ctx context.Context, manifest []byte) error {
	_, err := ask(ctx, r, none(func(h local.Holder) error { return h.Keep(ctx, manifest) }))
	return err
}

func (r *roaming) Await(ctx context.Context, id bucket.ID, link bucket.Link, report func(local.UploadProgress)) error {
	_, err := ask(ctx, r, none(func(h local.Holder) error { return h.Await(ctx, id, link, report) }))
	return err
}

func (r *roaming) Announce(ctx context.Context, id bucket.ID, link bucket.Link) (duplicate bool, err error) {
	return ask(ctx, r, func(h local.Holder) (bool, error) { return h.Announce(ctx, id, link) })
}

func (r *roaming) Status(ctx context.Context, id, after bucket.ID, limit int) (local.Status, error) {
	return ask(ctx, r, func(h local.Holder) (local.Status, error) { return h.Status(ctx, id, after, limit) })
}

func (r *roaming) Watch(ctx context.Context, started func(), handle func([]byte)) error {
	_, err := ask(ctx, r, none(func(h local.Holder) error { return h.Watch(ctx, started, handle) }))
	return err
}
