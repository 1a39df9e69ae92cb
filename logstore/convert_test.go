package logstore_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/bucket"
	"headwater/logstore"
)

// makeOld takes from a log what schema 1 did not have: its tip rows and the announced heads.
func makeOld(t *testing.T, dir string, s *logstore.Badger, ids ...bucket.ID) {
	t.Helper()
	for _, id := range ids {
		tips, err := s.Tips(t.Context(), id)
		ok(t, err)
		for _, tip := range tips {
			ok(t, s.SetRow(logstore.TipKey(id, tip.Head), nil))
		}
		b, err := s.Bucket(t.Context(), id)
		ok(t, err)
		row := logstore.EncodeBucketRow(b)
		const heads, head = 1 + 3*41, 41 // behind the version and three heads comes the announced one
		ok(t, s.SetRow(logstore.HeadRowKey(id), append(append([]byte{1}, row[1:heads]...), row[heads+head:]...)))
	}
	ok(t, s.SetRow(logstore.SchemaKey(), logstore.EncodeSchemaRow(1)))
	ok(t, s.Close())
	ok(t, os.WriteFile(dir+"/headwater.schema", []byte("1\n"), 0o600))
}

func TestLocalFirst_ALogOfSchema1IsConverted(t *testing.T) {
	dir := t.TempDir() + "/log"
	s := small(t, dir)
	chainOf := func(id byte, from *logstore.Entry, n int, label byte) []logstore.Entry {
		var chain []logstore.Entry
		for range n {
			e := logstore.Entry{Bucket: bucket.ID{id}, Pins: bucket.RawLink(nil)}
			if from != nil {
				e.Previous, e.Height = from.Link, from.Height+1
			}
			e.Link = bucket.ManifestLink(append(bytes.Clone(e.Previous[:]), id, label))
			chain = append(chain, e)
			from = &chain[len(chain)-1]
		}
		_, err := s.Append(t.Context(), chain, nil, false)
		ok(t, err)
		return chain
	}
	chainOf(1, nil, 50, 'a')
	a := chainOf(2, nil, 300, 'a')
	b := chainOf(2, &a[10], 40, 'b')
	c := chainOf(2, &b[5], 300, 'c')
	chainOf(2, &a[0], 1, 'd')
	want := map[bucket.ID][]logstore.Tip{}
	for _, id := range []bucket.ID{{1}, {2}} {
		tips, err := s.Tips(t.Context(), id)
		ok(t, err)
		want[id] = tips
	}
	if len(want[bucket.ID{2}]) != 4 || want[bucket.ID{2}][0].Head != c[299].Head() {
		t.Fatalf("the test's own log has the tips %v", want[bucket.ID{2}])
	}
	makeOld(t, dir, s, bucket.ID{1}, bucket.ID{2})
	for range 2 { // the second time nothing is left to do
		s = small(t, dir)
		for id, tips := range want {
			got, err := s.Tips(t.Context(), id)
			if d := cmp.Diff(tips, got); d != "" || err != nil {
				t.Errorf("tips of %s: %v (-want +got):\n%s", id, err, d)
			}
		}
		ok(t, s.Close())
	}
	if b, err := os.ReadFile(dir + "/headwater.schema"); err != nil || string(b) != "2\n" {
		t.Errorf("got schema file %q, %v", b, err)
	}
}
