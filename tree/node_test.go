package tree_test

import (
	"bytes"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"headwater/bucket"
	"headwater/tree"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var rawLink = bucket.RawLink([]byte("blob"))

// encodings of the parts that the tests put together, in the notation of [cat]
const (
	linkHex   = "d82a58250001551e20" + "1111111111111111111111111111111111111111111111111111111111111111"
	secretHex = "9820" + "0101010101010101010101010101010101010101010101010101010101010101"
	dirHex    = "a163446972" + "82" + linkHex + secretHex
	dataHex   = "a16444617461" + "83" + linkHex + secretHex + "a2" + mimeHex + "f6" + metaHex + "f6"
	mimeHex   = "646d696d65"
	metaHex   = "686d65746164617461"
	linksHex  = "a1656c696e6b73"
)

// withMetadata is a node of one file that has the metadata.
func withMetadata(metadata string) string {
	return linksHex + "a1" + "6161" + strings.TrimSuffix(dataHex, "f6") + metadata
}

func TestNodeDecodesAndEncodesBack(t *testing.T) {
	good := map[string]string{
		"no entry":         linksHex + "a0",
		"a directory":      linksHex + "a1" + "60" + dirHex,
		"a file":           linksHex + "a1" + "6161" + dataHex,
		"a media type":     linksHex + "a1" + "6161" + strings.Replace(dataHex, mimeHex+"f6", mimeHex+"63612f62", 1),
		"an empty one":     linksHex + "a1" + "6161" + strings.Replace(dataHex, mimeHex+"f6", mimeHex+"60", 1),
		"shorter first":    linksHex + "a3" + "617a" + dirHex + "626161" + dataHex + "626162" + dirHex,
		"dangerous names":  linksHex + "a3" + "6100" + dirHex + "612f" + dirHex + "622e2e" + dirHex,
		"empty metadata":   withMetadata("a0"),
		"metadata":         withMetadata("a3" + "6161" + "01" + "6162" + "20" + "626161" + "80"),
		"every kind":       withMetadata("a161618a" + "f4f5f6" + "18183818" + "41006161" + "a0" + linkHex + "fb3ff8000000000000"),
		"the largest ints": withMetadata("a1" + "6161" + "82" + "1bffffffffffffffff" + "3bffffffffffffffff"),
		"a foreign CID":    withMetadata("a1" + "6161" + "d82a" + "5825" + "0001711220" + strings.Repeat("22", 32)),
		"deepest":          withMetadata("a1" + "6161" + strings.Repeat("81", tree.MaxMetadataDepth-2) + "00"),
		"a name of 24":     linksHex + "a1" + "7818" + strings.Repeat("61", 24) + dirHex,
		"the longest name": linksHex + "a1" + fmt.Sprintf("79%04x", tree.MaxNameSize) + strings.Repeat("61", tree.MaxNameSize) + dirHex,
		"bytes 24 and 255": linksHex + "a1" + "6161" + "a163446972" + "82" + linkHex + "9820" + "181818ff" + strings.Repeat("17", 30),
	}
	for name, s := range good {
		t.Run(name, func(t *testing.T) {
			b := unhex(t, s)
			n, err := tree.DecodeNode(b)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := n.Encode(); err != nil || !bytes.Equal(again, b) {
				t.Errorf("got %x, %v back from\n%x", again, err, b)
			}
			checkDagCBOR(t, b)
		})
	}
}

func TestBadNodeIsRefused(t *testing.T) {
	one := func(entry string) string { return linksHex + "a1" + "6161" + entry }
	long := fmt.Sprintf("79%04x", tree.MaxNameSize+1) + strings.Repeat("61", tree.MaxNameSize+1)
	cases := map[string]struct {
		hex   string
		class bucket.Class
	}{
		"nothing":               {"", bucket.Malformed},
		"no map":                {"80", bucket.Malformed},
		"no field":              {"a0", bucket.Malformed},
		"another field":         {"a1656c696e6b7aa0", bucket.Malformed},
		"two fields":            {"a26161f6656c696e6b73a0", bucket.Malformed},
		"links null":            {linksHex + "f6", bucket.Malformed},
		"bytes behind":          {linksHex + "a0" + "00", bucket.Malformed},
		"indefinite map":        {linksHex + "bfff", bucket.Malformed},
		"indefinite outside":    {"bf656c696e6b73a0ff", bucket.Malformed},
		"reserved head":         {linksHex + "bc", bucket.Malformed},
		"head cut off":          {linksHex + "b9", bucket.Malformed},
		"long head":             {"b801" + linksHex[2:] + "a0", bucket.NonCanonical},
		"long count":            {linksHex + "b800", bucket.NonCanonical},
		"long count of 16":      {linksHex + "b90017", bucket.NonCanonical},
		"long count of 16, 2":   {linksHex + "b900ff", bucket.NonCanonical},
		"long count of 32":      {linksHex + "ba0000ffff", bucket.NonCanonical},
		"long count of 64":      {linksHex + "bb00000000ffffffff", bucket.NonCanonical},
		"more than there is":    {linksHex + "a2" + "6161" + dirHex, bucket.Malformed},
		"less than there is":    {linksHex + "a1" + "6161" + dirHex + "6162" + dirHex, bucket.Malformed},
		"one name twice":        {linksHex + "a2" + "6161" + dirHex + "6161" + dirHex, bucket.NonCanonical},
		"wrong order":           {linksHex + "a2" + "6162" + dirHex + "6161" + dirHex, bucket.NonCanonical},
		"longer first":          {linksHex + "a2" + "626161" + dirHex + "617a" + dirHex, bucket.NonCanonical},
		"a name of bytes":       {linksHex + "a1" + "4161" + dirHex, bucket.Malformed},
		"a name not UTF-8":      {linksHex + "a1" + "61ff" + dirHex, bucket.Malformed},
		"a name cut off":        {linksHex + "a1" + "781e" + dirHex, bucket.Malformed},
		"too long a name":       {linksHex + "a1" + long + dirHex, bucket.TooLarge},
		"an entry null":         {one("f6" + dirHex), bucket.Malformed},
		"an unknown kind":       {one("a163446973" + dirHex[10:]), bucket.Malformed},
		"two kinds":             {one("a2" + dirHex[2:] + dataHex[2:]), bucket.Malformed},
		"a Dir of three":        {one("a163446972" + "83" + linkHex + secretHex + "f6"), bucket.Malformed},
		"a Data of two":         {one("a16444617461" + "82" + linkHex + secretHex), bucket.Malformed},
		"link null":             {one(strings.Replace(dirHex, linkHex, "f6", 1) + linkHex), bucket.Malformed},
		"link without tag":      {one(strings.Replace(dirHex, "d82a", "", 1) + "0000"), bucket.Malformed},
		"another tag":           {one(strings.Replace(dirHex, "d82a", "d82b", 1)), bucket.Malformed},
		"no zero byte":          {one(strings.Replace(dirHex, "582500", "582501", 1)), bucket.Malformed},
		"CID cut off":           {one(strings.Replace(dirHex, "5825", "58ff", 1)), bucket.Malformed},
		"CID of text":           {one(strings.Replace(dirHex, "5825", "7825", 1)), bucket.Malformed},
		"huge CID":              {one(strings.Replace(dirHex, "5825", "5bffffffffffffffff", 1)), bucket.Malformed},
		"empty CID":             {one(strings.Replace(dirHex, linkHex, "d82a40", 1) + linkHex), bucket.Malformed},
		"a link to a manifest":  {one(strings.Replace(dirHex, "01551e20", "01711e20", 1)), bucket.WrongCodec},
		"another hash":          {one(strings.Replace(dirHex, "01551e20", "01551220", 1)), bucket.WrongCodec},
		"secret of bytes":       {one(strings.Replace(dirHex, "9820", "5820", 1)), bucket.Malformed},
		"secret of 31":          {one(strings.Replace(dirHex, secretHex, "981f"+secretHex[6:], 1) + "00"), bucket.Malformed},
		"secret of 33":          {one(strings.Replace(dirHex, "9820", "9821", 1) + "00"), bucket.Malformed},
		"secret above 255":      {one(strings.Replace(dirHex, "98200101", "9820190100", 1) + "00"), bucket.Malformed},
		"secret ends above 255": {one(strings.TrimSuffix(dirHex, "01") + "190100"), bucket.Malformed},
		"secret ends in text":   {one(strings.TrimSuffix(dirHex, "01") + "60"), bucket.Malformed},
		"secret with a long 1":  {one(strings.Replace(dirHex, "982001", "98201801", 1)), bucket.NonCanonical},
		"secret with minus 1":   {one(strings.Replace(dirHex, "982001", "982020", 1)), bucket.Malformed},
		"mime of bytes":         {one(strings.Replace(dataHex, mimeHex+"f6", mimeHex+"40", 1)), bucket.Malformed},
		"mime not UTF-8":        {one(strings.Replace(dataHex, mimeHex+"f6", mimeHex+"61ff", 1)), bucket.Malformed},
		"mime absent":           {one(strings.Replace(dataHex, "a2"+mimeHex+"f6", "a1", 1) + "0000"), bucket.Malformed},
		"metadata first":        {one(strings.Replace(dataHex, mimeHex+"f6"+metaHex+"f6", metaHex+"f6"+mimeHex+"f6", 1)), bucket.Malformed},
		"metadata undefined":    {withMetadata("f7"), bucket.Malformed},
		"metadata cut off":      {withMetadata(""), bucket.Malformed},
		"metadata of 2, 1 cut":  {withMetadata("a2616100"), bucket.Malformed},
		"metadata a list":       {withMetadata("80"), bucket.Malformed},
		"metadata keyed by 1":   {withMetadata("a10101"), bucket.Malformed},
		"metadata key twice":    {withMetadata("a2616100616101"), bucket.NonCanonical},
		"metadata disordered":   {withMetadata("a2616200616100"), bucket.NonCanonical},
		"inner map disordered":  {withMetadata("a16161a2616200616100"), bucket.NonCanonical},
		"metadata long int":     {withMetadata("a161611817"), bucket.NonCanonical},
		"metadata half float":   {withMetadata("a16161f93c00"), bucket.Malformed},
		"metadata float of 32":  {withMetadata("a16161fa3f800000"), bucket.Malformed},
		"metadata NaN":          {withMetadata("a16161fb7ff8000000000000"), bucket.Malformed},
		"metadata infinity":     {withMetadata("a16161fbfff0000000000000"), bucket.Malformed},
		"metadata float cut":    {withMetadata("a16161fb00"), bucket.Malformed},
		"metadata simple":       {withMetadata("a16161f0"), bucket.Malformed},
		"metadata break":        {withMetadata("a16161ff"), bucket.Malformed},
		"metadata other tag":    {withMetadata("a16161c100"), bucket.Malformed},
		"metadata bad text":     {withMetadata("a1616161ff"), bucket.Malformed},
		"metadata long bytes":   {withMetadata("a161615bffffffffffffffff"), bucket.Malformed},
		"metadata long list":    {withMetadata("a161619bffffffffffffffff"), bucket.Malformed},
		"metadata long map":     {withMetadata("bbffffffffffffffff"), bucket.Malformed},
		"metadata too deep":     {withMetadata("a1" + "6161" + strings.Repeat("81", tree.MaxMetadataDepth-1) + "00"), bucket.TooLarge},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			n, err := tree.DecodeNode(unhex(t, c.hex))
			if bucket.ClassOf(err) != c.class || n != nil {
				t.Errorf("got %v, %v, want class %s", n, err, c.class)
			}
		})
	}
}

