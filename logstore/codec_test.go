package logstore_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/bucket"
	"headwater/logstore"
)

// link returns a link of one repeated octet.
func link(c bucket.Codec, octet byte) bucket.Link {
	return bucket.NewLink(c, bucket.Hash(bytes.Repeat([]byte{octet}, 32)))
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

const (
	bucketHex = "01020000000000000000000000000000"
	digest11  = "1111111111111111111111111111111111111111111111111111111111111111"
	digest22  = "2222222222222222222222222222222222222222222222222222222222222222"
	digest33  = "3333333333333333333333333333333333333333333333333333333333333333"
	digest44  = "4444444444444444444444444444444444444444444444444444444444444444"
	digest55  = "5555555555555555555555555555555555555555555555555555555555555555"
	zeros31   = "00000000000000000000000000000000000000000000000000000000000000"
)

func octets(tb testing.TB, parts ...string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.Join(parts, ""))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func entryKey(tb testing.TB) []byte {
	return octets(tb, "03", bucketHex, "0000000000000102", "71", digest11)
}
func jobKey(tb testing.TB) []byte {
	return octets(tb, "05", bucketHex, "0000000000000102", "71", digest11)
}
func headKey(tb testing.TB) []byte { return octets(tb, "01", bucketHex) }

// TestRowsKeepTheirBytes holds what is on people's disks.
func TestRowsKeepTheirBytes(t *testing.T) {
	entryRow := octets(t, "01", "03", "71", digest22, "33", zeros31, "55", digest44, "0000018bcfe5687b", "0003", "6ec3a9")
	bucketRow := octets(t, "02", "0000000000000009", "71", digest11, "0000000000000008", "71", digest22,
		"0000000000000007", "71", digest33, "0000000000000006", "71", digest44, "000000000000000c", "0000000000000002", "0000000000000005", "0000000000000006",
		"0003", "6ec3a9", "01", "0007", hex.EncodeToString([]byte("blocked")), "0005", hex.EncodeToString([]byte("retry")),
		"0003", hex.EncodeToString([]byte("why")), "71", digest55, "000000000000000a", "66", zeros31, "0000018bcfe569c8")
	jobRow := octets(t, "01", "02", "00000003", "55", digest44, "00000002", "0009", hex.EncodeToString([]byte("hub/blobs")),
		"0000", "00000002", "77", zeros31, "88", zeros31)
	for name, row := range map[string]struct{ got, want []byte }{
		"entry":  {logstore.EncodeEntryRow(sampleEntry()), entryRow},
		"bucket": {logstore.EncodeBucketRow(sampleBucket()), bucketRow},
		"job":    {logstore.EncodeJobRow(sampleJob()), jobRow},
		"height": {logstore.EncodeHeightRow(258), octets(t, "0000000000000102")},
		"schema": {logstore.EncodeSchemaRow(1), octets(t, "00000001")},
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
	j, err := logstore.DecodeJobRow(jobKey(t), jobRow)
	if d := cmp.Diff(sampleJob(), j); d != "" || err != nil {
		t.Errorf("job: %v (-want +got):\n%s", err, d)
	}
}

// checkDecoder holds of every decoder: octets that it takes are the only ones for what they say, and all others are ErrDamaged.
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
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := logstore.DecodeBucketRow(headKey(t), value)
		if err != nil || value[0] != 1 { // rows of version 1 are read, and written no more
			checkDecoder(t, value, got, err, logstore.EncodeBucketRow)
		}
		_, err = logstore.DecodeBucketRow(value, logstore.EncodeBucketRow(sampleBucket()))
		checkDecoder(t, nil, nil, err, func([]byte) []byte { return nil })
	})
}

func FuzzDecodeJob(f *testing.F) {
	f.Add(logstore.EncodeJobRow(sampleJob()))
	f.Add(octets(f, "01", "00", "00000000", "55", digest44, "ffffffff", "ffffffff"))
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := logstore.DecodeJobRow(jobKey(t), value)
		checkDecoder(t, value, got, err, logstore.EncodeJobRow)
		_, err = logstore.DecodeJobRow(value, logstore.EncodeJobRow(sampleJob()))
		checkDecoder(t, nil, nil, err, func([]byte) []byte { return nil })
	})
}

func FuzzDecodeTip(f *testing.F) {
	f.Add(logstore.EncodeTipRow(true))
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := logstore.DecodeTipRow(octets(t, "06", bucketHex, "0000000000000102", "71", digest11), value)
		checkDecoder(t, value, got, err, func(tip logstore.Tip) []byte { return logstore.EncodeTipRow(tip.Merged) })
	})
}

func FuzzDecodeUpload(f *testing.F) {
	f.Add(logstore.EncodeUploadRow(logstore.Upload{Attempt: 3}))
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := logstore.DecodeUploadRow(octets(t, "07", bucketHex, "0000000000000102", "71", digest11), value)
		checkDecoder(t, value, got, err, logstore.EncodeUploadRow)
	})
}

func FuzzDecodeHeight(f *testing.F) {
	f.Add(logstore.EncodeHeightRow(258))
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := logstore.DecodeHeightRow(value)
		checkDecoder(t, value, got, err, logstore.EncodeHeightRow)
	})
}

func FuzzDecodeSchema(f *testing.F) {
	f.Add(logstore.EncodeSchemaRow(1))
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := logstore.DecodeSchemaRow(value)
		checkDecoder(t, value, got, err, logstore.EncodeSchemaRow)
	})
}
