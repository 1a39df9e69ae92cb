package logstore_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/bucket"
	"headwater/logstore"
)

// unpack unpacks the log that the last program of schema 1 wrote: bucket 0 is a chain of 20 versions with a job, the tenth of
// them complete; bucket 1 has three branches of 5 beside its 20 versions, at heights 3, 3 and 10; bucket 2 is a blocked
// genesis, and of bucket 3 nothing is known but its condition.
func unpack(t *testing.T) (dir string) {
	t.Helper()
	f, err := os.Open("testdata/schema1.tar.gz")
	ok(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	ok(t, err)
	root := t.TempDir()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return root + "/log"
		}
		ok(t, err)
		path := filepath.Join(root, h.Name)
		if h.Typeflag == tar.TypeDir {
			ok(t, os.Mkdir(path, 0o700))
			continue
		}
		b, err := io.ReadAll(r)
		ok(t, err)
		ok(t, os.WriteFile(path, b, 0o600))
	}
}

// side is a branch of five versions on one, in the unpacked log.
func side(on logstore.Entry, label byte) (branch []logstore.Entry) {
	for range 5 {
		e := logstore.Entry{Bucket: on.Bucket, Height: on.Height + 1, Previous: on.Link, Name: "b"}
		e.Link = bucket.ManifestLink(append([]byte{label}, on.Link[:]...))
		branch, on = append(branch, e), e
	}
	return branch
}

// wantTips expects that these are the tips, the greatest first.
func wantTips(t *testing.T, s logstore.Store, id bucket.ID, want ...bucket.Head) {
	t.Helper()
	tips, err := s.Tips(t.Context(), id)
	ok(t, err)
	var got []bucket.Head
	for _, tip := range tips {
		got = append(got, tip.Head)
	}
	slices.SortFunc(want, func(a, b bucket.Head) int { return b.Compare(a) })
	if !slices.Equal(got, want) {
		t.Fatalf("got tips %v, want %v", got, want)
	}
}