func TestEveryPrefixOfANodeIsRefused(t *testing.T) {
	b := vector(t, "node").ExpectedHex
	for i := range b {
		if _, err := tree.DecodeNode(b[:i]); bucket.ClassOf(err) != bucket.Malformed {
			t.Errorf("%d bytes: got %v, want class malformed", i, err)
		}
	}
}

func TestNodeKeepsNothingOfItsInput(t *testing.T) {
	b := unhex(t, withMetadata("a1616161ff")[:len(withMetadata("a1616161ff"))-4]+"6162")
	n, err := tree.DecodeNode(b)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprint(n.Links)
	clear(b)
	if got := fmt.Sprint(n.Links); got != want {
		t.Errorf("got %s after the input was cleared, want %s", got, want)
	}
}

func named(name string, e tree.Entry) *tree.Node {
	return &tree.Node{Links: map[string]tree.Entry{name: e}}
}

func TestNodeBeyondALimitIsNeitherWrittenNorRead(t *testing.T) {
	data := func(d tree.Data) *tree.Node {
		d.Link = rawLink
		return named("a", d)
	}
	long := strings.Repeat("x", tree.MaxMimeSize+1)
	meta := func(size int) []byte { // a map of one key and a byte string, so many bytes in all
		n := size - len("\xa1\x61a\x59..")
		return append([]byte{0xa1, 0x61, 'a', 0x59, byte(n >> 8), byte(n)}, make([]byte, n)...)
	}
	many := &tree.Node{Links: make(map[string]tree.Entry)}
	for i := range tree.MaxEntries + 1 {
		many.Links[fmt.Sprint(i)] = tree.Dir{Link: rawLink}
	}
	big := &tree.Node{Links: make(map[string]tree.Entry)}
	for i := range tree.MaxNodeSize / tree.MaxNameSize {
		big.Links[fmt.Sprintf("%0*d", tree.MaxNameSize, i)] = tree.Dir{Link: rawLink}
	}
	cases := map[string]struct {
		node  *tree.Node
		class bucket.Class
	}{
		"too many entries":     {many, bucket.TooLarge},
		"too many bytes":       {big, bucket.TooLarge},
		"too long a name":      {named(strings.Repeat("x", tree.MaxNameSize+1), tree.Dir{Link: rawLink}), bucket.TooLarge},
		"too long a mime":      {data(tree.Data{Mime: &long}), bucket.TooLarge},
		"too large metadata":   {data(tree.Data{Metadata: meta(tree.MaxMetadataSize + 1)}), bucket.TooLarge},
		"a name not UTF-8":     {named("\xff", tree.Dir{Link: rawLink}), bucket.Malformed},
		"a mime not UTF-8":     {data(tree.Data{Mime: new("\xff")}), bucket.Malformed},
		"metadata no map":      {data(tree.Data{Metadata: []byte{0xf6}}), bucket.Malformed},
		"metadata of no byte":  {data(tree.Data{Metadata: []byte{}}), bucket.Malformed},
		"two metadata":         {data(tree.Data{Metadata: []byte{0xa0, 0xa0}}), bucket.Malformed},
		"no entry":             {named("a", nil), bucket.Malformed},
		"no link":              {named("a", tree.Dir{}), bucket.WrongCodec},
		"a link to a manifest": {named("a", tree.Dir{Link: bucket.ManifestLink(nil)}), bucket.WrongCodec},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if b, err := c.node.Encode(); bucket.ClassOf(err) != c.class || b != nil {
				t.Errorf("got %.32x, %v, want class %s", b, err, c.class)
			}
		})
	}
	b, err := data(tree.Data{Metadata: meta(tree.MaxMetadataSize)}).Encode()
	if err != nil {
		t.Errorf("metadata at the limit: got %v, want it written", err)
	}
	if _, err := tree.DecodeNode(b); err != nil {
		t.Errorf("metadata at the limit: got %v, want it read", err)
	}
	if _, err := tree.DecodeNode(make([]byte, tree.MaxNodeSize+1)); bucket.ClassOf(err) != bucket.TooLarge {
		t.Errorf("a node of %d bytes: got %v, want class too_large", tree.MaxNodeSize+1, err)
	}
	if _, err := tree.DecodeNode(unhex(t, fmt.Sprintf("%sba%08x", linksHex, tree.MaxEntries+1))); bucket.ClassOf(err) != bucket.TooLarge {
		t.Errorf("a node that claims %d entries: got %v, want class too_large", tree.MaxEntries+1, err)
	}
}

