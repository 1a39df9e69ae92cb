package local_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"

	"github.com/zeebo/blake3"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/peer/local"
	"headwater/peer/local/localtest"
)

const gib = 1 << 30

// zeros is a reader of zeros.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// zerosHash returns the hash of n zeros.
func zerosHash(tb testing.TB, n int64) (h bucket.Hash) {
	hasher := blake3.New()
	if _, err := io.CopyN(hasher, zeros{}, n); err != nil {
		tb.Fatal(err)
	}
	hasher.Sum(h[:0])
	return h
}

// transit is a holder of blobs of zeros that keeps nothing, and says when a transfer has ended.
type transit struct {
	localtest.Memory
	size  int64
	ended chan error
}

func newTransit(size int64) *transit { return &transit{size: size, ended: make(chan error, 1000)} }

func (d *transit) Put(_ context.Context, _ bucket.Hash, size int64, r io.Reader) error {
	n, err := io.Copy(io.Discard, onlyReader{r})
	if err == nil && n != size {
		err = blobstore.ErrMismatch
	}
	select {
	case d.ended <- err:
	default:
	}
	return err
}

type onlyReader struct{ io.Reader }

func (d *transit) Get(_ context.Context, h bucket.Hash) (*blobstore.Blob, error) {
	return blobstore.NewBlob(h, d.size, closing{io.LimitReader(zeros{}, d.size), d.ended}), nil
}

// closing says when it is closed.
type closing struct {
	io.Reader
	ended chan error
}

func (c closing) Close() error {
	select {
	case c.ended <- nil:
	default:
	}
	return nil
}

func TestLargeBlobsTakeLittleMemory(t *testing.T) {
	d := newTransit(128 << 20)
	c := dial(t, serve(t, d, nil))
	h := zerosHash(t, d.size)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := c.Put(t.Context(), h, d.size, io.LimitReader(zeros{}, d.size)); err != nil {
		t.Fatal(err)
	}
	blob, err := c.Get(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	if n, err := io.Copy(io.Discard, blob); err != nil || n != d.size {
		t.Fatalf("get: got %d bytes, %v", n, err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > uint64(d.size/2) { // a few MiB, but the race detector empties pools
		t.Errorf("%d bytes both ways took %d bytes of memory", d.size, n)
	}
}

func TestDamageIsNoticed(t *testing.T) {
	d := newTransit(1 << 20)
	c := dial(t, serve(t, d, nil))
	for range 3 {
		blob, err := c.Get(t.Context(), bucket.Sum([]byte("other bytes")))
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, blob)
		if !errors.Is(err, blobstore.ErrCorrupt) || n >= d.size {
			t.Errorf("get: got %d bytes, %v, want %v", n, err, blobstore.ErrCorrupt)
		}
		blob.Close()
	}
}

// signal closes started before the byte at a limit.
type signal struct {
	left    int
	started chan struct{}
}

func (s *signal) Read(p []byte) (int, error) {
	if s.left > 0 && s.left <= len(p) {
		close(s.started)
	}
	s.left -= len(p)
	clear(p)
	return len(p), nil
}

func TestCancelledTransfersEndAtBothEnds(t *testing.T) {
	d := newTransit(gib)
	c := dial(t, serve(t, d, nil))
	var h bucket.Hash // nobody comes to the end of the blob
	ctx, cancel := context.WithCancel(t.Context())
	source := &signal{left: 50 << 20, started: make(chan struct{})}
	var put sync.WaitGroup
	put.Go(func() {
		if err := c.Put(ctx, h, 1<<40, source); !errors.Is(err, context.Canceled) {
			t.Errorf("put: got %v, want %v", err, context.Canceled)
		}
	})
	<-source.started
	within(t, "the end of put", func() {
		cancel()
		put.Wait()
		if err := <-d.ended; err == nil {
			t.Error("the holder got the whole blob")
		}
	})

	ctx, cancel = context.WithCancel(t.Context())
	blob, err := c.Get(ctx, h)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	if _, err := io.CopyN(io.Discard, blob, 50<<20); err != nil {
		t.Fatal(err)
	}
	within(t, "the end of get", func() {
		cancel()
		if _, err := io.Copy(io.Discard, blob); !errors.Is(err, context.Canceled) {
			t.Errorf("get: got %v, want %v", err, context.Canceled)
		}
		<-d.ended
	})
}

func TestTransfersEndWithTheHolder(t *testing.T) {
	d := newTransit(gib)
	dir := t.TempDir()
	stop := serveOn(t, listen(t, dir), d, nil)
	c := dial(t, dir)
	blob, err := c.Get(t.Context(), bucket.Sum([]byte("any")))
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	source := &signal{left: 50 << 20, started: make(chan struct{})}
	var calls sync.WaitGroup
	lost := func(what string, err error) {
		if !errors.Is(err, local.ErrLost) {
			t.Errorf("%s: got %v, want %v", what, err, local.ErrLost)
		}
	}
	watching := make(chan struct{})
	calls.Go(func() { lost("put", c.Put(t.Context(), bucket.Hash{}, 1<<40, source)) })
	calls.Go(func() { lost("watch", c.Watch(t.Context(), func() { close(watching) }, func([]byte) {})) })
	<-source.started
	<-watching
	within(t, "the end of the holder", stop)
	within(t, "the end of its calls", func() {
		calls.Wait()
		_, err := io.Copy(io.Discard, blob)
		lost("get", err)
	})
}

func BenchmarkSmallPuts(b *testing.B) {
	c := dial(b, serve(b, newTransit(0), nil))
	data := localtest.Bytes(1, 4<<10)
	h := bucket.Sum(data)
	work := make(chan struct{})
	var putters sync.WaitGroup
	for range 16 {
		putters.Go(func() {
			for range work {
				if err := c.Put(b.Context(), h, int64(len(data)), bytes.NewReader(data)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for b.Loop() {
		work <- struct{}{}
	}
	close(work)
	putters.Wait()
}

func BenchmarkLargePut(b *testing.B) {
	c := dial(b, serve(b, newTransit(0), nil))
	b.SetBytes(gib)
	for b.Loop() {
		if err := c.Put(b.Context(), bucket.Hash{}, gib, io.LimitReader(zeros{}, gib)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLargeGet(b *testing.B) {
	c := dial(b, serve(b, newTransit(gib), nil))
	h := zerosHash(b, gib)
	b.SetBytes(gib)
	for b.Loop() {
		blob, err := c.Get(b.Context(), h)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, blob); err != nil {
			b.Fatal(err)
		}
		blob.Close()
	}
}

func BenchmarkSmallGets(b *testing.B) {
	m := new(localtest.Memory)
	c := dial(b, serve(b, m, nil))
	data := localtest.Bytes(1, 4<<10)
	h := bucket.Sum(data)
	if err := c.Put(b.Context(), h, int64(len(data)), bytes.NewReader(data)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := blobstore.ReadAll(b.Context(), c, h, 4<<10); err != nil {
			b.Fatal(err)
		}
	}
}
