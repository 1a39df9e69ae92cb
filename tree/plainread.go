package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"headwater/bucket"

	"github.com/zeebo/blake3"
)

var (
	_ io.Reader   = (*Plain)(nil)
	_ io.WriterTo = (*Plain)(nil)
)

// plainReader is one way through the bytes of a Plain.
type plainReader interface {
	io.Reader
	io.WriterTo
}

// reader begins at the first byte.
func (p *Plain) reader() plainReader {
	if p.spool == nil {
		return bytes.NewReader(p.mem)
	}
	return &spoolReader{p: p, hasher: blake3.New()}
}

// own returns the reader of Read and WriteTo.
func (p *Plain) own() plainReader {
	if p.r == nil {
		p.r = p.reader()
	}
	return p.r
}

// Read reads plain bytes. Where those of a large file turn out at the end not to have the hash that the blob says they
// have, the Read that would complete them returns [ErrUnreadable] and none of them; other errors are those of the spool.
func (p *Plain) Read(b []byte) (int, error) { return p.own().Read(b) }

// WriteTo writes the bytes that Read has not read yet, several chunks at a time in the making. Errors are those of Read,
// and of w.
func (p *Plain) WriteTo(w io.Writer) (int64, error) { return p.own().WriteTo(w) }

// InPlace is what [Plain.WriteInPlace] needs of a file; an [*os.File] is one.
type InPlace interface {
	io.WriterAt
	Truncate(size int64) error
}

// WriteInPlace writes all plain bytes to f, from its beginning, and cuts off what f had beyond them. f may be the spool,
// whose ciphertext is replaced piece by piece; nothing can be read from p afterwards, then. It is not durable before f is
// synced. Errors are those of [Plain.Read] and of f; after one f holds neither the file nor the blob and has to go.
func (p *Plain) WriteInPlace(f InPlace) error {
	if _, err := p.reader().WriteTo(io.NewOffsetWriter(f, 0)); err != nil {
		return err
	}
	return f.Truncate(p.size)
}

// Source returns the plain bytes as a source of [PutFile], to put them under another secret. It is good for as long as
// the spool holds the ciphertext.
func (p *Plain) Source() Source {
	return Source{Size: p.size, Open: func() (io.ReadCloser, error) { return io.NopCloser(p.reader()), nil }}
}

// spoolReader deciphers a large file.
type spoolReader struct {
	p      *Plain
	hasher *blake3.Hasher
	off    int64  // of the next chunk
	c      chunk  // of Read
	rest   []byte // of c, not read yet
	err    error  // ends it
}

// fill reads the ciphertext of a chunk. The hash at the front of the message is known already and not in the spool.
func (r *spoolReader) fill(c *chunk) error {
	p := c.room(r.p.size + hashSize)
	if len(p) == 0 {
		return nil
	}
	p = c.plain()
	n, err := r.p.spool.ReadAt(p, max(0, c.off-hashSize))
	switch {
	case n == len(p):
		return nil
	case err == nil || err == io.EOF:
		return fmt.Errorf("read spool: %w", io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("read spool: %w", err)
}

// check hashes a chunk, and compares with the last one.
func (r *spoolReader) check(c *chunk) error {
	r.hasher.Write(c.plain())
	if c.off+int64(len(c.p)) < r.p.size+hashSize {
		return nil
	}
	var sum bucket.Hash
	r.hasher.Sum(sum[:0])
	if sum != r.p.hash {
		return fmt.Errorf("%w: the hash inside is another", ErrUnreadable)
	}
	return nil
}

// Read reads plain bytes, one chunk in memory at a time.
func (r *spoolReader) Read(b []byte) (int, error) {
	if len(r.rest) == 0 && r.err == nil && len(b) > 0 {
		r.err = r.next()
	}
	if len(r.rest) == 0 && r.err != nil {
		return 0, r.err
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *spoolReader) next() error {
	if r.c.p == nil {
		r.c.p = make([]byte, 0, chunkSize)
	}
	c := &r.c
	c.off = r.off
	r.off += chunkSize
	if err := r.fill(c); err != nil {
		return err
	}
	if len(c.p) == 0 {
		return io.EOF
	}
	if err := r.p.key.xorStage(c); err != nil {
		return err
	}
	if err := r.check(c); err != nil {
		return err
	}
	r.rest = c.plain()
	return nil
}

// WriteTo writes what is left.
func (r *spoolReader) WriteTo(w io.Writer) (n int64, err error) {
	write := func(p []byte) error {
		wrote, err := w.Write(p)
		n += int64(wrote)
		if err == nil && wrote < len(p) {
			err = io.ErrShortWrite
		}
		return err
	}
	if r.err != nil && !errors.Is(r.err, io.EOF) {
		return 0, r.err
	}
	if err := write(r.rest); err != nil {
		return n, err
	}
	r.rest = nil
	from := r.off
	fill := func(c *chunk) error { c.off += from; return r.fill(c) }
	r.err = relay(context.Background(), fill, r.p.key.xorStage, r.check, func(c *chunk) error { return write(c.plain()) })
	if r.err != nil {
		return n, r.err
	}
	r.err = io.EOF
	return n, nil
}
