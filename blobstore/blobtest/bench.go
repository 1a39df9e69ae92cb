package blobtest

import (
	"bytes"
	"encoding/binary"
	"io"
	"sync/atomic"
	"testing"

	"headwater/blobstore"
	"headwater/bucket"
)

// Sizes of what is measured: a manifest, and a file that is not small.
const (
	benchSmall = 1 << 10
	benchLarge = 16 << 20
	benchBatch = 1000
	benchHeld  = 20_000
)

// Bench measures a store: the twin of [Run], so that stores can be compared. The store must take blobs of 16 MiB.
func Bench(b *testing.B, open Opener) {
	for _, bench := range []struct {
		name string
		run  func(*testing.B, blobstore.Store)
	}{
		{"PutSmall", benchPut},
		{"PutSmall32", benchPutConcurrent},
		{"PutBatch1000", benchPutBatch},
		{"PutLarge16MiB", benchPutLarge},
		{"HasHit", benchHasHit},
		{"HasMiss", benchHasMiss},
		{"GetSmall", benchGetSmall},
		{"GetLarge16MiB", benchGetLarge},
	} {
		b.Run(bench.name, func(b *testing.B) {
			store, _ := open(b)
			bench.run(b, store)
		})
	}
}

// number returns the i-th of many small blobs, cheaply.
func number(i uint64) blobstore.Small {
	data := make([]byte, benchSmall)
	binary.LittleEndian.PutUint64(data, i)
	return small(data)
}

func benchPut(b *testing.B, store blobstore.Store) {
	b.SetBytes(benchSmall)
	for i := uint64(0); b.Loop(); i++ {
		s := number(i)
		if _, err := store.Put(b.Context(), s.Hash, bytes.NewReader(s.Data)); err != nil {
			b.Fatal(err)
		}
	}
}

func benchPutConcurrent(b *testing.B, store blobstore.Store) {
	b.SetBytes(benchSmall)
	var next atomic.Uint64
	done := make(chan error)
	n := uint64(b.N)
	for range 32 {
		go func() {
			for {
				i := next.Add(1)
				if i > n {
					done <- nil
					return
				}
				s := number(i)
				if _, err := store.Put(b.Context(), s.Hash, bytes.NewReader(s.Data)); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for range 32 {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
}

func benchPutBatch(b *testing.B, store blobstore.Store) {
	batcher := ability[blobstore.BatchPutter](b, store)
	b.SetBytes(benchSmall * benchBatch)
	batch := make([]blobstore.Small, benchBatch)
	n := uint64(0)
	for b.Loop() {
		for i := range batch {
			batch[i] = number(n)
			n++
		}
		if err := batcher.PutBatch(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "blobs/s")
}

func benchPutLarge(b *testing.B, store blobstore.Store) {
	data := Bytes(1, benchLarge)
	b.SetBytes(benchLarge)
	for i := uint64(0); b.Loop(); i++ {
		binary.LittleEndian.PutUint64(data, i)
		h := bucket.Sum(data)
		if _, err := store.Put(b.Context(), h, bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
		if deleter, ok := store.(blobstore.Deleter); ok { // so that a long run does not fill the disk
			if err := deleter.Delete(b.Context(), h); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// held fills a store and returns the hashes.
func held(b *testing.B, store blobstore.Store) []bucket.Hash {
	b.Helper()
	batch := make([]blobstore.Small, benchHeld)
	hashes := make([]bucket.Hash, benchHeld)
	for i := range batch {
		batch[i] = number(uint64(i))
		hashes[i] = batch[i].Hash
	}
	if err := ability[blobstore.BatchPutter](b, store).PutBatch(b.Context(), batch); err != nil {
		b.Fatal(err)
	}
	return hashes
}

func benchHasHit(b *testing.B, store blobstore.Store) {
	hashes := held(b, store)
	for i := 0; b.Loop(); i++ {
		if ok, err := store.Has(b.Context(), hashes[i%len(hashes)]); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}

func benchHasMiss(b *testing.B, store blobstore.Store) {
	hashes := held(b, store)
	for i := 0; b.Loop(); i++ {
		h := hashes[i%len(hashes)]
		h[31]++
		if ok, err := store.Has(b.Context(), h); err != nil || ok {
			b.Fatal(ok, err)
		}
	}
}

func benchGetSmall(b *testing.B, store blobstore.Store) {
	hashes := held(b, store)
	b.SetBytes(benchSmall)
	for i := 0; b.Loop(); i++ {
		if _, err := blobstore.ReadAll(b.Context(), store, hashes[i%len(hashes)], benchSmall); err != nil {
			b.Fatal(err)
		}
	}
}

func benchGetLarge(b *testing.B, store blobstore.Store) {
	h := put(b, store, Bytes(1, benchLarge))
	b.SetBytes(benchLarge)
	for b.Loop() {
		blob, err := store.Get(b.Context(), h)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, blob); err != nil {
			b.Fatal(err)
		}
		if err := blob.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
