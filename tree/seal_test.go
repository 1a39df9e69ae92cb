package tree_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"headwater/bucket"
	"headwater/tree"

	"golang.org/x/crypto/chacha20poly1305"
)

func TestSealedBlobOpensWithItsSecretOnly(t *testing.T) {
	secret, other := bucket.Secret{1}, bucket.Secret{2}
	for _, plain := range [][]byte{nil, {0}, []byte("hello"), bytes.Repeat([]byte("x"), 1<<20)} {
		blob, err := tree.Seal(secret, plain)
		if err != nil {
			t.Fatal(err)
		}
		if len(blob) != len(plain)+tree.Overhead {
			t.Errorf("got a blob of %d bytes for %d, want %d more", len(blob), len(plain), tree.Overhead)
		}
		if got, err := tree.Open(secret, blob); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("got %.32x, %v, want %.32x", got, err, plain)
		}
		if got, err := tree.Open(other, blob); !errors.Is(err, tree.ErrUnreadable) || got != nil {
			t.Errorf("another secret: got %.32x, %v, want ErrUnreadable", got, err)
		}
	}
	if tree.Overhead != 60 {
		t.Errorf("got overhead %d, want 60", tree.Overhead)
	}
}

func TestSealingTwiceGivesTwoBlobs(t *testing.T) {
	a, errA := tree.Seal(bucket.Secret{1}, []byte("hello"))
	b, errB := tree.Seal(bucket.Secret{1}, []byte("hello"))
	if errA != nil || errB != nil || bytes.Equal(a[:12], b[:12]) {
		t.Errorf("got nonces %x and %x, %v, %v, want two different ones", a[:12], b[:12], errA, errB)
	}
}

func TestSealAndOpenLeaveTheirInputAlone(t *testing.T) {
	plain := []byte("hello")
	blob, err := tree.Seal(bucket.Secret{1}, plain)
	if err != nil || string(plain) != "hello" {
		t.Fatalf("Seal left %q, %v", plain, err)
	}
	before := slices.Clone(blob)
	if _, err := tree.Open(bucket.Secret{1}, blob); err != nil || !bytes.Equal(blob, before) {
		t.Errorf("Open left %x, %v, want %x", blob, err, before)
	}
}

func TestAlteredBlobIsUnreadable(t *testing.T) {
	secret := bucket.Secret{1}
	blob, err := tree.Seal(secret, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(blob) {
		bad := slices.Clone(blob)
		bad[i/8] ^= 1 << (i % 8)
		if got, err := tree.Open(secret, bad); !errors.Is(err, tree.ErrUnreadable) || got != nil {
			t.Errorf("bit %d: got %x, %v, want ErrUnreadable", i, got, err)
		}
	}
	for n := range blob {
		if got, err := tree.Open(secret, blob[:n]); !errors.Is(err, tree.ErrUnreadable) || got != nil {
			t.Errorf("%d bytes: got %x, %v, want ErrUnreadable", n, got, err)
		}
	}
	if _, err := tree.Open(secret, append(blob, 0)); !errors.Is(err, tree.ErrUnreadable) {
		t.Errorf("one byte more: got %v, want ErrUnreadable", err)
	}
}

// A message that is sound as ChaCha20-Poly1305 but has no room for the hash must not be taken, nor one whose hash is of
// another text.
func TestRightTagIsNotEnough(t *testing.T) {
	secret := bucket.Secret{1}
	aead, err := chacha20poly1305.New(secret[:])
	if err != nil {
		t.Fatal(err)
	}
	hash := bucket.Sum([]byte("hello"))
	short, full := strings.Repeat("x", 31), strings.Repeat("x", 32)
	for _, inner := range []string{"", "hello", short, full, string(hash[:]), string(hash[:]) + "hellO"} {
		nonce := make([]byte, 12)
		blob := aead.Seal(slices.Clone(nonce), nonce, []byte(inner), nil)
		if got, err := tree.Open(secret, blob); !errors.Is(err, tree.ErrUnreadable) || got != nil {
			t.Errorf("%d bytes under the tag: got %x, %v, want ErrUnreadable", len(inner), got, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, v := range readVectors(f) {
		if b, ok := v.Inputs["secret_hex"]; ok && strings.HasPrefix(v.Name, "encrypted_") && b != nil {
			f.Add([]byte(input[hexBytes](f, v, "secret_hex")), []byte(v.ExpectedHex))
		}
	}
	f.Fuzz(func(t *testing.T, key, data []byte) {
		var secret bucket.Secret
		copy(secret[:], key)
		plain, err := tree.Open(secret, data)
		if err != nil {
			if !errors.Is(err, tree.ErrUnreadable) || plain != nil {
				t.Fatalf("got %x, %v, want ErrUnreadable", plain, err)
			}
		} else if again, err := tree.SealWith(secret, [12]byte(data[:12]), plain); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("sealed again: got %x, %v, want %x", again, err, data)
		}
		checkSealing(t, secret, data)
	})
}

// checkSealing seals plain, opens it, alters one byte somewhere and opens it again.
func checkSealing(t *testing.T, secret bucket.Secret, plain []byte) {
	blob, err := tree.Seal(secret, plain)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tree.Open(secret, blob); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("got %x, %v, want %x", got, err, plain)
	}
	blob[int(blob[0])%len(blob)] ^= 0x80
	if got, err := tree.Open(secret, blob); !errors.Is(err, tree.ErrUnreadable) {
		t.Fatalf("altered: got %x, %v, want ErrUnreadable", got, err)
	}
}

func BenchmarkSeal(b *testing.B) {
	plain := make([]byte, 1<<20)
	b.SetBytes(int64(len(plain)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tree.Seal(bucket.Secret{1}, plain); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	blob, err := tree.Seal(bucket.Secret{1}, make([]byte, 1<<20))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tree.Open(bucket.Secret{1}, blob); err != nil {
			b.Fatal(err)
		}
	}
}
