package logtest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"headwater/bucket"
	"headwater/logstore"
)

func condition(state string) logstore.Condition {
	return logstore.Condition{
		State: state, Class: "retry", Reason: "the store does not answer", Link: bucket.Link{7}, Height: 9,
		Peer: bucket.PublicKey{3}, Since: time.UnixMilli(1_700_000_000_123).UTC(),
	}
}

func (s *suite) conditions() {
	ctx := s.Context()
	s.ok(s.SetCondition(ctx, id(1), condition("not_shared")))
	s.same("stranger", s.bucket(id(1)), logstore.Bucket{ID: id(1), Condition: condition("not_shared")})
	s.ok(s.SetCondition(ctx, id(1), condition("blocked")))
	s.same("replaced", s.bucket(id(1)).Condition, condition("blocked"))

	c := chain(id(1), nil, 2, "a")
	job := jobOf(c[0])
	s.add(c[:1], &job, false)
	s.ok(s.Complete(ctx, id(1), c[0].Head(), logstore.PinCount{Needed: 1}, false))
	b := s.bucket(id(1))
	s.same("kept by append and complete", b.Condition, condition("blocked"))
	s.same("versions", b.Versions, uint64(1))
	s.ok(s.SetCondition(ctx, id(1), logstore.Condition{}))
	b.Condition = logstore.Condition{}
	s.same("cleared", s.bucket(id(1)), b)

	s.ok(s.SetCondition(ctx, id(2), condition("diverged")))
	s.ok(s.SetCondition(ctx, id(2), logstore.Condition{}))
	_, err := s.Bucket(ctx, id(2))
	s.is(err, logstore.ErrNotFound)

	long := condition("blocked")
	long.Reason = strings.Repeat("a", 1023) + "é" + strings.Repeat("b", 5000)
	long.Since = long.Since.Add(456 * time.Microsecond)
	s.ok(s.SetCondition(ctx, id(3), long))
	want := condition("blocked")
	want.Reason = strings.Repeat("a", 1023)
	s.same("cut", s.bucket(id(3)).Condition, want)
	s.ok(s.SetCondition(ctx, id(3), logstore.Condition{State: "blocked"}))
	s.same("bare", s.bucket(id(3)).Condition, logstore.Condition{State: "blocked"})
}

func (s *suite) strangers() {
	s.add(chain(id(0), nil, 1, "a"), nil, false)
	var (
		wg      sync.WaitGroup
		refused atomic.Int64
	)
	const workers, each = 64, logstore.MaxStrangers/64 + 1
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				err := s.SetCondition(s.Context(), id(1+w*each+i), condition("not_shared"))
				if errors.Is(err, logstore.ErrTooMany) {
					refused.Add(1)
				} else if err != nil {
					s.Errorf("set condition: %v", err)
				}
			}
		})
	}
	wg.Wait()
	s.same("refused", refused.Load(), int64(workers*each-logstore.MaxStrangers))

	var known bucket.ID
	for b, err := range s.Buckets(s.Context(), id(0)) {
		s.ok(err)
		known = b.ID
		break
	}
	fresh := id(1_000_000)
	s.is(s.SetCondition(s.Context(), fresh, condition("not_shared")), logstore.ErrTooMany)
	s.ok(s.SetCondition(s.Context(), known, condition("blocked"))) // is counted already
	s.ok(s.SetCondition(s.Context(), id(0), condition("blocked"))) // has a version
	s.ok(s.SetCondition(s.Context(), id(0), logstore.Condition{}))
	s.is(s.SetCondition(s.Context(), fresh, condition("not_shared")), logstore.ErrTooMany)
	s.add(chain(known, nil, 1, "a"), nil, false) // no stranger any more
	s.ok(s.SetCondition(s.Context(), fresh, condition("not_shared")))
	s.is(s.SetCondition(s.Context(), id(1_000_001), condition("not_shared")), logstore.ErrTooMany)
	s.ok(s.SetCondition(s.Context(), fresh, logstore.Condition{}))
	s.ok(s.SetCondition(s.Context(), id(1_000_001), condition("not_shared")))
	if s.reopen != nil {
		s.again()
		s.is(s.SetCondition(s.Context(), fresh, condition("not_shared")), logstore.ErrTooMany)
	}
}

// again closes the store and opens it again.
func (s *suite) again() {
	s.Helper()
	s.ok(s.Close())
	store, err := s.reopen()
	s.ok(err)
	s.Store = store
}

// reopened compares everything that can be asked before and after closing. A store that does not persist is asked twice.
func (s *suite) reopened() {
	ctx := s.Context()
	for i := range 5 {
		c := chain(id(i), nil, 50, "a")
		c[20].Published = true
		job, other := jobOf(c[29]), jobOf(c[49])
		s.add(c[:30], &job, false)
		s.add(c[30:], &other, false)
		s.add(chain(id(i), &c[10], 5, "b"), nil, false)
		s.ok(s.Complete(ctx, id(i), c[7].Head(), logstore.PinCount{Needed: 3, Bytes: 4}, false))
		s.ok(s.SetJob(ctx, id(i), c[29].Head(), logstore.JobDead))
		branch := chain(id(i), &c[20], 5, "d")
		s.add(branch, nil, false)
		s.ok(s.SetMerged(ctx, id(i), branch[4].Head()))
		s.ok(s.AppendOwn(ctx, successor(id(i), &c[49], "own"), nil, &logstore.PinCount{Needed: 9}))
		s.ok(s.AddUpload(ctx, id(i), c[3].Head()))
		s.ok(s.Announced(ctx, id(i), c[3].Head()))
	}
	s.ok(s.SetCondition(ctx, id(2), condition("diverged")))
	s.ok(s.SetCondition(ctx, id(9), condition("not_shared")))
	for i := range 5 { // these ride with Close
		s.ok(s.SetJob(ctx, id(i), chain(id(i), nil, 50, "a")[49].Head(), logstore.JobPublished))
	}
	before, times := s.everything(), s.addedTimes()
	for range 2 {
		if s.reopen != nil {
			s.again()
		}
		s.same("everything", s.everything(), before)
		s.same("times of adding", s.addedTimes(), times)
	}
}

// addedTimes returns when the versions were appended.
func (s *suite) addedTimes() (times []time.Time) {
	s.Helper()
	for _, b := range collect(s, s.Buckets(s.Context(), bucket.ID{})) {
		for _, e := range s.walked(b.ID, bucket.Head{}) {
			times = append(times, e.Added)
		}
	}
	return times
}

// everything returns what the log says, by what was asked.
func (s *suite) everything() map[string]any {
	s.Helper()
	all := map[string]any{"jobs": s.jobs(), "uploads": s.uploads(bucket.ID{})}
	for _, b := range collect(s, s.Buckets(s.Context(), bucket.ID{})) {
		all[b.ID.String()] = b
		entries := s.walked(b.ID, bucket.Head{})
		for _, e := range entries {
			again, err := s.Entry(s.Context(), b.ID, e.Head())
			s.ok(err)
			s.same("entry", again, e)
			heads, err := s.Heads(s.Context(), b.ID, e.Height)
			s.ok(err)
			all[fmt.Sprintf("%s at %d", b.ID, e.Height)] = heads
		}
		all["tips of "+b.ID.String()] = s.tipsOf(b.ID)
		all["walk of "+b.ID.String()] = entries
	}
	return all
}
