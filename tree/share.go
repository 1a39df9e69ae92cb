package tree

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha512"
	"fmt"

	"headwater/bucket"

	"filippo.io/edwards25519"
)

// Wrap makes the share that lets recipient, and nobody else, take secret out again with [Unwrap]. It uses a fresh
// random key each time, so wrapping twice gives two different shares. The error wraps a [*bucket.Refusal]: of class
// malformed if recipient is not a point of the curve, of class small_order_key if it is one of small order, under
// which everybody could unwrap.
//
// A share is an ephemeral Ed25519 public key, then the secret in AES-256 key wrap (RFC 3394) under the bare X25519
// result of the two keys, each taken from Edwards to Montgomery form. It does not prove who made it: the manifest's
// signature does. (One bit of it, the sign of the ephemeral key, is not used, and so may be altered unnoticed.)
func Wrap(secret bucket.Secret, recipient bucket.PublicKey) (bucket.SecretShare, error) {
	seed := make([]byte, bucket.SeedSize)
	rand.Read(seed) // never fails
	return wrapWith(seed, secret, recipient)
}

// wrapWith is Wrap with the seed of the ephemeral key given.
func wrapWith(seed []byte, secret bucket.Secret, recipient bucket.PublicKey) (share bucket.SecretShare, err error) {
	ephemeral, err := bucket.NewIdentity(seed)
	if err != nil {
		return bucket.SecretShare{}, fmt.Errorf("wrap secret for %s: %w", recipient, err)
	}
	kek, err := sharedKey(seed, recipient)
	if err != nil {
		return bucket.SecretShare{}, fmt.Errorf("wrap secret for %s: %w", recipient, err)
	}
	wrapped, err := wrapKey(kek, secret)
	if err != nil {
		return bucket.SecretShare{}, fmt.Errorf("wrap secret for %s: %w", recipient, err)
	}
	public := ephemeral.PublicKey()
	copy(share[:], public[:])
	copy(share[len(public):], wrapped[:])
	return share, nil
}

// Unwrap takes the secret out of a share that was made for identity. It returns [ErrUnreadable] if the share was made
// for another key, if it is altered, or if its ephemeral key is not a point of the curve or is one of small order.
func Unwrap(share bucket.SecretShare, identity bucket.Identity) (bucket.Secret, error) {
	ephemeral, wrapped := bucket.PublicKey(share[:32]), [40]byte(share[32:])
	kek, err := sharedKey(identity.Seed(), ephemeral)
	if err != nil {
		return bucket.Secret{}, fmt.Errorf("unwrap secret: %w: its ephemeral key: %w", ErrUnreadable, err)
	}
	secret, ok, err := unwrapKey(kek, wrapped)
	if err != nil {
		return bucket.Secret{}, fmt.Errorf("unwrap secret: %w", err)
	}
	if !ok {
		return bucket.Secret{}, fmt.Errorf("unwrap secret: %w: made for another key than %s, or altered", ErrUnreadable,
			identity.PublicKey())
	}
	return secret, nil
}

// sharedKey is the bare X25519 result of an Ed25519 seed and an Ed25519 public key.
func sharedKey(seed []byte, public bucket.PublicKey) (kek [32]byte, err error) {
	if err := public.Check(); err != nil {
		return kek, err
	}
	u, err := montgomery(public)
	if err != nil {
		return kek, err
	}
	theirs, err := ecdh.X25519().NewPublicKey(u)
	if err != nil {
		return kek, err
	}
	ours, err := ecdh.X25519().NewPrivateKey(scalar(seed))
	if err != nil {
		return kek, err
	}
	shared, err := ours.ECDH(theirs)
	if err != nil {
		return kek, err
	}
	return [32]byte(shared), nil
}

// scalar is the X25519 private key of an Ed25519 seed, not clamped: X25519 itself clamps.
func scalar(seed []byte) []byte {
	h := sha512.Sum512(seed)
	return h[:32]
}

// montgomery is the X25519 public key of an Ed25519 public key: u = (1+y)/(1-y).
func montgomery(k bucket.PublicKey) ([]byte, error) {
	p, err := new(edwards25519.Point).SetBytes(k[:])
	if err != nil {
		return nil, err
	}
	return p.BytesMontgomery(), nil
}
