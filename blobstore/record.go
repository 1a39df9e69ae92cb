package blobstore

import (
	"encoding/binary"

	"headwater/bucket"
)

// A segment is a header and then records, one behind the other. A record is a header and, for a blob, its bytes:
//
//	 0  4  magic
//	 4  1  kind
//	 5  3  zero
//	 8  4  length: of this blob; of a tombstone the length of the blob it buries, nothing follows its header
//	12  4  segment where the blob was before: of a tombstone the buried one, of a blob moved by a rewrite its origin, else 0
//	16 32  hash
//	48  8  check: BLAKE3 of the store's salt, the segment's number, the record's offset and the bytes before
//
// Numbers are little-endian. The check makes a header valid in one place only: bytes that look like a header inside a blob,
// by accident or by intent, are not taken for one when a scan searches for its way past damage.
const (
	headerSize   = 56
	checkedSize  = 48
	recordMagic  = "hwB\xb1"
	kindBlob     = 1
	kindTomb     = 2
	saltSize     = 16
	checkSize    = 8
	preambleSize = len(segmentMagic) + saltSize + checkSize
	segmentMagic = "HWSEG\x00\x00\x01"
)

// record is the header of a record.
type record struct {
	kind   byte
	length uint32
	origin uint32
	hash   bucket.Hash
}

// size returns the bytes of the whole record.
func (r record) size() int64 {
	if r.kind == kindTomb {
		return headerSize
	}
	return blobRecordSize(r.length)
}

// blobRecordSize returns the bytes of the record of a blob of that length.
func blobRecordSize(length uint32) int64 { return headerSize + int64(length) }

// stamp makes and verifies the checks of one segment.
type stamp struct {
	salt    [saltSize]byte
	segment uint32
}

func (s stamp) check(offset int64, head []byte) [checkSize]byte {
	var b [saltSize + 4 + 8 + checkedSize]byte
	n := copy(b[:], s.salt[:])
	binary.LittleEndian.PutUint32(b[n:], s.segment)
	binary.LittleEndian.PutUint64(b[n+4:], uint64(offset))
	copy(b[n+12:], head[:checkedSize])
	sum := bucket.Sum(b[:])
	return [checkSize]byte(sum[:checkSize])
}

// append appends the header of a record that begins at offset.
func (s stamp) append(b []byte, offset int64, r record) []byte {
	start := len(b)
	b = append(b, recordMagic...)
	b = append(b, r.kind, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, r.length)
	b = binary.LittleEndian.AppendUint32(b, r.origin)
	b = append(b, r.hash[:]...)
	sum := s.check(offset, b[start:])
	return append(b, sum[:]...)
}

// parse reads the header of a record at offset, and reports whether it is sound there.
func (s stamp) parse(b []byte, offset int64) (record, bool) {
	if len(b) < headerSize || string(b[:4]) != recordMagic {
		return record{}, false
	}
	if s.check(offset, b) != [checkSize]byte(b[checkedSize:headerSize]) {
		return record{}, false
	}
	r := record{
		kind:   b[4],
		length: binary.LittleEndian.Uint32(b[8:]),
		origin: binary.LittleEndian.Uint32(b[12:]),
		hash:   bucket.Hash(b[16:checkedSize]),
	}
	sound := (r.kind == kindBlob || r.kind == kindTomb) && r.length <= SmallSize
	return r, sound
}

// preamble returns what a segment begins with: magic and salt, so that a store whose format file is damaged is not lost.
func preamble(salt [saltSize]byte) []byte {
	b := append([]byte(segmentMagic), salt[:]...)
	sum := bucket.Sum(b)
	return append(b, sum[:checkSize]...)
}

// parsePreamble returns the salt of a segment whose preamble is sound.
func parsePreamble(b []byte) (salt [saltSize]byte, ok bool) {
	if len(b) < preambleSize {
		return salt, false
	}
	copy(salt[:], b[len(segmentMagic):])
	return salt, string(preamble(salt)) == string(b[:preambleSize])
}
