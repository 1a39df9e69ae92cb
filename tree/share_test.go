package tree_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"headwater/bucket"
	"headwater/tree"
)

// TestKeyWrap_RFC3394 is the vector of RFC 3394 §4.6: 256 bits of key data under a key of 256 bits.
func TestKeyWrap_RFC3394(t *testing.T) {
	kek := [32]byte(unhex(t, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"))
	key := [32]byte(unhex(t, "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f"))
	want := unhex(t, "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21")
	got, err := tree.WrapKey(kek, key)
	if err != nil || !bytes.Equal(got[:], want) {
		t.Fatalf("wrapped: got %x, %v, want %x", got, err, want)
	}
	if back, ok, err := tree.UnwrapKey(kek, got); err != nil || !ok || back != key {
		t.Errorf("unwrapped: got %x, %v, %v, want %x", back, ok, err, key)
	}
	for i := range 8 * len(got) {
		bad := got
		bad[i/8] ^= 1 << (i % 8)
		if back, ok, err := tree.UnwrapKey(kek, bad); err != nil || ok || back != [32]byte{} {
			t.Errorf("bit %d altered: got %x, %v, %v, want nothing", i, back, ok, err)
		}
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// seed is that of the n-th identity of the tests.
func seed(n byte) []byte { return append([]byte{n}, make([]byte, bucket.SeedSize-1)...) }

func TestShareUnwrapsForItsRecipientOnly(t *testing.T) {
	secret := bucket.Secret{1, 2, 3}
	ours, theirs := identity(t, seed(1)), identity(t, seed(2))
	share, err := tree.Wrap(secret, ours.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tree.Unwrap(share, ours); err != nil || got != secret {
		t.Errorf("got %x, %v, want %x", got, err, secret)
	}
	if got, err := tree.Unwrap(share, theirs); !errors.Is(err, tree.ErrUnreadable) || got != (bucket.Secret{}) {
		t.Errorf("another recipient: got %x, %v, want ErrUnreadable", got, err)
	}
	again, err := tree.Wrap(secret, ours.PublicKey())
	if err != nil || again == share {
		t.Errorf("got the same share twice, %v, want another ephemeral key", err)
	}
}

func TestAlteredShareIsUnreadable(t *testing.T) {
	secret, ours := bucket.Secret{1, 2, 3}, identity(t, seed(1))
	share, err := tree.Wrap(secret, ours.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	const sign = 31*8 + 7 // of the ephemeral key's x, which X25519 does not see
	for i := range 8 * len(share) {
		bad := share
		bad[i/8] ^= 1 << (i % 8)
		got, err := tree.Unwrap(bad, ours)
		if i == sign {
			if err != nil || got != secret {
				t.Errorf("sign bit: got %x, %v, want the secret all the same", got, err)
			}
		} else if !errors.Is(err, tree.ErrUnreadable) || got != (bucket.Secret{}) {
			t.Errorf("bit %d: got %x, %v, want ErrUnreadable", i, got, err)
		}
	}
}

// badKeys are keys that no secret may be wrapped for, nor unwrapped with: no points of the curve, and the points of
// small order, in canonical and in other encodings.
var badKeys = []struct {
	key   string
	class bucket.Class
}{
	{"0200000000000000000000000000000000000000000000000000000000000000", bucket.Malformed},
	{"0000000000000000000000000000000000000000000000000000000000000000", bucket.SmallOrderKey},
	{"0000000000000000000000000000000000000000000000000000000000000080", bucket.SmallOrderKey},
	{"0100000000000000000000000000000000000000000000000000000000000000", bucket.SmallOrderKey},
	{"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", bucket.SmallOrderKey},
	{"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", bucket.SmallOrderKey},
	{"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", bucket.SmallOrderKey},
	{"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", bucket.SmallOrderKey},
	{"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85", bucket.SmallOrderKey},
	{"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", bucket.SmallOrderKey},
	{"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa", bucket.SmallOrderKey},
}

func TestBadKeysAreRefused(t *testing.T) {
	for _, bad := range badKeys {
		t.Run(bad.key, func(t *testing.T) {
			key := bucket.PublicKey(unhex(t, bad.key))
			share, err := tree.Wrap(bucket.Secret{1}, key)
			if bucket.ClassOf(err) != bad.class || share != (bucket.SecretShare{}) {
				t.Errorf("Wrap: got %x, %v, want class %s", share, err, bad.class)
			}
			copy(share[:], key[:])
			secret, err := tree.Unwrap(share, identity(t, seed(1)))
			if !errors.Is(err, tree.ErrUnreadable) || bucket.ClassOf(err) != bad.class || secret != (bucket.Secret{}) {
				t.Errorf("Unwrap: got %x, %v, want ErrUnreadable of class %s", secret, err, bad.class)
			}
		})
	}
}

func FuzzUnwrap(f *testing.F) {
	for _, v := range readVectors(f) {
		if b, ok := v.Inputs["share_hex"]; ok && string(b) != "null" && v.Inputs["recipient_seed_hex"] != nil {
			f.Add([]byte(input[hexBytes](f, v, "recipient_seed_hex")), []byte(input[hexBytes](f, v, "share_hex")))
		}
	}
	for _, bad := range badKeys {
		f.Add(seed(1), unhex(f, bad.key))
	}
	f.Fuzz(func(t *testing.T, key, data []byte) {
		recipient := identity(t, slices.Concat(key, make([]byte, bucket.SeedSize))[:bucket.SeedSize])
		var share bucket.SecretShare
		copy(share[:], data)
		secret, err := tree.Unwrap(share, recipient)
		if err != nil && (!errors.Is(err, tree.ErrUnreadable) || secret != (bucket.Secret{})) {
			t.Fatalf("got %x, %v, want ErrUnreadable", secret, err)
		}
		if err == nil {
			checkWrapped(t, share, recipient, secret)
		}
		if again, err := tree.Wrap(secret, recipient.PublicKey()); err != nil {
			t.Fatal(err)
		} else if got, err := tree.Unwrap(again, recipient); err != nil || got != secret {
			t.Fatalf("wrapped again: got %x, %v, want %x", got, err, secret)
		}
		// The bytes as a recipient: a share, or a class of refusal.
		if _, err := tree.Wrap(secret, bucket.PublicKey(share[:32])); err != nil && bucket.ClassOf(err) == "" {
			t.Fatalf("got %v, want a refusal", err)
		}
	})
}

// checkWrapped wraps the secret again under the key that both sides share.
func checkWrapped(t *testing.T, share bucket.SecretShare, recipient bucket.Identity, secret bucket.Secret) {
	kek, err := tree.SharedKey(recipient.Seed(), bucket.PublicKey(share[:32]))
	if err != nil {
		t.Fatal(err)
	}
	if w, err := tree.WrapKey(kek, secret); err != nil || !bytes.Equal(w[:], share[32:]) {
		t.Fatalf("wrapped again: got %x, %v, want %x", w, err, share[32:])
	}
}

func BenchmarkWrap(b *testing.B) {
	recipient := identity(b, seed(1)).PublicKey()
	for b.Loop() {
		if _, err := tree.Wrap(bucket.Secret{1}, recipient); err != nil {
			b.Fatal(err)
		}
	}
}
