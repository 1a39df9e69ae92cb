package tree

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"headwater/blobstore"
	"headwater/bucket"

	"github.com/zeebo/blake3"
)

// File is where [Restore] writes; an [*os.File] is one.
type File interface {
	io.WriterAt
	Truncate(size int64) error
}

// Restore writes the plain bytes of a file to f, from its beginning, and returns their number and BLAKE3 hash. Everything is
// verified on the way: the hash of the whole blob, its tag, the hash inside, and, if d has [Attributes], the size and hash that
// they promise. Until Restore returns nil, nothing in f is proven: f should be a temporary file, which gets its name afterwards.
// It is not durable before f is synced.
//
// A file beyond [SmallFile] takes less than 2 MiB of memory. Bytes that the secret does not open are [ErrUnreadable]; another
// size or hash than that of the attributes is a [*bucket.Refusal] of class malformed, and a blob above the limit of one file is
// one of class too_large. Other errors are those of r, f and ctx.
func Restore(ctx context.Context, r blobstore.Reader, d Data, f File) (size int64, hash bucket.Hash, err error) {
	size, hash, tries, err := fetch(ctx, r, d, func() io.Writer { return io.NewOffsetWriter(f, 0) })
	if err == nil && tries > 1 {
		err = f.Truncate(size)
	}
	return size, hash, err
}

// Verify reads the blob of a file and returns what Restore would, with its errors. It does not compare the bytes of a file beyond
// [SmallFile] with the hash inside: reading them does that.
func Verify(ctx context.Context, r blobstore.Reader, d Data) (size int64, hash bucket.Hash, err error) {
	size, hash, _, err = fetch(ctx, r, d, func() io.Writer { return nil })
	return size, hash, err
}

// fetchTries is how often a blob is fetched if its bytes turn out wrong: a reader with several sources knows after a try which of
// them not to ask again.
const fetchTries = 8

// fetch writes a file to what open returns, which it calls for each try; if that is nil it writes nothing.
func fetch(
	ctx context.Context, r blobstore.Reader, d Data, open func() io.Writer,
) (size int64, hash bucket.Hash, tries int, err error) {
	for tries = 1; ; tries++ {
		size, hash, err = fetchOnce(ctx, r, d, open())
		if err == nil {
			return size, hash, tries, nil
		}
		if tries == fetchTries || !errors.Is(err, blobstore.ErrCorrupt) || ctx.Err() != nil {
			return 0, hash, tries, fmt.Errorf("fetch file in blob %s: %w", d.Link.Hash(), err)
		}
	}
}

func fetchOnce(ctx context.Context, r blobstore.Reader, d Data, w io.Writer) (size int64, hash bucket.Hash, err error) {
	blob, err := r.Get(ctx, d.Link.Hash())
	if err != nil {
		return 0, hash, err
	}
	defer blob.Close()
	size = blob.Size() - Overhead
	if size > MaxPlainSize {
		return 0, hash, tooLarge(MaxPlainSize)
	}
	if err := d.checkSize(size); err != nil { // before anything is kept
		_, wrong := io.Copy(io.Discard, blob) // the size is only what a store says, until the bytes prove it
		return 0, hash, cmp.Or(wrong, err)
	}
	if size > SmallFile {
		if hash, err = unseal(ctx, blob, d.Secret, size, w); err == nil {
			err = d.agree(size, hash)
		}
		return size, hash, err
	}
	plain, err := openSmall(blob, d.Secret)
	if err != nil {
		return 0, hash, err
	}
	hash = bucket.Sum(plain)
	if err = d.agree(size, hash); err == nil && w != nil {
		_, err = w.Write(plain)
	}
	return size, hash, err
}

// checkSize says what is wrong with the plain size of the blob of an entry.
func (d Data) checkSize(size int64) error {
	if size < 0 {
		return fmt.Errorf("%w: shorter than nonce, hash and tag", ErrUnreadable)
	}
	a, ok := d.Attributes()
	if !ok {
		return nil
	}
	return d.agree(size, a.Hash)
}

// tooLarge refuses a file for its size.
func tooLarge(limit int64) error {
	return refuse(bucket.TooLarge, "a file of more than the %d bytes allowed", limit)
}

// openSmall opens a small blob.
func openSmall(blob *blobstore.Blob, secret bucket.Secret) ([]byte, error) {
	b := make([]byte, blob.Size())
	if _, err := io.ReadFull(blob, b); err != nil {
		return nil, err
	}
	if err := ended(blob); err != nil {
		return nil, err
	}
	return Open(secret, b)
}

