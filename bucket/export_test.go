package bucket

// EncodeShare and EncodePrincipal give the tests the encodings of what stands only inside manifests.
func EncodeShare(s Share) ([]byte, error) {
	c, err := strictCodec()
	if err != nil {
		return nil, err
	}
	return c.enc.Marshal(wireShare{s.Secret, &wirePrincipal{&s.Role, &s.Identity}})
}

func EncodePrincipal(s Share) ([]byte, error) {
	c, err := strictCodec()
	if err != nil {
		return nil, err
	}
	return c.enc.Marshal(wirePrincipal{&s.Role, &s.Identity})
}

// DecodeCanonical is the short way into a manifest.
func DecodeCanonical(b []byte) (*Manifest, bool) { return decodeCanonical(b, (*PublicKey).onCurve) }

// Verifier is a verifier.
type Verifier = verifier

// HoldsByMultiples says what a verifier says of a key whose multiples it has.
func HoldsByMultiples(f *Verifier, k PublicKey, message []byte, sig Signature) bool {
	for range manySignatures {
		f.of(k)
	}
	return f.holds(k, message, sig)
}
