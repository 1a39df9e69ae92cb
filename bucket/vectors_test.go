package bucket_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"headwater/bucket"
	"headwater/bucket/buckettest"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
)

// The vectors are encoded by jax-buckets itself; testdata/README.md says what each field means.

func readVectors[T any](t testing.TB, name string) []T {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var v []T
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(v) == 0 {
		t.Fatalf("%s holds no vectors", name)
	}
	return v
}

type hexBytes = buckettest.HexBytes

type valueVector struct {
	Name         string
	Inputs       map[string]json.RawMessage
	ExpectedHex  hexBytes `json:"expected_hex"`
	ExpectedText string   `json:"expected_text"`
}

// input reads one input of the vector into a new T.
func input[T any](t testing.TB, v valueVector, key string) (x T) {
	t.Helper()
	if v.Inputs[key] == nil {
		return x
	}
	if err := json.Unmarshal(v.Inputs[key], &x); err != nil {
		t.Fatalf("input %s: %v", key, err)
	}
	return x
}

// elsewhere are the kinds that package tree encodes and tests.
var elsewhere = regexp.MustCompile(`^(x25519_|node|ops_log|encrypted_|share_(un)?wrap)`)

// kinds computes what is expected of each other kind of vector, told by a pattern of its name.
var kinds = map[string]func(testing.TB, valueVector) []byte{
	`link_(raw|dag-cbor)_\d+`:      func(t testing.TB, v valueVector) []byte { return cid(linkOf(t, v)) },
	`link_(raw|dag-cbor)_\d+_cbor`: func(t testing.TB, v valueVector) []byte { return roundTrip(t, linkOf(t, v)) },
	`link_default`: func(testing.TB, valueVector) []byte {
		return cid(bucket.NewLink(bucket.CodecRaw, bucket.Hash{}))
	},
	`hash_\d+`: func(t testing.TB, v valueVector) []byte {
		h := bucket.Sum(input[hexBytes](t, v, "data_hex"))
		return h[:]
	},
	`uuid_\d+`: func(t testing.TB, v valueVector) []byte { return roundTrip(t, input[bucket.ID](t, v, "uuid")) },
	`public_key_of_seed_\d+`: func(t testing.TB, v valueVector) []byte {
		k := identityOf(t, v).PublicKey()
		return k[:]
	},
	`public_key_\d+_cbor`: func(t testing.TB, v valueVector) []byte { return roundTrip(t, keyOf(t, v)) },
	`secret_\d+_cbor`: func(t testing.TB, v valueVector) []byte {
		return roundTrip(t, bucket.Secret(input[hexBytes](t, v, "secret_hex")))
	},
	`signature_cbor`: func(t testing.TB, v valueVector) []byte {
		return roundTrip(t, bucket.Signature(input[hexBytes](t, v, "signature_hex")))
	},
	`secret_share_cbor`: func(t testing.TB, v valueVector) []byte { return roundTrip(t, *shareOf(t, v).Secret) },
	`role_\w+_cbor`:     func(t testing.TB, v valueVector) []byte { return roundTrip(t, roleOf(t, v)) },
	`principal_\w+_cbor`: func(t testing.TB, v valueVector) []byte {
		return encoded(t)(bucket.EncodePrincipal(shareOf(t, v)))
	},
	`share_(owner|mirror)_cbor`: func(t testing.TB, v valueVector) []byte { return encoded(t)(bucket.EncodeShare(shareOf(t, v))) },
	`pins(_empty)?`:             pinsOf,
	`sign_\d+`:                  signed,
	`manifest_signature`:        signed,
	`manifest_signable_bytes`:   signable,
	`manifest_link`: func(t testing.TB, v valueVector) []byte {
		return cid(bucket.ManifestLink(input[hexBytes](t, v, "manifest_cbor_hex")))
	},
}

// computeFor finds the one function for a vector.
func computeFor(t *testing.T, name string) (compute func(testing.TB, valueVector) []byte) {
	for pattern, f := range kinds {
		if regexp.MustCompile("^" + pattern + "$").MatchString(name) {
			if compute != nil {
				t.Fatalf("two kinds match %s", name)
			}
			compute = f
		}
	}
	if compute == nil {
		t.Fatalf("no test for vectors such as %s", name)
	}
	return compute
}

func TestValueVectors(t *testing.T) {
	for _, v := range readVectors[valueVector](t, "values.json") {
		if elsewhere.MatchString(v.Name) {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			if got := computeFor(t, v.Name)(t, v); !bytes.Equal(got, v.ExpectedHex) {
				t.Errorf("got %x\nwant %x", got, v.ExpectedHex)
			}
			if v.ExpectedText != "" {
				checkText(t, v)
			}
		})
	}
}

