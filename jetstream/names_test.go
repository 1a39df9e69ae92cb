package jetstream_test

import (
	"strings"
	"testing"

	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
)

const (
	bucketText = "7f0a3c8e-93d2-4e6b-8f55-0a1b2c3d4e5f"
	peerText   = "fe00000000000000000000000000000000000000000000000000000000000001"
)

func TestNamesAreThoseOfTheContract(t *testing.T) {
	b, err := bucket.ParseID(bucketText)
	noErr(t, "parse", err)
	p := peer(1)
	var n jetstream.Names
	other := jetstream.Names{Prefix: "acme-2"}
	for _, c := range []struct{ got, want string }{
		{n.Head(b, p), "headwater.heads." + bucketText + "." + peerText},
		{n.AllHeads(), "headwater.heads.*.*"},
		{n.HeadsOf(b), "headwater.heads." + bucketText + ".*"},
		{n.Pins(p, b), "headwater.pins." + peerText + "." + bucketText},
		{n.PinsOf(p), "headwater.pins." + peerText + ".*"},
		{n.AllPins(), "headwater.pins.*.*"},
		{n.Dead(p, consumer.KindPins, b), "headwater.dead." + peerText + ".pins." + bucketText},
		{n.DeadOf(bucket.PublicKey{}, "", bucket.ID{}), "headwater.dead.*.*.*"},
		{n.DeadOf(p, consumer.KindHeads, b), "headwater.dead." + peerText + ".heads." + bucketText},
		{n.Event(p, b, consumer.EventApplied), "headwater.events." + peerText + "." + bucketText + ".applied"},
		{n.EventsOf(bucket.PublicKey{}, b, ""), "headwater.events.*." + bucketText + ".*"},
		{n.Ask(p, "status"), "headwater.ask." + peerText + ".status"},
		{n.HeadsStream(), "HEADWATER_HEADS"},
		{n.PinsStream(), "HEADWATER_PINS"},
		{n.DeadStream(), "HEADWATER_DEAD"},
		{n.StreamOf(consumer.KindPins), "HEADWATER_PINS"},
		{n.Durable(consumer.KindHeads, p), "heads-" + peerText},
		{n.ManifestStore(), "headwater-manifests"},
		{n.BlobStore(), "headwater-blobs"},
		{other.HeadsStream(), "ACME_2_HEADS"},
		{other.AllPins(), "acme-2.pins.*.*"},
		{other.BlobStore(), "acme-2-blobs"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}

func TestPrefixesThatCouldMeetAreRefused(t *testing.T) {
	for prefix, want := range map[string]bool{
		"": true, "headwater": true, "a": true, "a-1": true, strings.Repeat("a", 32): true,
		"A": false, "a_b": false, "a.b": false, "a b": false, "*": false, ">": false, "1a": false, "-a": false,
		strings.Repeat("a", 33): false, "ä": false,
	} {
		if err := (jetstream.Names{Prefix: prefix}).Validate(); (err == nil) != want {
			t.Errorf("prefix %q: got error %v, want valid %v", prefix, err, want)
		}
	}
}

func TestSubjectsThatNameNothingParseToZero(t *testing.T) {
	var n jetstream.Names
	for _, c := range []struct {
		subject    string
		hasB, hasP bool
		ok         bool
	}{
		{"headwater.heads." + bucketText + "." + peerText, true, true, true},
		{"headwater.heads." + bucketText + ".somebody", true, false, false},
		{"headwater.heads." + strings.ToUpper(bucketText) + "." + peerText, false, true, false},
		{"headwater.heads." + bucketText, false, false, false},
		{"headwater.heads." + bucketText + "." + peerText + ".more", false, false, false},
		{"other.heads." + bucketText + "." + peerText, false, false, false},
		{"headwater.pins." + bucketText + "." + peerText, false, false, false},
		{"", false, false, false},
	} {
		b, p, ok := n.ParseHead(c.subject)
		if !b.IsZero() != c.hasB || !p.IsZero() != c.hasP || ok != c.ok {
			t.Errorf("%s: got bucket %s, peer %s, ok %v; want %v, %v, %v", c.subject, b, p, ok, c.hasB, c.hasP, c.ok)
		}
	}
}

func FuzzSubjectsReadBackAsWritten(f *testing.F) {
	f.Add("headwater", "headwater.heads."+bucketText+"."+peerText)
	f.Add("headwater", "headwater.pins."+peerText+"."+bucketText)
	f.Add("acme", "acme.dead."+peerText+".heads."+bucketText)
	f.Add("acme", "acme.dead..heads.")
	f.Fuzz(func(t *testing.T, prefix, subject string) {
		n := jetstream.Names{Prefix: prefix}
		if n.Validate() != nil {
			return
		}
		if b, p, ok := n.ParseHead(subject); ok && n.Head(b, p) != subject {
			t.Errorf("head subject %q reads back as %q", subject, n.Head(b, p))
		}
		if p, b, ok := n.ParsePins(subject); ok && n.Pins(p, b) != subject {
			t.Errorf("pins subject %q reads back as %q", subject, n.Pins(p, b))
		}
		if p, k, b, ok := n.ParseDead(subject); ok && n.Dead(p, k, b) != subject {
			t.Errorf("dead letter subject %q reads back as %q", subject, n.Dead(p, k, b))
		}
	})
}

func FuzzStoreNamesReadBackAsWritten(f *testing.F) {
	for _, s := range []string{"headwater-blobs", "hub/headwater-blobs", "/x", "x/", "a/b/c", "a.b", "*", ">", "a b", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := jetstream.ParseStore(text)
		if err != nil {
			return
		}
		if s.String() != text {
			t.Errorf("store %q reads back as %q", text, s)
		}
		if s.Name == "" || strings.ContainsAny(text, ".*> \r\n") || len(text) > bucket.MaxStoreNameSize {
			t.Errorf("store %q is no name", text)
		}
	})
}
