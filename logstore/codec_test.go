package logstore_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/bucket"
	"headwater/logstore"
)

// link returns a link of one repeated byte.
func link(c bucket.Codec, b byte) bucket.Link {
	return bucket.NewLink(c, bucket.Hash(bytes.Repeat([]byte{b}, 32)))
}

func sampleEntry() logstore.Entry {
	return logstore.Entry{
		Bucket: bucket.ID{1, 2}, Link: link(bucket.CodecDagCBOR, 0x11), Height: 258, Previous: link(bucket.CodecDagCBOR, 0x22),
		Author: bucket.PublicKey{0x33}, Pins: link(bucket.CodecRaw, 0x44), Name: "né", Published: true, Complete: true,
		Added: time.UnixMilli(1_700_000_000_123).UTC(),
	}
}

func sampleBucket() logstore.Bucket {
	return logstore.Bucket{
		ID: bucket.ID{1, 2}, Name: "né", Known: bucket.Head{Link: link(bucket.CodecDagCBOR, 0x11), Height: 9},
		Complete:  bucket.Head{Link: link(bucket.CodecDagCBOR, 0x22), Height: 8},
		Published: bucket.Head{Link: link(bucket.CodecDagCBOR, 0x33), Height: 7},
		Announced: bucket.Head{Link: link(bucket.CodecDagCBOR, 0x44), Height: 6},
		Versions:  12, Forks: 2, Pins: logstore.PinCount{Needed: 5, Bytes: 6},
		Condition: logstore.Condition{
			State: "blocked", Class: "retry", Reason: "why", Link: link(bucket.CodecDagCBOR, 0x55), Height: 10,
			Peer: bucket.PublicKey{0x66}, Since: time.UnixMilli(1_700_000_000_456).UTC(),
		},
	}
}

func sampleJob() logstore.Job {
	return logstore.Job{
		PinJob: bucket.PinJob{
			Bucket: bucket.ID{1, 2}, Link: link(bucket.CodecDagCBOR, 0x11), Height: 258, Pins: link(bucket.CodecRaw, 0x44),
			Stores: []string{"hub/blobs", ""}, Peers: []bucket.PublicKey{{0x77}, {0x88}},
		},
		State: logstore.JobDead, Attempt: 3,
	}
}

func sampleTip() logstore.Tip {
	return logstore.Tip{Head: bucket.Head{Link: link(bucket.CodecDagCBOR, 0x11), Height: 258}, Merged: true}
}

func sampleUpload() logstore.Upload {
	return logstore.Upload{Bucket: bucket.ID{1, 2}, Link: link(bucket.CodecDagCBOR, 0x11), Height: 258, Attempt: 4}
}

const (
	bucketHex = "01020000000000000000000000000000"
	digest11  = "1111111111111111111111111111111111111111111111111111111111111111"
	digest22  = "2222222222222222222222222222222222222222222222222222222222222222"
	digest33  = "3333333333333333333333333333333333333333333333333333333333333333"
	digest44  = "4444444444444444444444444444444444444444444444444444444444444444"
	digest55  = "5555555555555555555555555555555555555555555555555555555555555555"
	zeros31   = "00000000000000000000000000000000000000000000000000000000000000"
)

func fromHex(tb testing.TB, parts ...string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.Join(parts, ""))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// versionKey is the key of the version's row of a kind.
func versionKey(tb testing.TB, kind string) []byte {
	return fromHex(tb, kind, bucketHex, "0000000000000102", "71", digest11)
}
func entryKey(tb testing.TB) []byte { return versionKey(tb, "03") }
func jobKey(tb testing.TB) []byte   { return versionKey(tb, "05") }
func headKey(tb testing.TB) []byte  { return fromHex(tb, "01", bucketHex) }

// TestRowsKeepTheirBytes holds what is on people's disks.
func TestRowsKeepTheirBytes(t *testing.T) {
	entryRow := fromHex(t, "01", "03", "71", digest22, "33", zeros31, "55", digest44, "0000018bcfe5687b", "0003", "6ec3a9")
	heads := "0000000000000009" + "71" + digest11 + "0000000000000008" + "71" + digest22 + "0000000000000007" + "71" + digest33
	rest := strings.Join([]string{
		"000000000000000c", "0000000000000002", "0000000000000005", "0000000000000006",
		"0003", "6ec3a9", "01", "0007", hex.EncodeToString([]byte("blocked")), "0005", hex.EncodeToString([]byte("retry")),
		"0003", hex.EncodeToString([]byte("why")), "71", digest55, "000000000000000a", "66", zeros31, "0000018bcfe569c8",
	}, "")
	bucketRow := fromHex(t, "02", heads, "0000000000000006", "71", digest44, rest)
	oldBucketRow := fromHex(t, "01", heads, rest) // no announced head
	tipRow, uploadRow := fromHex(t, "01", "01"), fromHex(t, "01", "00000004")
	jobRow := fromHex(t, "01", "02", "00000003", "55", digest44, "00000002", "0009", hex.EncodeToString([]byte("hub/blobs")),
		"0000", "00000002", "77", zeros31, "88", zeros31)
	for name, row := range map[string]struct{ got, want []byte }{
		"entry":  {logstore.EncodeEntryRow(sampleEntry()), entryRow},
		"bucket": {logstore.EncodeBucketRow(sampleBucket()), bucketRow},
		"job":    {logstore.EncodeJobRow(sampleJob()), jobRow},
		"tip":    {logstore.EncodeTipRow(sampleTip()), tipRow},
		"upload": {logstore.EncodeUploadRow(sampleUpload()), uploadRow},
		"schema": {logstore.EncodeSchemaRow(1), fromHex(t, "00000001")},
	} {
		if !bytes.Equal(row.got, row.want) {
			t.Errorf("%s: got\n%x, want\n%x", name, row.got, row.want)
		}
	}
	e, err := logstore.DecodeEntryRow(entryKey(t), entryRow)
	if d := cmp.Diff(sampleEntry(), e); d != "" || err != nil {
		t.Errorf("entry: %v (-want +got):\n%s", err, d)
	}
	b, err := logstore.DecodeBucketRow(headKey(t), bucketRow)
	if d := cmp.Diff(sampleBucket(), b); d != "" || err != nil {
		t.Errorf("bucket: %v (-want +got):\n%s", err, d)
	}
	old := sampleBucket()
	old.Announced = bucket.Head{}
	b, err = logstore.DecodeBucketRow(headKey(t), oldBucketRow)
	if d := cmp.Diff(old, b); d != "" || err != nil {
		t.Errorf("bucket, version 1: %v (-want +got):\n%s", err, d)
	}
	tip, err := logstore.DecodeTipRow(versionKey(t, "06"), tipRow)
	if d := cmp.Diff(sampleTip(), tip); d != "" || err != nil {
		t.Errorf("tip: %v (-want +got):\n%s", err, d)
	}
	u, err := logstore.DecodeUploadRow(versionKey(t, "07"), uploadRow)
	if d := cmp.Diff(sampleUpload(), u); d != "" || err != nil {
		t.Errorf("upload: %v (-want +got):\n%s", err, d)
	}
	j, err := logstore.DecodeJobRow(jobKey(t), jobRow)
	if d := cmp.Diff(sampleJob(), j); d != "" || err != nil {
		t.Errorf("job: %v (-want +got):\n%s", err, d)
	}
}

