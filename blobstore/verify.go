package blobstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"github.com/zeebo/blake3"

	"headwater/bucket"
)

// Verify returns a reader that hands on the bytes of r and lets nobody reach io.EOF on wrong ones: a wrong hash is
// [ErrMismatch], and so is another number of bytes than size, unless size is negative; more than limit bytes is
// [ErrTooLarge], as is a size above limit, before r is read. Input that ends before size is io.ErrUnexpectedEOF too. At
// most one byte more than allowed is read from r.
//
// The Read that finds the fault hands out none of its bytes, so a caller that knows the size and stops there (io.ReadFull)
// is safe too. With size unknown only io.EOF says that the bytes were right. An error is final, and repeated. The reader is
// not safe for concurrent use.
func Verify(r io.Reader, h bucket.Hash, size, limit int64) io.Reader {
	return newVerifier(r, h, size, limit, ErrMismatch)
}

// verifier hashes what passes through it.
type verifier struct {
	r       io.Reader
	want    bucket.Hash
	size    int64 // -1: not known
	limit   int64
	wrong   error // what wrong bytes are: ErrMismatch or ErrCorrupt
	n       int64
	hasher  *blake3.Hasher
	checked bool // size bytes came and hashed right; only the end may follow
	err     error
}

func newVerifier(r io.Reader, h bucket.Hash, size, limit int64, wrong error) *verifier {
	limit = min(max(limit, 0), math.MaxInt64-1) // one more byte is asked for
	v := &verifier{r: r, want: h, size: max(size, -1), limit: limit, wrong: wrong, hasher: blake3.New()}
	if v.size > limit {
		v.err = fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, size, limit)
	}
	return v
}

// Read hands on bytes; see [Verify].
func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil || len(p) == 0 {
		return 0, v.err
	}
	if !v.checked && v.n == v.size {
		v.checked, v.err = true, v.check()
	}
	if v.checked && v.err == nil {
		v.err = v.end()
	}
	if v.err != nil {
		return 0, v.err
	}
	p = p[:min(int64(len(p)), v.room())]
	n, err := v.r.Read(p)
	v.n += int64(n)
	v.hasher.Write(p[:n])
	if v.err = v.judge(err); v.err != nil && !errors.Is(v.err, io.EOF) {
		clear(p[:n])
		return 0, v.err
	}
	return n, v.err
}

// room is how many bytes may still be read: up to the size if it is known, else one beyond the limit, to notice it.
func (v *verifier) room() int64 {
	if v.size >= 0 {
		return v.size - v.n
	}
	return v.limit - v.n + 1
}

// judge returns the error of Read for the bytes so far and the reader's own error.
func (v *verifier) judge(err error) error {
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case v.n > v.limit:
		return fmt.Errorf("%w: more than the %d bytes allowed", ErrTooLarge, v.limit)
	case v.n == v.size:
		v.checked = true // a surplus is looked for by the next Read, so that this one need not wait for it
		return v.check()
	case err == nil:
		return nil
	case v.size >= 0:
		return fmt.Errorf("%w: %d bytes instead of %d: %w", v.wrong, v.n, v.size, io.ErrUnexpectedEOF)
	}
	if err := v.check(); err != nil {
		return err
	}
	return io.EOF
}

// check compares the hash of what has passed.
func (v *verifier) check() error {
	var got bucket.Hash
	v.hasher.Sum(got[:0])
	if got != v.want {
		return fmt.Errorf("%w: they hash to %s", v.wrong, got)
	}
	return nil
}

// end returns io.EOF if nothing follows.
func (v *verifier) end() error {
	var one [1]byte
	if n, err := io.ReadFull(v.r, one[:]); n == 0 {
		return err
	}
	return fmt.Errorf("%w: more than %d bytes", v.wrong, v.size)
}

// Blob is a blob being read. Its bytes are verified as they pass: the Read that would complete the blob returns
// [ErrCorrupt], and none of its bytes, if they are not those of the hash. It is not safe for concurrent use.
type Blob struct {
	size    int64
	r       io.Reader
	c       io.Closer // nil: nothing to close
	file    string    // that holds the bytes and nothing else; empty for none
	corrupt func()    // called once if the bytes turn out wrong; may be nil
	after   func()    // called once it is closed; may be nil
	closed  bool
}

// NewBlob returns the blob h of size bytes, whose bytes come from rc, unverified; it closes rc. For implementations of
// [Reader].
func NewBlob(h bucket.Hash, size int64, rc io.ReadCloser) *Blob {
	size = max(size, 0)
	return &Blob{size: size, r: newVerifier(rc, h, size, size, ErrCorrupt), c: rc}
}

// File names the file that holds the bytes of b and nothing else, unverified, while the blob is held; it is empty if there is none.
// Nobody may change it.
func (b *Blob) File() string { return b.file }

// OnCorrupt makes b call f, once, when its bytes turn out wrong. Set it before b is read; f must not be nil.
func (b *Blob) OnCorrupt(f func()) { b.corrupt = f }

// OnClose makes b call f, once, when b has been closed; f must not be nil.
func (b *Blob) OnClose(f func()) { b.after = f }

// verifiedBlob returns a blob whose bytes have been verified already.
func verifiedBlob(size int64, r io.Reader) *Blob { return &Blob{size: size, r: r} }

// Size returns the size in bytes that the store has on record. It is proven only with the last byte.
func (b *Blob) Size() int64 { return b.size }

// Read reads bytes; see [Blob]. After Close it fails.
func (b *Blob) Read(p []byte) (int, error) {
	if b.closed {
		return 0, fmt.Errorf("read blob: %w", fs.ErrClosed)
	}
	n, err := b.r.Read(p)
	if b.corrupt != nil && errors.Is(err, ErrCorrupt) {
		b.corrupt()
		b.corrupt = nil
	}
	return n, err
}

// Close frees what the blob holds. Closing again does nothing.
func (b *Blob) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	if b.after != nil {
		defer b.after()
	}
	if b.c == nil {
		return nil
	}
	return b.c.Close()
}
