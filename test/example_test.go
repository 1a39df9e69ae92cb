package test_test

import (
	"bytes"
	"encoding/pem"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/cryptotest"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/tree"
)

var update = flag.Bool("update", false, "write the files of testdata/example anew")

// exampleDir holds the bucket of the README's two-peer example, as files to be put with the command line.
const exampleDir = "testdata/example"

// TestExampleFilesAreReproducible makes the example's files, and compares them with those in the repository.
func TestExampleFilesAreReproducible(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 1)
	for name, want := range exampleFiles(t) {
		path := filepath.Join(exampleDir, name)
		if *update {
			if err := os.WriteFile(path, want, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the test makes; run it with -update", path)
		}
	}
}

// exampleFiles are alice's bucket of two versions, which bob owns too, and both identities.
func exampleFiles(t *testing.T) map[string][]byte {
	alice, bob := buckettest.Identity(t, 0xa1), buckettest.Identity(t, 0xb0)
	files := map[string][]byte{"alice.pem": pemOf(alice), "bob.pem": pemOf(bob)}
	id, err := bucket.ParseID("6f9e2c1a-4b7d-4e3a-9c58-0d1e2f3a4b5c")
	if err != nil {
		t.Fatal(err)
	}
	must := func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	blob := func(name string, b []byte) bucket.Link {
		files[name+".blob"] = b
		return bucket.RawLink(b)
	}
	var previous bucket.Link
	var pins bucket.Pins
	for height := range 2 {
		secret, fileSecret := fillSecret(byte(2*height)), fillSecret(byte(2*height+1))
		node := tree.Node{Links: map[string]tree.Entry{}}
		if height > 0 {
			mime := "text/plain"
			file := blob("hello.txt", must(tree.Seal(fileSecret, []byte("hello from alice\n"))))
			node.Links["hello.txt"] = tree.Data{Link: file, Secret: fileSecret, Mime: &mime}
			pins = append(pins, file.Hash(), previous.Hash())
		}
		entry := blob(fmt.Sprintf("root-%d", height), must(tree.Seal(secret, must(node.Encode()))))
		pins = append(pins, entry.Hash())
		m := &bucket.Manifest{
			Bucket: id, Name: "letters", Height: uint64(height), Previous: previous, Entry: entry,
			Pins: blob(fmt.Sprintf("pins-%d", height), pins.Encode()),
		}
		for _, owner := range []bucket.Identity{alice, bob} {
			share, err := tree.Wrap(secret, owner.PublicKey())
			if err != nil {
				t.Fatal(err)
			}
			m.Shares = append(m.Shares, bucket.Share{Identity: owner.PublicKey(), Role: bucket.Owner, Secret: &share})
		}
		v := buckettest.Sign(t, alice, m)
		files[fmt.Sprintf("%d.manifest", height)], previous = v.Encoded(), v.Link
	}
	files["head"] = []byte(previous.String() + "\n")
	return files
}

func pemOf(id bucket.Identity) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: id.Seed()})
}

func fillSecret(n byte) (s bucket.Secret) {
	for i := range s {
		s[i] = n
	}
	return s
}
