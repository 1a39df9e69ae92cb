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
	link, octets := versionForBench(b)
	b.ReportAllocs()
	b.SetBytes(int64(len(octets)))
	for b.Loop() {
		if _, err := bucket.Open(link, octets); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifySignature(b *testing.B) {
	v, err := bucket.Open(versionForBench(b))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := v.VerifySignature(); err != nil {
			b.Fatal(err)
		}
	}
}