// ended demands that nothing follows in a blob of which all bytes of its recorded size were read.
func ended(blob *blobstore.Blob) error {
	var one [1]byte
	_, err := io.ReadFull(blob, one[:])
	switch {
	case err == nil:
		return fmt.Errorf("%w: longer than its size on record", blobstore.ErrCorrupt)
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// unsealing is one large blob on its way into a file.
type unsealing struct {
	blob *blobstore.Blob
	size int64 // of the message: the hash and the plain bytes
	key  keystream
	mac  *mac
	tag  [tagSize]byte
	hash bucket.Hash // that stands in front
}

// unseal deciphers a large blob to w, or only verifies it if w is nil. It returns the hash that stands in front of the plain
// bytes. The last chunk is written when all is proven.
func unseal(ctx context.Context, blob *blobstore.Blob, secret bucket.Secret, size int64, w io.Writer) (hash bucket.Hash, err error) {
	u := &unsealing{blob: blob, size: size + hashSize, key: keystream{secret: secret}}
	if _, err := io.ReadFull(blob, u.key.nonce[:]); err != nil {
		return hash, err
	}
	if u.mac, err = u.key.mac(); err != nil {
		return hash, err
	}
	if w == nil {
		if err = relay(ctx, u.fill, u.authenticate); err == nil {
			err = u.key.xor(u.hash[:], 0)
		}
		return u.hash, err
	}
	hasher := blake3.New()
	write := func(c *chunk) error {
		if c.off == 0 {
			copy(u.hash[:], c.p)
		}
		hasher.Write(c.plain())
		if u.isLast(c) && bucket.Hash(hasher.Sum(nil)) != u.hash {
			return fmt.Errorf("%w: the hash inside is another", ErrUnreadable)
		}
		_, err := w.Write(c.plain())
		return err
	}
	err = relay(ctx, u.fill, u.authenticate, u.key.xorStage, write)
	return u.hash, err
}

func (u *unsealing) isLast(c *chunk) bool { return c.off+int64(len(c.p)) == u.size }

// fill reads a chunk, and after the last one the tag; then the hash of the blob is known.
func (u *unsealing) fill(c *chunk) error {
	if _, err := io.ReadFull(u.blob, c.room(u.size)); err != nil || len(c.p) == 0 || !u.isLast(c) {
		return err
	}
	if _, err := io.ReadFull(u.blob, u.tag[:]); err != nil {
		return err
	}
	return ended(u.blob)
}

// authenticate adds a chunk to the tag, and compares the tag after the last one.
func (u *unsealing) authenticate(c *chunk) error {
	if c.off == 0 {
		copy(u.hash[:], c.p) // enciphered
	}
	_ = u.mac.add(c) // never fails
	if u.isLast(c) && !u.mac.verify(u.tag) {
		return fmt.Errorf("%w: wrong secret or altered bytes", ErrUnreadable)
	}
	return nil
}

// ReadFile decrypts a file in memory, at most limit plain bytes; a longer one is a [*bucket.Refusal] of class too_large. If d has
// [Attributes], another size or hash than theirs is a refusal of class malformed. Bytes that the secret does not open are
// [ErrUnreadable]; other errors are those of r. It takes memory for twice the bytes.
func ReadFile(ctx context.Context, r blobstore.Reader, d Data, limit int64) ([]byte, error) {
	h := d.Link.Hash()
	limit = max(0, min(limit, MaxPlainSize))
	a, known := d.Attributes()
	if known && a.Size > uint64(limit) {
		return nil, fmt.Errorf("read file in blob %s: %w", h, tooLarge(limit))
	}
	blob, err := blobstore.ReadAll(ctx, r, h, limit+Overhead)
	switch {
	case errors.Is(err, blobstore.ErrTooLarge):
		return nil, fmt.Errorf("read file: %w: %w", tooLarge(limit), err)
	case err != nil:
		return nil, fmt.Errorf("read file: %w", err)
	}
	plain, err := Open(d.Secret, blob)
	if err == nil {
		err = d.agree(int64(len(plain)), bucket.Sum(plain))
	}
	if err != nil {
		return nil, fmt.Errorf("read file in blob %s: %w", h, err)
	}
	return plain, nil
}

// agree refuses a size or hash that is not the one that the attributes of the entry promise.
func (d Data) agree(size int64, hash bucket.Hash) error {
	a, ok := d.Attributes()
	switch {
	case !ok:
		return nil
	case a.Size != uint64(size):
		return refuse(bucket.Malformed, "a file of %d bytes, where %d were promised", size, a.Size)
	case a.Hash != hash:
		return refuse(bucket.Malformed, "a file of another hash than promised")
	}
	return nil
}

// SourceOf returns the plain bytes of a file of a version as a source of [PutFile], to put them under another secret, or to print
// them. size is that of [Verify]. Each reading fetches the blob once, verifies it as Restore does, and holds the last chunk back
// until all is proven; bytes before that came from a blob that need not be the one that Verify saw. The caller closes each
// reading.
func SourceOf(ctx context.Context, r blobstore.Reader, d Data, size int64) Source {
	return Source{Size: size, Open: func() (io.ReadCloser, error) {
		if size <= SmallFile {
			b, err := ReadFile(ctx, r, d, size)
			return io.NopCloser(bytes.NewReader(b)), err
		}
		ctx, cancel := context.WithCancel(ctx)
		pr, pw := io.Pipe()
		p := &reading{PipeReader: pr, cancel: cancel, ended: make(chan struct{})}
		go func() {
			defer close(p.ended)
			_, _, err := fetchOnce(ctx, r, d, pw)
			pw.CloseWithError(err) // always nil; a nil err is io.EOF to the reader
		}()
		return p, nil
	}}
}

// reading is a file being read.
type reading struct {
	*io.PipeReader
	cancel context.CancelFunc
	ended  chan struct{}
}

// Close ends the reading and waits until its blob is closed.
func (r *reading) Close() error {
	r.cancel()
	err := r.PipeReader.Close()
	<-r.ended
	return err
}