// checkDecoder holds of every decoder: bytes that it takes are the only ones for what they say, and all others are ErrDamaged.
func checkDecoder[T any](t *testing.T, value []byte, got T, err error, encode func(T) []byte) {
	t.Helper()
	switch {
	case err != nil && !errors.Is(err, logstore.ErrDamaged):
		t.Errorf("got error %v, want %v", err, logstore.ErrDamaged)
	case err == nil && !bytes.Equal(encode(got), value):
		t.Errorf("%x is taken as %+v, which is %x", value, got, encode(got))
	}
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(logstore.EncodeEntryRow(sampleEntry()))
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := logstore.DecodeEntryRow(entryKey(t), value)
		checkDecoder(t, value, got, err, logstore.EncodeEntryRow)
		_, err = logstore.DecodeEntryRow(value, logstore.EncodeEntryRow(sampleEntry()))
		checkDecoder(t, nil, nil, err, func([]byte) []byte { return nil })
	})
}

func FuzzDecodeBucket(f *testing.F) {
	f.Add(logstore.EncodeBucketRow(sampleBucket()))
	f.Add(logstore.EncodeBucketRow(logstore.Bucket{Versions: 1, Known: sampleBucket().Known}))
	f.Add(slices.Concat([]byte{1}, logstore.EncodeBucketRow(sampleBucket())[1:124], logstore.EncodeBucketRow(sampleBucket())[165:]))
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := logstore.DecodeBucketRow(headKey(t), value)
		if err == nil && value[0] == 1 { // an older form: its announced head is written from now on
			value = slices.Concat([]byte{2}, value[1:124], make([]byte, 41), value[124:])
		}
		checkDecoder(t, value, got, err, logstore.EncodeBucketRow)
		_, err = logstore.DecodeBucketRow(value, logstore.EncodeBucketRow(sampleBucket()))
		checkDecoder(t, nil, nil, err, func([]byte) []byte { return nil })
	})
}

func FuzzDecodeJob(f *testing.F) {
	f.Add(logstore.EncodeJobRow(sampleJob()))
	f.Add(fromHex(f, "01", "00", "00000000", "55", digest44, "ffffffff", "ffffffff"))
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := logstore.DecodeJobRow(jobKey(t), value)
		checkDecoder(t, value, got, err, logstore.EncodeJobRow)
		_, err = logstore.DecodeJobRow(value, logstore.EncodeJobRow(sampleJob()))
		checkDecoder(t, nil, nil, err, func([]byte) []byte { return nil })
	})
}

func FuzzDecodeTip(f *testing.F) {
	f.Add(logstore.EncodeTipRow(sampleTip()))
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := logstore.DecodeTipRow(versionKey(t, "06"), value)
		checkDecoder(t, value, got, err, logstore.EncodeTipRow)
		_, err = logstore.DecodeTipRow(value, logstore.EncodeTipRow(sampleTip()))
		checkDecoder(t, nil, nil, err, func([]byte) []byte { return nil })
	})
}

func FuzzDecodeUpload(f *testing.F) {
	f.Add(logstore.EncodeUploadRow(sampleUpload()))
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := logstore.DecodeUploadRow(versionKey(t, "07"), value)
		checkDecoder(t, value, got, err, logstore.EncodeUploadRow)
		_, err = logstore.DecodeUploadRow(value, logstore.EncodeUploadRow(sampleUpload()))
		checkDecoder(t, nil, nil, err, func([]byte) []byte { return nil })
	})
}

func FuzzDecodeSchema(f *testing.F) {
	f.Add(logstore.EncodeSchemaRow(1))
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := logstore.DecodeSchemaRow(value)
		checkDecoder(t, value, got, err, logstore.EncodeSchemaRow)
	})
}
