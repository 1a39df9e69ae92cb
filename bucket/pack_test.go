package bucket_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"

	"headwater/bucket"
)

func numberedHash(n int) bucket.Hash {
	return bucket.Sum(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func numbered(n int) bucket.Link { return bucket.NewLink(bucket.CodecDagCBOR, numberedHash(n)) }

func packRefs(level, n int) (refs []bucket.PackRef) {
	for i := range n {
		refs = append(refs, bucket.PackRef{Level: level, Hash: numberedHash(1000 + i), Last: numbered(i)})
	}
	return refs
}

func TestPacksReadBackAsWritten(t *testing.T) {
	for name, p := range map[string]bucket.Pack{
		"one manifest":   {Manifests: [][]byte{[]byte("manifest")}},
		"most manifests": {Manifests: slicesOf(bucket.PackVersions, []byte("m"))},
		"most bytes":     {Manifests: [][]byte{make([]byte, bucket.MaxPackContent-4)}},
		"one pack":       {Level: 1, Packs: packRefs(0, 1)},
		"most packs":     {Level: 3, Packs: packRefs(2, bucket.PackFanOut)},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := p.Encode()
			if err != nil {
				t.Fatal(err)
			}
			got, err := bucket.DecodePack(b)
			if diff := cmp.Diff(p, got); err != nil || diff != "" {
				t.Errorf("got %v and another pack (-want +got):\n%s", err, diff)
			}
		})
	}
}

func slicesOf(n int, b []byte) (all [][]byte) {
	for range n {
		all = append(all, b)
	}
	return all
}

func TestPacksBeyondTheLimitsAreRefused(t *testing.T) {
	head := func(level byte) []byte { return append([]byte("hwpack\x01"), level) }
	for name, tc := range map[string]struct {
		pack []byte
		want bucket.Class
	}{
		"nothing":                 {nil, bucket.Malformed},
		"another format":          {[]byte("hwpack\x02\x00\x00\x00\x00\x00"), bucket.Malformed},
		"another level":           {append(head(4), make([]byte, 64)...), bucket.Malformed},
		"no manifest":             {head(0), bucket.Malformed},
		"no reference":            {head(1), bucket.Malformed},
		"half a size":             {append(head(0), 0, 0), bucket.Malformed},
		"a size too large":        {append(head(0), 0xff, 0xff, 0xff, 0xff, 1), bucket.Malformed},
		"half a reference":        {append(head(1), make([]byte, 65)...), bucket.Malformed},
		"too many versions":       {append(head(0), make([]byte, 4*(bucket.PackVersions+1))...), bucket.TooLarge},
		"too many packs":          {append(head(1), make([]byte, 64*(bucket.PackFanOut+1))...), bucket.TooLarge},
		"more bytes than a chunk": {append(head(0), make([]byte, bucket.MaxPackSize)...), bucket.TooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := bucket.DecodePack(tc.pack); bucket.ClassOf(err) != tc.want {
				t.Errorf("got %v, want a refusal of class %s", err, tc.want)
			}
		})
	}
}

func TestHintsReadBackAsWritten(t *testing.T) {
	a := bucket.Announcement{Link: numbered(1), Hints: bucket.Hints{
		Manifest: bytes.Repeat([]byte{7}, 1000),
		Recent:   []bucket.Link{numbered(2), numbered(3)},
		Packs:    append(packRefs(1, 2), packRefs(0, 3)...),
	}}
	cborBody, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	jsonBody, err := a.EncodeJSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range [][]byte{cborBody, jsonBody} {
		got, err := bucket.DecodeAnnouncement("", body)
		if diff := cmp.Diff(a, got); err != nil || diff != "" {
			t.Errorf("got %v and another announcement (-want +got):\n%s", err, diff)
		}
	}
}

// Hints are hints: whatever they are, the announcement is read.
func TestHintsOfAnotherFormAreLeftOut(t *testing.T) {
	for name, hint := range map[string]map[string]any{
		"a number":              {"manifest": 7, "recent": "text", "packs": []int{1}},
		"half a hash":           {"recent": make([]byte, 33)},
		"half a reference":      {"packs": make([]byte, 64)},
		"too large a manifest":  {"manifest": make([]byte, bucket.MaxInlineManifest+1)},
		"too many recent links": {"recent": make([]byte, 32*(bucket.MaxRecent+1))},
		"rising levels":         {"packs": append(append([]byte{0}, make([]byte, 64)...), append([]byte{1}, make([]byte, 64)...)...)},
		"an unknown level":      {"packs": append([]byte{9}, make([]byte, 64)...)},
	} {
		t.Run(name, func(t *testing.T) {
			hint["link"] = numbered(1)
			body, err := cbor.Marshal(hint)
			if err != nil {
				t.Fatal(err)
			}
			jsonHint := map[string]any{}
			for k, v := range hint {
				jsonHint[k] = v
			}
			jsonBody, err := json.Marshal(jsonHint)
			if err != nil {
				t.Fatal(err)
			}
			for _, body := range [][]byte{body, jsonBody} {
				a, err := bucket.DecodeAnnouncement("", body)
				if diff := cmp.Diff(bucket.Announcement{Link: numbered(1)}, a); err != nil || diff != "" {
					t.Errorf("got %v, and %s", err, diff)
				}
			}
		})
	}
}

func TestTheLargestHintsFitIntoAMessage(t *testing.T) {
	a := bucket.Announcement{Link: numbered(1), Hints: bucket.Hints{Manifest: make([]byte, bucket.MaxInlineManifest)}}
	for i := range bucket.MaxRecent + 10 {
		a.Hints.Recent = append(a.Hints.Recent, numbered(i))
	}
	for level := bucket.MaxPackLevel; level >= 0; level-- {
		a.Hints.Packs = append(a.Hints.Packs, packRefs(level, bucket.PackFanOut)...)
	}
	b, err := a.Encode()
	if err != nil || len(b) > bucket.MaxMessageSize {
		t.Errorf("got %d bytes and %v, want at most %d", len(b), err, bucket.MaxMessageSize)
	}
}

func FuzzDecodePack(f *testing.F) {
	for _, p := range []bucket.Pack{{Manifests: [][]byte{[]byte("a"), []byte("bc")}}, {Level: 2, Packs: packRefs(1, 3)}} {
		b, err := p.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := bucket.DecodePack(b)
		if err != nil {
			return
		}
		if again, err := p.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("got %x and %v, want %x again", again, err, b)
		}
	})
}
