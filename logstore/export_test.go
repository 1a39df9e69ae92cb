package logstore

import (
	"context"
	"time"

	"github.com/dgraph-io/badger/v4"

	"headwater/bucket"
)

// OpenSmall opens a log whose transactions hold few hundred versions, and that writes tables often.
func OpenSmall(cfg Config) (*Badger, error) {
	set := production()
	set.memTable = 1 << 20
	return openBadger(cfg, set)
}

// OpenWith opens a log with another way to open Badger.
func OpenWith(cfg Config, open func(badger.Options) (*badger.DB, error)) (*Badger, error) {
	set := production()
	set.open = open
	return openBadger(cfg, set)
}

// SetRow writes a row past all checks, or removes it.
func (s *Badger) SetRow(key, value []byte) error {
	return s.log.commit(context.Background(), []row{{key, value}})
}

// Kill ends a log as if its process had died: nothing buffered is kept and no clean stop noted.
func (s *Badger) Kill() error {
	s.open.Lock()
	defer s.open.Unlock()
	s.closed = true
	s.log.snapshot.close()
	err := s.db.Close()
	if unlockErr := s.lock.Unlock(); err == nil {
		err = unlockErr
	}
	return err
}

// What the tests of single rows and files need to name.
var (
	DecodeEntryRow  = decodeEntry
	EncodeEntryRow  = encodeEntry
	DecodeBucketRow = decodeBucket
	EncodeBucketRow = encodeBucket
	DecodeJobRow    = decodeJob
	EncodeJobRow    = encodeJob
	DecodeHeightRow = decodeHeight
	EncodeHeightRow = encodeHeight
	DecodeSchemaRow = decodeSchema
	EncodeSchemaRow = encodeSchema
	SchemaKey       = schemaKey
	DecodeTipRow    = decodeTip
	EncodeTipRow    = encodeTip
	DecodeUploadRow = decodeUpload
	EncodeUploadRow = encodeUpload
	TipKey          = func(id bucket.ID, h bucket.Head) []byte { return headKey(kindTip, id, h) }
	HeadRowKey      = func(id bucket.ID) []byte { return bucketKey(kindBucket, id) }
	LinkKey         = linkKey
	MoveAside       = func(dir string, now time.Time) (string, error) { return moveAside(dir, now) }
)
