package blobtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"headwater/blobstore"
	"headwater/bucket"
)

func small(b []byte) blobstore.Small { return blobstore.Small{Hash: bucket.Sum(b), Data: b} }

// add adds blobs of all sizes, twice: the second time they are held.
func (s *suite) add(t *testing.T) {
	store := s.store(t)
	for i, n := range []int{0, 1, 1000, blobstore.SmallSize, blobstore.SmallSize + 1, 200 << 10, s.MaxBlobSize} {
		b := Bytes(uint64(i), n)
		for range 2 {
			h, err := ability[blobstore.Adder](t, store).Add(t.Context(), int64(n), iotest.HalfReader(bytes.NewReader(b)))
			if wantErr(t, "add", err, nil); h != bucket.Sum(b) {
				t.Fatalf("add %d bytes: got hash %s, want %s", n, h, bucket.Sum(b))
			}
			wantHeld(t, store, b)
		}
	}
}

// addAllOrNothing adds from readers that do not give what was said, and keeps nothing.
func (s *suite) addAllOrNothing(t *testing.T) {
	store := s.store(t)
	broken := errors.New("source broke")
	for i, n := range []int{10, blobstore.SmallSize, blobstore.SmallSize + 1, s.MaxBlobSize} {
		b := Bytes(uint64(i), n)
		for _, c := range []struct {
			name string
			ctx  context.Context
			size int
			r    io.Reader
			want error
		}{
			{"too few", t.Context(), n, bytes.NewReader(b[:n-1]), blobstore.ErrMismatch},
			{"too many", t.Context(), n, io.MultiReader(bytes.NewReader(b), endless{}), blobstore.ErrMismatch},
			{"below zero", t.Context(), -1, bytes.NewReader(b), blobstore.ErrMismatch},
			{"beyond the limit", t.Context(), s.MaxBlobSize + 1, endless{}, blobstore.ErrTooLarge},
			{"a source that fails", t.Context(), n, io.MultiReader(bytes.NewReader(b), iotest.ErrReader(broken)), broken},
			{"cancelled", cancelledContext(t), n, bytes.NewReader(b), context.Canceled},
		} {
			_, err := ability[blobstore.Adder](t, store).Add(c.ctx, int64(c.size), c.r)
			wantErr(t, c.name, err, c.want)
			wantAbsent(t, store, bucket.Sum(b))
		}
	}
}

// batch puts batches with blobs that are new, held, and twice in the batch.
func (s *suite) batch(t *testing.T) {
	store := s.store(t)
	batcher := ability[blobstore.BatchPutter](t, store)
	wantErr(t, "empty batch", batcher.PutBatch(t.Context(), nil), nil)
	held := Bytes(1, 100)
	put(t, store, held)
	batch := []blobstore.Small{small(held), small(nil), small(Bytes(2, blobstore.SmallSize))}
	for i := range 300 {
		batch = append(batch, small(Bytes(uint64(10+i%200), 200)))
	}
	for range 2 {
		wantErr(t, "batch", batcher.PutBatch(t.Context(), batch), nil)
		for _, b := range batch {
			wantHeld(t, store, b.Data)
		}
	}
}

// batchAllOrNothing puts batches with one bad blob: nothing is kept.
func (s *suite) batchAllOrNothing(t *testing.T) {
	store := s.store(t)
	good := small(Bytes(1, 100))
	for _, c := range []struct {
		name string
		bad  blobstore.Small
		want error
	}{
		{"wrong hash", blobstore.Small{Hash: bucket.Sum([]byte("a")), Data: []byte("b")}, blobstore.ErrMismatch},
		{"zero hash", blobstore.Small{}, blobstore.ErrMismatch},
		{"too large", small(Bytes(2, blobstore.SmallSize+1)), blobstore.ErrTooLarge},
	} {
		err := ability[blobstore.BatchPutter](t, store).PutBatch(t.Context(), []blobstore.Small{good, c.bad})
		wantErr(t, c.name, err, c.want)
		wantAbsent(t, store, good.Hash)
		wantAbsent(t, store, c.bad.Hash)
	}
}

