package tree_test

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"headwater/bucket"
	"headwater/tree"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func peer(t testing.TB, n byte) bucket.PublicKey { return identity(t, seed(n)).PublicKey() }

const opsHex = "a16a6f7065726174696f6e73"

// opHex is the encoding of one operation at timestamp 1, behind its key.
func opHex(t testing.TB, kind string) string {
	return opIDHex(t, 1, "01") + "a5" + "626964" + opIDHex(t, 1, "01") + "6470617468" + "6161" + "6669735f646972" + "f4" +
		"676f705f74797065" + kind + "6c636f6e74656e745f6c696e6b" + "f6"
}

func opIDHex(t testing.TB, n byte, timestamp string) string {
	ints, err := peer(t, n).MarshalCBOR()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("a267706565725f6964%x6974696d657374616d70%s", ints, timestamp)
}

const addHex = "63416464"

func TestOpsLogIsReadInTheOrderThingsHappened(t *testing.T) {
	a, b := peer(t, 1), peer(t, 2) // b < a
	var log tree.OpsLog
	for _, id := range []tree.OpID{{a, 300}, {b, 300}, {a, 1}, {b, 24}, {a, 23}, {b, math.MaxUint64}, {a, 1 << 32}, {b, 0}} {
		log = append(log, tree.Op{ID: id, Kind: tree.OpMkdir, Path: "x", IsDir: true})
	}
	before := slices.Clone(log)
	enc, err := log.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, log); diff != "" {
		t.Errorf("Encode changed the list (-before +after):\n%s", diff)
	}
	got, err := tree.DecodeOpsLog(enc)
	if err != nil {
		t.Fatal(err)
	}
	var ids []tree.OpID
	for _, op := range got {
		ids = append(ids, op.ID)
	}
	want := []tree.OpID{{b, 0}, {a, 1}, {a, 23}, {b, 24}, {b, 300}, {a, 300}, {a, 1 << 32}, {b, math.MaxUint64}}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	checkKeyOrder(t, enc)
	slices.Reverse(log)
	if again, err := log.Encode(); err != nil || !bytes.Equal(again, enc) {
		t.Errorf("got another encoding, %v, from another order of one list", err)
	}
}

// checkKeyOrder lets another implementation take the operations apart, which it can where it does not look into keys,
// and demands that the encoded keys ascend bytewise, as the original sorts them.
func checkKeyOrder(t testing.TB, enc []byte) {
	t.Helper()
	rest := bytes.TrimPrefix(enc, unhex(t, opsHex))
	rest = rest[headSize(rest[0]):]
	var last []byte
	for len(rest) > 0 {
		var key, op cbor.RawMessage
		var err error
		if rest, err = cbor.UnmarshalFirst(rest, &key); err != nil {
			t.Fatal(err)
		}
		if rest, err = cbor.UnmarshalFirst(rest, &op); err != nil {
			t.Fatal(err)
		}
		if bytes.Compare(last, key) >= 0 {
			t.Fatalf("key %x does not come behind %x", []byte(key), last)
		}
		checkDagCBOR(t, key)
		checkDagCBOR(t, op)
		last = key
	}
}

// headSize is the size of a head by its first byte.
func headSize(c byte) int {
	if c&0x1f < 24 {
		return 1
	}
	return 1 + 1<<(c&0x1f-24)
}

