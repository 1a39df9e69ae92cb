package worktree

import (
	"bytes"

	"headwater/bucket"
)

// Stamp lets tests compare records whole.
type Stamp = stamp

// EncodeBody encodes a record without line and hash, which no fuzzer would guess.
func EncodeBody(r *Record, of string) ([]byte, error) {
	b, err := r.encode(of)
	if err != nil {
		return nil, err
	}
	return b[len(recordMagic)+len(bucket.Hash{}):], nil
}

// DecodeBody decodes it.
func DecodeBody(b []byte) (*Record, string, error) {
	h := bucket.Sum(b)
	return decodeRecord(bytes.Join([][]byte{[]byte(recordMagic), h[:], b}, nil))
}

// Encode encodes a record as it stands in its file.
func Encode(r *Record, of string) ([]byte, error) { return r.encode(of) }

// Decode decodes it.
func Decode(b []byte) (*Record, string, error) { return decodeRecord(b) }