// batchOwnsNothing changes the bytes of a batch after it was put.
func (s *suite) batchOwnsNothing(t *testing.T) {
	store := s.store(t)
	b := Bytes(1, 100)
	mine := append([]byte(nil), b...)
	wantErr(t, "batch", ability[blobstore.BatchPutter](t, store).PutBatch(t.Context(), []blobstore.Small{small(mine)}), nil)
	clear(mine)
	wantHeld(t, store, b)
}

// delete deletes what is there and what is not.
func (s *suite) delete(t *testing.T) {
	store := s.store(t)
	deleter := ability[blobstore.Deleter](t, store)
	wantErr(t, "delete nothing", deleter.Delete(t.Context()), nil)
	wantErr(t, "delete what is absent", deleter.Delete(t.Context(), bucket.Sum([]byte("absent"))), nil)
	keep, gone := [][]byte{}, [][]byte{}
	var hashes []bucket.Hash
	for i, n := range []int{0, 1, 1000, blobstore.SmallSize, blobstore.SmallSize + 1, 200 << 10} {
		keep = append(keep, Bytes(uint64(i), n+1))
		gone = append(gone, Bytes(uint64(100+i), n))
		put(t, store, keep[i])
		hashes = append(hashes, put(t, store, gone[i]))
	}
	wantErr(t, "delete", deleter.Delete(t.Context(), append(hashes, hashes...)...), nil)
	for i := range gone {
		wantAbsent(t, store, hashes[i])
		wantHeld(t, store, keep[i])
	}
	for _, b := range gone {
		put(t, store, b)
		wantHeld(t, store, b)
	}
}

// deleteWhileRead deletes a blob that is being read: the reader gets all of it.
func (s *suite) deleteWhileRead(t *testing.T) {
	store := s.store(t)
	for _, n := range []int{1000, 200 << 10} {
		b := Bytes(uint64(n), n)
		h := put(t, store, b)
		blob, err := store.Get(t.Context(), h)
		wantErr(t, "get", err, nil)
		defer blob.Close()
		got := make([]byte, 10, n)
		_, err = io.ReadFull(blob, got)
		wantErr(t, "read", err, nil)
		wantErr(t, "delete", ability[blobstore.Deleter](t, store).Delete(t.Context(), h), nil)
		wantAbsent(t, store, h)
		rest, err := io.ReadAll(blob)
		wantErr(t, "read on", err, nil)
		if bucket.Sum(append(got, rest...)) != h {
			t.Fatalf("blob of %d bytes deleted while read: got other bytes", n)
		}
	}
}

// list lists nothing, everything, and stops when the loop does.
func (s *suite) list(t *testing.T) {
	store := s.store(t)
	lister := ability[blobstore.Lister](t, store)
	want := make(map[bucket.Hash]int64)
	for i, n := range []int{-1, 0, 1, 1000, blobstore.SmallSize, blobstore.SmallSize + 1, 200 << 10} {
		if n >= 0 {
			want[put(t, store, Bytes(uint64(i), n))] = int64(n)
		}
		got := make(map[bucket.Hash]int64)
		for info, err := range lister.All(t.Context()) {
			wantErr(t, "list", err, nil)
			if _, twice := got[info.Hash]; twice {
				t.Fatalf("%s was listed twice", info.Hash)
			}
			got[info.Hash] = info.Size
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("list (-want +got):\n%s", diff)
		}
	}
	n := 0
	for _, err := range lister.All(t.Context()) {
		wantErr(t, "list", err, nil)
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Fatalf("listed until the loop ended: got %d, want 2", n)
	}
}

// size asks for sizes.
func (s *suite) size(t *testing.T) {
	store := s.store(t)
	sizer := ability[blobstore.Sizer](t, store)
	for i, n := range []int{0, 1000, blobstore.SmallSize, blobstore.SmallSize + 1} {
		b := Bytes(uint64(i), n)
		_, err := sizer.Size(t.Context(), bucket.Sum(b))
		wantErr(t, "size of what is absent", err, blobstore.ErrNotFound)
		got, err := sizer.Size(t.Context(), put(t, store, b))
		if err != nil || got != int64(n) {
			t.Fatalf("size: got %d, %v, want %d", got, err, n)
		}
	}
}
