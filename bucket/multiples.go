package bucket

import (
	"bytes"
	"crypto/sha512"
	"sync"

	"filippo.io/edwards25519"
)

// multiples is a table that multiplies a point by any scalar with additions alone: for each byte of a scalar, it has the multiples
// of the point that the byte may stand for. It takes 1.3 MB, and as long to make as some fifty signatures take to check.
type multiples [32][255]edwards25519.Point

func newMultiples(p *edwards25519.Point) *multiples {
	m := new(multiples)
	unit := new(edwards25519.Point).Set(p)
	for i := range m {
		m[i][0].Set(unit)
		for d := 1; d < len(m[i]); d++ {
			m[i][d].Add(&m[i][d-1], unit)
		}
		unit.Add(&m[i][len(m[i])-1], unit)
	}
	return m
}

// addTo adds the point, multiplied by a scalar, to sum. The scalar is 32 bytes, little-endian. How long it takes depends on
// the scalar, which is no secret here.
func (m *multiples) addTo(sum *edwards25519.Point, scalar []byte) {
	for i, d := range scalar {
		if d != 0 {
			sum.Add(sum, &m[i][d-1])
		}
	}
}

// Limits on what a verifier keeps.
const (
	// manySignatures is how many signatures of a key are checked before its multiples are made.
	manySignatures = 128
	// maxMultiples is how many keys' multiples are kept, 10 MiB.
	maxMultiples = 8
	// maxSigners is how many keys' signatures are counted.
	maxSigners = 1024
)

// verifier checks the signatures of keys that have signed many, more than twice as fast as others, and with the same result. The
// zero verifier is ready. Safe for concurrent use.
type verifier struct {
	mu      sync.RWMutex
	base    *multiples               // of the generator of the group; nil until it is needed
	keys    map[PublicKey]*multiples // of the negated point of a key; nil while they are being made, or if there is none
	signers map[PublicKey]int
}

// holds reports whether sig is k's signature over message, as [crypto/ed25519.Verify] does. False may also mean that k has no
// multiples yet.
func (f *verifier) holds(k PublicKey, message []byte, sig Signature) bool {
	base, key := f.of(k)
	if key == nil {
		return false
	}
	if _, err := new(edwards25519.Scalar).SetCanonicalBytes(sig[32:]); err != nil {
		return false
	}
	h := sha512.New()
	h.Write(sig[:32])
	h.Write(k[:])
	h.Write(message)
	challenge, err := new(edwards25519.Scalar).SetUniformBytes(h.Sum(nil))
	if err != nil {
		return false
	}
	r := edwards25519.NewIdentityPoint()
	base.addTo(r, sig[32:])
	key.addTo(r, challenge.Bytes())
	return bytes.Equal(r.Bytes(), sig[:32])
}

// of returns the multiples of the generator and of a key; key is nil if there are none. For a key that comes often, it makes them.
func (f *verifier) of(k PublicKey) (base, key *multiples) {
	f.mu.RLock()
	base, key, known := f.base, f.keys[k], false
	if key == nil {
		_, known = f.keys[k]
	}
	f.mu.RUnlock()
	if key != nil || known || !f.count(k) {
		return base, key
	}
	p, err := new(edwards25519.Point).SetBytes(k[:])
	if err != nil {
		return nil, nil
	}
	key = newMultiples(p.Negate(p))
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.base == nil {
		f.base = newMultiples(edwards25519.NewGeneratorPoint())
	}
	f.keys[k] = key
	return f.base, key
}

// count counts a signature, and reports whether the caller must make the key's multiples now.
func (f *verifier) count(k PublicKey) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.keys[k]; known {
		return false
	}
	if f.signers == nil || len(f.signers) >= maxSigners {
		f.signers = map[PublicKey]int{}
	}
	if f.signers[k]++; f.signers[k] < manySignatures {
		return false
	}
	if f.keys == nil || len(f.keys) >= maxMultiples {
		f.keys = map[PublicKey]*multiples{}
	}
	delete(f.signers, k)
	f.keys[k] = nil
	return true
}