// checkText compares the text form of the link that a vector's bytes are, or are the hash of.
func checkText(t *testing.T, v valueVector) {
	var l bucket.Link
	switch len(v.ExpectedHex) {
	case len(bucket.Hash{}):
		l = bucket.NewLink(bucket.CodecRaw, bucket.Hash(v.ExpectedHex))
	case bucket.CIDSize:
		var err error
		if l, err = bucket.LinkFromCID(v.ExpectedHex); err != nil {
			t.Fatal(err)
		}
	default:
		if err := l.UnmarshalCBOR(v.ExpectedHex); err != nil {
			t.Fatal(err)
		}
	}
	if l.String() != v.ExpectedText {
		t.Errorf("got text %s, want %s", l, v.ExpectedText)
	}
	if again, err := bucket.ParseLink(v.ExpectedText); err != nil || again != l {
		t.Errorf("ParseLink(%s) = %v, %v; want %v", v.ExpectedText, again, err, l)
	}
}

func cid(l bucket.Link) []byte {
	c := l.CID()
	return c[:]
}

func linkOf(t testing.TB, v valueVector) bucket.Link {
	codecs := map[string]bucket.Codec{"raw": bucket.CodecRaw, "dag-cbor": bucket.CodecDagCBOR}
	return bucket.NewLink(codecs[input[string](t, v, "codec")], bucket.Hash(input[hexBytes](t, v, "digest_hex")))
}

func keyOf(t testing.TB, v valueVector) bucket.PublicKey {
	return bucket.PublicKey(input[hexBytes](t, v, "public_key_hex"))
}

