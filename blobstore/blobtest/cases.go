package blobtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"headwater/blobstore"
	"headwater/bucket"
)

// script goes through a sequence of steps, each with its expected outcome.
func (s *suite) script(t *testing.T) {
	const (
		opPut = iota
		opGet
		opHas
	)
	a, b, empty := []byte("a"), []byte("b"), []byte(nil)
	steps := []struct {
		name string
		op   int
		hash bucket.Hash
		data []byte
		held bool
		want error
	}{
		{"nothing is held at first", opHas, bucket.Sum(a), nil, false, nil},
		{"nor found", opGet, bucket.Sum(a), nil, false, blobstore.ErrNotFound},
		{"wrong bytes are refused", opPut, bucket.Sum(a), b, false, blobstore.ErrMismatch},
		{"and not kept", opHas, bucket.Sum(a), nil, false, nil},
		{"under neither hash", opHas, bucket.Sum(b), nil, false, nil},
		{"too few are refused", opPut, bucket.Sum(a), empty, false, blobstore.ErrMismatch},
		{"surplus is refused", opPut, bucket.Sum(a), []byte("aa"), false, blobstore.ErrMismatch},
		{"right ones are kept after that", opPut, bucket.Sum(a), a, false, nil},
		{"held now", opHas, bucket.Sum(a), nil, true, nil},
		{"and found", opGet, bucket.Sum(a), a, false, nil},
		{"putting again is fine", opPut, bucket.Sum(a), a, false, nil},
		{"still found", opGet, bucket.Sum(a), a, false, nil},
		{"the zero hash names nothing", opHas, bucket.Hash{}, nil, false, nil},
		{"not even the empty blob", opPut, bucket.Hash{}, empty, false, blobstore.ErrMismatch},
		{"which is not held unless put", opHas, bucket.Sum(empty), nil, false, nil},
		{"can be put", opPut, bucket.Sum(empty), empty, false, nil},
		{"and is found then", opGet, bucket.Sum(empty), empty, false, nil},
	}
	store := s.store(t)
	for _, step := range steps {
		switch step.op {
		case opPut:
			_, err := store.Put(t.Context(), step.hash, bytes.NewReader(step.data))
			wantErr(t, step.name, err, step.want)
		case opHas:
			if ok, err := store.Has(t.Context(), step.hash); err != nil || ok != step.held {
				t.Fatalf("%s: got %v, %v, want %v", step.name, ok, err, step.held)
			}
		case opGet:
			got, err := blobstore.ReadAll(t.Context(), store, step.hash, 1<<10)
			wantErr(t, step.name, err, step.want)
			if !bytes.Equal(got, step.data) {
				t.Fatalf("%s: got %q, want %q", step.name, got, step.data)
			}
		}
	}
}

// sizes puts blobs around every size at which a store may do something else, whole and byte by byte.
func (s *suite) sizes(t *testing.T) {
	store := s.store(t)
	sizes := []int{0, 1, 31, 32, 33, 511, 512, 1023, 1024, 1025, 4096, 8191, 8193}
	for _, n := range []int{blobstore.SmallSize, 2 * blobstore.SmallSize, 3 * blobstore.SmallSize} {
		sizes = append(sizes, n-1, n, n+1)
	}
	var all [][]byte
	for i, n := range sizes {
		b := Bytes(uint64(i), n)
		all = append(all, b)
		put(t, store, b)
		wantHeld(t, store, b)
	}
	for _, b := range all {
		wantHeld(t, store, b)
	}
	for _, n := range []int{3, blobstore.SmallSize + 3} {
		b := Bytes(99, n)
		if _, err := store.Put(t.Context(), bucket.Sum(b), iotest.OneByteReader(bytes.NewReader(b))); err != nil {
			t.Fatalf("put %d bytes one by one: %v", n, err)
		}
		wantHeld(t, store, b)
	}
}

// limit puts as much as is allowed, and one byte more.
func (s *suite) limit(t *testing.T) {
	store := s.store(t)
	b := Bytes(1, s.MaxBlobSize+1)
	put(t, store, b[:s.MaxBlobSize])
	wantHeld(t, store, b[:s.MaxBlobSize])
	source := &countingReader{r: io.MultiReader(bytes.NewReader(b), endless{})}
	_, err := store.Put(t.Context(), bucket.Sum(b), source)
	wantErr(t, "put one byte more than the limit", err, blobstore.ErrTooLarge)
	if most := s.MaxBlobSize + 1<<20; source.n > most {
		t.Errorf("bytes read before an endless source was refused: got %d, want at most %d", source.n, most)
	}
	wantAbsent(t, store, bucket.Sum(b))
}

// failingSource puts from a reader that fails: nothing is kept, and the error comes through.
func (s *suite) failingSource(t *testing.T) {
	store := s.store(t)
	broken := errors.New("source broke")
	for _, n := range []int{10, blobstore.SmallSize, blobstore.SmallSize + 1, 200 << 10} {
		b := Bytes(uint64(n), n)
		for _, cut := range []int{0, n / 2, n} {
			r := io.MultiReader(bytes.NewReader(b[:cut]), iotest.ErrReader(broken))
			_, err := store.Put(t.Context(), bucket.Sum(b), r)
			wantErr(t, "put from a source that fails", err, broken)
			wantAbsent(t, store, bucket.Sum(b))
		}
		put(t, store, b)
		wantHeld(t, store, b)
	}
}