func TestBadOpsLogIsRefused(t *testing.T) {
	one := func(s string) string { return opsHex + "a1" + s }
	op := opHex(t, addHex)
	later := strings.ReplaceAll(op, "616d7001", "616d7002")
	move := func(inner string) string { return one(opHex(t, inner)) }
	withLink := func(link string) string { return one(strings.TrimSuffix(op, "f6") + link) }
	long := fmt.Sprintf("79%04x", tree.MaxPathSize+1)
	stamp := "6974696d657374616d70" + "01"
	swapped := "a2" + stamp + strings.TrimSuffix(opIDHex(t, 1, "01")[2:], stamp)
	noPoint := strings.ReplaceAll(op, opIDHex(t, 1, "01"), "a267706565725f6964"+"982002"+strings.Repeat("00", 31)+"6974696d657374616d7001")
	cases := map[string]struct {
		hex   string
		class bucket.Class // empty where it is to be taken
	}{
		"no operation":           {opsHex + "a0", ""},
		"one":                    {one(op), ""},
		"two":                    {opsHex + "a2" + op + later, ""},
		"a move":                 {move("a1624d76a16466726f6d6162"), ""},
		"a move from nowhere":    {move("a1624d76a16466726f6d60"), ""},
		"a link":                 {withLink(linkHex), ""},
		"nothing":                {"", bucket.Malformed},
		"another field":          {"a1" + "6a6f7065726174696f6e74" + "a0", bucket.Malformed},
		"bytes behind":           {one(op) + "00", bucket.Malformed},
		"indefinite map":         {opsHex + "bf" + op + "ff", bucket.Malformed},
		"a list":                 {opsHex + "80", bucket.Malformed},
		"long count":             {opsHex + "b801" + op, bucket.NonCanonical},
		"more than there is":     {opsHex + "a2" + op, bucket.Malformed},
		"less than there is":     {opsHex + "a1" + op + later, bucket.Malformed},
		"one id twice":           {opsHex + "a2" + op + op, bucket.NonCanonical},
		"wrong order":            {opsHex + "a2" + later + op, bucket.NonCanonical},
		"text for a key":         {one("6161" + op), bucket.Malformed},
		"id first":               {one(strings.Replace(op, opIDHex(t, 1, "01"), swapped, 1)), bucket.Malformed},
		"another id inside":      {one(opIDHex(t, 1, "02") + strings.TrimPrefix(op, opIDHex(t, 1, "01"))), bucket.Malformed},
		"another peer inside":    {one(opIDHex(t, 2, "01") + strings.TrimPrefix(op, opIDHex(t, 1, "01"))), bucket.Malformed},
		"no point of the curve":  {one(noPoint), bucket.Malformed},
		"a long timestamp":       {one(strings.ReplaceAll(op, "616d7001", "616d701801")), bucket.NonCanonical},
		"timestamp below zero":   {one(strings.ReplaceAll(op, "616d7001", "616d7020")), bucket.Malformed},
		"four fields":            {one(strings.Replace(op, "a5626964", "a4626964", 1)), bucket.Malformed},
		"path of bytes":          {one(strings.Replace(op, "64706174686161", "64706174684161", 1)), bucket.Malformed},
		"path not UTF-8":         {one(strings.Replace(op, "64706174686161", "647061746861ff", 1)), bucket.Malformed},
		"is_dir null":            {one(strings.Replace(op, "6669735f646972f4", "6669735f646972f6", 1)), bucket.Malformed},
		"is_dir 0":               {one(strings.Replace(op, "6669735f646972f4", "6669735f64697200", 1)), bucket.Malformed},
		"an unknown kind":        {move("63416465"), bucket.Malformed},
		"kind null":              {move("f6"), bucket.Malformed},
		"Mv as text":             {move("624d76"), bucket.Malformed},
		"Add as a map":           {move("a163416464a16466726f6d6162"), bucket.Malformed},
		"a move without from":    {move("a1624d76a0"), bucket.Malformed},
		"a move with more":       {move("a1624d76a26466726f6d6162"), bucket.Malformed},
		"a link to a manifest":   {withLink(strings.Replace(linkHex, "0155", "0171", 1)), bucket.WrongCodec},
		"a link absent":          {withLink(""), bucket.Malformed},
		"a link of another hash": {withLink(strings.Replace(linkHex, "1e20", "1220", 1)), bucket.WrongCodec},
		"too long a path":        {one(strings.Replace(op, "6470617468"+"6161", "6470617468"+long, 1)), bucket.TooLarge},
		"too many":               {fmt.Sprintf("%sba%08x", opsHex, tree.MaxOps+1), bucket.TooLarge},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := unhex(t, c.hex)
			log, err := tree.DecodeOpsLog(b)
			if c.class != "" {
				if bucket.ClassOf(err) != c.class || log != nil {
					t.Errorf("got %v, %v, want class %s", log, err, c.class)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if again, err := log.Encode(); err != nil || !bytes.Equal(again, b) {
				t.Errorf("got %x, %v back, want %x", again, err, b)
			}
		})
	}
	if _, err := tree.DecodeOpsLog(make([]byte, tree.MaxOpsLogSize+1)); bucket.ClassOf(err) != bucket.TooLarge {
		t.Errorf("a log of %d bytes: got %v, want class too_large", tree.MaxOpsLogSize+1, err)
	}
}

