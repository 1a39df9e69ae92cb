package tree

import (
	"context"
	"io"

	"headwater/blobstore"
	"headwater/bucket"
)

// The sizes at which streaming takes another turn.
const (
	ChunkSize = chunkSize
	MinPart   = minPart
)

// PutStreamed is what PutFile does with a large file, for one of any size and with a given nonce.
func PutStreamed(
	ctx context.Context, w Writer, secret bucket.Secret, nonce [nonceSize]byte, want bucket.Hash, src Source,
) (blob, plain bucket.Hash, err error) {
	return putStream(ctx, w, keystream{secret: secret, nonce: nonce}, want, src)
}

// RestoreStreamed is what Restore does with a large file, for one of any size.
func RestoreStreamed(ctx context.Context, blob *blobstore.Blob, secret bucket.Secret, w io.Writer) (bucket.Hash, error) {
	return unseal(ctx, blob, secret, blob.Size()-Overhead, w)
}

// XOR ciphers bytes that begin at off of a message.
func XOR(secret bucket.Secret, nonce [nonceSize]byte, p []byte, off int64) error {
	return (&keystream{secret: secret, nonce: nonce}).xor(p, off)
}

// Relay hands the bytes of r from stage to stage.
func Relay(ctx context.Context, r io.Reader, stages ...func([]byte) error) error {
	var all []stage
	for _, s := range stages {
		all = append(all, func(c *chunk) error { return s(c.p) })
	}
	fill := func(c *chunk) error {
		n, err := io.ReadFull(r, c.p[:chunkSize])
		if c.p = c.p[:n]; err == io.ErrUnexpectedEOF || err == io.EOF {
			return nil
		}
		return err
	}
	return relay(ctx, fill, all...)
}
