package logstore

import (
	"encoding/binary"
	"fmt"
	"time"

	"headwater/bucket"
)

// The first byte of every value is the version of its form. Of head rows there are two: version 1 has no announced head.
const (
	rowVersion       = 1
	bucketRowVersion = 2
)

// schemaVersion is the version of the rows as a whole. Schema 1 had no tip rows and no upload rows. Until schema 3 there was a row
// with the height of each link: half of all rows, and the half that is spread over all tables.
const schemaVersion = 3

// Flags of an entry row.
const (
	flagPublished = 1 << iota
	flagComplete
)

// flagMerged is the flag of a tip row.
const flagMerged = 1

// encodeEntry makes the value of an entry row; bucket, height and link stand in the key.
func encodeEntry(e Entry) []byte {
	var flags byte
	if e.Published {
		flags |= flagPublished
	}
	if e.Complete {
		flags |= flagComplete
	}
	b := make([]byte, 0, 2+2*linkSize+keySize+8+2+len(e.Name))
	b = append(b, rowVersion, flags)
	b = append(b, e.Previous[:]...)
	b = append(b, e.Author[:]...)
	b = append(b, e.Pins[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Added.UnixMilli()))
	return appendString(b, e.Name)
}

// decodeEntry reads an entry row. [ErrDamaged].
func decodeEntry(key, value []byte) (e Entry, err error) {
	id, h, err := parseHeadKey(kindEntry, key)
	if err != nil {
		return Entry{}, err
	}
	c := cursor{rest: value}
	c.version(rowVersion)
	flags := c.byte()
	e = Entry{
		Bucket: id, Link: h.Link, Height: h.Height,
		Previous: c.link(), Author: c.key(), Pins: c.link(), Added: c.time(), Name: c.text(MaxNameSize),
		Published: flags&flagPublished != 0, Complete: flags&flagComplete != 0,
	}
	c.bad = c.bad || flags&^(flagPublished|flagComplete) != 0 || e.Previous.IsZero() != (e.Height == 0)
	return e, c.end("version %s of bucket %s", h.Link, id)
}

