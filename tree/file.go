package tree

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"headwater/bucket"

	"github.com/zeebo/blake3"
)

// SmallFile is the size in bytes of the largest file that is sealed, or opened, in memory as a whole: 4 MiB. That takes twice
// the bytes in memory, and on amd64 a processor ciphers a whole message four times as fast as one in pieces.
const SmallFile = 4 << 20

// ErrChanged is returned by [PutFile], wrapped with the name, for a file that was being changed: its size or bytes were
// not those promised, or not the same from one reading to the next. The fix is to look at the file again and to put what
// it is by then.
var ErrChanged = errors.New("file changed while it was read")

// Source is a plain file that can be read more than once, each time from its beginning.
type Source struct {
	// Size is how many bytes Open's reader gives. Any other number of them is [ErrChanged].
	Size int64
	// Open begins another reading. The reader is closed before the next one is asked for.
	Open func() (io.ReadCloser, error)
}

// PutFile encrypts a file under a fresh secret, puts the blob, and returns the entry for it. Perm and Symlink of a are kept. A
// Hash that is not zero is the known hash of the bytes, from a scan, and saves a reading; bytes with another hash are
// [ErrChanged]. Size and Hash of the entry's attributes are those of the bytes put. The media type comes from name, which is
// not checked, by [MimeOf].
//
// A file beyond [SmallFile] is read twice, or once if its hash is known, and takes less than 2 MiB of memory whatever its size.
// It is encrypted once, so that no two ciphertexts of one secret and nonce ever leave this function.
//
// The blob is as durable on return as w makes it. A file above [MaxPlainSize] is a [*bucket.Refusal] of class too_large;
// other errors are those of src, w and ctx. After an error w may hold a part of a blob or all of it, which is of no use:
// trying again takes a new secret.
func PutFile(ctx context.Context, w Writer, name string, a Attributes, src Source) (Data, error) {
	d, err := putFile(ctx, w, a, src)
	if err != nil {
		return Data{}, fmt.Errorf("put file %.80q: %w", name, err)
	}
	d.Mime = MimeOf(name)
	return d, nil
}

func putFile(ctx context.Context, w Writer, a Attributes, src Source) (Data, error) {
	switch {
	case src.Size < 0:
		return Data{}, fmt.Errorf("%d bytes: %w", src.Size, fs.ErrInvalid)
	case src.Size > MaxPlainSize:
		return Data{}, refuse(bucket.TooLarge, "%d bytes; the limit of one file is %d", src.Size, int64(MaxPlainSize))
	}
	put := putLarge
	if src.Size <= SmallFile {
		put = putSmall
	}
	secret := NewSecret()
	blob, hash, err := put(ctx, w, secret, a.Hash, src)
	if err != nil {
		return Data{}, err
	}
	a.Size, a.Hash = uint64(src.Size), hash
	return Data{Link: bucket.NewLink(bucket.CodecRaw, blob), Secret: secret, Metadata: a.Metadata()}, nil
}

// putSmall seals a file in memory. It returns the hashes of the blob and of the plain bytes.
func putSmall(
	ctx context.Context, w Writer, secret bucket.Secret, want bucket.Hash, src Source,
) (blob, plain bucket.Hash, err error) {
	b := unsealed(int(src.Size))
	if err := src.read(b[nonceSize+hashSize:]); err != nil {
		return blob, plain, err
	}
	if plain = bucket.Sum(b[nonceSize+hashSize:]); want != (bucket.Hash{}) && plain != want {
		return blob, plain, fmt.Errorf("%w: its hash is another", ErrChanged)
	}
	var nonce [nonceSize]byte
	rand.Read(nonce[:]) // never fails
	sealed, err := sealInPlace(secret, nonce, plain, b)
	if err != nil {
		return blob, plain, err
	}
	blob = bucket.Sum(sealed)
	return blob, plain, w.Put(ctx, blob, int64(len(sealed)), bytes.NewReader(sealed))
}

// read reads a small file whole, into b of its size.
func (s Source) read(b []byte) error {
	f, err := s.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	if err := readExactly(f, b); err != nil {
		return err
	}
	return atEnd(f)
}

