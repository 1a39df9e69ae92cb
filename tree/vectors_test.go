package tree_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"headwater/bucket"
	"headwater/tree"

	"github.com/google/go-cmp/cmp"
)

// The vectors are encoded by jax-buckets itself; ../bucket/testdata/README.md says what each field means.

// bytes is hex in JSON.
type hexBytes []byte

func (o *hexBytes) UnmarshalText(b []byte) (err error) {
	*o, err = hex.DecodeString(string(b))
	return err
}

type valueVector struct {
	Name          string
	Inputs        map[string]json.RawMessage
	ExpectedHex   hexBytes    `json:"expected_hex"`
	ExpectedText  bucket.Link `json:"expected_text"`
	ExpectedError bool        `json:"expected_error"`
	Note          string
}

func readVectors(t testing.TB) []valueVector {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "bucket", "testdata", "values.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []valueVector
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatalf("values.json: %v", err)
	}
	return all
}

// vector returns the one of that name.
func vector(t testing.TB, name string) valueVector {
	t.Helper()
	for _, v := range readVectors(t) {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("values.json has no vector %s", name)
	return valueVector{}
}

// input reads one input of the vector into a new T; one that is not there, or is null, gives the zero T.
func input[T any](t testing.TB, v valueVector, key string) (x T) {
	t.Helper()
	b, ok := v.Inputs[key]
	if !ok {
		t.Fatalf("%s has no input %s", v.Name, key)
	}
	if err := json.Unmarshal(b, &x); err != nil {
		t.Fatalf("input %s: %v", key, err)
	}
	return x
}

// ours are the names of the vectors that this package answers for; package bucket tests all others.
var ours = regexp.MustCompile(`^(x25519_|node|ops_log|encrypted_|share_(un)?wrap)`)

// kinds compute what is expected, by the beginning of the name: the first that fits.
var kinds = []struct {
	name    *regexp.Regexp
	compute func(testing.TB, valueVector) ([]byte, error)
}{
	{regexp.MustCompile(`^x25519_private_\d+$`), func(t testing.TB, v valueVector) ([]byte, error) {
		return tree.Scalar(input[hexBytes](t, v, "seed_hex")), nil
	}},
	{regexp.MustCompile(`^x25519_public_\d+$`), func(t testing.TB, v valueVector) ([]byte, error) {
		return tree.Montgomery(bucket.PublicKey(input[hexBytes](t, v, "public_key_hex")))
	}},
	{regexp.MustCompile(`^node(_empty)?$`), nodeOf},
	{regexp.MustCompile(`^ops_log(_empty)?$`), opsLogOf},
	{regexp.MustCompile(`^encrypted_(blob_\d+|node)$`), sealed},
	{regexp.MustCompile(`^encrypted_blob_(tampered|wrong_secret|short|wrong_inner_hash)$`), opened},
	{regexp.MustCompile(`^share_wrap_\d+$`), wrapped},
	{regexp.MustCompile(`^share_unwrap_(\d+|wrong_recipient|tampered)$`), unwrapped},
}

func TestValueVectors(t *testing.T) {
	tested := make([]int, len(kinds))
	for _, v := range readVectors(t) {
		if !ours.MatchString(v.Name) {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			known := false
			for i, k := range kinds {
				if k.name.MatchString(v.Name) {
					known = true
					tested[i]++
					checkVector(t, v, k.compute)
				}
			}
			if !known {
				t.Errorf("no test for this kind of vector: %s", v.Note)
			}
		})
	}
	for i, n := range tested {
		if n == 0 {
			t.Errorf("values.json has no vector %v", kinds[i].name)
		}
	}
}

func checkVector(t *testing.T, v valueVector, compute func(testing.TB, valueVector) ([]byte, error)) {
	got, err := compute(t, v)
	if v.ExpectedError {
		if !errors.Is(err, tree.ErrUnreadable) || got != nil {
			t.Errorf("got %x, %v, want ErrUnreadable: %s", got, err, v.Note)
		}
		return
	}
	if err != nil || !bytes.Equal(got, v.ExpectedHex) {
		t.Errorf("got %x, %v\nwant %x", got, err, []byte(v.ExpectedHex))
	}
	if !v.ExpectedText.IsZero() && bucket.RawLink(got) != v.ExpectedText {
		t.Errorf("got link %s, want %s", bucket.RawLink(got), v.ExpectedText)
	}
}

