package bucket

import (
	"encoding/binary"

	"github.com/fxamacker/cbor/v2"
)

// The encodings of the format's own values in DAG-CBOR. Fixed arrays are arrays of integers, never byte strings, except for
// ids and wrapped secrets (serde's encoding of the original, which the links depend on).

// CBOR major types (RFC 8949 §3.1).
const (
	majorUint  = 0
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
	majorTag   = 6
)

// tagCID is the DAG-CBOR tag of a link.
const tagCID = 42

// readHead splits the head of a data item off b, in any width. ok is false if b does not begin with a definite head.
func readHead(b []byte) (major byte, arg uint64, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, 0, nil, false
	}
	major, low, b := b[0]>>5, b[0]&0x1f, b[1:]
	switch {
	case low < 24:
		return major, uint64(low), b, true
	case low == 24 && len(b) >= 1:
		return major, uint64(b[0]), b[1:], true
	case low == 25 && len(b) >= 2:
		return major, uint64(binary.BigEndian.Uint16(b)), b[2:], true
	case low == 26 && len(b) >= 4:
		return major, uint64(binary.BigEndian.Uint32(b)), b[4:], true
	case low == 27 && len(b) >= 8:
		return major, binary.BigEndian.Uint64(b), b[8:], true
	}
	return 0, 0, nil, false
}

// readBytes reads a byte string that fills b to its end.
func readBytes(b []byte) ([]byte, bool) {
	major, n, rest, ok := readHead(b)
	return rest, ok && major == majorBytes && n == uint64(len(rest))
}

// readInts fills dst from an array of as many integers below 256, in any width, that fills b to its end.
func readInts(dst, b []byte) bool {
	major, n, b, ok := readHead(b)
	if !ok || major != majorArray || n != uint64(len(dst)) {
		return false
	}
	for i := range dst {
		var v uint64
		if major, v, b, ok = readHead(b); !ok || major != 0 || v > 0xff {
			return false
		}
		dst[i] = byte(v)
	}
	return len(b) == 0
}

// appendInts writes src as an array of integers.
func appendInts(src []byte) []byte {
	out := make([]byte, 0, 3+2*len(src))
	out = append(out, majorArray<<5|24, byte(len(src)))
	for _, c := range src {
		if c > 23 {
			out = append(out, 24)
		}
		out = append(out, c)
	}
	return out
}

// MarshalCBOR writes a byte string of 16 bytes.
func (id ID) MarshalCBOR() ([]byte, error) { return append([]byte{majorBytes<<5 | 16}, id[:]...), nil }

// UnmarshalCBOR reads a byte string of 16 bytes; anything else is a [*Refusal] of class [Malformed].
func (id *ID) UnmarshalCBOR(b []byte) error {
	c, ok := readBytes(b)
	if !ok || len(c) != len(id) {
		return refuse(Malformed, "a bucket id that is no byte string of %d bytes", len(id))
	}
	copy(id[:], c)
	return nil
}

// MarshalCBOR writes tag 42 over a zero byte and the binary CID.
func (l Link) MarshalCBOR() ([]byte, error) {
	c := l.CID()
	return append([]byte{majorTag<<5 | 24, tagCID, majorBytes<<5 | 24, CIDSize + 1, 0}, c[:]...), nil
}

// UnmarshalCBOR reads what [Link.MarshalCBOR] writes, in any width of its heads. A link of another kind is a [*Refusal] of
// class [WrongCodec], anything else one of class [Malformed].
func (l *Link) UnmarshalCBOR(b []byte) (err error) {
	major, tag, rest, ok := readHead(b)
	if !ok || major != majorTag || tag != tagCID {
		return refuse(Malformed, "something else where a link belongs")
	}
	c, ok := readBytes(rest)
	if !ok || len(c) == 0 || c[0] != 0 {
		return refuse(Malformed, "a link without the bytes of a CID")
	}
	*l, err = LinkFromCID(c[1:])
	return err
}