func TestLargestNodeIsWrittenAndRead(t *testing.T) {
	n := &tree.Node{Links: make(map[string]tree.Entry, tree.MaxEntries)}
	for i := range tree.MaxEntries {
		n.Links[fmt.Sprintf("%d", i)] = tree.Dir{Link: rawLink}
	}
	b, err := n.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := tree.DecodeNode(b)
	if err != nil || !maps.Equal(again.Links, n.Links) {
		t.Errorf("got another node back, %v", err)
	}
}

// TestBounded_NodeClaimsAllocateNothing: a few bytes that claim the most there can be.
func TestBounded_NodeClaimsAllocateNothing(t *testing.T) {
	claims := []string{
		fmt.Sprintf("%sba%08x6161", linksHex, tree.MaxEntries),
		linksHex + "bbffffffffffffffff",
		linksHex + "a1" + "7bffffffffffffffff" + dirHex,
		withMetadata("bbffffffffffffffff6161"),
		withMetadata("a161617affffffff"),
	}
	for _, s := range claims {
		b := unhex(t, s)
		if got := allocated(func() {
			if _, err := tree.DecodeNode(b); err == nil {
				t.Errorf("%s: got no error", s)
			}
		}); got > 16<<10 {
			t.Errorf("%s: got %d bytes allocated, want few", s, got)
		}
	}
}

