package bucket_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"headwater/bucket"

	"github.com/google/go-cmp/cmp"
)

const (
	someLink = "bafyr4idodq5cld6yaodzogazaj3nu4czcgstd5cqvfislbyj4d3gm4ytna"
	someID   = "550e8400-e29b-41d4-a716-446655440000"
	someKey  = "cecc1507dc1ddd7295951c290888f095adb9044d1b73d696e6df065d683bd4fc"
)

var announcements = []struct {
	name, contentType, body string
	class                   bucket.Class // empty where it is taken
}{
	{"link alone", "", `{"link":"` + someLink + `"}`, ""},
	{"JSON by its first byte", "application/cbor", `{"link":"` + someLink + `"}`, ""},
	{"JSON behind white space", "application/json; charset=utf-8", "\n" + `{"link":"` + someLink + `"}`, ""},
	{"everything", "application/json", `{"v":1,"link":"` + someLink + `","height":18446744073709551615,"bucket_id":"` +
		someID + `","peer_id":"` + someKey + `","stores":["headwater-manifests","hub/archive"]}`, ""},
	{"unknown field", "", `{"link":"` + someLink + `","colour":{"red":[1]}}`, ""},
	{"another format", "", `{"v":2,"link":"` + someLink + `"}`, bucket.Malformed},
	{"no link", "", `{"height":1}`, bucket.Malformed},
	{"empty link", "", `{"link":""}`, bucket.Malformed},
	{"null", "application/json", `null`, bucket.Malformed},
	{"nothing", "", ``, bucket.Malformed},
	{"no CBOR", "", "hello", bucket.Malformed},
	{"cut short", "", `{"link":"` + someLink, bucket.Malformed},
	{"something behind", "", `{"link":"` + someLink + `"} {}`, bucket.Malformed},
	{"raw link", "", `{"link":"bafkr4ihkr4ld3m4gqkjf4reryxsy2s5tkbxprqkow6fin2iiyvreuzzab4"}`, bucket.WrongCodec},
	{"negative height", "", `{"link":"` + someLink + `","height":-1}`, bucket.Malformed},
	{"upper-case bucket", "", `{"link":"` + someLink + `","bucket_id":"550E8400-e29b-41d4-a716-446655440000"}`, bucket.Malformed},
	{"store with a dot", "", `{"link":"` + someLink + `","stores":["a.b"]}`, bucket.Malformed},
	{"store with a wildcard", "", `{"link":"` + someLink + `","stores":["*"]}`, bucket.Malformed},
	{"too many stores", "", `{"link":"` + someLink + `","stores":["a"` + strings.Repeat(`,"a"`, bucket.MaxStores) + `]}`, bucket.Malformed},
	{"other heads", "", `{"link":"` + someLink + `","heads":["` + someLink + `"]}`, ""},
	{"a head of null", "", `{"link":"` + someLink + `","heads":[null]}`, bucket.Malformed},
	{"a head of a raw link", "", `{"link":"` + someLink + `","heads":["bafkr4ihkr4ld3m4gqkjf4reryxsy2s5tkbxprqkow6fin2iiyvreuzzab4"]}`, bucket.WrongCodec},
	{"a head that is a number", "", `{"link":"` + someLink + `","heads":[7]}`, bucket.Malformed},
	{"heads that are no list", "", `{"link":"` + someLink + `","heads":"` + someLink + `"}`, bucket.Malformed},
	{"as many other heads as may be", "", `{"link":"` + someLink + `","heads":["` + someLink + `"` + strings.Repeat(`,"`+someLink+`"`, bucket.MaxHeads-1) + `]}`, ""},
	{"too many other heads", "", `{"link":"` + someLink + `","heads":["` + someLink + `"` + strings.Repeat(`,"`+someLink+`"`, bucket.MaxHeads) + `]}`, bucket.Malformed},
	{"too large", "", `{"link":"` + someLink + `"}` + strings.Repeat(" ", bucket.MaxMessageSize), bucket.TooLarge},
	{"CBOR with link of tag 42", "application/cbor", "\xa1\x64link\xd8\x2a\x58\x25\x00\x01\x71\x1e\x20" + strings.Repeat("\x07", 32), ""},
	{"CBOR link without tag", "application/cbor", "\xa1\x64link\x58\x25\x00\x01\x71\x1e\x20" + strings.Repeat("\x07", 32), bucket.Malformed},
	{"CBOR link of SHA-256", "application/cbor", "\xa1\x64link\xd8\x2a\x58\x25\x00\x01\x71\x12\x20" + strings.Repeat("\x07", 32), bucket.WrongCodec},
	{"CBOR array of 2^32", "application/cbor", "\xa1\x66stores\x9a\xff\xff\xff\xff", bucket.Malformed},
}

func TestDecodeAnnouncement(t *testing.T) {
	for _, tt := range announcements {
		t.Run(tt.name, func(t *testing.T) {
			a, err := bucket.DecodeAnnouncement(tt.contentType, []byte(tt.body))
			if got := bucket.ClassOf(err); got != tt.class {
				t.Fatalf("got class %q (%v), want %q", got, err, tt.class)
			}
			if err == nil {
				checkAnnouncement(t, a)
			}
		})
	}
}