func TestALogOfSchema1IsConverted(t *testing.T) {
	dir := unpack(t)
	var log bytes.Buffer
	v := versions(1, 0, 20)
	branches := [][]logstore.Entry{side(v[3], 1), side(v[3], 2), side(v[10], 3)}
	for range 2 {
		s, err := logstore.OpenBadger(logstore.Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		ok(t, err)
		wantTips(t, s, version(0, 0).Bucket, version(0, 19).Head())
		wantTips(t, s, v[0].Bucket, v[19].Head(), branches[0][4].Head(), branches[1][4].Head(), branches[2][4].Head())
		wantTips(t, s, version(2, 0).Bucket, version(2, 0).Head())
		wantTips(t, s, version(3, 0).Bucket)
		b, err := s.Bucket(t.Context(), version(0, 0).Bucket)
		ok(t, err)
		want := logstore.Bucket{
			ID: b.ID, Name: "v", Known: version(0, 19).Head(), Complete: version(0, 9).Head(), Versions: 20,
			Pins: logstore.PinCount{Needed: 3, Bytes: 7},
		}
		if d := cmp.Diff(want, b); d != "" {
			t.Errorf("bucket (-want +got):\n%s", d)
		}
		checkJobs(t, s, 0, b)
		b, err = s.Bucket(t.Context(), version(3, 0).Bucket)
		if err != nil || b.Condition.State != "not_shared" {
			t.Errorf("got %v, %v, want the condition of a stranger", b, err)
		}
		if n, err := s.CountRows(4); n > 0 || err != nil {
			t.Errorf("got %d rows of links, %v, want none", n, err)
		}
		ok(t, s.Close())
	}
	if n := strings.Count(log.String(), "converting the log"); n != 1 {
		t.Errorf("got %d conversions, want 1:\n%s", n, &log)
	}
	if b, err := os.ReadFile(dir + "/headwater.schema"); err != nil || string(b) != "3\n" {
		t.Errorf("got schema file %q, %v, want 3", b, err)
	}
}

// A converted log is written to like any other.
func TestAConvertedLogGoesOn(t *testing.T) {
	dir := unpack(t)
	s := small(t, dir)
	id, v := version(1, 0).Bucket, versions(1, 0, 30)
	one, two, three := side(v[3], 1), side(v[3], 2), side(v[10], 3)
	ok(t, s.SetMerged(t.Context(), id, one[4].Head()))
	ok(t, s.AppendOwn(t.Context(), v[20], nil, &logstore.PinCount{}))
	more := side(two[4], 9)
	_, err := s.Append(t.Context(), more, nil, false)
	ok(t, err)
	ok(t, s.Announced(t.Context(), id, v[20].Head()))
	ok(t, s.Close())
	s = small(t, dir)
	wantTips(t, s, id, v[20].Head(), one[4].Head(), more[4].Head(), three[4].Head())
	b, err := s.Bucket(t.Context(), id)
	if err != nil || b.Announced != v[20].Head() || b.Complete != v[20].Head() {
		t.Errorf("got %+v, %v, want height 20 announced and complete", b, err)
	}
	ok(t, s.Close())
}

// wide is how many versions follow on the genesis of the wide log: more than two transactions of a conversion hold.
const wide = 700

// wideLog makes a log of schema 1 with two buckets of as many forks.
func wideLog(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir() + "/log"
	s := small(t, dir)
	for n := range 2 {
		_, err := s.Append(t.Context(), versions(n, 0, 1), nil, false)
		ok(t, err)
		for _, e := range siblings(n) {
			_, err := s.Append(t.Context(), []logstore.Entry{e}, nil, false)
			ok(t, err)
		}
	}
	ok(t, s.MakeSchema1())
	ok(t, s.Close())
	schemaFile("1\n")(t, dir)
	return dir
}

// siblings are the versions of the wide log at height 1, the greatest first.
func siblings(n int) (all []logstore.Entry) {
	genesis := version(n, 0)
	for i := range wide {
		all = append(all, side(genesis, byte(i))[0])
		all[i].Link = bucket.ManifestLink(fmt.Appendf(nil, "%d %d", n, i))
	}
	slices.SortFunc(all, func(a, b logstore.Entry) int { return b.Head().Compare(a.Head()) })
	return all
}

// wantWide expects that each sibling of the wide log is a tip.
func wantWide(t *testing.T, s logstore.Store) {
	t.Helper()
	for n := range 2 {
		var want []bucket.Head
		for _, e := range siblings(n) {
			want = append(want, e.Head())
		}
		wantTips(t, s, version(n, 0).Bucket, want...)
	}
}

// TestAConversionMayDieAtAnyStep ends a conversion before each of its transactions, and before it notes the new schema.
func TestAConversionMayDieAtAnyStep(t *testing.T) {
	dir := wideLog(t)
	open := func(writes int) error { // allows so many transactions
		free := func(string) (uint64, error) {
			if writes--; writes < 0 {
				return 0, nil
			}
			return 1 << 40, nil
		}
		s, err := logstore.OpenSmall(logstore.Config{Dir: dir, Free: free})
		if err != nil {
			return err
		}
		return s.Kill()
	}
	died := 0
	for writes := 1; ; writes++ { // one look is before the log is opened
		err := open(writes)
		if errors.Is(err, logstore.ErrDiskFull) {
			died++
			continue
		}
		ok(t, err)
		break
	}
	if died < 4 {
		t.Errorf("got %d cuts, want one before each of several transactions", died)
	}
	s := small(t, dir)
	wantWide(t, s)
	ok(t, s.Close())

	schemaFile("1\n")(t, dir) // died between the row and the file
	ok(t, os.Mkdir(dir+"/headwater.schema.tmp", 0o700))
	if s, err := logstore.OpenSmall(logstore.Config{Dir: dir}); err == nil {
		t.Fatal(errors.Join(errors.New("opened though the schema cannot be noted"), s.Close()))
	}
	ok(t, os.Remove(dir+"/headwater.schema.tmp"))
	s = small(t, dir)
	wantWide(t, s)
	ok(t, s.Close())
}

// A program of schema 1 that goes on with a log that was converted in part leaves tips that are none any more.
func TestAConversionRemovesStaleTips(t *testing.T) {
	dir := wideLog(t)
	s := small(t, dir)
	low := siblings(0)[wide-1]
	more := side(low, 200)
	_, err := s.Append(t.Context(), more, nil, false)
	ok(t, err)
	kept, err := s.Tips(t.Context(), low.Bucket)
	ok(t, err)
	ok(t, s.SetRow(logstore.HeadKey(6, low.Bucket, low.Head()), []byte{1, 0}))
	ok(t, s.SetRow(logstore.SchemaKey(), logstore.EncodeSchemaRow(1)))
	ok(t, s.Close())
	s = small(t, dir)
	again, err := s.Tips(t.Context(), low.Bucket)
	if d := cmp.Diff(kept, again); d != "" || err != nil || kept[0].Head != more[4].Head() || len(kept) != wide {
		t.Errorf("%v, %d tips (-want +got):\n%s", err, len(kept), d)
	}
	ok(t, s.Close())
}

func TestALogOfSchema2LosesItsRowsOfLinks(t *testing.T) {
	dir := t.TempDir() + "/log"
	s := small(t, dir)
	v := versions(1, 0, 20)
	_, err := s.Append(t.Context(), v, jobFor(v[19]), true)
	ok(t, err)
	ok(t, s.AddUpload(t.Context(), v[0].Bucket, v[7].Head()))
	want, err := s.Bucket(t.Context(), v[0].Bucket)
	ok(t, err)
	for _, e := range v {
		ok(t, s.SetRow(slices.Concat([]byte{4}, e.Bucket[:], e.Link[:]), make([]byte, 8)))
	}
	ok(t, s.SetRow(logstore.SchemaKey(), logstore.EncodeSchemaRow(2)))
	ok(t, s.Close())
	s = small(t, dir)
	for kind, rows := range map[byte]int{1: 1, 3: 20, 4: 0, 5: 1, 6: 0, 7: 1} {
		if n, err := s.CountRows(kind); n != rows || err != nil {
			t.Errorf("got %d rows of kind %d, %v, want %d", n, kind, err, rows)
		}
	}
	got, err := s.Bucket(t.Context(), want.ID)
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	ok(t, s.Close())
}
