package blobtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"golang.org/x/sync/errgroup"

	"headwater/blobstore"
	"headwater/bucket"
)

// manyOfOneHash puts one blob from many sides while others read it: whoever finds it finds it whole.
func (s *suite) manyOfOneHash(t *testing.T) {
	store := s.store(t)
	for _, n := range []int{1000, 100 << 10} {
		b := Bytes(uint64(n), n)
		h := bucket.Sum(b)
		var g errgroup.Group
		for range 8 {
			g.Go(func() error {
				size, err := store.Put(t.Context(), h, bytes.NewReader(b))
				if err == nil && size != int64(n) {
					err = fmt.Errorf("put: got size %d, want %d", size, n)
				}
				return errors.Join(err, check(t, store, b, false))
			})
			g.Go(func() error { return check(t, store, b, true) })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		wantHeld(t, store, b)
	}
}

// manyHashes puts different blobs from many sides; each is there for the one who put it as soon as Put returns.
func (s *suite) manyHashes(t *testing.T) {
	store := s.store(t)
	const writers, each = 16, 20
	var g errgroup.Group
	for w := range writers {
		g.Go(func() error {
			for i := range each {
				n := 100 + i
				if i%10 == 0 {
					n += blobstore.SmallSize
				}
				b := Bytes(uint64(w*each+i), n)
				if _, err := store.Put(t.Context(), bucket.Sum(b), bytes.NewReader(b)); err != nil {
					return err
				}
				if err := check(t, store, b, false); err != nil {
					return err
				}
				wrong := append(b, 'x')
				if _, err := store.Put(t.Context(), bucket.Sum([]byte{byte(w), byte(i)}), bytes.NewReader(wrong)); !errors.Is(err,
					blobstore.ErrMismatch) {
					return fmt.Errorf("put wrong bytes among right ones: got %v, want %v", err, blobstore.ErrMismatch)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// deleteAgainstPut puts and deletes the same blobs at the same time; every answer must be whole, and the last word counts.
func (s *suite) deleteAgainstPut(t *testing.T) {
	store := s.store(t)
	deleter := ability[blobstore.Deleter](t, store)
	blobs := [][]byte{Bytes(1, 10), Bytes(2, 5000), Bytes(3, blobstore.SmallSize+1)}
	const rounds = 30
	var g errgroup.Group
	for _, b := range blobs {
		h := bucket.Sum(b)
		for range 2 {
			g.Go(func() error {
				for range rounds {
					if _, err := store.Put(t.Context(), h, bytes.NewReader(b)); err != nil {
						return err
					}
				}
				return nil
			})
			g.Go(func() error {
				for range rounds {
					if err := deleter.Delete(t.Context(), h); err != nil {
						return err
					}
				}
				return nil
			})
			g.Go(func() error {
				for range rounds {
					if err := check(t, store, b, true); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, b := range blobs {
		put(t, store, b)
		wantHeld(t, store, b)
		wantErr(t, "delete", deleter.Delete(t.Context(), bucket.Sum(b)), nil)
		wantAbsent(t, store, bucket.Sum(b))
	}
}

// listWhileWritten lists while others write and the loop itself deletes: what was there all the time comes exactly once.
func (s *suite) listWhileWritten(t *testing.T) {
	store := s.store(t)
	lasting := make(map[bucket.Hash]int)
	for i := range 50 {
		lasting[put(t, store, Bytes(uint64(i), 100))] = 0
	}
	doomed := put(t, store, []byte("doomed"))
	var g errgroup.Group
	g.Go(func() error {
		for i := range 50 {
			b := Bytes(uint64(1000+i), 100)
			if _, err := store.Put(t.Context(), bucket.Sum(b), bytes.NewReader(b)); err != nil {
				return err
			}
		}
		return nil
	})
	for info, err := range ability[blobstore.Lister](t, store).All(t.Context()) {
		wantErr(t, "list", err, nil)
		if _, ok := lasting[info.Hash]; ok {
			lasting[info.Hash]++
		}
		wantErr(t, "delete", ability[blobstore.Deleter](t, store).Delete(t.Context(), doomed), nil)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for h, n := range lasting {
		if n != 1 {
			t.Errorf("times that %s was listed: got %d, want 1", h, n)
		}
	}
	wantAbsent(t, store, doomed)
}

// check reads a blob and compares it; mayBeAbsent allows that it is not held. For goroutines, which must not end a test.
func check(t testing.TB, store blobstore.Reader, b []byte, mayBeAbsent bool) error {
	blob, err := store.Get(t.Context(), bucket.Sum(b))
	if mayBeAbsent && errors.Is(err, blobstore.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer blob.Close()
	got, err := io.ReadAll(blob)
	if err == nil && !bytes.Equal(got, b) {
		err = fmt.Errorf("get: got %d bytes, want %d others", len(got), len(b))
	}
	return err
}
