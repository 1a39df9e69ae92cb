package tree

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"headwater/bucket"
)

// DAG-CBOR by hand: an operation log has maps as keys, which our library does not read, and a reader that knows the
// one encoding it takes needs neither reflection nor a second encoding to compare with.

// CBOR major types (RFC 8949 §3.1).
const (
	majorUint   = 0
	majorNegint = 1
	majorBytes  = 2
	majorText   = 3
	majorArray  = 4
	majorMap    = 5
	majorTag    = 6
	majorSimple = 7
)

const (
	simpleFalse = 0xf4
	simpleTrue  = 0xf5
	simpleNull  = 0xf6
	float64Head = 0xfb

	tagCID = 42

	linkSize      = 5 + bucket.CIDSize // a link, encoded
	minSecretSize = 2 + 32             // a key or secret of bytes below 24, encoded
	maxCIDSize    = 256                // beyond it no hash function is known
)

// appendHead writes the head of a data item in its shortest form.
func appendHead(b []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|24, byte(n))
	case n <= math.MaxUint16:
		return append(b, major|25, byte(n>>8), byte(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, majorText, uint64(len(s))), s...)
}

// appendInts writes bytes as the array of integers that keys and secrets are.
func appendInts(b, p []byte) []byte {
	b = appendHead(b, majorArray, uint64(len(p)))
	for _, c := range p {
		b = appendHead(b, majorUint, uint64(c))
	}
	return b
}

func appendLink(b []byte, l bucket.Link) []byte {
	c := l.CID()
	b = appendHead(b, majorTag, tagCID)
	b = append(appendHead(b, majorBytes, bucket.CIDSize+1), 0)
	return append(b, c[:]...)
}

// reader takes canonical bytes apart from front to back. The first refusal stays in err; from then on there is nothing
// left to read and every method returns a zero value, so callers look at err once per item.
type reader struct {
	b   []byte
	err error
}

func (r *reader) refuse(c bucket.Class, format string, args ...any) {
	if r.err == nil {
		r.err = refuse(c, format, args...)
	}
	r.b = nil
}

// end refuses bytes behind the item.
func (r *reader) end() error {
	if len(r.b) > 0 {
		r.refuse(bucket.Malformed, "%d bytes behind the end", len(r.b))
	}
	return r.err
}

// head reads the head of a data item, which must have its shortest form. It is not for floats.
func (r *reader) head() (major byte, arg uint64) {
	if len(r.b) == 0 {
		r.refuse(bucket.Malformed, "bytes that end too soon")
		return 0, 0
	}
	major, low := r.b[0]>>5, r.b[0]&0x1f
	r.b = r.b[1:]
	if low < 24 {
		return major, uint64(low)
	}
	if low > 27 {
		r.refuse(bucket.Malformed, "a length that is indefinite or reserved")
		return 0, 0
	}
	width := 1 << (low - 24)
	for _, c := range r.take(uint64(width)) {
		arg = arg<<8 | uint64(c)
	}
	if r.err == nil && (arg < 24 || width > 1 && arg>>(4*width) == 0) {
		r.refuse(bucket.NonCanonical, "a number that is not in its shortest form")
	}
	return major, arg
}

// take returns the next n bytes, which still belong to the input.
func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.refuse(bucket.Malformed, "bytes that end too soon")
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

// want reads a head of the major type and returns its argument.
func (r *reader) want(major byte, what string) uint64 {
	got, n := r.head()
	if r.err == nil && got != major {
		r.refuse(bucket.Malformed, "something else where %s belongs", what)
	}
	if r.err != nil {
		return 0
	}
	return n
}

// exactly reads the head of an array or map of n items.
func (r *reader) exactly(major byte, n uint64, what string) {
	if got := r.want(major, what); r.err == nil && got != n {
		r.refuse(bucket.Malformed, "%s of %d items in place of %d", what, got, n)
	}
}

// count reads the head of a map whose pairs take at least least bytes each.
func (r *reader) count(limit, least int, what string) int {
	n := r.want(majorMap, what)
	if n > uint64(limit) {
		r.refuse(bucket.TooLarge, "%s of %d items; the limit is %d", what, n, limit)
	} else if n > uint64(len(r.b)/least) {
		r.refuse(bucket.Malformed, "bytes that end too soon")
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

// field reads a map's next key, which must be name.
func (r *reader) field(name string) {
	if n := r.want(majorText, "a field"); r.err == nil && string(r.take(min(n, uint64(len(r.b))))) != name {
		r.refuse(bucket.Malformed, "something else where the field %q belongs", name)
	}
}

// text reads a text of at most limit bytes.
func (r *reader) text(limit int, what string) string {
	n := r.want(majorText, what)
	if n > uint64(limit) {
		r.refuse(bucket.TooLarge, "%s of %d bytes; the limit is %d", what, n, limit)
	}
	return r.utf8(n)
}

func (r *reader) utf8(n uint64) string {
	b := r.take(n)
	if !utf8.Valid(b) {
		r.refuse(bucket.Malformed, "text that is not UTF-8")
	}
	return string(b)
}

// null reads a null if there is one.
func (r *reader) null() bool {
	if len(r.b) == 0 || r.b[0] != simpleNull {
		return false
	}
	r.b = r.b[1:]
	return true
}

// ints reads an array of 32 integers, which is what keys and secrets are.
func (r *reader) ints(what string) (out [32]byte) {
	r.exactly(majorArray, uint64(len(out)), what)
	for i := range out {
		switch b := r.b; { // the two good forms by hand, since most of all bytes are here
		case len(b) > 0 && b[0] < 24:
			out[i], r.b = b[0], b[1:]
		case len(b) > 1 && b[0] == 24 && b[1] >= 24:
			out[i], r.b = b[1], b[2:]
		default:
			if r.want(majorUint, what); r.err == nil {
				r.refuse(bucket.Malformed, "%s with a number above 255", what)
			}
			return [32]byte{}
		}
	}
	return out
}

// cid reads tag 42 and returns the bytes of the CID.
func (r *reader) cid() []byte {
	if tag := r.want(majorTag, "a link"); r.err == nil && tag != tagCID {
		r.refuse(bucket.Malformed, "something else where a link belongs")
	}
	n := r.want(majorBytes, "a CID")
	if n > maxCIDSize {
		r.refuse(bucket.Malformed, "bytes that are no CID")
	}
	b := r.take(n)
	if r.err == nil && (len(b) < 2 || b[0] != 0) {
		r.refuse(bucket.Malformed, "bytes that are no CID")
	}
	if r.err != nil {
		return nil
	}
	return b[1:]
}

// link reads a link to a raw blob, which is what all encrypted blobs are.
func (r *reader) link() bucket.Link {
	c := r.cid()
	if r.err != nil {
		return bucket.Link{}
	}
	l, err := bucket.LinkFromCID(c)
	if err == nil {
		err = checkLink(l)
	}
	if err != nil {
		r.err, r.b = err, nil
		return bucket.Link{}
	}
	return l
}

// checkLink demands a link to a raw blob.
func checkLink(l bucket.Link) error {
	if l.Codec() != bucket.CodecRaw {
		return refuse(bucket.WrongCodec, "a link of codec %#x where one to a raw blob belongs", byte(l.Codec()))
	}
	return nil
}