// allocated says how many bytes f allocates, with whatever else runs.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestSmallestEntryFillsItsBound(t *testing.T) {
	b, err := (&tree.Node{Links: map[string]tree.Entry{"": tree.Dir{Link: rawLink}}}).Encode()
	if got := len(b) - len(linksHex)/2 - 1; err != nil || got != tree.MinEntrySize {
		t.Errorf("got %d bytes, %v, want %d", got, err, tree.MinEntrySize)
	}
}

// checkDagCBOR asks another implementation what the canonical encoding of b's content is.
func checkDagCBOR(t testing.TB, b []byte) {
	t.Helper()
	dec, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden}.DecMode()
	if err != nil {
		t.Fatal(err)
	}
	enc, err := cbor.EncOptions{Sort: cbor.SortLengthFirst}.EncMode()
	if err != nil {
		t.Fatal(err)
	}
	var x any
	if err := dec.Unmarshal(b, &x); err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	if again, err := enc.Marshal(x); err != nil || !bytes.Equal(again, b) {
		t.Fatalf("got %x, %v from the other implementation, want\n%x", again, err, b)
	}
}

func drawSecret(t *rapid.T) bucket.Secret {
	return bucket.Secret(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "secret"))
}

func drawLink(t *rapid.T) bucket.Link {
	return bucket.NewLink(bucket.CodecRaw, bucket.Hash(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash")))
}

func drawEntry(t *rapid.T) tree.Entry {
	if rapid.Bool().Draw(t, "dir") {
		return tree.Dir{Link: drawLink(t), Secret: drawSecret(t)}
	}
	d := tree.Data{Link: drawLink(t), Secret: drawSecret(t)}
	if rapid.Bool().Draw(t, "has mime") {
		d.Mime = new(rapid.StringN(0, 40, -1).Draw(t, "mime"))
	}
	if rapid.Bool().Draw(t, "has metadata") {
		d.Metadata = []byte{0xa1, 0x61, 'k', rapid.ByteMax(23).Draw(t, "value")}
	}
	return d
}

func TestAnyNodeDecodesToItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &tree.Node{Links: rapid.MapOfN(rapid.StringN(0, 300, -1), rapid.Custom(drawEntry), 0, 40).Draw(t, "links")}
		b, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := tree.DecodeNode(b)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("%v (-want +got):\n%s", err, diff)
		}
		checkDagCBOR(rapidTB{t: t}, b)
	})
}

