package author

import (
	"bytes"
	"testing"

	"headwater/bucket"
	"headwater/bucket/buckettest"
)

func recordOf(tb testing.TB) (bucket.ID, *record) {
	c := buckettest.New(tb, buckettest.Identity(tb, 1)).Grow(tb, 3)
	return c.ID, &record{c.Versions[0].Link, c.Head(), map[bucket.Link]tip{
		c.Versions[1].Link:               {Height: 1, Kind: tipBehind},
		bucket.ManifestLink([]byte("m")): {Height: 2, Kind: tipMerged},
		bucket.ManifestLink([]byte("f")): {Height: 2, Kind: tipFork, Base: c.Versions[1].Link},
		bucket.ManifestLink([]byte("r")): {Kind: tipRefused, Class: bucket.HeightGap, Reason: "no"},
	}}
}

func TestRecordIsReadAsItWasWritten(t *testing.T) {
	id, r := recordOf(t)
	b, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := readRecord(bytes.NewReader(b), id)
	if err != nil || !got.equal(r) {
		t.Errorf("got %+v, %v, want %+v", got, err, r)
	}
}

// However many tips there are, a record stays within what is read, and forgets first what costs least.
func TestRecordForgetsWhatCostsLeast(t *testing.T) {
	id, r := recordOf(t)
	for i := range 2 * maxTips {
		l := bucket.ManifestLink([]byte{byte(i), byte(i >> 8)})
		r.tips[l] = tip{Height: uint64(i), Kind: tipRefused, Class: bucket.AuthorNotInShares, Reason: string(make([]byte, maxReason))}
	}
	b, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := readRecord(bytes.NewReader(b), id)
	if err != nil {
		t.Fatalf("%d octets: %v", len(b), err)
	}
	kinds := map[tipKind]int{}
	for _, k := range got.tips {
		kinds[k.Kind]++
	}
	if kinds[tipFork] != 1 || kinds[tipMerged] != 1 || kinds[tipBehind] != 1 || len(got.tips) != maxTips {
		t.Errorf("got %v", kinds)
	}
}

func FuzzRecord(f *testing.F) {
	id, r := recordOf(f)
	b, err := r.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readRecord(bytes.NewReader(b), id)
		if err != nil {
			return
		}
		again, err := got.encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := readRecord(bytes.NewReader(again), id); err != nil || !back.equal(got) {
			t.Errorf("read again: %v", err)
		}
	})
}
