package tree

import (
	"crypto/rand"
	"fmt"

	"headwater/bucket"

	"golang.org/x/crypto/chacha20poly1305"
)

// Overhead is how many bytes a sealed blob is longer than what it holds: nonce, BLAKE3 hash and tag.
const Overhead = chacha20poly1305.NonceSize + hashSize + chacha20poly1305.Overhead

// MaxPlainSize is the most bytes that one blob can hold, so that the blob fits into a store of the default limit, 64
// GiB. All of it is in memory at once, so a caller that takes sizes from strangers sets a limit of its own before.
const MaxPlainSize = 64<<30 - Overhead

const hashSize = 32 // of a bucket.Hash

// Seal encrypts plain under secret and a fresh random nonce, so sealing the same bytes twice gives two different
// blobs. The blob is nonce, then ChaCha20-Poly1305 of the BLAKE3 hash of plain and plain itself, without additional
// data. The error says that plain is longer than [MaxPlainSize].
func Seal(secret bucket.Secret, plain []byte) (blob []byte, err error) {
	var nonce [chacha20poly1305.NonceSize]byte
	rand.Read(nonce[:]) // never fails
	return sealWith(secret, nonce, plain)
}

// sealWith is Seal with a given nonce. Two different texts under one secret and one nonce give both away.
func sealWith(secret bucket.Secret, nonce [chacha20poly1305.NonceSize]byte, plain []byte) ([]byte, error) {
	if int64(len(plain)) > MaxPlainSize {
		return nil, fmt.Errorf("seal %d bytes: the limit of one blob is %d", len(plain), int64(MaxPlainSize))
	}
	blob := unsealed(len(plain))
	copy(blob[nonceSize+hashSize:], plain)
	return sealInPlace(secret, nonce, bucket.Sum(plain), blob)
}

// unsealed makes room for a blob, of which the plain bytes come last.
func unsealed(size int) []byte { return make([]byte, nonceSize+hashSize+size, Overhead+size) }

// sealInPlace seals what [unsealed] made, into which the caller has put the plain bytes; hash is theirs.
func sealInPlace(secret bucket.Secret, nonce [nonceSize]byte, hash bucket.Hash, blob []byte) ([]byte, error) {
	aead, err := chacha20poly1305.New(secret[:])
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	copy(blob, nonce[:])
	copy(blob[nonceSize:], hash[:])
	return aead.Seal(blob[:nonceSize], nonce[:], blob[nonceSize:], nil), nil
}

// Open decrypts what [Seal] made. It returns [ErrUnreadable], and no byte of the text, if secret is not the one that
// the blob was sealed with, if a single bit of the blob is altered or missing, or if the hash inside is not that of the
// text.
func Open(secret bucket.Secret, blob []byte) (plain []byte, err error) {
	if len(blob) < Overhead {
		return nil, fmt.Errorf("open blob of %d bytes: %w: shorter than nonce, hash and tag", len(blob), ErrUnreadable)
	}
	if int64(len(blob)) > MaxPlainSize+Overhead {
		return nil, fmt.Errorf("open blob of %d bytes: %w: longer than any blob", len(blob), ErrUnreadable)
	}
	aead, err := chacha20poly1305.New(secret[:])
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	nonce, sealed := blob[:aead.NonceSize()], blob[aead.NonceSize():]
	text, err := aead.Open(nil, nonce, sealed, nil)
	if err != nil {
		return nil, fmt.Errorf("open blob of %d bytes: %w: wrong secret or altered bytes", len(blob), ErrUnreadable)
	}
	hash, plain := bucket.Hash(text[:hashSize]), text[hashSize:]
	if bucket.Sum(plain) != hash {
		return nil, fmt.Errorf("open blob of %d bytes: %w: the hash inside is another", len(blob), ErrUnreadable)
	}
	return plain, nil
}