// readExactly fills b from a file.
func readExactly(f io.Reader, b []byte) error {
	n, err := io.ReadFull(f, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends %d bytes too soon", ErrChanged, len(b)-n)
	}
	return err
}

// atEnd returns [ErrChanged] if a file goes on.
func atEnd(f io.Reader) error {
	var one [1]byte
	switch n, err := io.ReadFull(f, one[:]); {
	case n > 0:
		return fmt.Errorf("%w: it is longer than it was", ErrChanged)
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// putLarge encrypts a file as it passes. The hash of the plain bytes stands in front of them, so a reading for that comes
// before, unless it is known.
func putLarge(
	ctx context.Context, w Writer, secret bucket.Secret, want bucket.Hash, src Source,
) (blob, plain bucket.Hash, err error) {
	key := keystream{secret: secret}
	rand.Read(key.nonce[:]) // never fails
	return putStream(ctx, w, key, want, src)
}

func putStream(
	ctx context.Context, w Writer, key keystream, want bucket.Hash, src Source,
) (blob, plain bucket.Hash, err error) {
	s := &sealing{src: src, plain: want, key: key}
	if want == (bucket.Hash{}) {
		if s.plain, err = s.sum(ctx); err != nil {
			return blob, plain, err
		}
	}
	blob, err = s.add(ctx, w)
	return blob, s.plain, err
}

// sealing is one large file on its way into a blob.
type sealing struct {
	src   Source
	key   keystream
	plain bucket.Hash // stands in front of the bytes
}

// sum reads the file for its hash.
func (s *sealing) sum(ctx context.Context) (sum bucket.Hash, err error) {
	h := blake3.New()
	err = s.pass(ctx, func(c *chunk) error { h.Write(c.plain()); return nil })
	h.Sum(sum[:0])
	return sum, err
}

// pass reads the file once and takes it through stages, chunk by chunk.
func (s *sealing) pass(ctx context.Context, stages ...stage) error {
	f, err := s.src.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	size := s.src.Size + hashSize
	fill := func(c *chunk) error {
		p := c.room(size)
		if c.off == 0 {
			copy(p, s.plain[:])
			p = p[hashSize:]
		}
		if err := readExactly(f, p); err != nil || c.off+int64(len(c.p)) < size || len(c.p) == 0 {
			return err
		}
		return atEnd(f)
	}
	return relay(ctx, fill, stages...)
}

// compare is the stage that lets the last chunk pass only if the whole file has the hash that stands in front.
func (s *sealing) compare() stage {
	h := blake3.New()
	return func(c *chunk) error {
		h.Write(c.plain())
		var sum bucket.Hash
		if c.off+int64(len(c.p)) == s.src.Size+hashSize && bucket.Hash(h.Sum(sum[:0])) != s.plain {
			return fmt.Errorf("%w: its hash is another", ErrChanged)
		}
		return nil
	}
}

// add encrypts the file into w, which finds the hash of the blob.
func (s *sealing) add(ctx context.Context, w Writer) (blob bucket.Hash, err error) {
	m, err := s.key.mac()
	if err != nil {
		return blob, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pr, pw := io.Pipe()
	write := func(c *chunk) error { _, err := pw.Write(c.p); return err }
	done := make(chan error, 1)
	go func() {
		_, err := pw.Write(s.key.nonce[:])
		if err == nil {
			err = s.pass(ctx, s.compare(), s.key.xorStage, m.add, write)
		}
		if err == nil {
			tag := m.sum()
			_, err = pw.Write(tag[:])
		}
		pw.CloseWithError(err) // always nil; a nil err is io.EOF to w
		done <- err
	}()
	blob, err = w.Add(ctx, s.src.Size+Overhead, pr)
	cancel()       // if w gave up before the end
	_ = pr.Close() // always nil
	if sealed := <-done; errors.Is(sealed, ErrChanged) || err == nil && sealed != nil {
		return blob, sealed // whatever w makes of it
	}
	return blob, err
}
