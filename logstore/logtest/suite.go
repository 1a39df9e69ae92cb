package logtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"headwater/bucket"
	"headwater/logstore"
)

// Opened is an empty store under test. The suite closes it.
type Opened struct {
	Store logstore.Store
	// Reopen opens the same log again, after the store was closed. nil for a store that does not outlive its closing.
	Reopen func() (logstore.Store, error)
}

// Run checks a store against the contract. Each test asks open for a store of its own.
func Run(t *testing.T, open func(tb testing.TB) Opened) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"append keeps what a version says", (*suite).appendKeeps},
		{"append refuses what does not continue the log", (*suite).appendRefuses},
		{"append passes over what is there", (*suite).appendRepeats},
		{"append refuses another genesis", (*suite).otherGenesis},
		{"a long stretch is appended whole", (*suite).longStretch},
		{"heads of equal height: the larger link wins", (*suite).equalHeights},
		{"forks are counted", (*suite).forks},
		{"published head", (*suite).published},
		{"overlapping appends at once", (*suite).overlapping},
		{"many buckets at once", (*suite).manyBuckets},
		{"names are cut at a rune", (*suite).longNames},
		{"walk", (*suite).walk},
		{"buckets", (*suite).buckets},
		{"a job lives from append to complete", (*suite).jobLife},
		{"a job for a version that was there is not recorded", (*suite).jobOfKnown},
		{"a job replaces those of its ancestors", (*suite).jobReplaces},
		{"every version has a job of its own", (*suite).jobsOfEvery},
		{"a job that is not of the stretch is refused", (*suite).jobOfStranger},
		{"jobs in order", (*suite).jobOrder},
		{"published jobs at once", (*suite).publishedAtOnce},
		{"complete head", (*suite).complete},
		{"tips", (*suite).tips},
		{"tips that are merged", (*suite).mergedTips},
		{"tips of a long stretch", (*suite).longTips},
		{"a version made here has an upload", (*suite).ownUpload},
		{"a version made here with its pins is complete", (*suite).ownHeld},
		{"a version made here on an older head is stale", (*suite).ownStale},
		{"authors at once make no fork", (*suite).ownAtOnce},
		{"uploads in order", (*suite).uploadOrder},
		{"an upload lives until it is done", (*suite).uploadLife},
		{"announced head", (*suite).announced},
		{"a version is complete and announced in one step", (*suite).completeAnnounced},
		{"conditions", (*suite).conditions},
		{"strangers are bounded", (*suite).strangers},
		{"nothing is found in an empty log", (*suite).empty},
		{"a link at another height is no version", (*suite).otherHeight},
		{"a context that is cancelled", (*suite).cancelled},
		{"a store that is closed", (*suite).closed},
		{"the same answers after reopening", (*suite).reopened},
		{"any order of appending gives the same log", (*suite).anyOrder},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := open(t)
			s := &suite{T: t, Store: o.Store, reopen: o.Reopen}
			t.Cleanup(func() {
				if err := s.Close(); err != nil && !errors.Is(err, logstore.ErrClosed) {
					t.Errorf("close: %v", err)
				}
			})
			test.run(s)
		})
	}
}

// suite is one test with its store.
type suite struct {
	*testing.T
	logstore.Store
	reopen func() (logstore.Store, error)
}

// id returns the nth bucket, by order.
func id(n int) (id bucket.ID) {
	copy(id[:], fmt.Sprintf("bucket%010d", n))
	return id
}

// successor makes a version: a genesis if prev is nil, or else one after prev. The label tells siblings apart.
func successor(b bucket.ID, prev *logstore.Entry, label string) logstore.Entry {
	e := logstore.Entry{Bucket: b, Name: "name of " + label, Published: false}
	if prev != nil {
		e.Previous, e.Height = prev.Link, prev.Height+1
	}
	seed := fmt.Appendf(nil, "%s %s %d %s", b, e.Previous, e.Height, label)
	e.Link = bucket.ManifestLink(seed)
	e.Pins = bucket.RawLink(seed)
	e.Author = bucket.PublicKey(bucket.Sum([]byte(label)))
	return e
}

// chain makes n versions of a bucket after prev, nil for a genesis first.
func chain(b bucket.ID, prev *logstore.Entry, n int, label string) []logstore.Entry {
	stretch := make([]logstore.Entry, 0, n)
	for range n {
		e := successor(b, prev, label)
		stretch = append(stretch, e)
		prev = &stretch[len(stretch)-1]
	}
	return stretch
}

// jobOf makes the job of a version, as the log keeps it when it was appended.
func jobOf(e logstore.Entry) logstore.Job {
	return logstore.Job{PinJob: bucket.PinJob{
		Bucket: e.Bucket, Link: e.Link, Height: e.Height, Pins: e.Pins,
		Stores: []string{"hub/blobs", "blobs"}, Peers: []bucket.PublicKey{{1}, {2}},
	}}
}

// add appends and expects all of the stretch to be new.
func (s *suite) add(stretch []logstore.Entry, job *logstore.Job, newestOnly bool) {
	s.Helper()
	added, err := s.Append(s.Context(), stretch, job, newestOnly)
	s.ok(err)
	s.same("added", links(added), links(stretch))
}

func (s *suite) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("got error %v", err)
	}
}

func (s *suite) is(err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Fatalf("got error %v, want %v", err, want)
	}
}

// same compares; times to the millisecond, the time of adding only for its presence, and no items like an empty list.
func (s *suite) same(what string, got, want any) {
	s.Helper()
	if g, ok := got.([]logstore.Entry); ok && slices.EqualFunc(g, want.([]logstore.Entry), sameEntry) {
		return // the long way round takes minutes for long chains
	}
	if d := diff(want, got); d != "" {
		s.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

// sameEntry compares all but the time of adding.
func sameEntry(a, b logstore.Entry) bool {
	a.Added, b.Added = time.Time{}, time.Time{}
	return a == b
}

func diff(want, got any) string {
	return cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.FilterPath(isAdded, cmp.Ignore()),
		cmp.Comparer(equal[bucket.ID]), cmp.Comparer(equal[bucket.Link]), cmp.Comparer(equal[bucket.PublicKey]))
}

func equal[T comparable](a, b T) bool { return a == b }

func isAdded(p cmp.Path) bool { return p.Last().String() == ".Added" }

// bucket reads a bucket that must be there.
func (s *suite) bucket(b bucket.ID) logstore.Bucket {
	s.Helper()
	row, err := s.Bucket(s.Context(), b)
	s.ok(err)
	return row
}

// collect reads a sequence that must not fail.
func collect[T any](s *suite, seq func(func(T, error) bool)) (all []T) {
	s.Helper()
	for item, err := range seq {
		s.ok(err)
		all = append(all, item)
	}
	return all
}

func (s *suite) jobs() []logstore.Job { s.Helper(); return collect(s, s.Jobs(s.Context())) }

func (s *suite) walked(b bucket.ID, before bucket.Head) []logstore.Entry {
	s.Helper()
	return collect(s, s.Walk(s.Context(), b, before))
}

func links(entries []logstore.Entry) (l []bucket.Link) {
	for _, e := range entries {
		l = append(l, e.Link)
	}
	return l
}

// newestFirst returns the entries in the order of Walk.
func newestFirst(entries []logstore.Entry) []logstore.Entry {
	return slices.SortedFunc(slices.Values(entries), func(a, b logstore.Entry) int { return b.Head().Compare(a.Head()) })
}

// soon bounds a test that might wait for ever.
func (s *suite) soon() context.Context {
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	s.Cleanup(cancel)
	return ctx
}