func TestEveryPrefixOfAnOpsLogIsRefused(t *testing.T) {
	b := vector(t, "ops_log").ExpectedHex
	for i := range b {
		if _, err := tree.DecodeOpsLog(b[:i]); bucket.ClassOf(err) != bucket.Malformed {
			t.Errorf("%d bytes: got %v, want class malformed", i, err)
		}
	}
}

func TestOpsLogThatCannotBeReadIsNotWritten(t *testing.T) {
	id := tree.OpID{Peer: peer(t, 1), Timestamp: 1}
	ok := tree.Op{ID: id, Kind: tree.OpAdd, Path: "a", Content: rawLink}
	with := func(change func(*tree.Op)) tree.OpsLog {
		op := ok
		change(&op)
		return tree.OpsLog{op}
	}
	long := strings.Repeat("x", tree.MaxPathSize+1)
	large := make(tree.OpsLog, tree.MaxOpsLogSize/tree.MaxPathSize)
	for i := range large {
		large[i] = tree.Op{ID: tree.OpID{Peer: id.Peer, Timestamp: uint64(i)}, Kind: tree.OpMkdir, Path: long[1:]}
	}
	cases := map[string]struct {
		log   tree.OpsLog
		class bucket.Class
	}{
		"one id twice":          {tree.OpsLog{ok, ok}, bucket.Malformed},
		"no kind":               {with(func(o *tree.Op) { o.Kind = 0 }), bucket.Malformed},
		"an unknown kind":       {with(func(o *tree.Op) { o.Kind = 5 }), bucket.Malformed},
		"From without a move":   {with(func(o *tree.Op) { o.From = "b" }), bucket.Malformed},
		"path not UTF-8":        {with(func(o *tree.Op) { o.Path = "\xff" }), bucket.Malformed},
		"From not UTF-8":        {with(func(o *tree.Op) { o.Kind, o.From = tree.OpMove, "\xff" }), bucket.Malformed},
		"too long a path":       {with(func(o *tree.Op) { o.Path = long }), bucket.TooLarge},
		"too long a From":       {with(func(o *tree.Op) { o.Kind, o.From = tree.OpMove, long }), bucket.TooLarge},
		"a link to a manifest":  {with(func(o *tree.Op) { o.Content = bucket.ManifestLink(nil) }), bucket.WrongCodec},
		"no point of the curve": {with(func(o *tree.Op) { o.ID.Peer = bucket.PublicKey{2} }), bucket.Malformed},
		"too many operations":   {make(tree.OpsLog, tree.MaxOps+1), bucket.TooLarge},
		"too many bytes":        {large, bucket.TooLarge},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if b, err := c.log.Encode(); bucket.ClassOf(err) != c.class || b != nil {
				t.Errorf("got %.32x, %v, want class %s", b, err, c.class)
			}
		})
	}
}

func TestBounded_OpsLogClaimsAllocateNothing(t *testing.T) {
	for _, s := range []string{
		fmt.Sprintf("%sba%08x", opsHex, tree.MaxOps),
		opsHex + "bbffffffffffffffff",
		opsHex + "a1" + strings.Replace(opHex(t, addHex), "64706174686161", "64706174687bffffffffffffffff", 1),
	} {
		b := unhex(t, s)
		if got := allocated(func() {
			if _, err := tree.DecodeOpsLog(b); err == nil {
				t.Errorf("%s: got no error", s)
			}
		}); got > 16<<10 {
			t.Errorf("%s: got %d bytes allocated, want few", s, got)
		}
	}
}