// entryJSON is an entry of a node in the vectors.
type entryJSON struct {
	Kind     string
	Name     string
	Link     bucket.Link
	Secret   hexBytes `json:"secret_hex"`
	Mime     *string
	Metadata any
}

func (e entryJSON) entry(t testing.TB) tree.Entry {
	if e.Metadata != nil {
		t.Fatal("no vector with metadata is known")
	}
	switch e.Kind {
	case "data":
		return tree.Data{Link: e.Link, Secret: bucket.Secret(e.Secret), Mime: e.Mime}
	case "dir":
		return tree.Dir{Link: e.Link, Secret: bucket.Secret(e.Secret)}
	}
	t.Fatalf("no entry of kind %q is known", e.Kind)
	return nil
}

func nodeOf(t testing.TB, v valueVector) ([]byte, error) {
	want := &tree.Node{Links: map[string]tree.Entry{}}
	for _, e := range input[[]entryJSON](t, v, "links") {
		want.Links[e.Name] = e.entry(t)
	}
	got, err := tree.DecodeNode(v.ExpectedHex)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("decoded: %v (-want +got):\n%s", err, diff)
	}
	return want.Encode()
}

// opJSON is an operation in the vectors.
type opJSON struct {
	Peer      hexBytes `json:"peer_id_hex"`
	Timestamp uint64
	Type      string `json:"op_type"`
	Path      string
	From      string
	IsDir     bool        `json:"is_dir"`
	Content   bucket.Link `json:"content_link"`
}

func opsLogOf(t testing.TB, v valueVector) ([]byte, error) {
	opKinds := map[string]tree.OpKind{"Add": tree.OpAdd, "Remove": tree.OpRemove, "Mkdir": tree.OpMkdir, "Mv": tree.OpMove}
	want := tree.OpsLog{}
	for _, o := range input[[]opJSON](t, v, "operations") { // ascending by timestamp
		want = append(want, tree.Op{
			ID:   tree.OpID{Peer: bucket.PublicKey(o.Peer), Timestamp: o.Timestamp},
			Kind: opKinds[o.Type], Path: o.Path, From: o.From, IsDir: o.IsDir, Content: o.Content,
		})
	}
	got, err := tree.DecodeOpsLog(v.ExpectedHex)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("decoded: %v (-want +got):\n%s", err, diff)
	}
	return want.Encode()
}

func sealed(t testing.TB, v valueVector) ([]byte, error) {
	secret, plain := bucket.Secret(input[hexBytes](t, v, "secret_hex")), input[hexBytes](t, v, "plain_hex")
	if got, err := tree.Open(secret, v.ExpectedHex); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("opened: got %x, %v, want %x", got, err, []byte(plain))
	}
	return tree.SealWith(secret, [12]byte(input[hexBytes](t, v, "nonce_hex")), plain)
}

func opened(t testing.TB, v valueVector) ([]byte, error) {
	return tree.Open(bucket.Secret(input[hexBytes](t, v, "secret_hex")), input[hexBytes](t, v, "blob_hex"))
}

func wrapped(t testing.TB, v valueVector) ([]byte, error) {
	seed := input[hexBytes](t, v, "ephemeral_seed_hex")
	recipient := bucket.PublicKey(input[hexBytes](t, v, "recipient_public_key_hex"))
	kek, err := tree.SharedKey(seed, recipient)
	if want := input[hexBytes](t, v, "x25519_shared_hex"); err != nil || !bytes.Equal(kek[:], want) {
		t.Errorf("X25519: got %x, %v, want %x", kek, err, []byte(want))
	}
	share, err := tree.WrapWith(seed, bucket.Secret(input[hexBytes](t, v, "secret_hex")), recipient)
	return share[:], err
}

func unwrapped(t testing.TB, v valueVector) ([]byte, error) {
	share := bucket.SecretShare(input[hexBytes](t, v, "share_hex"))
	secret, err := tree.Unwrap(share, identity(t, input[hexBytes](t, v, "recipient_seed_hex")))
	if err != nil {
		if secret != (bucket.Secret{}) {
			t.Errorf("got secret %x beside an error, want none", secret)
		}
		return nil, err
	}
	return secret[:], nil
}

func identity(t testing.TB, seed []byte) bucket.Identity {
	t.Helper()
	id, err := bucket.NewIdentity(seed)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
