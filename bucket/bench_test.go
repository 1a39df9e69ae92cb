package bucket_test

import (
	"testing"

	"headwater/bucket"
)

// versionForBench is a signed manifest with every field present.
func versionForBench(b *testing.B) (bucket.Link, []byte) {
	for _, v := range readVectors[manifestVector](b, "manifests.json") {
		if v.Name == "full_signed" {
			return v.Link, v.CBOR
		}
	}
	b.Fatal("no vector full_signed")
	return bucket.Link{}, nil
}

func BenchmarkOpen(b *testing.B) {
	link, encoded := versionForBench(b)
	b.ReportAllocs()
	b.SetBytes(int64(len(encoded)))
	for b.Loop() {
		if _, err := bucket.Open(link, encoded); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpenAndVerify is the whole price of a version: a version remembers its verdict, so each is opened anew.
func BenchmarkOpenAndVerify(b *testing.B) {
	link, encoded := versionForBench(b)
	for b.Loop() {
		v, err := bucket.Open(link, encoded)
		if err != nil {
			b.Fatal(err)
		}
		if err := v.VerifySignature(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpener opens as a catch-up does, which meets the same keys in version after version.
func BenchmarkOpener(b *testing.B) {
	link, encoded := versionForBench(b)
	var o bucket.Opener
	b.ReportAllocs()
	b.SetBytes(int64(len(encoded)))
	for b.Loop() {
		if _, err := o.Open(link, encoded); err != nil {
			b.Fatal(err)
		}
	}
}
