package logtest

import (
	"context"
	"math"

	"headwater/bucket"
	"headwater/logstore"
)

func (s *suite) walk() {
	c := chain(id(2), nil, 700, "a") // several pages
	branch := chain(id(2), &c[300], 500, "b")
	s.add(chain(id(1), nil, 3, "x"), nil, false)
	s.add(chain(id(3), nil, 3, "x"), nil, false)
	s.add(c, nil, false)
	s.add(branch, nil, false)
	all := newestFirst(append(c, branch...))
	s.same("walk", s.walked(id(2), bucket.Head{}), all)
	for _, at := range []int{0, 1, 15, 16, 17, 500, len(all) - 1} {
		s.same("walk before a head", s.walked(id(2), all[at].Head()), all[at+1:])
	}
	// a head that is not in the log is a place all the same
	s.same("walk before a place", s.walked(id(2), bucket.Head{Height: 1, Link: bucket.Link{1}}), newestFirst(c[:1]))
	s.same("walk above", s.walked(id(2), bucket.Head{Height: math.MaxUint64, Link: bucket.Link{1}}), all)
	s.same("walk of no bucket", s.walked(id(4), bucket.Head{}), []logstore.Entry(nil))

	var first []logstore.Entry
	for e, err := range s.Walk(s.Context(), id(2), bucket.Head{}) { // the log may be written to meanwhile
		s.ok(err)
		if first = append(first, e); len(first) == 20 {
			break
		}
		s.add(chain(id(2), &c[699], 1, string(rune('0'+len(first)))), nil, false)
	}
	s.same("broken off", first, all[:20])
}

func (s *suite) buckets() {
	var want []bucket.ID
	for i := range 60 {
		want = append(want, id(i))
		if i%3 == 0 {
			s.ok(s.SetCondition(s.Context(), id(i), condition("not_shared")))
		} else {
			s.add(chain(id(i), nil, 1, "a"), nil, false)
		}
	}
	ids := func(after bucket.ID) (got []bucket.ID) {
		for _, b := range collect(s, s.Buckets(s.Context(), after)) {
			s.same("bucket", b, s.bucket(b.ID))
			got = append(got, b.ID)
		}
		return got
	}
	s.same("all", ids(bucket.ID{}), want)
	s.same("after one", ids(id(16)), want[17:])
	s.same("after none", ids(id(100)), []bucket.ID(nil))
	between := id(16)
	between[15] += 1 // behind 16: "0000000017" is 17 itself
	s.same("after 17", ids(between), want[18:])
}

func (s *suite) empty() {
	ctx, none := s.Context(), bucket.Head{Link: bucket.Link{1}}
	_, err := s.Bucket(ctx, id(1))
	s.is(err, logstore.ErrNotFound)
	_, err = s.Entry(ctx, id(1), none)
	s.is(err, logstore.ErrNotFound)
	_, err = s.Job(ctx, id(1), none)
	s.is(err, logstore.ErrNotFound)
	s.is(s.SetJob(ctx, id(1), none, logstore.JobDead), logstore.ErrNotFound)
	s.is(s.Complete(ctx, id(1), none, logstore.PinCount{}, false), logstore.ErrNotFound)
	s.ok(s.Drop(ctx, id(1), none))
	s.ok(s.SetCondition(ctx, id(1), logstore.Condition{}))
	s.is(s.AddUpload(ctx, id(1), none), logstore.ErrNotFound)
	s.is(s.Announced(ctx, id(1), none), logstore.ErrNotFound)
	s.ok(s.Uploaded(ctx, id(1), none))
	s.ok(s.SetMerged(ctx, id(1), none))
	s.same("tips", s.tipsOf(id(1)), []logstore.Tip(nil))
	s.same("uploads", s.uploads(bucket.ID{}), []logstore.Upload(nil))
	heads, err := s.Heads(ctx, id(1), 0)
	s.ok(err)
	s.same("heads", heads, []bucket.Link(nil))
	s.same("jobs", s.jobs(), []logstore.Job(nil))
	s.same("walk", s.walked(id(1), bucket.Head{}), []logstore.Entry(nil))
	s.same("buckets", collect(s, s.Buckets(ctx, bucket.ID{})), []logstore.Bucket(nil))
}

