package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"headwater/blobstore"
	"headwater/bucket"
)

// Spool holds the ciphertext of a large file while it is verified: a file, mostly the very one that is to hold the plain
// bytes. It takes as many bytes as the plain file has.
type Spool interface {
	io.ReaderAt
	io.WriterAt
}

// Fetch reads the blob of a file from r and verifies it: the hash of the whole blob, the tag, and, where d has
// [Attributes], the size and hash of the file. Until all this is known to be right no plain byte exists anywhere.
//
// A file of at most [SmallFile] bytes is held in memory. The ciphertext of a larger one goes into the spool, which is
// asked for only then, after a look at the size; it takes 1 MiB of memory whatever the size.
//
// Bytes that the secret does not open are [ErrUnreadable]; another size or hash than that of the attributes is a
// [*bucket.Refusal] of class malformed, and a blob above the limit of one file is one of class too_large. Other errors are
// those of r, spool and ctx. After an error the spool holds ciphertext, or nothing.
func Fetch(ctx context.Context, r blobstore.Reader, d Data, spool func() (Spool, error)) (*Plain, error) {
	var one Spool
	once := func() (s Spool, err error) {
		if one == nil {
			one, err = spool()
		}
		return one, err
	}
	p, err := fetch(ctx, r, d, once)
	for try := 1; try < fetchTries && errors.Is(err, blobstore.ErrCorrupt) && ctx.Err() == nil; try++ {
		p, err = fetch(ctx, r, d, once)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch file in blob %s: %w", d.Link.Hash(), err)
	}
	return p, nil
}

// fetchTries is how often a blob is asked for whose bytes turn out wrong: a reader of several places knows by then which of
// them not to ask again.
const fetchTries = 8

func fetch(ctx context.Context, r blobstore.Reader, d Data, spool func() (Spool, error)) (*Plain, error) {
	blob, err := r.Get(ctx, d.Link.Hash())
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	size := blob.Size() - Overhead
	switch {
	case size < 0:
		return nil, fmt.Errorf("%w: shorter than nonce, hash and tag", ErrUnreadable)
	case size > MaxPlainSize:
		return nil, tooLarge(MaxPlainSize)
	}
	if a, ok := d.Attributes(); ok {
		if err := d.agree(size, a.Hash); err != nil { // before anything is kept
			_, wrong := io.Copy(io.Discard, blob) // the size is only what a store says, until the bytes prove it
			return nil, cmp.Or(wrong, err)
		}
	}
	p := &Plain{size: size}
	if size <= SmallFile {
		err = p.load(blob, d.Secret)
	} else {
		err = p.spoolIn(ctx, blob, d.Secret, spool)
	}
	if err == nil {
		err = d.agree(size, p.hash)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// tooLarge refuses a file for its size.
func tooLarge(limit int64) error {
	return refuse(bucket.TooLarge, "a file of more than the %d bytes allowed", limit)
}

// Plain is a file that was fetched and verified: its plain bytes, deciphered as they are read. Read and WriteTo share one
// position and are not safe for concurrent use; readers from [Plain.Source] have positions of their own. A Plain of a large
// file needs its spool to stay as it is, but for bytes that have been read: what is read at an offset of the spool is
// never needed again by the same reader, and stands for the plain bytes of that very offset.
type Plain struct {
	size  int64
	hash  bucket.Hash
	mem   []byte      // the plain bytes of a small file
	spool io.ReaderAt // the ciphertext of a large one
	key   keystream
	r     plainReader // of Read and WriteTo; made by the first of them
}

// load opens a small blob.
func (p *Plain) load(blob *blobstore.Blob, secret bucket.Secret) error {
	b := make([]byte, p.size+Overhead)
	if _, err := io.ReadFull(blob, b); err != nil {
		return err
	}
	if err := ended(blob); err != nil {
		return err
	}
	plain, err := Open(secret, b)
	if err != nil {
		return err
	}
	p.mem, p.hash = plain, bucket.Sum(plain)
	return nil
}

// ended demands that nothing follows in a blob, of which the size on record was read.
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

// spoolIn takes the ciphertext of a large blob into the spool, and verifies it.
func (p *Plain) spoolIn(
	ctx context.Context, blob *blobstore.Blob, secret bucket.Secret, open func() (Spool, error),
) error {
	p.key.secret = secret
	if _, err := io.ReadFull(blob, p.key.nonce[:]); err != nil {
		return err
	}
	m, err := p.key.mac()
	if err != nil {
		return err
	}
	spool, err := open()
	if err != nil {
		return err
	}
	p.spool = spool
	fill := func(c *chunk) error { _, err := io.ReadFull(blob, c.room(p.size+hashSize)); return err }
	keep := func(c *chunk) error {
		if c.off == 0 {
			copy(p.hash[:], c.p)
		}
		_, err := spool.WriteAt(c.plain(), max(0, c.off-hashSize))
		return err
	}
	if err := relay(ctx, fill, m.add, keep); err != nil {
		return err
	}
	var tag [tagSize]byte
	if _, err := io.ReadFull(blob, tag[:]); err != nil {
		return err
	}
	if err := ended(blob); err != nil {
		return err
	}
	if !m.verify(tag) {
		return fmt.Errorf("%w: wrong secret or altered bytes", ErrUnreadable)
	}
	return p.key.xor(p.hash[:], 0)
}

// Size returns how many bytes the file has.
func (p *Plain) Size() int64 { return p.size }

// Hash returns the BLAKE3 hash of the plain bytes, as the blob has it. That the bytes have it is verified by Fetch for
// a small file, and by whoever reads to the end for a large one.
func (p *Plain) Hash() bucket.Hash { return p.hash }
