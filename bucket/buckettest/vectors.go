package buckettest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"headwater/bucket"
)

// HexBytes is hex in JSON.
type HexBytes []byte

// UnmarshalText reads hex.
func (o *HexBytes) UnmarshalText(b []byte) (err error) {
	*o, err = hex.DecodeString(string(b))
	return err
}

// Object is what stands in a store under a link; it need not be what the link names.
type Object struct {
	Link  bucket.Link
	Bytes []byte
}

// VectorChain is a chain of the vectors: to be accepted, or to be refused with one of Classes.
type VectorChain struct {
	Name, Why    string
	Bucket       bucket.ID
	Receiver     bucket.PublicKey
	ReceiverSeed []byte // nil if the vectors do not tell it
	Objects      []Object
	Head         bucket.Head // if it is accepted
	Classes      []string    // empty if it is accepted
}

// ReadChains reads chains.json or attacks.json.
func ReadChains(tb testing.TB, path string) []VectorChain {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	var raw []rawChain
	if err := json.Unmarshal(b, &raw); err != nil {
		tb.Fatalf("%s: %v", path, err)
	}
	if len(raw) == 0 {
		tb.Fatalf("%s holds no chains", path)
	}
	chains := make([]VectorChain, len(raw))
	for i, r := range raw {
		chains[i] = r.chain()
	}
	return chains
}

type rawChain struct {
	Name, Why string
	Bucket    bucket.ID        `json:"bucket_id"`
	Receiver  bucket.PublicKey `json:"receiver_public_key_hex"`
	Seeds     []struct {
		Key  bucket.PublicKey `json:"public_key_hex"`
		Seed HexBytes         `json:"seed_hex"`
	}
	Manifests []struct {
		Link  bucket.Link
		CBOR  HexBytes `json:"cbor_hex"`
		Parts []struct {
			Hex    HexBytes
			Repeat int
		} `json:"cbor_parts"`
	}
	Expected struct {
		HeadLink      bucket.Link `json:"head_link"`
		HeadHeight    uint64      `json:"head_height"`
		ReasonClass   string      `json:"reason_class"`
		ReasonClasses []string    `json:"reason_classes"`
	}
}

func (r rawChain) chain() VectorChain {
	c := VectorChain{
		Name: r.Name, Why: r.Why, Bucket: r.Bucket, Receiver: r.Receiver, Classes: r.Expected.ReasonClasses,
		Head: bucket.Head{Link: r.Expected.HeadLink, Height: r.Expected.HeadHeight},
	}
	if r.Expected.ReasonClass != "" {
		c.Classes = append(c.Classes, r.Expected.ReasonClass)
	}
	for _, s := range r.Seeds {
		if s.Key == r.Receiver {
			c.ReceiverSeed = s.Seed
		}
	}
	for _, m := range r.Manifests {
		b := []byte(m.CBOR)
		for _, p := range m.Parts {
			b = append(b, bytes.Repeat(p.Hex, p.Repeat)...)
		}
		c.Objects = append(c.Objects, Object{m.Link, b})
	}
	return c
}