// otherHeight names versions at heights that they do not have: that finds nothing and changes nothing.
func (s *suite) otherHeight() {
	ctx, c := s.Context(), chain(id(1), nil, 5, "a")
	job := jobOf(c[4])
	s.add(c, &job, true)
	s.ok(s.AddUpload(ctx, id(1), c[2].Head()))
	before := s.everything()
	for _, h := range []bucket.Head{{Link: c[4].Link, Height: 3}, {Link: c[4].Link, Height: 5}, {Link: c[2].Link}} {
		_, err := s.Entry(ctx, id(1), h)
		s.is(err, logstore.ErrNotFound)
		_, err = s.Job(ctx, id(1), h)
		s.is(err, logstore.ErrNotFound)
		s.is(s.SetJob(ctx, id(1), h, logstore.JobDead), logstore.ErrNotFound)
		s.is(s.Complete(ctx, id(1), h, logstore.PinCount{}, false), logstore.ErrNotFound)
		s.is(s.AddUpload(ctx, id(1), h), logstore.ErrNotFound)
		s.is(s.Announced(ctx, id(1), h), logstore.ErrNotFound)
		s.ok(s.Drop(ctx, id(1), h))
		s.ok(s.Uploaded(ctx, id(1), h))
		s.ok(s.SetMerged(ctx, id(1), h))
	}
	s.same("log", s.everything(), before)
}

// calls makes a call of every method, in a log that holds the version e, and returns their errors by name.
func (s *suite) calls(ctx context.Context, e logstore.Entry) map[string]error {
	first := func(seq func(func(error) bool)) (err error) {
		seq(func(e error) bool { err = e; return false })
		return err
	}
	next := successor(e.Bucket, &e, "next")
	errs := make(map[string]error)
	_, errs["Bucket"] = s.Bucket(ctx, e.Bucket)
	_, errs["Entry"] = s.Entry(ctx, e.Bucket, e.Head())
	_, errs["Heads"] = s.Heads(ctx, e.Bucket, 0)
	_, errs["Job"] = s.Job(ctx, e.Bucket, e.Head())
	_, errs["Append"] = s.Append(ctx, []logstore.Entry{next}, nil, false)
	errs["SetJob"] = s.SetJob(ctx, e.Bucket, e.Head(), logstore.JobDead)
	errs["publish"] = s.SetJob(ctx, e.Bucket, e.Head(), logstore.JobPublished)
	errs["Complete"] = s.Complete(ctx, e.Bucket, e.Head(), logstore.PinCount{}, false)
	errs["Drop"] = s.Drop(ctx, e.Bucket, e.Head())
	errs["AppendOwn"] = s.AppendOwn(ctx, next, nil, &logstore.PinCount{})
	errs["AddUpload"] = s.AddUpload(ctx, e.Bucket, e.Head())
	errs["Announced"] = s.Announced(ctx, e.Bucket, e.Head())
	errs["Uploaded"] = s.Uploaded(ctx, e.Bucket, e.Head())
	errs["SetMerged"] = s.SetMerged(ctx, e.Bucket, e.Head())
	_, errs["Tips"] = s.Tips(ctx, e.Bucket)
	errs["Uploads"] = first(onlyErrors(s.Uploads(ctx, e.Bucket)))
	errs["SetCondition"] = s.SetCondition(ctx, e.Bucket, condition("blocked"))
	errs["Buckets"] = first(onlyErrors(s.Buckets(ctx, bucket.ID{})))
	errs["Walk"] = first(onlyErrors(s.Walk(ctx, e.Bucket, bucket.Head{})))
	errs["Jobs"] = first(onlyErrors(s.Jobs(ctx)))
	return errs
}

// onlyErrors drops the items of a sequence.
func onlyErrors[T any](seq func(func(T, error) bool)) func(func(error) bool) {
	return func(yield func(error) bool) {
		seq(func(_ T, err error) bool { return yield(err) })
	}
}

func (s *suite) cancelled() {
	c := chain(id(1), nil, 100, "a")
	job := jobOf(c[99])
	s.add(c, &job, true)
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	seen := 0
	for _, err := range s.Walk(ctx, id(1), bucket.Head{}) {
		if seen++; seen == 3 {
			cancel()
		}
		if seen == 4 {
			s.is(err, context.Canceled)
		}
	}
	s.same("seen", seen, 4)
	for name, err := range s.calls(ctx, c[99]) {
		s.Log(name)
		s.is(err, context.Canceled)
	}
	s.same("walk", s.walked(id(1), bucket.Head{}), newestFirst(c))
	s.same("jobs", s.jobs(), []logstore.Job{job})
}

func (s *suite) closed() {
	c := chain(id(1), nil, 1, "a")
	job := jobOf(c[0])
	s.add(c, &job, true)
	s.ok(s.Close())
	for name, err := range s.calls(s.soon(), c[0]) {
		s.Log(name)
		s.is(err, logstore.ErrClosed)
	}
	s.is(s.Close(), logstore.ErrClosed)
}