// heldIsNotRead puts what is held already.
func (s *suite) heldIsNotRead(t *testing.T) {
	store := s.store(t)
	for _, n := range []int{100, blobstore.SmallSize + 100} {
		b := Bytes(uint64(n), n)
		h := put(t, store, b)
		size, err := store.Put(t.Context(), h, iotest.ErrReader(errors.New("read although held")))
		if err != nil || size != int64(n) {
			t.Fatalf("put what is held: got %d, %v, want %d", size, err, n)
		}
		wantHeld(t, store, b)
	}
}

// cancelled calls everything with a context that is over.
func (s *suite) cancelled(t *testing.T) {
	store, ctx := s.store(t), cancelledContext(t)
	held, b := Bytes(1, 10), Bytes(2, 10)
	h := put(t, store, held)
	_, err := store.Has(ctx, h)
	wantErr(t, "has", err, context.Canceled)
	_, err = store.Get(ctx, h)
	wantErr(t, "get", err, context.Canceled)
	_, err = store.Put(ctx, bucket.Sum(b), bytes.NewReader(b))
	wantErr(t, "put", err, context.Canceled)
	if !s.NoBatch {
		err = ability[blobstore.BatchPutter](t, store).PutBatch(ctx, []blobstore.Small{{Hash: bucket.Sum(b), Data: b}})
		wantErr(t, "put batch", err, context.Canceled)
	}
	if !s.NoDeleter {
		wantErr(t, "delete", ability[blobstore.Deleter](t, store).Delete(ctx, h), context.Canceled)
	}
	if !s.NoSizer {
		_, err = ability[blobstore.Sizer](t, store).Size(ctx, h)
		wantErr(t, "size", err, context.Canceled)
	}
	if !s.NoLister {
		for _, err = range ability[blobstore.Lister](t, store).All(ctx) {
			wantErr(t, "list", err, context.Canceled)
		}
	}
	wantHeld(t, store, held)
	wantAbsent(t, store, bucket.Sum(b))
}

// cancelledWhileReading cancels while the store reads from the source.
func (s *suite) cancelledWhileReading(t *testing.T) {
	store := s.store(t)
	for _, n := range []int{1000, 200 << 10} {
		ctx, cancel := context.WithCancel(t.Context())
		b := Bytes(uint64(n), n)
		r := io.MultiReader(bytes.NewReader(b[:n/2]), readerFunc(func([]byte) (int, error) { cancel(); return 0, nil }),
			bytes.NewReader(b[n/2:]))
		_, err := store.Put(ctx, bucket.Sum(b), r)
		wantErr(t, "put cancelled half-way", err, context.Canceled)
		wantAbsent(t, store, bucket.Sum(b))
	}
}

// readAll reads within a limit, at it, and above.
func (s *suite) readAll(t *testing.T) {
	store := s.store(t)
	for _, n := range []int{0, 1000, 200 << 10} {
		b := Bytes(uint64(n), n)
		h := put(t, store, b)
		got, err := blobstore.ReadAll(t.Context(), store, h, int64(n))
		if err != nil || !bytes.Equal(got, b) {
			t.Fatalf("read all of %d bytes: got %d, %v", n, len(got), err)
		}
		if n > 0 {
			_, err = blobstore.ReadAll(t.Context(), store, h, int64(n-1))
			wantErr(t, "read all above the limit", err, blobstore.ErrTooLarge)
		}
	}
	_, err := blobstore.ReadAll(t.Context(), store, bucket.Sum([]byte("absent")), 10)
	wantErr(t, "read all of nothing", err, blobstore.ErrNotFound)
}

// reopen closes the store and opens it again: it gives the same answers.
func (s *suite) reopen(t *testing.T) {
	store, reopen := s.open(t)
	if reopen == nil {
		return
	}
	var all [][]byte
	for i, n := range []int{0, 1, 1000, blobstore.SmallSize, blobstore.SmallSize + 1, 200 << 10} {
		all = append(all, Bytes(uint64(i), n))
		put(t, store, all[i])
	}
	absent := bucket.Sum([]byte("absent"))
	for i := range 3 {
		if store = reopen(); store == nil {
			t.Fatal("reopen returned no store")
		}
		for _, b := range all {
			wantHeld(t, store, b)
		}
		wantAbsent(t, store, absent)
		all = append(all, Bytes(uint64(100+i), 2000))
		put(t, store, all[len(all)-1])
	}
	if s.NoDeleter {
		return
	}
	for _, b := range all {
		wantErr(t, "delete", ability[blobstore.Deleter](t, store).Delete(t.Context(), bucket.Sum(b)), nil)
	}
	store = reopen()
	for _, b := range all {
		wantAbsent(t, store, bucket.Sum(b))
	}
}

// readerFunc is a reader made of its method.
type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) {
	n, err := f(p)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// countingReader counts what is read.
type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// endless is a source of zeros without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
