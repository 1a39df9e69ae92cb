package logtest

import (
	"slices"
	"strings"
	"sync"

	"headwater/bucket"
	"headwater/logstore"
)

// job reads a job that must be there.
func (s *suite) job(e logstore.Entry) logstore.Job {
	s.Helper()
	j, err := s.Job(s.Context(), e.Bucket, e.Head())
	s.ok(err)
	return j
}

// noJob expects that a version has no job.
func (s *suite) noJob(e logstore.Entry) {
	s.Helper()
	_, err := s.Job(s.Context(), e.Bucket, e.Head())
	s.is(err, logstore.ErrNotFound)
}

func (s *suite) move(e logstore.Entry, state logstore.JobState) {
	s.Helper()
	s.ok(s.SetJob(s.Context(), e.Bucket, e.Head(), state))
}

func (s *suite) jobLife() {
	e := successor(id(1), nil, "a")
	want := jobOf(e)
	given := want
	given.State, given.Attempt = logstore.JobDead, 7 // is not for Append to say
	s.add([]logstore.Entry{e}, &given, false)
	s.same("job", s.job(e), want)
	for _, step := range []struct {
		state   logstore.JobState
		attempt uint32
	}{
		{logstore.JobPublished, 0}, {logstore.JobPublished, 0}, {logstore.JobDead, 0}, {logstore.JobDead, 0},
		{logstore.JobPending, 1}, {logstore.JobPending, 2}, {logstore.JobPublished, 2}, {logstore.JobPending, 3},
		{logstore.JobDead, 3}, {logstore.JobPending, 4},
	} {
		s.move(e, step.state)
		want.State, want.Attempt = step.state, step.attempt
		s.same("job", s.job(e), want)
		s.same("jobs", s.jobs(), []logstore.Job{want})
	}
	if err := s.SetJob(s.Context(), e.Bucket, e.Head(), 3); err == nil {
		s.Errorf("got no error for a job state that is none")
	}
	s.move(e, logstore.JobPublished)
	s.ok(s.Complete(s.Context(), e.Bucket, e.Head(), logstore.PinCount{Needed: 1, Bytes: 2}, false))
	s.noJob(e)
	s.is(s.SetJob(s.Context(), e.Bucket, e.Head(), logstore.JobPending), logstore.ErrNotFound)

	next := successor(id(1), &e, "b")
	job := jobOf(next)
	s.add([]logstore.Entry{next}, &job, false)
	s.move(next, logstore.JobPublished)
	s.ok(s.Drop(s.Context(), next.Bucket, next.Head()))
	s.noJob(next)
	s.ok(s.Drop(s.Context(), next.Bucket, next.Head()))
	s.same("jobs", s.jobs(), []logstore.Job(nil))
}

func (s *suite) jobOfKnown() {
	c := chain(id(1), nil, 4, "a")
	s.add(c[:2], nil, false)
	known := jobOf(c[1])
	for _, stretch := range [][]logstore.Entry{c[:2], c[1:3]} {
		_, err := s.Append(s.Context(), stretch, &known, true)
		s.ok(err)
		s.same("jobs", s.jobs(), []logstore.Job(nil))
	}
	fresh := jobOf(c[3])
	s.add(c[3:], &fresh, true)
	_, err := s.Append(s.Context(), c, &fresh, true)
	s.ok(err)
	s.same("jobs", s.jobs(), []logstore.Job{fresh})
	s.ok(s.Complete(s.Context(), id(1), c[3].Head(), logstore.PinCount{}, false))
	_, err = s.Append(s.Context(), c, &fresh, true)
	s.ok(err)
	s.noJob(c[3])
}

func (s *suite) jobReplaces() {
	c := chain(id(1), nil, 40, "a")
	record := func(stretch []logstore.Entry, newestOnly bool) {
		s.Helper()
		j := jobOf(stretch[len(stretch)-1])
		s.add(stretch, &j, newestOnly)
	}
	record(c[:5], true)
	record(c[5:10], true) // replaces the first
	s.noJob(c[4])
	s.add(c[10:14], nil, false)
	record(c[14:15], false) // leaves it
	s.same("jobs", len(s.jobs()), 2)
	s.move(c[9], logstore.JobPublished)
	s.move(c[14], logstore.JobDead)
	record(c[15:20], true) // replaces neither a published nor a dead one
	s.same("jobs", len(s.jobs()), 3)
	record(c[20:25], true)
	s.noJob(c[19])

	branch := chain(id(1), &c[22], 10, "b")
	record(branch, true) // its fork is at 22, so c[24] is no ancestor, and neither is the branch one of c
	s.same("job beside the branch", s.job(c[24]), jobOf(c[24]))
	record(c[25:30], true)
	s.noJob(c[24])
	s.same("job on the branch", s.job(branch[9]), jobOf(branch[9]))
	record(chain(id(1), &branch[9], 3, "b"), true)
	s.noJob(branch[9])
	s.same("job beside the branch", s.job(c[29]), jobOf(c[29]))
	s.same("jobs", len(s.jobs()), 4)

	low := chain(id(1), &c[3], 2, "c")
	record(low, true) // nothing of what is pending is below it
	s.same("jobs", len(s.jobs()), 5)

	other := chain(id(2), nil, 3, "a")
	record(other, true)
	s.same("jobs", len(s.jobs()), 6)
}