// MarshalCBOR writes an array of 32 integers.
func (k PublicKey) MarshalCBOR() ([]byte, error) { return appendInts(k[:]), nil }

// UnmarshalCBOR reads an array of 32 integers; anything else is a [*Refusal] of class [Malformed].
func (k *PublicKey) UnmarshalCBOR(b []byte) error { return unmarshalInts(k[:], b, "a key") }

// MarshalCBOR writes an array of 64 integers.
func (s Signature) MarshalCBOR() ([]byte, error) { return appendInts(s[:]), nil }

// UnmarshalCBOR reads an array of 64 integers; anything else is a [*Refusal] of class [Malformed].
func (s *Signature) UnmarshalCBOR(b []byte) error { return unmarshalInts(s[:], b, "a signature") }

// MarshalCBOR writes an array of 32 integers.
func (s Secret) MarshalCBOR() ([]byte, error) { return appendInts(s[:]), nil }

// UnmarshalCBOR reads an array of 32 integers; anything else is a [*Refusal] of class [Malformed].
func (s *Secret) UnmarshalCBOR(b []byte) error { return unmarshalInts(s[:], b, "a secret") }

func unmarshalInts(dst, b []byte, what string) error {
	if !readInts(dst, b) {
		return refuse(Malformed, "%s that is no array of %d small integers", what, len(dst))
	}
	return nil
}

// MarshalCBOR writes a byte string of 72 bytes.
func (s SecretShare) MarshalCBOR() ([]byte, error) {
	return append([]byte{majorBytes<<5 | 24, SecretShareSize}, s[:]...), nil
}

// UnmarshalCBOR reads a byte string of 72 bytes; anything else is a [*Refusal] of class [Malformed].
func (s *SecretShare) UnmarshalCBOR(b []byte) error {
	c, ok := readBytes(b)
	if !ok || len(c) != len(s) {
		return refuse(Malformed, "a wrapped secret that is no byte string of %d bytes", len(s))
	}
	copy(s[:], c)
	return nil
}

// MarshalCBOR writes the role's name.
func (r Role) MarshalCBOR() ([]byte, error) {
	name := r.String()
	return append([]byte{majorText<<5 | byte(len(name))}, name...), nil
}

// UnmarshalCBOR reads a role's name; anything else is a [*Refusal] of class [Malformed].
func (r *Role) UnmarshalCBOR(b []byte) error {
	major, n, name, ok := readHead(b)
	if !ok || major != majorText || n != uint64(len(name)) {
		return refuse(Malformed, "a role that is no text")
	}
	role, err := ParseRole(string(name))
	if err != nil {
		return refuse(Malformed, "a role that does not exist: %.32q", name)
	}
	*r = role
	return nil
}

// codec is the pair of modes that DAG-CBOR needs of the library. The modes are immutable and safe for concurrent use.
type codec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

// newCodec makes the modes; they are fixed, so an error would be a mistake in this file, and surfaces in every test.
func newCodec(extra cbor.ExtraDecErrorCond) (codec, error) {
	enc, err := cbor.EncOptions{
		Sort:        cbor.SortLengthFirst, // the order of DAG-CBOR, shorter keys first
		IndefLength: cbor.IndefLengthForbidden,
	}.EncMode()
	if err != nil {
		return codec{}, err
	}
	dec, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		MaxNestedLevels:   16,
		MaxArrayElements:  4096,
		MaxMapPairs:       8192, // shares; within MaxManifestSize there is no room for more
		ExtraReturnErrors: extra,
		UTF8:              cbor.UTF8RejectInvalid,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		NaN:               cbor.NaNDecodeForbidden,
		Inf:               cbor.InfDecodeForbidden,
		BignumTag:         cbor.BignumTagForbidden,
		BinaryUnmarshaler: cbor.BinaryUnmarshalerNone,
	}.DecMode()
	return codec{enc, dec}, err
}
