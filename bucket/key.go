package bucket

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"

	"filippo.io/edwards25519"
)

// PublicKey is the Ed25519 public key (RFC 8032) of a peer. Its 64 lower-case hex digits are the peer's id.
type PublicKey [32]byte

// Signature is an Ed25519 signature: R, then s (RFC 8032 §5.1.6).
type Signature [64]byte

// Secret is a key of 32 bytes for the encryption of one node, file or version. It has no text form, so that no log or error
// can hold one by accident.
type Secret [32]byte

// SecretShareSize is the length in bytes of a secret wrapped for one owner.
const SecretShareSize = 72

// SecretShare is a secret wrapped for one owner: an ephemeral public key, then RFC 3394 key wrap.
type SecretShare [SecretShareSize]byte

// ParsePublicKey reads 64 lower-case hex digits; anything else is [ErrSyntax]. It does not check that they are a point of
// the curve: see [PublicKey.Check].
func ParsePublicKey(s string) (k PublicKey, err error) {
	if err := parseHex(k[:], s); err != nil {
		return PublicKey{}, fmt.Errorf("peer id %.80q: %w", s, err)
	}
	return k, nil
}

// String returns 64 lower-case hex digits.
func (k PublicKey) String() string { return hex.EncodeToString(k[:]) }

// IsZero reports whether k is all zero, which means no key in a field that is no pointer.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// Compare orders keys by their bytes, which is also the order of their hex.
func (k PublicKey) Compare(o PublicKey) int { return bytes.Compare(k[:], o[:]) }

// MarshalText writes the form of [PublicKey.String].
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what [ParsePublicKey] reads.
func (k *PublicKey) UnmarshalText(b []byte) (err error) {
	*k, err = ParsePublicKey(string(b))
	return err
}

// Check returns nil or a [*Refusal]: of class [Malformed] if k is no point of the curve, of class [SmallOrderKey] if it is
// a point of small order, under which signatures can be made without a secret.
func (k PublicKey) Check() error {
	p, err := new(edwards25519.Point).SetBytes(k[:])
	if err != nil {
		return refuse(Malformed, "key %s is no point of the curve", k)
	}
	if isSmallOrder(p) {
		return refuse(SmallOrderKey, "key %s is a point of small order", k)
	}
	return nil
}

// onCurve reports whether k is a point of the curve, of small order or not.
func (k PublicKey) onCurve() bool {
	_, err := new(edwards25519.Point).SetBytes(k[:])
	return err == nil
}

// isSmallOrder reports whether eight times p is the neutral element.
func isSmallOrder(p *edwards25519.Point) bool {
	return new(edwards25519.Point).MultByCofactor(p).Equal(edwards25519.NewIdentityPoint()) == 1
}

// Verify checks that sig is k's signature over message: strictly, as the original does. Beyond RFC 8032 it refuses keys and
// R points of small order. It returns nil or a [*Refusal] of class [Malformed], [SmallOrderKey] or [BadSignature].
func (k PublicKey) Verify(message []byte, sig Signature) error {
	// If a signature holds, its R is in its one canonical form, so the bytes show whether it is of small order. What does not
	// pass is checked again, to say why.
	if ed25519.Verify(k[:], message, sig[:]) && !encodesSmallOrder(k[:]) && !encodesSmallOrder(sig[:32]) {
		return nil
	}
	if err := k.Check(); err != nil {
		return err
	}
	r, err := new(edwards25519.Point).SetBytes(sig[:32])
	if err != nil {
		return refuse(BadSignature, "the signature of %s is no signature: R is no point of the curve", k)
	}
	if isSmallOrder(r) {
		return refuse(SmallOrderKey, "the signature of %s has an R of small order", k)
	}
	return refuse(BadSignature, "the signature does not hold for %s", k)
}

// encodesSmallOrder reports whether 32 bytes encode a point of small order, in any of its encodings.
func encodesSmallOrder(b []byte) bool {
	switch b[31] & 0x7f { // the last bytes, without the sign, of all such encodings: nearly always enough
	case 0x00, 0x7f, 0x05, 0x7a:
	default:
		return false
	}
	p, err := new(edwards25519.Point).SetBytes(b)
	return err == nil && isSmallOrder(p)
}

// Identity is a peer's own key pair. The zero Identity is not usable. It is safe for concurrent use.
type Identity struct{ private ed25519.PrivateKey }

// SeedSize is the length in bytes of an Ed25519 seed.
const SeedSize = ed25519.SeedSize

// NewIdentity returns the identity of a seed, or [ErrSyntax] if the seed is not [SeedSize] bytes long.
func NewIdentity(seed []byte) (Identity, error) {
	if len(seed) != SeedSize {
		return Identity{}, fmt.Errorf("identity: %w: a seed has %d bytes, not %d", ErrSyntax, SeedSize, len(seed))
	}
	return Identity{ed25519.NewKeyFromSeed(seed)}, nil
}

// PublicKey returns the public half, the peer's id.
func (i Identity) PublicKey() PublicKey { return PublicKey(i.private.Public().(ed25519.PublicKey)) }

// Seed returns a copy of the seed: for storing it, never for a log.
func (i Identity) Seed() []byte { return bytes.Clone(i.private.Seed()) }

// Sign signs message with plain Ed25519 (RFC 8032, no context, no prehash).
func (i Identity) Sign(message []byte) Signature { return Signature(ed25519.Sign(i.private, message)) }
