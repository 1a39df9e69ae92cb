package localtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/iotest"

	"headwater/blobstore"
	"headwater/bucket"
)

// sizes are sizes of blobs around what a transport may treat differently.
func sizes() []int {
	return []int{0, 1, 4 << 10, 64 << 10, 128 << 10, 128<<10 + 1, 256 << 10, 3<<20 + 7}
}

func putAndGet(t *testing.T, w *world) {
	for i, n := range sizes() {
		b := Bytes(uint64(i), n)
		for range 2 {
			w.put(t, b)
			w.wantHeld(t, b)
		}
	}
}

func add(t *testing.T, w *world) {
	fault := errors.New("the disk is on fire")
	for i, n := range sizes() {
		b := Bytes(uint64(i), n)
		for name, c := range map[string]struct {
			r    io.Reader
			want error
		}{
			"too few":  {bytes.NewReader(b[:max(0, n-1)]), blobstore.ErrMismatch},
			"too many": {io.MultiReader(bytes.NewReader(b), bytes.NewReader([]byte{0})), blobstore.ErrMismatch},
			"a fault":  {io.MultiReader(bytes.NewReader(b[:n/2]), iotest.ErrReader(fault)), fault},
		} {
			if n == 0 && name == "too few" {
				continue
			}
			_, err := w.Add(t.Context(), int64(n), c.r)
			wantErr(t, name, err, c.want)
			w.wantAbsent(t, bucket.Sum(b))
		}
		h, err := w.Add(t.Context(), int64(n), bytes.NewReader(b))
		if wantErr(t, "add", err, nil); h != bucket.Sum(b) {
			t.Fatalf("add %d bytes: got hash %s, want %s", n, h, bucket.Sum(b))
		}
		w.wantHeld(t, b)
	}
}

func notHeld(t *testing.T, w *world) {
	h := bucket.Sum([]byte("nobody has it"))
	w.wantAbsent(t, h)
	_, err := w.Get(t.Context(), h)
	w.wantNowhere(t, "get", err, blobstore.ErrNotFound)
	_, err = w.Manifest(t.Context(), bucket.NewLink(bucket.CodecDagCBOR, h))
	w.wantNowhere(t, "manifest", err, blobstore.ErrNotFound)
}

func wrongBytes(t *testing.T, w *world) {
	for _, n := range sizes()[1:] {
		b := Bytes(1, n)
		h := bucket.Sum(b)
		for name, r := range map[string]io.Reader{
			"other bytes": bytes.NewReader(Bytes(2, n)),
			"too few":     bytes.NewReader(b[:n-1]),
			"none":        bytes.NewReader(nil),
			"surplus":     io.MultiReader(bytes.NewReader(b), bytes.NewReader([]byte{0})),
		} {
			wantErr(t, name, w.Put(t.Context(), h, int64(n), r), blobstore.ErrMismatch)
			w.wantAbsent(t, h)
		}
		w.put(t, b)
		w.wantHeld(t, b)
	}
}

func heldIsNotRead(t *testing.T, w *world) {
	b := Bytes(1, 1<<20)
	h := w.put(t, b)
	wantErr(t, "put again", w.Put(t.Context(), h, int64(len(b)), unread{t}), nil)
}

func failingSource(t *testing.T, w *world) {
	fault := errors.New("the disk is on fire")
	for _, n := range sizes()[2:] {
		b := Bytes(1, n)
		r := io.MultiReader(bytes.NewReader(b[:n/2]), iotest.ErrReader(fault))
		wantErr(t, "put", w.Put(t.Context(), bucket.Sum(b), int64(n), r), fault)
		w.wantAbsent(t, bucket.Sum(b))
	}
}

func cancelPut(t *testing.T, w *world) {
	ctx, cancel := context.WithCancel(t.Context())
	h := bucket.Sum([]byte("any"))
	err := w.Put(ctx, h, 1<<40, &endless{left: 1 << 20, then: cancel})
	wantErr(t, "put", err, context.Canceled)
	w.wantAbsent(t, h)
	w.put(t, Bytes(1, 1<<20))
}

func cancelledBefore(t *testing.T, w *world) {
	b := Bytes(1, 1<<20)
	h := w.put(t, b)
	_, err := w.Has(cancelled(t), h)
	wantErr(t, "has", err, context.Canceled)
	_, err = w.Get(cancelled(t), h)
	wantErr(t, "get", err, context.Canceled)
	b[0]++
	err = w.Put(cancelled(t), bucket.Sum(b), int64(len(b)), bytes.NewReader(b))
	wantErr(t, "put", err, context.Canceled)
	w.wantAbsent(t, bucket.Sum(b))
}

func closeEarly(t *testing.T, w *world) {
	b := Bytes(1, 200<<10)
	h := w.put(t, b)
	for i := range 300 {
		blob, err := w.Get(t.Context(), h)
		wantErr(t, "get", err, nil)
		if blob.Size() != int64(len(b)) {
			t.Fatalf("size: got %d, want %d", blob.Size(), len(b))
		}
		_, err = io.CopyN(io.Discard, blob, int64(i))
		wantErr(t, "read", err, nil)
		wantErr(t, "close", blob.Close(), nil)
	}
	w.wantHeld(t, b)
}

func readToTheSize(t *testing.T, w *world) {
	b := Bytes(1, 200<<10)
	h := w.put(t, b)
	for range 300 {
		blob, err := w.Get(t.Context(), h)
		wantErr(t, "get", err, nil)
		got := make([]byte, blob.Size())
		_, err = io.ReadFull(blob, got)
		wantErr(t, "read", err, nil)
		if n, err := blob.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Fatalf("behind the end: got %d, %v", n, err)
		}
		wantErr(t, "close", blob.Close(), nil)
		if !bytes.Equal(got, b) {
			t.Fatal("got other bytes")
		}
	}
}

func concurrent(t *testing.T, w *world) {
	var calls sync.WaitGroup
	for i := range 8 {
		calls.Go(func() {
			for j, n := range sizes() {
				own, shared := Bytes(uint64(100+i*100+j), n), Bytes(uint64(j), n)
				for _, b := range [][]byte{own, shared} {
					h := bucket.Sum(b)
					if err := w.Put(t.Context(), h, int64(n), bytes.NewReader(b)); err != nil {
						t.Errorf("put: %v", err)
						return
					}
					got, err := blobstore.ReadAll(t.Context(), w, h, int64(n))
					if err != nil || !bytes.Equal(got, b) {
						t.Errorf("get: got %d bytes, %v", len(got), err)
						return
					}
				}
			}
		})
	}
	calls.Wait()
}

func manifest(t *testing.T, w *world) {
	v := w.keep(t, w.chain(t), nil)
	got, err := w.Manifest(t.Context(), v.Link)
	if wantErr(t, "manifest", err, nil); !bytes.Equal(got, v.Encoded()) {
		t.Fatal("manifest: got other bytes")
	}
}