// encodeSchema makes the value of the schema row.
func encodeSchema(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

// decodeSchema reads the schema row. [ErrDamaged].
func decodeSchema(value []byte) (uint32, error) {
	c := cursor{rest: value}
	v := c.count()
	return v, c.end("the schema")
}

// encodeBucket makes the value of a head row.
func encodeBucket(r Bucket) []byte {
	b := make([]byte, 0, 1+4*headSize+4*8+2+len(r.Name)+1)
	b = append(b, bucketRowVersion)
	for _, h := range []bucket.Head{r.Known, r.Complete, r.Published, r.Announced} {
		b = append(binary.BigEndian.AppendUint64(b, h.Height), h.Link[:]...)
	}
	for _, n := range []uint64{r.Versions, r.Forks, r.Pins.Needed, r.Pins.Bytes} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = appendString(b, r.Name)
	if r.Condition.IsZero() {
		return append(b, 0)
	}
	return appendCondition(append(b, 1), r.Condition)
}

// appendCondition appends a condition that is not zero.
func appendCondition(b []byte, c Condition) []byte {
	for _, s := range []string{c.State, c.Class, c.Reason} {
		b = appendString(b, s)
	}
	b = append(b, c.Link[:]...)
	b = binary.BigEndian.AppendUint64(b, c.Height)
	b = append(b, c.Peer[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(c.Since.UnixMilli()))
}

// decodeBucket reads a head row. [ErrDamaged].
func decodeBucket(key, value []byte) (r Bucket, err error) {
	id, err := parseBucketKey(key)
	if err != nil {
		return Bucket{}, err
	}
	c := cursor{rest: value}
	version := c.version(bucketRowVersion)
	r = Bucket{ID: id, Known: c.head(), Complete: c.head(), Published: c.head()}
	if version > 1 {
		r.Announced = c.head()
	}
	r.Versions, r.Forks, r.Pins = c.number(), c.number(), PinCount{Needed: c.number(), Bytes: c.number()}
	r.Name = c.text(MaxNameSize)
	if c.flag() {
		r.Condition = Condition{
			State: c.text(maxStateSize), Class: c.text(maxStateSize), Reason: c.text(maxReasonSize),
			Link: c.link(), Height: c.number(), Peer: c.key(), Since: c.time(),
		}
		c.bad = c.bad || r.Condition.IsZero()
	}
	c.bad = c.bad || r.isEmpty() || r.Known.IsZero() != (r.Versions == 0) || r.Forks > r.Versions
	return r, c.end("bucket %s", id)
}

// encodeJob makes the value of a job row; bucket, height and link stand in the key.
func encodeJob(j Job) []byte {
	b := make([]byte, 0, 2+4+linkSize+2+4+keySize*len(j.Peers))
	b = append(b, rowVersion, byte(j.State))
	b = binary.BigEndian.AppendUint32(b, j.Attempt)
	b = append(b, j.Pins[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(j.Stores)))
	for _, s := range j.Stores {
		b = appendString(b, s)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(j.Peers)))
	for _, p := range j.Peers {
		b = append(b, p[:]...)
	}
	return b
}

// decodeJob reads a job row. [ErrDamaged].
func decodeJob(key, value []byte) (j Job, err error) {
	id, h, err := parseHeadKey(kindJob, key)
	if err != nil {
		return Job{}, err
	}
	c := cursor{rest: value}
	c.version(rowVersion)
	j.State, j.Attempt = JobState(c.byte()), c.count()
	j.Bucket, j.Link, j.Height, j.Pins = id, h.Link, h.Height, c.link()
	for range c.items(2) {
		j.Stores = append(j.Stores, c.text(maxStoreSize))
	}
	for range c.items(keySize) {
		j.Peers = append(j.Peers, c.key())
	}
	c.bad = c.bad || j.State > JobDead
	return j, c.end("job %s of bucket %s", h.Link, id)
}

// encodeTip makes the value of a tip row; bucket, height and link stand in the key.
func encodeTip(t Tip) []byte {
	var flags byte
	if t.Merged {
		flags = flagMerged
	}
	return []byte{rowVersion, flags}
}

// decodeTip reads a tip row. [ErrDamaged].
func decodeTip(key, value []byte) (t Tip, err error) {
	id, h, err := parseHeadKey(kindTip, key)
	if err != nil {
		return Tip{}, err
	}
	c := cursor{rest: value}
	c.version(rowVersion)
	flags := c.byte()
	c.bad = c.bad || flags&^flagMerged != 0
	return Tip{Head: h, Merged: flags&flagMerged != 0}, c.end("tip %s of bucket %s", h.Link, id)
}

// encodeUpload makes the value of an upload row; bucket, height and link stand in the key.
func encodeUpload(u Upload) []byte {
	return binary.BigEndian.AppendUint32([]byte{rowVersion}, u.Attempt)
}

// decodeUpload reads an upload row. [ErrDamaged].
func decodeUpload(key, value []byte) (u Upload, err error) {
	id, h, err := parseHeadKey(kindUpload, key)
	if err != nil {
		return Upload{}, err
	}
	c := cursor{rest: value}
	c.version(rowVersion)
	u = Upload{Bucket: id, Link: h.Link, Height: h.Height, Attempt: c.count()}
	return u, c.end("upload %s of bucket %s", h.Link, id)
}

// appendString appends a string of at most 65,535 bytes behind its length.
func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// cursor reads a value from its beginning. Once something is missing or wrong it is bad, and reads zeros.
type cursor struct {
	rest []byte
	bad  bool
}

// take returns the next n bytes, or n zero bytes. n is never more than a fixed small number or what is left.
func (c *cursor) take(n int) []byte {
	if c.bad || n > len(c.rest) {
		c.bad = true
		return make([]byte, n)
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) byte() byte            { return c.take(1)[0] }
func (c *cursor) count() uint32         { return binary.BigEndian.Uint32(c.take(4)) }
func (c *cursor) number() uint64        { return binary.BigEndian.Uint64(c.take(8)) }
func (c *cursor) link() bucket.Link     { return bucket.Link(c.take(linkSize)) }
func (c *cursor) key() bucket.PublicKey { return bucket.PublicKey(c.take(keySize)) }
func (c *cursor) time() time.Time       { return time.UnixMilli(int64(c.number())).UTC() }

// version reads the version of a row's form, of which newest is the last one known.
func (c *cursor) version(newest byte) byte {
	v := c.byte()
	c.bad = c.bad || v == 0 || v > newest
	return v
}

func (c *cursor) flag() bool {
	f := c.byte()
	c.bad = c.bad || f > 1
	return f == 1
}

func (c *cursor) head() bucket.Head {
	h := bucket.Head{Height: c.number()}
	h.Link = c.link()
	return h
}

// text reads a string of at most limit bytes.
func (c *cursor) text(limit int) string {
	n := int(binary.BigEndian.Uint16(c.take(2)))
	if c.bad || n > limit || n > len(c.rest) {
		c.bad = true
		return ""
	}
	return string(c.take(n))
}

// items reads how many items follow, each of at least size bytes.
func (c *cursor) items(size int) int {
	n := uint64(c.count())
	if c.bad || n*uint64(size) > uint64(len(c.rest)) {
		c.bad = true
		return 0
	}
	return int(n)
}

// end returns [ErrDamaged] with the subject unless everything was read and right.
func (c *cursor) end(subject string, args ...any) error {
	if !c.bad && len(c.rest) == 0 {
		return nil
	}
	return fmt.Errorf("%w: the row of %s cannot be read", ErrDamaged, fmt.Sprintf(subject, args...))
}
