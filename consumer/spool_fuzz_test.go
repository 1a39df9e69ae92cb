package consumer_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"headwater/bucket/buckettest"
	"headwater/consumer"
)

// Whatever a crash, a disk or a person made of the file, opening it ends, and leaves one that reads the same again.
func FuzzSpool(f *testing.F) {
	path := filepath.Join(f.TempDir(), "spool")
	chain := buckettest.New(f, buckettest.Identity(f, 1)).Grow(f, 12)
	if err := consumer.WriteSpool(path, chain.Versions, 5); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(append(bytes.Clone(whole), whole...))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "spool")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		first, err := consumer.ReadSpool(t.Context(), path)
		if err != nil {
			return // its octets are what was written, and are no versions
		}
		again, err := consumer.ReadSpool(t.Context(), path)
		if err != nil || len(again) != len(first) {
			t.Errorf("got %d versions (%v) when it was read again, %d before", len(again), err, len(first))
		}
		for i, v := range first {
			if v.Link != again[i].Link {
				t.Errorf("version %d is %s, and %s when it was read again", i, v.Link, again[i].Link)
			}
		}
	})
}
