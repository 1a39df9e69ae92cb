package logtest

import (
	"errors"
	"slices"
	"sync"

	"headwater/bucket"
	"headwater/logstore"
)

// uploads reads the uploads of a bucket, or of all for the zero ID.
func (s *suite) uploads(b bucket.ID) []logstore.Upload {
	s.Helper()
	return collect(s, s.Uploads(s.Context(), b))
}

// uploadOf makes the upload of a version.
func uploadOf(e logstore.Entry, attempt uint32) logstore.Upload {
	return logstore.Upload{Bucket: e.Bucket, Link: e.Link, Height: e.Height, Attempt: attempt}
}

// make appends a version that was made here, with all of its pins, or with a job.
func (s *suite) make(e logstore.Entry, held bool) {
	s.Helper()
	if held {
		s.ok(s.AppendOwn(s.Context(), e, nil, &logstore.PinCount{Needed: e.Height + 1, Bytes: 5}))
	} else {
		s.ok(s.AppendOwn(s.Context(), e, new(jobOf(e)), nil))
	}
}

func (s *suite) ownUpload() {
	c := chain(id(1), nil, 4, "a")
	c[1].Published = true
	s.ok(s.SetCondition(s.Context(), id(1), condition("blocked"))) // a stranger so far
	for i, e := range c {
		s.make(e, false)
		got, err := s.Entry(s.Context(), id(1), e.Head())
		s.ok(err)
		s.same("entry", got, e)
		s.same("jobs", s.jobs(), []logstore.Job{jobOf(e)}) // takes the place of those of its ancestors
		s.same("uploads", len(s.uploads(id(1))), i+1)
		s.wantTips(id(1), nil, c[i:i+1])
	}
	s.same("bucket", s.bucket(id(1)), logstore.Bucket{
		ID: id(1), Name: c[3].Name, Known: c[3].Head(), Published: c[1].Head(), Versions: 4, Condition: condition("blocked"),
	})
	s.make(c[3], false) // is there: changes nothing
	s.make(c[1], true)
	s.ok(s.Uploaded(s.Context(), id(1), c[2].Head()))
	s.make(c[2], true)
	s.same("uploads", s.uploads(id(1)), []logstore.Upload{uploadOf(c[0], 0), uploadOf(c[1], 0), uploadOf(c[3], 0)})
	s.same("complete head", s.bucket(id(1)).Complete, bucket.Head{})

	next := successor(id(1), &c[3], "b")
	both, neither := s.AppendOwn(s.Context(), next, new(jobOf(next)), &logstore.PinCount{}), s.AppendOwn(s.Context(), next, nil, nil)
	other := s.AppendOwn(s.Context(), next, new(jobOf(c[3])), nil)
	if both == nil || neither == nil || other == nil {
		s.Errorf("got %v, %v, %v, want errors: a job and pins, neither of them, the job of another version", both, neither, other)
	}
	high := next
	high.Height++
	s.is(s.AppendOwn(s.Context(), high, nil, &logstore.PinCount{}), logstore.ErrGap)
	s.same("known head", s.bucket(id(1)).Known, c[3].Head())
}

func (s *suite) ownHeld() {
	c := chain(id(1), nil, 3, "a")
	for _, e := range c {
		s.make(e, true)
		want := e
		want.Complete = true
		got, err := s.Entry(s.Context(), id(1), e.Head())
		s.ok(err)
		s.same("entry", got, want)
		b := s.bucket(id(1))
		s.same("complete head", b.Complete, e.Head())
		s.same("pins", b.Pins, logstore.PinCount{Needed: e.Height + 1, Bytes: 5})
	}
	s.same("jobs", s.jobs(), []logstore.Job(nil))
	s.ok(s.Complete(s.Context(), id(1), c[2].Head(), logstore.PinCount{Needed: 77}, false)) // is complete
	s.same("pins", s.bucket(id(1)).Pins, logstore.PinCount{Needed: 3, Bytes: 5})
	s.same("announced head", s.bucket(id(1)).Announced, bucket.Head{})
}

func (s *suite) ownStale() {
	c := chain(id(1), nil, 5, "a")
	held := &logstore.PinCount{}
	stale := func(e logstore.Entry) {
		s.Helper()
		s.is(s.AppendOwn(s.Context(), e, nil, held), logstore.ErrStale)
		s.is(s.AppendOwn(s.Context(), e, new(jobOf(e)), nil), logstore.ErrStale)
	}
	stale(c[1]) // no genesis
	_, err := s.Bucket(s.Context(), id(1))
	s.is(err, logstore.ErrNotFound)
	s.add(c, nil, false)
	before := s.bucket(id(1))
	stale(successor(id(1), nil, "other"))
	stale(successor(id(1), &c[3], "b")) // would be a fork
	far := chain(id(1), &c[4], 2, "b")
	stale(far[1]) // what it follows on is not there
	branch := chain(id(1), &c[1], 1, "b")
	s.add(branch, nil, false)
	stale(successor(id(1), &branch[0], "c")) // a tip, but not the head
	before.Versions, before.Forks = 6, 1
	s.same("bucket", s.bucket(id(1)), before)
	s.same("uploads", s.uploads(bucket.ID{}), []logstore.Upload(nil))
	s.same("jobs", s.jobs(), []logstore.Job(nil))
	s.make(far[0], true)
}

