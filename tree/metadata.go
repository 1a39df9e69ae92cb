package tree

import (
	"encoding/binary"
	"math"

	"headwater/bucket"
)

// maxDepth is how deep maps and arrays may be nested in an entry's metadata.
const maxDepth = 16

// metadata reads a map of any content, and returns a copy of its bytes.
func (r *reader) metadata() []byte {
	before := r.b
	if len(before) > 0 && before[0]>>5 != majorMap {
		r.refuse(bucket.Malformed, "something else where metadata belongs")
	}
	r.item(maxDepth)
	if r.err != nil {
		return nil
	}
	size := len(before) - len(r.b)
	if size > MaxMetadataSize {
		r.refuse(bucket.TooLarge, "metadata of %d bytes; the limit is %d", size, MaxMetadataSize)
		return nil
	}
	return append([]byte(nil), before[:size]...)
}

// item reads one data item of any kind that DAG-CBOR knows, in its canonical encoding.
func (r *reader) item(depth int) {
	if depth == 0 {
		r.refuse(bucket.TooLarge, "metadata nested deeper than %d levels", maxDepth)
		return
	}
	if len(r.b) > 0 {
		switch r.b[0] >> 5 {
		case majorTag:
			r.cid()
			return
		case majorSimple:
			r.simple()
			return
		}
	}
	switch major, n := r.head(); major {
	case majorBytes:
		r.take(n)
	case majorText:
		r.utf8(n)
	case majorArray:
		for ; n > 0 && r.err == nil; n-- {
			r.item(depth - 1)
		}
	case majorMap:
		r.pairs(n, depth-1)
	case majorUint, majorNegint: // the head is all there is
	}
}

// pairs reads what is in a map of n pairs.
func (r *reader) pairs(n uint64, depth int) {
	last := ""
	for i := uint64(0); i < n && r.err == nil; i++ {
		key := r.text(MaxMetadataSize, "a key of metadata")
		if i > 0 && compareKeys(last, key) >= 0 {
			r.refuse(bucket.NonCanonical, "metadata whose keys are not in order")
		}
		last = key
		r.item(depth)
	}
}

// simple reads false, true, null, or a finite float of 64 bits, which is the one width of DAG-CBOR.
func (r *reader) simple() {
	switch head := r.take(1)[0]; head {
	case simpleFalse, simpleTrue, simpleNull:
	case float64Head:
		b := r.take(8)
		if r.err != nil {
			return
		}
		if f := math.Float64frombits(binary.BigEndian.Uint64(b)); math.IsNaN(f) || math.IsInf(f, 0) {
			r.refuse(bucket.Malformed, "a number that is not finite")
		}
	default:
		r.refuse(bucket.Malformed, "a simple value %#x that DAG-CBOR does not have", head)
	}
}
