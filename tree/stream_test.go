package tree_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/tree"

	"go.uber.org/goleak"
	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/chacha20poly1305"
	"pgregory.net/rapid"
)

var (
	streamSecret = bucket.Secret{1, 2, 3}
	streamNonce  = [12]byte{4, 5, 6}
)

// noise returns bytes that look random and are the same every time.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// sourceOf is a source of bytes in memory.
func sourceOf(b []byte) tree.Source {
	return tree.Source{
		Size: int64(len(b)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil },
	}
}

// memoryFile is a file for Restore.
type memoryFile struct{ b []byte }

func (m *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	if grow := int(off) + len(p) - len(m.b); grow > 0 {
		m.b = append(m.b, make([]byte, grow)...)
	}
	return copy(m.b[off:], p), nil
}

func (m *memoryFile) Truncate(size int64) error { m.b = m.b[:size]; return nil }

// sealedNoise is a blob, and what is in it.
func sealedNoise(t testing.TB, n int) (plain, blob []byte) {
	t.Helper()
	plain = noise(n)
	blob, err := tree.SealWith(streamSecret, streamNonce, plain)
	if err != nil {
		t.Fatal(err)
	}
	return plain, blob
}

func blobOf(b []byte) *blobstore.Blob {
	return blobstore.NewBlob(bucket.Sum(b), int64(len(b)), io.NopCloser(bytes.NewReader(b)))
}

// turns are sizes just before, at and behind each limit of streaming.
func turns() []int {
	sizes := []int{0, 1, 15, 16, 17}
	for _, limit := range []int{64, 128, tree.MinPart, 2 * tree.MinPart, tree.ChunkSize, 2 * tree.ChunkSize} {
		sizes = append(sizes, limit-33, limit-32, limit-31, limit-1, limit, limit+1)
	}
	return sizes
}

func TestStreamedBlobIsTheSealedOne(t *testing.T) {
	for _, procs := range []int{1, 3} {
		t.Run(fmt.Sprintf("on %d processors", procs), func(t *testing.T) {
			before := runtime.GOMAXPROCS(procs)
			t.Cleanup(func() { runtime.GOMAXPROCS(before) })
			for _, n := range turns() {
				checkStreaming(t, n, 0)
			}
		})
	}
}

func TestStreamedBlobOfAnySizeIsTheSealedOne(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		checkStreaming(rt, rapid.IntRange(0, tree.ChunkSize+tree.MinPart).Draw(rt, "size"), rapid.IntRange(0, 1<<20).Draw(rt, "step"))
	})
}

// fataler is the part of a test that both testing and rapid have.
type fataler interface{ Fatalf(string, ...any) }

// checkStreaming seals n bytes in memory and as a stream, takes both blobs for one, and opens it. step is how much is read at
// once, 0 for all sorts.
func checkStreaming(t fataler, n, step int) {
	plain := noise(n)
	want, err := tree.SealWith(streamSecret, streamNonce, plain)
	if err != nil {
		t.Fatalf("%v", err)
	}
	for _, known := range []bucket.Hash{{}, bucket.Sum(plain)} {
		w := &capture{}
		blob, hash, err := tree.PutStreamed(context.Background(), w, streamSecret, streamNonce, known, sourceOf(plain))
		if err != nil || !bytes.Equal(w.b, want) || blob != bucket.Sum(want) || hash != bucket.Sum(plain) {
			t.Fatalf("%d bytes: got another blob than Seal's: %d bytes, %s, %s, %v", n, len(w.b), blob, hash, err)
		}
	}
	var out bytes.Buffer
	blob := blobstore.NewBlob(bucket.Sum(want), int64(len(want)), io.NopCloser(&stepReader{r: bytes.NewReader(want), step: step}))
	hash, err := tree.RestoreStreamed(context.Background(), blob, streamSecret, &out)
	if err != nil || hash != bucket.Sum(plain) || !bytes.Equal(out.Bytes(), plain) {
		t.Fatalf("%d bytes: got %d others, %s, %v", n, out.Len(), hash, err)
	}
	if hash, err := tree.RestoreStreamed(context.Background(), blobOf(want), streamSecret, nil); err != nil || hash != bucket.Sum(plain) {
		t.Fatalf("%d bytes, verified alone: got %s, %v", n, hash, err)
	}
}