// checkAnnouncement encodes a both ways and reads it back.
func checkAnnouncement(t *testing.T, a bucket.Announcement) {
	t.Helper()
	for contentType, encode := range map[string]func() ([]byte, error){
		bucket.ContentTypeCBOR: a.Encode, bucket.ContentTypeJSON: a.EncodeJSON,
	} {
		b, err := encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := bucket.DecodeAnnouncement(contentType, b)
		if err != nil {
			t.Fatalf("%s: %v in %q", contentType, err, b)
		}
		if diff := cmp.Diff(a, again, equateEmpty); diff != "" {
			t.Errorf("%s (-want +got):\n%s", contentType, diff)
		}
	}
}

// equateEmpty takes a list that is absent for one that is empty.
var equateEmpty = cmp.Options{
	cmp.FilterValues(func(a, b []string) bool { return len(a) == 0 && len(b) == 0 },
		cmp.Comparer(func(_, _ []string) bool { return true })),
	cmp.FilterValues(func(a, b []bucket.Link) bool { return len(a) == 0 && len(b) == 0 },
		cmp.Comparer(func(_, _ []bucket.Link) bool { return true })),
}

func checkPinJob(t *testing.T, j bucket.PinJob) {
	t.Helper()
	b, err := j.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := bucket.DecodePinJob(bucket.ContentTypeCBOR, b)
	if err != nil {
		t.Fatal(err)
	}
	c, err := again.Encode()
	if err != nil || !bytes.Equal(b, c) {
		t.Errorf("got %x, %v, want %x", c, err, b)
	}
}

func TestPinJobRoundTrip(t *testing.T) {
	link, _ := bucket.ParseLink(someLink)
	id, _ := bucket.ParseID(someID)
	key, _ := bucket.ParsePublicKey(someKey)
	j := bucket.PinJob{
		Bucket: id, Link: link, Height: 7, Pins: bucket.RawLink(nil), Stores: []string{"a", "hub/b"},
		Peers: []bucket.PublicKey{key, {}},
	}
	b, err := j.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := bucket.DecodePinJob(bucket.ContentTypeCBOR, b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(j, again); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	text := fmt.Sprintf(`{"bucket_id":%q,"link":%q,"height":7,"pins":%q,"stores":["a","hub/b"],"peer_ids":[%q,%q]}`,
		j.Bucket, j.Link, j.Pins, j.Peers[0], j.Peers[1])
	again, err = bucket.DecodePinJob("", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(j, again); diff != "" {
		t.Errorf("from JSON (-want +got):\n%s", diff)
	}
}

// TestAnnouncementEncode_WritesWhatOthersRead: the bytes on the wire, as they were when heads were added.
func TestAnnouncementEncode_WritesWhatOthersRead(t *testing.T) {
	link, _ := bucket.ParseLink(someLink)
	other := bucket.NewLink(bucket.CodecDagCBOR, bucket.Hash{1})
	a := bucket.Announcement{Link: link, Height: new(uint64(3)), Heads: []bucket.Link{other}, Attempt: 7}
	const want = "a4" + "617601" + "646c696e6b" + "d82a58250001711e20" + "6e1c3a258fd803879718190276da705911a531f450a951258709e0f666731368" +
		"656865616473" + "81" + "d82a58250001711e20" + "0100000000000000000000000000000000000000000000000000000000000000" +
		"66686569676874" + "03"
	b, err := a.Encode()
	if got := fmt.Sprintf("%x", b); err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	const text = `{"v":1,"link":"` + someLink + `","height":3,"heads":["bafyr4iabaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]}`
	if b, err = a.EncodeJSON(); err != nil || string(b) != text {
		t.Errorf("got %s, %v, want %s", b, err, text)
	}
}

func TestAnnouncementMessageID_SameForTheSameHead(t *testing.T) {
	link, _ := bucket.ParseLink(someLink)
	a := bucket.Announcement{Link: link, Height: new(uint64(3)), Stores: []string{"a"}}
	if got, want := (bucket.Announcement{Link: link}).MessageID(), a.MessageID(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	x, y := bucket.NewLink(bucket.CodecDagCBOR, bucket.Hash{1}), bucket.NewLink(bucket.CodecDagCBOR, bucket.Hash{2})
	a.Heads = []bucket.Link{x, y}
	if got, want := a.MessageID(), (bucket.Announcement{Link: link, Heads: []bucket.Link{y, x}}).MessageID(); got != want {
		t.Errorf("the order of other heads counts: got %s, want %s", got, want)
	}
	seen := map[string]bool{}
	for _, b := range []bucket.Announcement{
		{Link: link}, {Link: x}, {Link: link, Heads: []bucket.Link{x}}, {Link: link, Heads: []bucket.Link{y}},
		{Link: link, Attempt: 1}, {Link: link, Heads: []bucket.Link{x}, Attempt: 1}, {Link: link, Attempt: 2},
	} {
		if seen[b.MessageID()] {
			t.Errorf("%+v has the id of another announcement", b)
		}
		seen[b.MessageID()] = true
	}
}