func FuzzDecodeNode(f *testing.F) {
	f.Add([]byte(vector(f, "node").ExpectedHex))
	f.Add([]byte(vector(f, "node_empty").ExpectedHex))
	for _, m := range []string{"a0", "a1616181f6", "a16161fb3ff8000000000000", "a16161" + linkHex, "a16161a2616100616201"} {
		f.Add(unhex(f, withMetadata(m)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		input := slices.Clone(b)
		n, err := tree.DecodeNode(b)
		if !bytes.Equal(b, input) {
			t.Fatal("the input was written to")
		}
		if err != nil {
			if bucket.ClassOf(err) == "" || n != nil {
				t.Fatalf("got %v, %v, want a refusal", n, err)
			}
			return
		}
		if again, err := n.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("got %x, %v back, want\n%x", again, err, b)
		}
		checkDagCBOR(t, b)
		for name, e := range n.Links {
			if l, _ := e.Blob(); l.Codec() != bucket.CodecRaw || len(name) > tree.MaxNameSize {
				t.Fatalf("entry %q has link %s", name, l)
			}
		}
	})
}

func usualNode(b *testing.B) []byte {
	n := &tree.Node{Links: make(map[string]tree.Entry)}
	for i := range 1000 {
		secret := bucket.Secret(bucket.Sum(fmt.Append(nil, i)))
		n.Links[fmt.Sprintf("file-%d.txt", i)] = tree.Data{Link: rawLink, Secret: secret, Mime: new("text/plain")}
	}
	out, err := n.Encode()
	if err != nil {
		b.Fatal(err)
	}
	return out
}

func BenchmarkDecodeNode(b *testing.B) {
	in := usualNode(b)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tree.DecodeNode(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeNode(b *testing.B) {
	in := usualNode(b)
	n, err := tree.DecodeNode(in)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := n.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}