// jobsOfEvery: without newestOnly each added version has a job, with the hints of the given one.
func (s *suite) jobsOfEvery() {
	c := chain(id(1), nil, 6000, "a") // more than one transaction holds
	s.add(c[:2], nil, false)
	hints := jobOf(c[5999])
	_, err := s.Append(s.Context(), c, &hints, false)
	s.ok(err)
	jobs := s.jobs()
	s.same("jobs", len(jobs), 5998)
	for i, j := range jobs {
		if want := jobOf(c[i+2]); j.Link != want.Link || j.Pins != want.Pins || len(j.Stores) != len(hints.Stores) {
			s.Fatalf("got job %+v, want that of %+v with the hints of the newest", j, want)
		}
	}
}

func (s *suite) jobOfStranger() {
	c := chain(id(1), nil, 3, "a")
	job := jobOf(c[2])
	if _, err := s.Append(s.Context(), c[:2], &job, true); err == nil {
		s.Errorf("got no error for a job of a version that is not in the stretch")
	}
	_, err := s.Bucket(s.Context(), id(1))
	s.is(err, logstore.ErrNotFound)
	large := jobOf(c[1])
	large.Stores = slices.Repeat([]string{strings.Repeat("s", 60_000)}, 20)
	if _, err := s.Append(s.Context(), c[:2], &large, true); err == nil {
		s.Errorf("got no error for a job of more than a megabyte")
	}
	_, err = s.Bucket(s.Context(), id(1))
	s.is(err, logstore.ErrNotFound)
	bare := logstore.Job{PinJob: bucket.PinJob{Link: c[1].Link}}
	s.add(c[:2], &bare, true)
	want := jobOf(c[1])
	want.Stores, want.Peers = nil, nil
	s.same("a job without hints", s.job(c[1]), want)
}

func (s *suite) jobOrder() {
	var want []logstore.Job
	for i := range 40 {
		c := chain(id(40-i), nil, 30, "a")
		for at := range 3 {
			j := jobOf(c[10*at+9])
			s.add(c[10*at:10*at+9], nil, false)
			s.add(c[10*at+9:10*at+10], &j, false)
			want = append(want, j)
		}
	}
	slices.SortStableFunc(want, func(a, b logstore.Job) int { return slices.Compare(a.Bucket[:], b.Bucket[:]) })
	s.same("jobs", s.jobs(), want)
	for j, err := range s.Jobs(s.Context()) { // jobs may be moved while they are listed
		s.ok(err)
		s.ok(s.SetJob(s.Context(), j.Bucket, j.Head(), logstore.JobPublished))
	}
	for i := range want {
		want[i].State = logstore.JobPublished
	}
	s.same("jobs", s.jobs(), want)
}

// publishedAtOnce marks many jobs published from several goroutines while others write: each sees its own at once.
func (s *suite) publishedAtOnce() {
	const workers, versions = 8, 100
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			c := chain(id(w), nil, versions, "a")
			for i, e := range c {
				job := jobOf(e)
				if _, err := s.Append(s.Context(), c[i:i+1], &job, false); err != nil {
					s.Errorf("append: %v", err)
					return
				}
			}
			for _, e := range c {
				if err := s.SetJob(s.Context(), e.Bucket, e.Head(), logstore.JobPublished); err != nil {
					s.Errorf("publish: %v", err)
				}
				if j, err := s.Job(s.Context(), e.Bucket, e.Head()); err != nil || j.State != logstore.JobPublished {
					s.Errorf("got %v, %v, want published", j.State, err)
				}
			}
		})
	}
	wg.Wait()
	for _, j := range s.jobs() {
		s.same("state", j.State, logstore.JobPublished)
	}
}

func (s *suite) complete() {
	c := chain(id(1), nil, 6, "a")
	branch := chain(id(1), &c[1], 3, "b")
	s.add(c, nil, false)
	s.add(branch, nil, false)
	done := func(e logstore.Entry, needed uint64) {
		s.Helper()
		s.ok(s.Complete(s.Context(), id(1), e.Head(), logstore.PinCount{Needed: needed, Bytes: 10 * needed}, false))
		got, err := s.Entry(s.Context(), id(1), e.Head())
		s.ok(err)
		s.same("complete", got.Complete, true)
	}
	head := func(e logstore.Entry, needed uint64) {
		s.Helper()
		b := s.bucket(id(1))
		s.same("complete head", b.Complete, e.Head())
		s.same("pins", b.Pins, logstore.PinCount{Needed: needed, Bytes: 10 * needed})
		s.same("known head", b.Known, c[5].Head())
	}
	s.same("complete head", s.bucket(id(1)).Complete, bucket.Head{})
	done(c[0], 1)
	head(c[0], 1)
	done(branch[0], 2) // on the branch that loses
	head(branch[0], 2)
	done(c[3], 3)
	done(c[3], 99) // repeated: changes nothing
	head(c[3], 3)
	done(c[1], 4) // an older one
	head(c[3], 3)
	done(branch[1], 5) // the same height: the larger link
	if branch[1].Head().Compare(c[3].Head()) > 0 {
		head(branch[1], 5)
	} else {
		head(c[3], 3)
	}
	done(c[5], 6)
	done(branch[2], 7)
	head(c[5], 6)
	e, err := s.Entry(s.Context(), id(1), c[4].Head())
	s.ok(err)
	s.same("not complete", e.Complete, false)
}