// ownAtOnce has authors make versions of one bucket, each on the head that it has seen, while others are appended.
func (s *suite) ownAtOnce() {
	const authors, each = 8, 12
	genesis := successor(id(1), nil, "a")
	s.make(genesis, true)
	var wg sync.WaitGroup
	for a := range authors {
		wg.Go(func() {
			for made := 0; made < each; {
				b, err := s.Bucket(s.Context(), id(1))
				if err != nil {
					s.Errorf("bucket: %v", err)
					return
				}
				head := logstore.Entry{Link: b.Known.Link, Height: b.Known.Height}
				e := successor(id(1), &head, string(rune('a'+a)))
				switch err := s.AppendOwn(s.Context(), e, nil, &logstore.PinCount{Needed: 1}); {
				case err == nil:
					made++
				case !errors.Is(err, logstore.ErrStale):
					s.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	b := s.bucket(id(1))
	s.same("versions", b.Versions, uint64(authors*each+1))
	s.same("forks", b.Forks, uint64(0))
	s.same("complete head", b.Complete, b.Known)
	s.same("uploads", len(s.uploads(id(1))), authors*each+1)
}

func (s *suite) uploadOrder() {
	var want []logstore.Upload
	for i := range 40 {
		b := id(40 - i)
		c := chain(b, nil, 20, "a")
		var of []logstore.Upload
		for _, e := range c {
			s.make(e, e.Height%2 == 0)
			of = append(of, uploadOf(e, 0))
		}
		s.same("uploads of one bucket", s.uploads(b), of)
		want = append(want, of...)
	}
	slices.SortStableFunc(want, func(a, b logstore.Upload) int { return slices.Compare(a.Bucket[:], b.Bucket[:]) })
	s.same("uploads", s.uploads(bucket.ID{}), want)
	for u, err := range s.Uploads(s.Context(), bucket.ID{}) { // they may be removed while they are listed
		s.ok(err)
		s.ok(s.Uploaded(s.Context(), u.Bucket, u.Head()))
	}
	s.same("uploads", s.uploads(bucket.ID{}), []logstore.Upload(nil))
}

func (s *suite) uploadLife() {
	c := chain(id(1), nil, 3, "a")
	s.add(c[:2], nil, false) // of somebody else: owed when the stores have lost it
	add := func(e logstore.Entry, attempt uint32) {
		s.Helper()
		s.ok(s.AddUpload(s.Context(), id(1), e.Head()))
		s.same("uploads", s.uploads(id(1)), []logstore.Upload{uploadOf(e, attempt)})
	}
	add(c[1], 0)
	add(c[1], 1)
	add(c[1], 2)
	s.is(s.AddUpload(s.Context(), id(1), c[2].Head()), logstore.ErrNotFound)
	s.ok(s.Announced(s.Context(), id(1), c[1].Head())) // the upload stays
	s.same("uploads", s.uploads(id(2)), []logstore.Upload(nil))
	for range 2 {
		s.ok(s.Uploaded(s.Context(), id(1), c[1].Head()))
		s.same("uploads", s.uploads(id(1)), []logstore.Upload(nil))
	}
	s.ok(s.Uploaded(s.Context(), id(1), c[2].Head())) // was never there
	add(c[1], 0)
	s.ok(s.Uploaded(s.Context(), id(1), c[1].Head()))
	s.make(c[2], false)
	add(c[2], 1)
	s.ok(s.AddUpload(s.Context(), id(1), c[1].Head()))
	s.ok(s.Uploaded(s.Context(), id(1), c[2].Head(), c[0].Head(), c[1].Head())) // the middle one was not there
	s.same("uploads", s.uploads(id(1)), []logstore.Upload(nil))
}

func (s *suite) announced() {
	c := chain(id(1), nil, 5, "a")
	s.add(c, nil, false)
	move := func(to, want logstore.Entry) {
		s.Helper()
		s.ok(s.Announced(s.Context(), id(1), to.Head()))
		s.same("announced head", s.bucket(id(1)).Announced, want.Head())
	}
	move(c[2], c[2])
	move(c[1], c[2]) // an older one
	move(c[2], c[2])
	s.add(chain(id(1), &c[4], 1, "b"), nil, false)
	s.ok(s.Complete(s.Context(), id(1), c[3].Head(), logstore.PinCount{}, false))
	s.ok(s.SetCondition(s.Context(), id(1), condition("blocked")))
	move(c[0], c[2]) // was kept by all of these
	move(c[4], c[4])
	s.is(s.Announced(s.Context(), id(1), bucket.Head{Link: bucket.Link{1}}), logstore.ErrNotFound)
}

// What is completed from the object stores is announced in the same step.
func (s *suite) completeAnnounced() {
	c := chain(id(1), nil, 5, "a")
	s.add(c, nil, false)
	done := func(e logstore.Entry, announced bool, want logstore.Entry) {
		s.Helper()
		s.ok(s.Complete(s.Context(), id(1), e.Head(), logstore.PinCount{Needed: 1}, announced))
		s.same("announced head", s.bucket(id(1)).Announced, want.Head())
	}
	done(c[2], true, c[2])
	done(c[1], true, c[2]) // an older one
	done(c[3], false, c[2])
	done(c[3], true, c[3]) // complete already
	done(c[3], true, c[3])
	s.same("complete head", s.bucket(id(1)).Complete, c[3].Head())
}
