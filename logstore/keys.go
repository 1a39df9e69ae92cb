package logstore

import (
	"encoding/binary"
	"fmt"

	"headwater/bucket"
)

// Every row's key begins with its kind. Integers are big-endian, so that the order of keys is the order of heights; a link is
// its 33 bytes, so that it is the order of links too. Kinds 02 and 04 stay free: until schema 3, 04 were the heights of links.
//
//	00 "schema"                       version of the rows
//	01 bucket[16]                     head row: what Bucket says
//	03 bucket[16] height[8] link[33]  entry row
//	05 bucket[16] height[8] link[33]  job row
//	06 bucket[16] height[8] link[33]  tip row: of every tip but the known head, which the head row names
//	07 bucket[16] height[8] link[33]  upload row
const (
	kindSchema byte = 0x00
	kindBucket byte = 0x01
	kindEntry  byte = 0x03
	kindJob    byte = 0x05
	kindTip    byte = 0x06
	kindUpload byte = 0x07
)

const (
	idSize   = len(bucket.ID{})
	linkSize = len(bucket.Link{})
	keySize  = len(bucket.PublicKey{})
	headSize = 8 + linkSize
)

// schemaKey is the key of the schema row.
func schemaKey() []byte { return append([]byte{kindSchema}, "schema"...) }

// bucketKey is the key of a bucket's row of that kind, or the prefix of its rows.
func bucketKey(kind byte, id bucket.ID) []byte {
	return append(append(make([]byte, 0, 1+idSize+headSize), kind), id[:]...)
}

// heightKey is the prefix of a bucket's rows of that kind and height.
func heightKey(kind byte, id bucket.ID, height uint64) []byte {
	return binary.BigEndian.AppendUint64(bucketKey(kind, id), height)
}

// headKey is the key of one version's row of that kind.
func headKey(kind byte, id bucket.ID, h bucket.Head) []byte {
	return append(heightKey(kind, id, h.Height), h.Link[:]...)
}

// parseBucketKey reads the bucket of a head row's key.
func parseBucketKey(key []byte) (bucket.ID, error) {
	if len(key) != 1+idSize || key[0] != kindBucket {
		return bucket.ID{}, fmt.Errorf("%w: no key of a bucket: %x", ErrDamaged, clipBytes(key))
	}
	return bucket.ID(key[1:]), nil
}

// parseHeadKey reads what [headKey] writes.
func parseHeadKey(kind byte, key []byte) (id bucket.ID, h bucket.Head, err error) {
	if len(key) != 1+idSize+headSize || key[0] != kind {
		return id, h, fmt.Errorf("%w: no key of a version: %x", ErrDamaged, clipBytes(key))
	}
	id = bucket.ID(key[1 : 1+idSize])
	h.Height = binary.BigEndian.Uint64(key[1+idSize:])
	h.Link = bucket.Link(key[1+idSize+8:])
	return id, h, nil
}

// clipBytes bounds what an error shows of a row.
func clipBytes(b []byte) []byte { return b[:min(len(b), 80)] }
