package logstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
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

// MaxStarts is after how many starts that died inside Badger a log counts as damaged.
const MaxStarts = maxStarts

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

// CountRows counts the rows of a kind.
func (s *Badger) CountRows(kind byte) (n int, err error) {
	err = s.read(context.Background(), func(r reader) error {
		return r.scan([]byte{kind}, []byte{kind}, false, func([]byte, *badger.Item) (bool, error) {
			n++
			return true, nil
		})
	})
	return n, err
}

// MakeSchema1 takes away what schema 1 did not have, tips, uploads and announced heads, and adds what it had, a row for each link.
func (s *Badger) MakeSchema1() error {
	ctx := context.Background()
	rows := []row{{schemaKey(), encodeSchema(1)}}
	err := s.read(ctx, func(r reader) error {
		err := r.scan([]byte{kindEntry}, []byte{kindEntry}, false, func(key []byte, _ *badger.Item) (bool, error) {
			id, h, err := parseHeadKey(kindEntry, key)
			link := slices.Concat([]byte{kindLink}, id[:], h.Link[:])
			rows = append(rows, row{link, binary.BigEndian.AppendUint64(nil, h.Height)})
			return true, err
		})
		if err != nil {
			return err
		}
		for _, kind := range []byte{kindTip, kindUpload} {
			err := r.scan([]byte{kind}, []byte{kind}, false, func(key []byte, _ *badger.Item) (bool, error) {
				rows = append(rows, row{key: bytes.Clone(key)})
				return true, nil
			})
			if err != nil {
				return err
			}
		}
		return r.scanBuckets(bucket.ID{}, func(b Bucket) (bool, error) {
			value := encodeBucket(b)
			old := slices.Concat([]byte{1}, value[1:1+3*headSize], value[1+4*headSize:])
			rows = append(rows, row{bucketKey(kindBucket, b.ID), old})
			return true, nil
		})
	})
	if err != nil {
		return err
	}
	return s.log.commitAll(ctx, rows)
}

// Kill ends a log as if its process had died: nothing buffered is kept and no clean stop noted.
func (s *Badger) Kill() error {
	s.open.Lock()
	defer s.open.Unlock()
	s.closed = true
	s.log.snapshot.close()
	err := s.db.Close()
	if unlockErr := s.lock.Release(); err == nil {
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
	DecodeTipRow    = decodeTip
	EncodeTipRow    = encodeTip
	DecodeUploadRow = decodeUpload
	EncodeUploadRow = encodeUpload
	DecodeSchemaRow = decodeSchema
	EncodeSchemaRow = encodeSchema
	SchemaKey       = schemaKey
	HeadKey         = headKey
	MoveAside       = func(dir string, now time.Time) (string, error) { return moveAside(dir, now) }
)