func TestSmallestOperationFillsItsBound(t *testing.T) {
	neutral := bucket.PublicKey{1} // a point whose bytes are all below 24
	b, err := tree.OpsLog{{ID: tree.OpID{Peer: neutral}, Kind: tree.OpAdd}}.Encode()
	if got := len(b) - len(opsHex)/2 - 1; err != nil || got != tree.MinOpSize {
		t.Errorf("got %d bytes, %v, want %d", got, err, tree.MinOpSize)
	}
	if _, err := tree.DecodeOpsLog(b); err != nil {
		t.Error(err)
	}
}

func TestAnyOpsLogDecodesToItself(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		drawn := rapid.SliceOfNDistinct(rapid.Custom(drawOp), 0, 30, func(o tree.Op) tree.OpID { return o.ID }).Draw(rt, "ops")
		want := tree.OpsLog(drawn)
		b, err := want.Encode()
		if err != nil {
			rt.Fatal(err)
		}
		got, err := tree.DecodeOpsLog(b)
		slices.SortFunc(want, func(a, b tree.Op) int { return a.ID.Compare(b.ID) })
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			rt.Fatalf("%v (-want +got):\n%s", err, diff)
		}
		checkKeyOrder(rapidTB{t: rt}, b)
	})
}

func drawOp(t *rapid.T) tree.Op {
	op := tree.Op{
		ID: tree.OpID{
			Peer:      peer(rapidTB{t: t}, rapid.ByteMax(5).Draw(t, "peer")),
			Timestamp: rapid.Uint64().Draw(t, "timestamp"),
		},
		Kind:  tree.OpKind(rapid.ByteRange(byte(tree.OpAdd), byte(tree.OpMove)).Draw(t, "kind")),
		Path:  rapid.StringN(0, 300, -1).Draw(t, "path"),
		IsDir: rapid.Bool().Draw(t, "dir"),
	}
	if op.Kind == tree.OpMove {
		op.From = rapid.String().Draw(t, "from")
	}
	if rapid.Bool().Draw(t, "has content") {
		op.Content = drawLink(t)
	}
	return op
}

// rapidTB lets the helpers of the tests fail a property.
type rapidTB struct {
	testing.TB
	t *rapid.T
}

func (r rapidTB) Helper()                      {}
func (r rapidTB) Fatal(args ...any)            { r.t.Fatal(args...) }
func (r rapidTB) Fatalf(f string, args ...any) { r.t.Fatalf(f, args...) }
func (r rapidTB) Errorf(f string, args ...any) { r.t.Errorf(f, args...) }

func FuzzDecodeOpsLog(f *testing.F) {
	f.Add([]byte(vector(f, "ops_log").ExpectedHex))
	f.Add([]byte(vector(f, "ops_log_empty").ExpectedHex))
	f.Add(unhex(f, opsHex+"a1"+opHex(f, "a1624d76a16466726f6d6162")))
	f.Fuzz(func(t *testing.T, b []byte) {
		input := slices.Clone(b)
		log, err := tree.DecodeOpsLog(b)
		if !bytes.Equal(b, input) {
			t.Fatal("the input was written to")
		}
		if err != nil {
			if bucket.ClassOf(err) == "" || log != nil {
				t.Fatalf("got %v, %v, want a refusal", log, err)
			}
			return
		}
		if again, err := log.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("got %x, %v back, want\n%x", again, err, b)
		}
		checkKeyOrder(t, b)
		if !slices.IsSortedFunc(log, func(a, b tree.Op) int { return a.ID.Compare(b.ID) }) {
			t.Fatalf("got operations out of order: %v", log)
		}
	})
}

func BenchmarkDecodeOpsLog(b *testing.B) {
	var log tree.OpsLog
	for i := range 1000 {
		id := tree.OpID{Peer: peer(b, byte(i%3)), Timestamp: uint64(i)}
		log = append(log, tree.Op{ID: id, Kind: tree.OpAdd, Path: fmt.Sprintf("dir/file-%d.txt", i), Content: rawLink})
	}
	enc, err := log.Encode()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(enc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tree.DecodeOpsLog(enc); err != nil {
			b.Fatal(err)
		}
	}
}
