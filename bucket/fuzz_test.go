package bucket_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/bucket"
	"headwater/bucket/buckettest"
)

// FuzzDecodeManifest: what is taken encodes to the very bytes that came in, and every refusal has a class.
func FuzzDecodeManifest(f *testing.F) {
	for _, v := range readVectors[manifestVector](f, "manifests.json") {
		f.Add([]byte(v.CBOR))
	}
	for _, v := range buckettest.ReadChains(f, "testdata/attacks.json") {
		if b := v.Objects[len(v.Objects)-1].Bytes; len(b) < 4096 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := bucket.DecodeManifest(b)
		short, ok := bucket.DecodeCanonical(b)
		if ok != (err == nil) || (ok && !cmp.Equal(short, m)) {
			t.Fatalf("the short way got %+v, %t; the long way %+v, %v", short, ok, m, err)
		}
		if err != nil {
			if bucket.ClassOf(err) == "" {
				t.Fatalf("refused without a class: %v", err)
			}
			return
		}
		again, err := m.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("got %x, %v back from %x", again, err, b)
		}
		v, err := bucket.Open(bucket.ManifestLink(b), b)
		if err != nil {
			t.Fatal(err)
		}
		if err := (bucket.Rules{}).Succeed(v.Bucket, nil, v); err != nil && bucket.ClassOf(err) == "" {
			t.Fatalf("refused without a class: %v", err)
		}
	})
}

// FuzzDecodeAnnouncement: what is taken is taken again after encoding, and means the same.
func FuzzDecodeAnnouncement(f *testing.F) {
	for _, a := range announcements {
		f.Add(a.contentType, []byte(a.body))
	}
	f.Fuzz(func(t *testing.T, contentType string, b []byte) {
		a, err := bucket.DecodeAnnouncement(contentType, b)
		if err != nil {
			if bucket.ClassOf(err) == "" {
				t.Fatalf("refused without a class: %v", err)
			}
			return
		}
		checkAnnouncement(t, a)
	})
}

// FuzzDecodePinJob: like announcements.
func FuzzDecodePinJob(f *testing.F) {
	for _, a := range announcements {
		f.Add(a.contentType, []byte(a.body))
	}
	f.Fuzz(func(t *testing.T, contentType string, b []byte) {
		j, err := bucket.DecodePinJob(contentType, b)
		if err != nil {
			if bucket.ClassOf(err) == "" {
				t.Fatalf("refused without a class: %v", err)
			}
			return
		}
		checkPinJob(t, j)
	})
}

// FuzzParsePins: what is taken is a set, and encodes to a list that reads as the same set.
func FuzzParsePins(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{7}, 96))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := bucket.ParsePins(b)
		if err != nil {
			return
		}
		again, err := bucket.ParsePins(p.Encode())
		if err != nil || !bytes.Equal(again.Encode(), p.Encode()) {
			t.Fatalf("got %v, %v back from %v", again, err, p)
		}
	})
}

// FuzzParseText: text forms read back as they were written.
func FuzzParseText(f *testing.F) {
	f.Add("bafkr4ihkr4ld3m4gqkjf4reryxsy2s5tkbxprqkow6fin2iiyvreuzzab4")
	f.Add("550e8400-e29b-41d4-a716-446655440000")
	f.Add("cecc1507dc1ddd7295951c290888f095adb9044d1b73d696e6df065d683bd4fc")
	f.Fuzz(func(t *testing.T, s string) {
		if l, err := bucket.ParseLink(s); err == nil && l.String() != s {
			t.Errorf("link %q reads as %s", s, l)
		}
		if id, err := bucket.ParseID(s); err == nil && id.String() != s {
			t.Errorf("id %q reads as %s", s, id)
		}
		if k, err := bucket.ParsePublicKey(s); err == nil && k.String() != s {
			t.Errorf("key %q reads as %s", s, k)
		}
		if h, err := bucket.ParseHash(s); err == nil && h.String() != s {
			t.Errorf("hash %q reads as %s", s, h)
		}
	})
}
