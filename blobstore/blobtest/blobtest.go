// Package blobtest tests stores of package blobstore. [Run] is the suite that every store passes: what it checks is what the
// comments of the contract promise. [Bench] measures stores alike. [Faulty] is a store that fails as told, for the tests of
// packages that use one.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"go.uber.org/goleak"

	"headwater/blobstore"
	"headwater/bucket"
)

// Opener opens an empty store for a test and has it closed by tb.Cleanup. reopen closes it and opens it again on what it has
// kept; it is nil for a store that keeps nothing.
type Opener func(tb testing.TB) (store blobstore.Store, reopen func() blobstore.Store)

// Options says what the suite expects of a store. An ability that is not named as missing must be there.
type Options struct {
	// MaxBlobSize is the limit that the opened stores are configured with, in bytes: required, at least 256 KiB. The suite
	// puts blobs of that size.
	MaxBlobSize int

	NoAdder   bool // it is not a blobstore.Adder
	NoBatch   bool // it is not a blobstore.BatchPutter
	NoDeleter bool // it is not a blobstore.Deleter
	NoLister  bool // it is not a blobstore.Lister
	NoSizer   bool // it is not a blobstore.Sizer
}

// suite is what the cases share.
type suite struct {
	open Opener
	Options
}

// Run runs the suite, each case on a store of its own, and checks that no goroutine is left behind.
func Run(t *testing.T, open Opener, opts Options) {
	t.Helper()
	if opts.MaxBlobSize < 256<<10 {
		t.Fatalf("blobtest: Options.MaxBlobSize is %d, want at least 256 KiB", opts.MaxBlobSize)
	}
	leaks := goleak.IgnoreCurrent()
	s := &suite{open, opts}
	cases := []struct {
		name    string
		test    func(*testing.T)
		without bool
	}{
		{"Script", s.script, false},
		{"Sizes", s.sizes, false},
		{"Limit", s.limit, false},
		{"FailingSource", s.failingSource, false},
		{"HeldIsNotRead", s.heldIsNotRead, false},
		{"Cancelled", s.cancelled, false},
		{"CancelledWhileReading", s.cancelledWhileReading, false},
		{"ReadAll", s.readAll, false},
		{"Reopen", s.reopen, false},
		{"ManyOfOneHash", s.manyOfOneHash, false},
		{"ManyHashes", s.manyHashes, false},
		{"Add", s.add, opts.NoAdder},
		{"AddAllOrNothing", s.addAllOrNothing, opts.NoAdder},
		{"Batch", s.batch, opts.NoBatch},
		{"BatchAllOrNothing", s.batchAllOrNothing, opts.NoBatch},
		{"BatchOwnsNothing", s.batchOwnsNothing, opts.NoBatch},
		{"Delete", s.delete, opts.NoDeleter},
		{"DeleteWhileRead", s.deleteWhileRead, opts.NoDeleter},
		{"DeleteAgainstPut", s.deleteAgainstPut, opts.NoDeleter},
		{"List", s.list, opts.NoLister},
		{"ListWhileWritten", s.listWhileWritten, opts.NoLister || opts.NoDeleter},
		{"Size", s.size, opts.NoSizer},
	}
	for _, c := range cases {
		if !c.without {
			t.Run(c.name, c.test)
		}
	}
	goleak.VerifyNone(t, leaks)
}

// store opens a store, without interest in opening it again.
func (s *suite) store(t testing.TB) blobstore.Store {
	t.Helper()
	store, _ := s.open(t)
	return store
}

// ability returns the store as something more, which it must be.
func ability[A any](t testing.TB, store blobstore.Store) A {
	t.Helper()
	a, ok := store.(A)
	if !ok {
		t.Fatalf("%T lacks %T; say so in Options if it shall", store, (*A)(nil))
	}
	return a
}

// Bytes returns n bytes that look random and differ by seed.
func Bytes(seed uint64, n int) []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

// put puts bytes and returns their hash.
func put(t testing.TB, store blobstore.Store, b []byte) bucket.Hash {
	t.Helper()
	h := bucket.Sum(b)
	n, err := store.Put(t.Context(), h, bytes.NewReader(b))
	if err != nil {
		t.Fatalf("put %d bytes: %v", len(b), err)
	}
	if n != int64(len(b)) {
		t.Fatalf("put %d bytes: got size %d", len(b), n)
	}
	return h
}

// wantHeld checks that the store has exactly these bytes.
func wantHeld(t testing.TB, store blobstore.Reader, b []byte) {
	t.Helper()
	h := bucket.Sum(b)
	if ok, err := store.Has(t.Context(), h); err != nil || !ok {
		t.Fatalf("has, blob of %d bytes: got %v, %v, want true", len(b), ok, err)
	}
	blob, err := store.Get(t.Context(), h)
	if err != nil {
		t.Fatalf("get, blob of %d bytes: %v", len(b), err)
	}
	defer blob.Close()
	if blob.Size() != int64(len(b)) {
		t.Fatalf("size of what Get returns: got %d, want %d", blob.Size(), len(b))
	}
	got, err := io.ReadAll(blob)
	if err != nil {
		t.Fatalf("read blob of %d bytes: %v", len(b), err)
	}
	if !bytes.Equal(got, b) {
		t.Fatalf("read blob of %d bytes: got %d others", len(b), len(got))
	}
}

// wantAbsent checks that the store does not have h, and says so in every way.
func wantAbsent(t testing.TB, store blobstore.Reader, h bucket.Hash) {
	t.Helper()
	if ok, err := store.Has(t.Context(), h); err != nil || ok {
		t.Fatalf("has %s: got %v, %v, want false", h, ok, err)
	}
	blob, err := store.Get(t.Context(), h)
	if err == nil {
		_ = blob.Close()
	}
	if !errors.Is(err, blobstore.ErrNotFound) {
		t.Fatalf("get %s: got %v, want %v", h, err, blobstore.ErrNotFound)
	}
}

// wantErr checks for a sentinel; nil wants success.
func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got error %v, want %v", what, err, want)
	}
}

// cancelledContext is over before it is used.
func cancelledContext(t testing.TB) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
