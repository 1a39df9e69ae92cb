package bucket_test

import (
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"

	"filippo.io/edwards25519"

	"headwater/bucket"
	"headwater/bucket/buckettest"
)

// checkSameVerdict compares what is said with a key's multiples at hand to what crypto/ed25519 says.
func checkSameVerdict(t *testing.T, f *bucket.Verifier, name string, k bucket.PublicKey, message []byte, sig bucket.Signature) (holds bool) {
	t.Helper()
	want := ed25519.Verify(k[:], message, sig[:])
	if got := bucket.HoldsByMultiples(f, k, message, sig); got != want {
		t.Errorf("%s: with multiples %v, crypto/ed25519 says %v: key %s, signature %x, message %x", name, got, want, k, sig, message)
	}
	return want
}

// The order of the group, little-endian: a signature whose S is larger by it is refused.
const groupOrder = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010"

func TestMultiplesAgreeOnSignaturesAndOnWhatIsNearly(t *testing.T) {
	f, r := new(bucket.Verifier), rand.New(rand.NewPCG(1, 2))
	for n := range 20 {
		id := buckettest.Identity(t, byte(n))
		k, message := id.PublicKey(), make([]byte, n*17)
		for i := range message {
			message[i] = byte(r.Uint32())
		}
		sig := id.Sign(message)
		if !checkSameVerdict(t, f, "a signature", k, message, sig) {
			t.Error("a signature does not hold")
		}
		for range 20 {
			bad := sig
			bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
			checkSameVerdict(t, f, "one bit of the signature", k, message, bad)
		}
		checkSameVerdict(t, f, "another message", k, append(message, 1), sig)
		order, _ := hex.DecodeString(groupOrder)
		bad, carry := sig, 0
		for i, o := range order {
			carry += int(bad[32+i]) + int(o)
			bad[32+i], carry = byte(carry), carry>>8
		}
		checkSameVerdict(t, f, "S and the order", k, message, bad)
	}
}

// Keys with a part of small order: some signatures under them hold and some do not, by how crypto/ed25519 looks at it.
func TestMultiplesAgreeOnKeysWithAPartOfSmallOrder(t *testing.T) {
	// Of order 8: RFC 8032 has no name for it; all others of small order are multiples.
	small, err := hex.DecodeString("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
	if err != nil {
		t.Fatal(err)
	}
	torsion, err := new(edwards25519.Point).SetBytes(small)
	if err != nil {
		t.Fatal(err)
	}
	f, held := new(bucket.Verifier), 0
	for n := range 8 {
		secret, _ := new(edwards25519.Scalar).SetUniformBytes(sumOf(fmt.Sprint("secret", n)))
		nonce, _ := new(edwards25519.Scalar).SetUniformBytes(sumOf(fmt.Sprint("nonce", n)))
		key := new(edwards25519.Point).ScalarBaseMult(secret)
		for range n {
			key.Add(key, torsion)
		}
		k := bucket.PublicKey(key.Bytes())
		for m := range 40 {
			message := fmt.Appendf(nil, "message %d", m)
			point := new(edwards25519.Point).ScalarBaseMult(nonce)
			if m%2 > 0 {
				point.Add(point, torsion)
			}
			rBytes := point.Bytes()
			challenge, _ := new(edwards25519.Scalar).SetUniformBytes(sumOf(string(rBytes) + string(k[:]) + string(message)))
			s := new(edwards25519.Scalar).MultiplyAdd(challenge, secret, nonce)
			sig := bucket.Signature(append(rBytes, s.Bytes()...))
			if checkSameVerdict(t, f, "small part", k, message, sig) {
				held++
			}
		}
	}
	if held < 20 || held == 8*40 {
		t.Errorf("%d of the signatures hold, want some and not all", held)
	}
	for _, k := range []string{ // of small order themselves, and a point that is not encoded in its one form
		"0100000000000000000000000000000000000000000000000000000000000000",
		"0000000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	} {
		b, err := hex.DecodeString(k)
		if err != nil {
			t.Fatal(err)
		}
		checkSameVerdict(t, f, "small order", bucket.PublicKey(b), nil, bucket.Signature{})
		checkSameVerdict(t, f, "small order", bucket.PublicKey(b), nil, bucket.Signature(append(b, make([]byte, 32)...)))
	}
}

func sumOf(s string) []byte {
	sum := sha512.Sum512([]byte(s))
	return sum[:]
}

// An opener comes to the same end for the first signature of a key and for the thousandth, good or bad.
func TestOpenerJudgesAllSignaturesAlike(t *testing.T) {
	c := buckettest.New(t, buckettest.Identity(t, 1)).Grow(t, 300)
	var o bucket.Opener
	for i, v := range c.Versions {
		again, err := o.Open(v.Link, v.Encoded())
		if err == nil {
			err = again.VerifySignature()
		}
		if err != nil {
			t.Fatalf("version %d: %v", i, err)
		}
		forged := v.Manifest
		sig := *v.Signature
		sig[i%64] ^= 1
		forged.Signature = &sig
		b, err := forged.Encode()
		if err != nil {
			t.Fatal(err)
		}
		w, err := o.Open(bucket.ManifestLink(b), b)
		if err == nil {
			err = w.VerifySignature()
		}
		if got := bucket.ClassOf(err); got != bucket.BadSignature {
			t.Errorf("version %d with one bit of its signature changed: got class %q (%v), want %q", i, got, err, bucket.BadSignature)
		}
	}
}

// FuzzMultiples: whatever is presented as key, message and signature, both ways say the same.
func FuzzMultiples(f *testing.F) {
	for n := range byte(4) {
		id := buckettest.Identity(f, n)
		message := []byte{n, 2, 3}
		sig, k := id.Sign(message), id.PublicKey()
		f.Add(k[:], message, sig[:])
	}
	v := new(bucket.Verifier)
	f.Fuzz(func(t *testing.T, k, message, sig []byte) {
		if len(k) == 32 && len(sig) == 64 {
			checkSameVerdict(t, v, "fuzzed", bucket.PublicKey(k), message, bucket.Signature(sig))
		}
	})
}
