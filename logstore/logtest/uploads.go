package logtest

import (
	"slices"
	"sync"

	"headwater/bucket"
	"headwater/logstore"
)

// wantTips compares a bucket's tips; those in merged are expected to be merged.
func (s *suite) wantTips(b bucket.ID, want []logstore.Entry, merged ...logstore.Entry) {
	s.Helper()
	var tips []logstore.Tip
	for _, e := range newestFirst(want) {
		isMerged := slices.ContainsFunc(merged, func(m logstore.Entry) bool { return m.Link == e.Link })
		tips = append(tips, logstore.Tip{Head: e.Head(), Merged: isMerged})
	}
	got, err := s.Tips(s.Context(), b)
	s.ok(err)
	s.same("tips", got, tips)
}

func (s *suite) tips() {
	s.wantTips(id(1), nil)
	c := chain(id(1), nil, 10, "a")
	s.add(c[:4], nil, false)
	s.wantTips(id(1), c[3:4])
	s.add(c[4:], nil, false)
	s.wantTips(id(1), c[9:])
	branch := chain(id(1), &c[4], 3, "b")
	s.add(branch, nil, false)
	s.wantTips(id(1), []logstore.Entry{c[9], branch[2]})
	s.ok(s.SetMerged(s.Context(), id(1), branch[2].Link, c[2].Link, bucket.RawLink([]byte("none")))) // others are passed over
	s.wantTips(id(1), []logstore.Entry{c[9], branch[2]}, branch[2])
	if _, err := s.Append(s.Context(), append(slices.Clone(c), successor(id(1), &c[9], "a")), nil, false); err != nil {
		s.Fatal(err)
	}
	next := successor(id(1), &c[9], "a")
	s.wantTips(id(1), []logstore.Entry{next, branch[2]}, branch[2])
	after := chain(id(1), &branch[2], 2, "b") // a merged branch goes on: it is a fork again
	s.add(after, nil, false)
	s.wantTips(id(1), []logstore.Entry{next, after[1]})
	s.add(chain(id(2), nil, 1, "a"), nil, false)
	s.wantTips(id(1), []logstore.Entry{next, after[1]})
}

func (s *suite) longTips() {
	const versions = 5000 // several transactions of a small log
	c := chain(id(1), nil, versions, "a")
	s.add(c, nil, false)
	s.wantTips(id(1), c[versions-1:])
	branch := chain(id(1), &c[10], 1000, "b")
	s.add(branch, nil, false)
	s.wantTips(id(1), []logstore.Entry{c[versions-1], branch[999]})
}

// uploads reads the uploads of a bucket, or of all.
func (s *suite) uploads(b bucket.ID) []logstore.Upload {
	s.Helper()
	return collect(s, s.Uploads(s.Context(), b))
}

func uploadOf(e logstore.Entry, attempt uint32) logstore.Upload {
	return logstore.Upload{Bucket: e.Bucket, Link: e.Link, Height: e.Height, Attempt: attempt}
}

func (s *suite) own() {
	genesis := successor(id(1), nil, "a")
	s.ok(s.AppendOwn(s.Context(), genesis, nil, &logstore.PinCount{Needed: 3, Bytes: 77}))
	b := s.bucket(id(1))
	s.same("known", b.Known, genesis.Head())
	s.same("complete", b.Complete, genesis.Head())
	s.same("pins", b.Pins, logstore.PinCount{Needed: 3, Bytes: 77})
	s.noJob(genesis)
	s.same("uploads", s.uploads(id(1)), []logstore.Upload{uploadOf(genesis, 0)})
	e, err := s.Entry(s.Context(), id(1), genesis.Link)
	s.ok(err)
	s.same("is complete", e.Complete, true)

	next := successor(id(1), &genesis, "b") // its pins are not all held
	job := jobOf(next)
	s.ok(s.AppendOwn(s.Context(), next, &job, nil))
	b = s.bucket(id(1))
	s.same("known", b.Known, next.Head())
	s.same("complete", b.Complete, genesis.Head())
	s.same("job", s.job(next), job)
	s.wantTips(id(1), []logstore.Entry{next})
	s.ok(s.AppendOwn(s.Context(), next, &job, nil)) // again
	s.same("versions", s.bucket(id(1)).Versions, uint64(2))
	s.same("uploads", s.uploads(bucket.ID{}), []logstore.Upload{uploadOf(genesis, 0), uploadOf(next, 0)})
	if err := s.AppendOwn(s.Context(), successor(id(1), &next, "c"), nil, nil); err == nil {
		s.Error("got no error for a version that is neither complete nor has a job")
	}
}

func (s *suite) ownStale() {
	held := &logstore.PinCount{}
	c := chain(id(1), nil, 3, "a")
	s.is(s.AppendOwn(s.Context(), c[1], nil, held), logstore.ErrStale)
	s.add(c, nil, false)
	s.is(s.AppendOwn(s.Context(), successor(id(1), &c[1], "b"), nil, held), logstore.ErrStale)
	s.is(s.AppendOwn(s.Context(), successor(id(1), nil, "b"), nil, held), logstore.ErrStale)
	s.same("uploads", s.uploads(bucket.ID{}), []logstore.Upload(nil))
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs { // of all that follow on one version, one is kept
		wg.Go(func() { errs[i] = s.AppendOwn(s.Context(), successor(id(1), &c[2], string(rune('c'+i))), nil, held) })
	}
	wg.Wait()
	kept := 0
	for _, err := range errs {
		if err == nil {
			kept++
		} else {
			s.is(err, logstore.ErrStale)
		}
	}
	s.same("kept", kept, 1)
	s.same("forks", s.bucket(id(1)).Forks, uint64(0))
}

func (s *suite) uploadLife() {
	c := chain(id(2), nil, 3, "a")
	other := successor(id(1), nil, "a")
	s.add(c, nil, false)
	s.add([]logstore.Entry{other}, nil, false)
	for _, e := range []logstore.Entry{c[2], c[0], other} {
		s.ok(s.AddUpload(s.Context(), e.Bucket, e.Link))
	}
	s.ok(s.AddUpload(s.Context(), id(2), c[0].Link))
	s.same("all", s.uploads(bucket.ID{}), []logstore.Upload{uploadOf(other, 0), uploadOf(c[0], 1), uploadOf(c[2], 0)})
	s.same("of one bucket", s.uploads(id(2)), []logstore.Upload{uploadOf(c[0], 1), uploadOf(c[2], 0)})
	s.is(s.AddUpload(s.Context(), id(2), other.Link), logstore.ErrNotFound)
	s.ok(s.Uploaded(s.Context(), id(2), c[0].Link))
	s.ok(s.Uploaded(s.Context(), id(2), c[0].Link))
	s.ok(s.Uploaded(s.Context(), id(3), c[0].Link))
	s.same("left", s.uploads(id(2)), []logstore.Upload{uploadOf(c[2], 0)})
}

func (s *suite) announced() {
	c := chain(id(1), nil, 3, "a")
	s.add(c, nil, false)
	s.same("announced", s.bucket(id(1)).Announced, bucket.Head{})
	for _, e := range []logstore.Entry{c[1], c[0]} { // it never goes back
		s.ok(s.Announced(s.Context(), id(1), e.Link))
		s.same("announced", s.bucket(id(1)).Announced, c[1].Head())
	}
	s.ok(s.Announced(s.Context(), id(1), c[2].Link))
	s.same("announced", s.bucket(id(1)).Announced, c[2].Head())
	s.is(s.Announced(s.Context(), id(2), c[2].Link), logstore.ErrNotFound)
}