func roleOf(t testing.TB, v valueVector) bucket.Role {
	r, err := bucket.ParseRole(input[string](t, v, "role"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// shareOf makes a share of as much as the vector tells of one.
func shareOf(t testing.TB, v valueVector) (s bucket.Share) {
	if _, ok := v.Inputs["public_key_hex"]; ok {
		s.Identity, s.Role = keyOf(t, v), roleOf(t, v)
	}
	if secret := input[hexBytes](t, v, "share_hex"); secret != nil {
		s.Secret = new(bucket.SecretShare(secret))
	}
	return s
}

func identityOf(t testing.TB, v valueVector) bucket.Identity {
	id, err := bucket.NewIdentity(input[hexBytes](t, v, "seed_hex"))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func signed(t testing.TB, v valueVector) []byte {
	id, message := identityOf(t, v), input[hexBytes](t, v, "message_hex")
	sig := id.Sign(message)
	if err := id.PublicKey().Verify(message, sig); err != nil {
		t.Errorf("own signature: %v", err)
	}
	return sig[:]
}

func signable(t testing.TB, v valueVector) []byte {
	m, err := bucket.DecodeManifest(input[hexBytes](t, v, "manifest_cbor_hex"))
	if err != nil {
		t.Fatal(err)
	}
	m.Signature = nil
	return encoded(t)(m.Encode())
}

func pinsOf(t testing.TB, v valueVector) []byte {
	var p bucket.Pins
	for _, h := range input[[]hexBytes](t, v, "hashes_hex") {
		p = append(p, bucket.Hash(h))
	}
	slices.Reverse(p)
	b := append(p, p...).Encode()
	if again, err := bucket.ParsePins(b); err != nil || !bytes.Equal(again.Encode(), b) {
		t.Errorf("pins read back: %v, %v", again, err)
	}
	return b
}

func encoded(t testing.TB) func([]byte, error) []byte {
	return func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

// roundTrip encodes x, and reports it where decoding gives something else, or where one byte more or less is taken.
func roundTrip[T interface {
	comparable
	cbor.Marshaler
}, P interface {
	*T
	cbor.Unmarshaler
}](t testing.TB, x T) []byte {
	t.Helper()
	b := encoded(t)(x.MarshalCBOR())
	var again T
	if err := P(&again).UnmarshalCBOR(b); err != nil || again != x {
		t.Errorf("got %v, %v back from the encoding of %v", again, err, x)
	}
	for _, bad := range [][]byte{b[:len(b)-1], append(slices.Clone(b), 0), nil} {
		if err := P(&again).UnmarshalCBOR(bad); bucket.ClassOf(err) != bucket.Malformed {
			t.Errorf("%x: got %v, want class malformed", bad, err)
		}
	}
	return b
}

type manifestVector struct {
	Name           string
	CBOR           hexBytes `json:"cbor_hex"`
	Hash           string   `json:"hash_hex"`
	Link           bucket.Link
	Signed         bool
	SignatureValid bool         `json:"signature_valid"`
	JSON           manifestJSON `json:"json"`
}

type manifestJSON struct {
	ID        bucket.ID
	Name      string
	Height    uint64
	Pins      bucket.Link
	Entry     bucket.Link
	OpsLog    bucket.Link `json:"ops_log"`
	Previous  bucket.Link
	Version   string
	Author    *hexBytes `json:"author_hex"`
	Public    *hexBytes `json:"public_hex"`
	Signature *hexBytes `json:"signature_hex"`
	Shares    []struct {
		Key      string
		Role     string
		Identity hexBytes  `json:"identity_hex"`
		Share    *hexBytes `json:"share_hex"`
	}
}

func (j manifestJSON) manifest(t *testing.T) *bucket.Manifest {
	m := &bucket.Manifest{
		Bucket: j.ID, Name: j.Name, Height: j.Height, Pins: j.Pins, Entry: j.Entry, OpsLog: j.OpsLog,
		Previous: j.Previous, Format: j.Version,
	}
	if j.Author != nil {
		m.Author = new(bucket.PublicKey(*j.Author))
	}
	if j.Public != nil {
		m.Public = new(bucket.Secret(*j.Public))
	}
	if j.Signature != nil {
		m.Signature = new(bucket.Signature(*j.Signature))
	}
	for _, s := range j.Shares {
		role, err := bucket.ParseRole(s.Role)
		if err != nil {
			t.Fatal(err)
		}
		share := bucket.Share{Identity: bucket.PublicKey(s.Identity), Role: role}
		if s.Share != nil {
			share.Secret = new(bucket.SecretShare(*s.Share))
		}
		m.Shares = append(m.Shares, share)
	}
	return m
}

func TestManifestVectors(t *testing.T) {
	for _, v := range readVectors[manifestVector](t, "manifests.json") {
		t.Run(v.Name, func(t *testing.T) {
			got, err := bucket.Open(v.Link, v.CBOR)
			if err != nil {
				t.Fatal(err)
			}
			want := v.JSON.manifest(t)
			b := encoded(t)(want.Encode())
			if !bytes.Equal(b, v.CBOR) {
				t.Errorf("encoded: got %x\nwant %x", b, []byte(v.CBOR))
			}
			if diff := cmp.Diff(want, &got.Manifest); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
			if h := bucket.Sum(v.CBOR).String(); h != v.Hash {
				t.Errorf("got hash %s, want %s", h, v.Hash)
			}
			if got.Signed() != v.Signed {
				t.Errorf("got signed %v, want %v", got.Signed(), v.Signed)
			}
			if err := got.VerifySignature(); (err == nil) != v.SignatureValid {
				t.Errorf("got %v, want valid %v", err, v.SignatureValid)
			}
		})
	}
}

// judge says what the rules make of a chain: the head, or the first refusal, oldest first.
func judge(v buckettest.VectorChain) (bucket.Head, error) {
	var prev *bucket.Version
	for _, o := range v.Objects {
		next, err := bucket.Open(o.Link, o.Bytes)
		if err != nil {
			return bucket.Head{}, err
		}
		if err := (bucket.Rules{}).Succeed(v.Bucket, prev, next); err != nil {
			return bucket.Head{}, err
		}
		prev = next
	}
	if _, ok := prev.Share(v.Receiver); !ok {
		return bucket.Head{}, bucket.Refuse("receiver_not_in_shares", prev.Link, "no share")
	}
	return prev.Head(), nil
}

func TestOnlyWhoMay_ChainVectorsAccepted(t *testing.T) {
	for _, v := range buckettest.ReadChains(t, "testdata/chains.json") {
		t.Run(v.Name, func(t *testing.T) {
			if head, err := judge(v); err != nil || head != v.Head {
				t.Errorf("got %v, %v, want %v", head, err, v.Head)
			}
		})
	}
}

func TestOnlyWhoMay_AttackVectorsRefused(t *testing.T) {
	for _, v := range buckettest.ReadChains(t, "testdata/attacks.json") {
		t.Run(v.Name, func(t *testing.T) {
			head, err := judge(v)
			if got := string(bucket.ClassOf(err)); !slices.Contains(v.Classes, got) {
				t.Errorf("got %v, %v, want a refusal of class %v: %s", head, err, v.Classes, v.Why)
			}
		})
	}
}
