package logstore

import (
	"encoding/binary"
	"fmt"
	"slices"

	"headwater/bucket"
)

// cursor returns the upload's place in the outbox.
func (u Upload) cursor() jobCursor {
	return jobCursor{u.Bucket, bucket.Head{Link: u.Link, Height: u.Height}}
}

// checkOwn checks the arguments of [Uploads.AppendOwn] against each other.
func checkOwn(e Entry, job *Job, held *PinCount) error {
	if (job == nil) == (held == nil) {
		return fmt.Errorf("version %s made here: it is either complete or has a pin job", e.Link)
	}
	return checkAppend([]Entry{e}, job)
}

// follows reports, as [ErrStale], that a version made here does not follow on the known head.
func (b Bucket) follows(e Entry) error {
	if e.Previous != b.Known.Link {
		return fmt.Errorf("%w: version %s at height %d does not follow on %s at height %d", ErrStale, e.Link, e.Height,
			b.Known.Link, b.Known.Height)
	}
	return nil
}

// announced moves the announced head to h if that is the greater one, and reports whether it was.
func (b *Bucket) announced(h bucket.Head) bool {
	if h.Compare(b.Announced) <= 0 {
		return false
	}
	b.Announced = h
	return true
}

// sortTips puts the greatest tip first.
func sortTips(tips []Tip) {
	slices.SortFunc(tips, func(x, y Tip) int { return y.Head.Compare(x.Head) })
}

// encodeTip makes the value of a tip row; bucket, height and link stand in the key.
func encodeTip(merged bool) []byte {
	if merged {
		return []byte{rowVersion, 1}
	}
	return []byte{rowVersion, 0}
}

// decodeTip reads a tip row. [ErrDamaged].
func decodeTip(key, value []byte) (t Tip, err error) {
	id, h, err := parseHeadKey(kindTip, key)
	if err != nil {
		return t, err
	}
	c := cursor{rest: value}
	c.version()
	t = Tip{Head: h, Merged: c.flag()}
	return t, c.end("tip %s of bucket %s", h.Link, id)
}

// encodeUpload makes the value of an upload row; bucket, height and link stand in the key.
func encodeUpload(u Upload) []byte {
	return binary.BigEndian.AppendUint32([]byte{rowVersion}, u.Attempt)
}

// decodeUpload reads an upload row. [ErrDamaged].
func decodeUpload(key, value []byte) (u Upload, err error) {
	id, h, err := parseHeadKey(kindUpload, key)
	if err != nil {
		return u, err
	}
	c := cursor{rest: value}
	c.version()
	u = Upload{Bucket: id, Link: h.Link, Height: h.Height, Attempt: c.count()}
	return u, c.end("upload %s of bucket %s", h.Link, id)
}
