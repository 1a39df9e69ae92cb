package bucket

import (
	"bytes"
	"encoding/base32"
	"encoding/hex"
	"fmt"

	"github.com/zeebo/blake3"
)

// Hash is the BLAKE3-256 digest of a blob's stored bytes, unkeyed. It names objects in stores.
type Hash [32]byte

// Sum returns the hash of b.
func Sum(b []byte) Hash { return blake3.Sum256(b) }

// ParseHash reads 64 lower-case hex digits; anything else is [ErrSyntax].
func ParseHash(s string) (h Hash, err error) {
	if err := parseHex(h[:], s); err != nil {
		return Hash{}, fmt.Errorf("hash %.80q: %w", s, err)
	}
	return h, nil
}

// String returns 64 lower-case hex digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// IsZero reports whether h is all zero, which stands for no hash.
func (h Hash) IsZero() bool { return h == Hash{} }

// MarshalText writes the form of [Hash.String].
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what [ParseHash] reads.
func (h *Hash) UnmarshalText(b []byte) (err error) {
	*h, err = ParseHash(string(b))
	return err
}

// Codec is the multicodec of what a link points to.
type Codec byte

const (
	// CodecRaw marks bytes without structure of their own: pins lists and everything encrypted.
	CodecRaw Codec = 0x55
	// CodecDagCBOR marks a manifest.
	CodecDagCBOR Codec = 0x71
)

// CIDSize is the length in bytes of the only CID form in use: version 1, one-byte codec, BLAKE3-256 multihash.
const CIDSize = 4 + 32

// Link points to a blob: its codec byte, then the 32 bytes of its hash. The order of these 33 bytes is the order of
// links that the head rule uses. The zero Link means none; the link to raw bytes with an all-zero hash is another value.
type Link [33]byte

// NewLink returns the link to a blob of codec c whose hash is h.
func NewLink(c Codec, h Hash) Link {
	var l Link
	l[0] = byte(c)
	copy(l[1:], h[:])
	return l
}

// ManifestLink returns the link to the manifest encoded as b.
func ManifestLink(b []byte) Link { return NewLink(CodecDagCBOR, Sum(b)) }

// RawLink returns the link to the raw blob b.
func RawLink(b []byte) Link { return NewLink(CodecRaw, Sum(b)) }

// Codec returns the codec of what l points to.
func (l Link) Codec() Codec { return Codec(l[0]) }

// Hash returns the hash of what l points to.
func (l Link) Hash() Hash { return Hash(l[1:]) }

// IsZero reports whether l is the zero Link, which points to nothing.
func (l Link) IsZero() bool { return l == Link{} }

// Compare orders links: -1 if l comes before m, 0 if they are equal, 1 otherwise.
func (l Link) Compare(m Link) int { return bytes.Compare(l[:], m[:]) }

// CID returns the binary CIDv1: version 01, codec, multihash code 1e (blake3), length 20, digest.
func (l Link) CID() [CIDSize]byte {
	var c [CIDSize]byte
	c[0], c[1], c[2], c[3] = 0x01, l[0], 0x1e, 0x20
	copy(c[4:], l[1:])
	return c
}

// LinkFromCID reads a binary CID. One that is well formed but of another version, codec or hash function is a [*Refusal]
// of class [WrongCodec]; bytes that are no CID at all are one of class [Malformed].
func LinkFromCID(b []byte) (Link, error) {
	if len(b) == CIDSize && b[0] == 0x01 && b[2] == 0x1e && b[3] == 0x20 {
		if c := Codec(b[1]); c == CodecRaw || c == CodecDagCBOR {
			return NewLink(c, Hash(b[4:])), nil
		}
	}
	return Link{}, refuseCID(b)
}

// refuseCID says why b is not the one CID form in use: another kind of CID, or none.
func refuseCID(b []byte) error {
	if isForeignCID(b) {
		return refuse(WrongCodec, "a CID of another version, codec or hash function")
	}
	return refuse(Malformed, "bytes that are no CID")
}

// isForeignCID reports whether b is a CID of version 0 (a bare SHA-256 multihash), or of version 1: codec and hash
// function as varints of up to nine bytes, the digest's length as one byte, and a whole digest.
func isForeignCID(b []byte) bool {
	if len(b) == 34 && b[0] == 0x12 && b[1] == 0x20 {
		return true
	}
	if len(b) < 4 || b[0] != 0x01 {
		return false
	}
	rest := b[1:]
	for range 2 { // codec, then hash function
		n := 1
		for n <= 9 && n <= len(rest) && rest[n-1]&0x80 != 0 {
			n++
		}
		if n > 9 || n > len(rest) {
			return false
		}
		rest = rest[n:]
	}
	return len(rest) > 0 && int(rest[0]) == len(rest)-1
}

// linkText is multibase base32, lower case, without padding; the multibase prefix is the letter b.
var linkText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// String returns the text form of the CID: bafyr4i… for a manifest, bafkr4i… for raw bytes, 59 characters. The zero Link
// is the empty string.
func (l Link) String() string {
	if l.IsZero() {
		return ""
	}
	c := l.CID()
	return "b" + linkText.EncodeToString(c[:])
}

// ParseLink reads the text form that [Link.String] writes. Other spellings, bases and codecs are [ErrSyntax].
func ParseLink(s string) (Link, error) {
	const want = "want a link such as bafyr4i… or bafkr4i…, 59 characters"
	if len(s) != 1+58 || s[0] != 'b' {
		return Link{}, fmt.Errorf("link %.80q: %w: %s", s, ErrSyntax, want)
	}
	b, err := linkText.DecodeString(s[1:])
	if err != nil {
		return Link{}, fmt.Errorf("link %.80q: %w: %s", s, ErrSyntax, want)
	}
	l, err := LinkFromCID(b)
	if err != nil || l.String() != s {
		return Link{}, fmt.Errorf("link %.80q: %w: %s", s, ErrSyntax, want)
	}
	return l, nil
}

// MarshalText writes the form of [Link.String].
func (l Link) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what [ParseLink] reads; the empty text is the zero Link.
func (l *Link) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*l = Link{}
		return nil
	}
	*l, err = ParseLink(string(b))
	return err
}

// parseHex fills dst from lower-case hex of exactly its length.
func parseHex(dst []byte, s string) error {
	if len(s) != 2*len(dst) {
		return fmt.Errorf("%w: want %d lower-case hex digits", ErrSyntax, 2*len(dst))
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("%w: want %d lower-case hex digits", ErrSyntax, 2*len(dst))
		}
	}
	_, err := hex.Decode(dst, []byte(s))
	return err
}
