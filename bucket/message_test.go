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
	{"JSON by its first octet", "application/cbor", `{"link":"` + someLink + `"}`, ""},
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
var equateEmpty = cmp.FilterValues(func(a, b []string) bool { return len(a) == 0 && len(b) == 0 },
	cmp.Comparer(func(_, _ []string) bool { return true }))

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

func TestAnnouncementMessageID_SameForTheSameHead(t *testing.T) {
	link, _ := bucket.ParseLink(someLink)
	a := bucket.Announcement{Link: link, Height: new(uint64(3)), Stores: []string{"a"}}
	if got, want := (bucket.Announcement{Link: link}).MessageID(), a.MessageID(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