// stepReader reads in steps of one size, or in growing ones.
type stepReader struct {
	r    io.Reader
	step int
	n    int
}

func (s *stepReader) Read(p []byte) (int, error) {
	s.n = s.n*3/2 + 1
	step := s.step
	if step == 0 {
		step = s.n
	}
	return s.r.Read(p[:min(len(p), step)])
}

// capture is a Writer that keeps what it is given, unverified.
type capture struct {
	h     bucket.Hash
	size  int64
	b     []byte
	calls int
	err   error // of the last call
}

func (c *capture) Put(_ context.Context, h bucket.Hash, size int64, r io.Reader) error {
	var b bytes.Buffer
	_, c.err = b.ReadFrom(r)
	c.h, c.size, c.b = h, size, b.Bytes()
	c.calls++
	return c.err
}

func (c *capture) Add(ctx context.Context, size int64, r io.Reader) (bucket.Hash, error) {
	err := c.Put(ctx, bucket.Hash{}, size, r)
	c.h = bucket.Sum(c.b)
	return c.h, err
}

// The last block of the largest file still has a place in the key stream.
func TestKeyStreamReachesTheEndOfTheLargestFile(t *testing.T) {
	const off = (tree.MaxPlainSize + 32) / 64 * 64
	got := make([]byte, 64)
	if err := tree.XOR(streamSecret, streamNonce, got, off); err != nil {
		t.Fatal(err)
	}
	c, err := chacha20.NewUnauthenticatedCipher(streamSecret[:], streamNonce[:])
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 64)
	c.SetCounter(1 + off/64)
	if c.XORKeyStream(want, want); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestRelayKeepsTheOrder(t *testing.T) {
	defer goleak.VerifyNone(t)
	plain := noise(5*tree.ChunkSize + 1)
	var first, second bytes.Buffer
	write := func(to *bytes.Buffer) func([]byte) error {
		return func(p []byte) error { _, err := to.Write(p); return err }
	}
	if err := tree.Relay(t.Context(), bytes.NewReader(plain), write(&first), write(&second)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), plain) || !bytes.Equal(second.Bytes(), plain) {
		t.Errorf("got %d and %d bytes, others than the %d given", first.Len(), second.Len(), len(plain))
	}
}

func TestRelayEndsWithTheFirstError(t *testing.T) {
	defer goleak.VerifyNone(t)
	broken := errors.New("broken")
	for at := range 4 {
		var calls atomic.Int64
		fail := func(i int) func([]byte) error {
			return func([]byte) error {
				if i == at && calls.Add(1) == 3 {
					return broken
				}
				return nil
			}
		}
		var source io.Reader = endless{}
		if at == 3 {
			source = io.MultiReader(bytes.NewReader(noise(2*tree.ChunkSize)), failingReader{broken})
		}
		if err := tree.Relay(t.Context(), source, fail(0), fail(1), fail(2)); !errors.Is(err, broken) {
			t.Errorf("stage %d: got %v, want its error", at, err)
		}
	}
}

func TestRelayEndsWithItsContext(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(t.Context())
	var calls int
	err := tree.Relay(ctx, endless{}, func([]byte) error {
		if calls++; calls == 3 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

func BenchmarkChaCha20Poly1305(b *testing.B) { // what there is to reach: the cipher alone, in memory
	aead, err := chacha20poly1305.New(streamSecret[:])
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 1<<20, 1<<20+16)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		aead.Seal(buf[:0], streamNonce[:], buf, nil)
	}
}

func BenchmarkKeyStream(b *testing.B) {
	buf := make([]byte, tree.ChunkSize)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if err := tree.XOR(streamSecret, streamNonce, buf, 0); err != nil {
			b.Fatal(err)
		}
	}
}
