package tree

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"runtime"

	"headwater/bucket"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/poly1305" //nolint:staticcheck // deprecated in favour of the whole AEAD, which takes no stream
	"golang.org/x/sync/errgroup"
)

// What Seal does to a message in memory, done here to one that passes through. The message is the hash of the plain bytes
// and the bytes themselves. It is ciphered from block 1 of the key stream on; the first half of block 0 is the key of the
// tag (RFC 8439 §2.8). Every block can be computed by itself, so the parts of a chunk are ciphered in parallel.

const (
	blockSize = 64 // of ChaCha20
	nonceSize = chacha20poly1305.NonceSize
	tagSize   = chacha20poly1305.Overhead

	// chunkSize is how much of a message is worked on at once. Up to 1 MiB the speed is the same, the memory is not: a file
	// on its way takes as many chunks as there are stages, and one more.
	chunkSize = 256 << 10

	// minPart is the smallest part of a chunk that is worth a goroutine: some 40 µs of work.
	minPart = 16 << 10
)

// The counter of blocks has 32 bits, and never wraps within a blob.
const _ uint64 = (1<<32-1)*blockSize - (MaxPlainSize + hashSize)

// keystream is what turns one message into its ciphertext, and back.
type keystream struct {
	secret bucket.Secret
	nonce  [nonceSize]byte
}

// xor ciphers, or deciphers, the bytes of a message that begin at off, which is a multiple of blockSize. Parts of them go
// to different processors.
func (k *keystream) xor(p []byte, off int64) error {
	parts := max(1, min(runtime.GOMAXPROCS(0), len(p)/minPart))
	if parts == 1 {
		return k.xorAt(p, 1+off/blockSize)
	}
	step := (len(p)/parts + blockSize) / blockSize * blockSize
	var g errgroup.Group
	for from := 0; from < len(p); from += step {
		g.Go(func() error { return k.xorAt(p[from:min(from+step, len(p))], 1+(off+int64(from))/blockSize) })
	}
	return g.Wait()
}

// xorAt ciphers bytes from the given block of the key stream on.
func (k *keystream) xorAt(p []byte, block int64) error {
	c, err := chacha20.NewUnauthenticatedCipher(k.secret[:], k.nonce[:])
	if err != nil {
		return err
	}
	c.SetCounter(uint32(block))
	c.XORKeyStream(p, p)
	return nil
}

// mac makes the tag of a ciphertext that is written to it in order.
type mac struct {
	poly *poly1305.MAC
	n    uint64
}

func (k *keystream) mac() (*mac, error) {
	var key [32]byte
	if err := k.xorAt(key[:], 0); err != nil {
		return nil, err
	}
	return &mac{poly: poly1305.New(&key)}, nil
}

// add is a [stage].
func (m *mac) add(c *chunk) error {
	m.n += uint64(len(c.p))
	_, err := m.poly.Write(c.p) // never fails
	return err
}

// sum ends the message: padding, then the lengths of no additional data and of the ciphertext.
func (m *mac) sum() (tag [tagSize]byte) {
	b := make([]byte, -m.n%16, 32)
	b = binary.LittleEndian.AppendUint64(b, 0)
	_, _ = m.poly.Write(binary.LittleEndian.AppendUint64(b, m.n)) // never fails
	m.poly.Sum(tag[:0])
	return tag
}

// verify reports whether tag is that of what was added.
func (m *mac) verify(tag [tagSize]byte) bool {
	sum := m.sum()
	return subtle.ConstantTimeCompare(sum[:], tag[:]) == 1
}

// chunk is a piece of a message on its way through the stages of a relay.
type chunk struct {
	p   []byte // at most chunkSize bytes; none ends the relay
	off int64  // where they begin in the message, a multiple of chunkSize
}

// plain returns the bytes of a chunk that belong to the file: all but the hash, which stands at the front of a message.
// A first chunk is never shorter than that.
func (c *chunk) plain() []byte {
	if c.off == 0 {
		return c.p[hashSize:]
	}
	return c.p
}

// stage works on one chunk after the other, in the order of the message, in a goroutine of its own.
type stage func(*chunk) error

// relay passes chunks through the stages until the first one, which fills them, leaves one empty. The stages work side by
// side, each on another chunk, with one more chunk than there are stages. All have ended on return; the error is that of
// the stage that failed first, or of ctx.
func relay(ctx context.Context, fill stage, stages ...stage) error {
	g, ctx := errgroup.WithContext(ctx)
	count := len(stages) + 2
	free := make(chan *chunk, count)
	for range count {
		free <- &chunk{p: make([]byte, 0, chunkSize)}
	}
	filled := make(chan *chunk, count) // no send blocks, since there are no more chunks than this
	g.Go(func() error {
		defer close(filled)
		return filling(ctx, fill, free, filled)
	})
	next := filled
	for i, s := range stages {
		in, out := next, free
		if i < len(stages)-1 {
			out = make(chan *chunk, count)
		}
		next = out
		g.Go(func() error {
			if out != free {
				defer close(out)
			}
			for c := range in {
				if err := s(c); err != nil {
					return err
				}
				out <- c
			}
			return nil
		})
	}
	return g.Wait()
}

// filling is the first stage.
func filling(ctx context.Context, fill stage, free <-chan *chunk, out chan<- *chunk) error {
	for off := int64(0); ; off += chunkSize {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c := <-free:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			c.p, c.off = c.p[:0], off
			if err := fill(c); err != nil {
				return err
			}
			if len(c.p) == 0 {
				return nil
			}
			out <- c
		}
	}
}

// room makes place in an empty chunk for what is left of a message of size bytes, as much as fits.
func (c *chunk) room(size int64) []byte {
	c.p = c.p[:max(0, min(chunkSize, size-c.off))]
	return c.p
}

// xorStage is [keystream.xor] as a stage.
func (k *keystream) xorStage(c *chunk) error {
	if err := k.xor(c.p, c.off); err != nil {
		return fmt.Errorf("cipher: %w", err)
	}
	return nil
}
