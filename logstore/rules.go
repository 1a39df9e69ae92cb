package logstore

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"
	"unicode/utf8"

	"headwater/bucket"
)

// Limits on what one row holds beside a version's name.
const (
	maxReasonSize = 1 << 10   // bytes of a condition's sentence
	maxStateSize  = 64        // bytes of a condition's state, and of its class
	maxStoreSize  = 1<<16 - 1 // bytes of one object store's name in a job
	maxJobSize    = 256 << 10 // bytes of the stores and peers of one job together
)

// checkStretch checks what can be told without the log: that each entry directly succeeds the one before it.
func checkStretch(stretch []Entry) error {
	for i, e := range stretch {
		switch genesis := e.Height == 0; {
		case e.Bucket.IsZero() || e.Link.IsZero():
			return fmt.Errorf("%w: entry %d of the stretch has no bucket or no link", ErrGap, i)
		case e.Bucket != stretch[0].Bucket:
			return fmt.Errorf("%w: %s belongs to bucket %s", ErrGap, e.Link, e.Bucket)
		case genesis != e.Previous.IsZero():
			return fmt.Errorf("%w: %s has height %d and previous %q", ErrGap, e.Link, e.Height, e.Previous)
		case i > 0 && (e.Previous != stretch[i-1].Link || e.Height != stretch[i-1].Height+1):
			return fmt.Errorf("%w: %s at height %d does not follow %s at height %d", ErrGap, e.Link, e.Height,
				stretch[i-1].Link, stretch[i-1].Height)
		}
	}
	return nil
}

// checkJob refuses a job that is not for one of the stretch, or whose hints are too large for a row.
func checkJob(stretch []Entry, job *Job) error {
	if job == nil {
		return nil
	}
	if !slices.ContainsFunc(stretch, func(e Entry) bool { return e.Link == job.Link }) {
		return fmt.Errorf("the job is for %q, which is not in the stretch", job.Link)
	}
	size := len(job.Peers) * len(bucket.PublicKey{})
	for _, s := range job.Stores {
		if len(s) > maxStoreSize {
			return fmt.Errorf("the job for %s names a store of %d bytes", job.Link, len(s))
		}
		size += 2 + len(s)
	}
	if size > maxJobSize {
		return fmt.Errorf("the job for %s has hints of %d bytes, more than %d", job.Link, size, maxJobSize)
	}
	return nil
}

// ledger is what planning an append asks of one bucket's log.
type ledger interface {
	// has reports whether a version is in the log.
	has(h bucket.Head) (bool, error)
	// previous returns the predecessor of a version in the log.
	previous(h bucket.Head) (bucket.Link, error)
	// succeeded reports whether a version at that height has this predecessor.
	succeeded(height uint64, previous bucket.Link) (bool, error)
	// jobs returns the bucket's jobs.
	jobs() ([]Job, error)
}

// appendPlan is what an append adds to and removes from a bucket's log.
type appendPlan struct {
	fresh    []Entry       // what is new, as it will be kept
	fork     bool          // the first of them opens a branch
	job      *Job          // to be recorded, nil for none
	forEvery bool          // beside it one for every other version of fresh
	at       int           // index in fresh of the job's version
	replaced []bucket.Head // versions whose pending jobs the new one replaces
	own      bool          // fresh is one version that was made here: it gets an upload
	held     *PinCount     // the pins of an own version that is complete at once, nil if it is not
}

// begin enters in b what the plan changes beside its versions.
func (p appendPlan) begin(b *Bucket) {
	if p.fork {
		b.Forks++
	}
	if p.held != nil {
		b.complete(p.fresh[0].Head(), *p.held)
	}
}

// follows returns the tip that the version at index i of fresh follows on, the zero Head if it opens a branch or is a genesis.
func (p appendPlan) follows(i int) bucket.Head {
	if i == 0 && p.fork {
		return bucket.Head{}
	}
	return p.fresh[i].Before()
}

// every returns the versions of fresh if each gets a job of its own, else none.
func (p appendPlan) every() []Entry {
	if !p.forEvery {
		return nil
	}
	return p.fresh
}

// planAppend says what appending a checked stretch to the bucket b does, or [ErrGap]. It relies on a link naming one
// version: if a version is in the log, all of its ancestors are.
func planAppend(ctx context.Context, l ledger, b Bucket, stretch []Entry, job *Job, newestOnly bool, now time.Time) (
	p appendPlan, err error,
) {
	known := sort.Search(len(stretch), func(i int) bool {
		if err != nil {
			return true
		}
		var ok bool
		ok, err = l.has(stretch[i].Head())
		return !ok
	})
	if err != nil || known == len(stretch) {
		return p, err
	}
	if err := checkContinues(l, b, stretch[known]); err != nil {
		return p, err
	}
	p.fresh = keptForms(stretch[known:], now)
	first := p.fresh[0]
	if b.Versions > 0 && first.Height <= b.Known.Height {
		if p.fork, err = l.succeeded(first.Height, first.Previous); err != nil {
			return p, err
		}
	}
	if job == nil {
		return p, nil
	}
	if !newestOnly {
		p.forEvery, p.at = true, len(p.fresh)-1
		p.job = new(jobFor(p.fresh[p.at], job))
		return p, nil
	}
	p.at = slices.IndexFunc(p.fresh, func(e Entry) bool { return e.Link == job.Link })
	if p.at < 0 {
		return p, nil // its version was there before
	}
	p.job = new(jobFor(p.fresh[p.at], job))
	p.replaced, err = replacedJobs(ctx, l, b, first)
	return p, err
}

// checkContinues checks the first new entry against the log.
func checkContinues(l ledger, b Bucket, e Entry) error {
	if e.Height == 0 {
		if b.Versions > 0 {
			return fmt.Errorf("%w: bucket %s has another genesis than %s", ErrGap, e.Bucket, e.Link)
		}
		return nil
	}
	if e.Previous == b.Known.Link && e.Height-1 == b.Known.Height {
		return nil
	}
	ok, err := l.has(e.Before())
	if err == nil && !ok {
		err = fmt.Errorf("%w: %s at height %d follows %s, which the log does not have at height %d", ErrGap, e.Link, e.Height,
			e.Previous, e.Height-1)
	}
	return err
}

// keptForms returns entries as the log keeps them.
func keptForms(entries []Entry, now time.Time) []Entry {
	added := time.UnixMilli(now.UnixMilli()).UTC()
	kept := slices.Clone(entries)
	for i := range kept {
		kept[i].Name = clip(kept[i].Name, MaxNameSize)
		kept[i].Complete = false
		kept[i].Added = added
	}
	return kept
}

// jobFor makes the pending job for e out of the caller's.
func jobFor(e Entry, job *Job) Job {
	return Job{PinJob: bucket.PinJob{
		Bucket: e.Bucket, Link: e.Link, Height: e.Height, Pins: e.Pins,
		Stores: append([]string(nil), job.Stores...), Peers: append([]bucket.PublicKey(nil), job.Peers...),
	}}
}

// replacedJobs returns the versions below first, on its own chain, that have a pending job.
func replacedJobs(ctx context.Context, l ledger, b Bucket, first Entry) ([]bucket.Head, error) {
	jobs, err := l.jobs()
	if err != nil {
		return nil, err
	}
	var below []bucket.Head
	for _, j := range jobs {
		if j.State == JobPending && j.Height < first.Height {
			below = append(below, bucket.Head{Link: j.Link, Height: j.Height})
		}
	}
	if b.Forks == 0 || len(below) == 0 {
		return below, nil // one chain: what is lower is an ancestor
	}
	slices.SortFunc(below, func(x, y bucket.Head) int { return y.Compare(x) })
	cur := first.Before()
	ancestors := below[:0]
	for _, h := range below {
		for cur.Height > h.Height {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			prev, err := l.previous(cur)
			if err != nil {
				return nil, err
			}
			cur = bucket.Head{Link: prev, Height: cur.Height - 1}
		}
		if cur == h {
			ancestors = append(ancestors, h)
		}
	}
	return ancestors, nil
}

// add counts e in and moves the heads.
func (b *Bucket) add(e Entry) {
	b.ID = e.Bucket
	b.Versions++
	if e.Head().Compare(b.Known) > 0 {
		b.Known, b.Name = e.Head(), e.Name
	}
	if e.Published && e.Head().Compare(b.Published) > 0 {
		b.Published = e.Head()
	}
}

// complete moves the complete head to h if that is the greater one, with its pins.
func (b *Bucket) complete(h bucket.Head, pins PinCount) {
	if h.Compare(b.Complete) > 0 {
		b.Complete, b.Pins = h, pins
	}
}

// announced moves the announced head to h if that is the greater one, and reports whether it did.
func (b *Bucket) announced(h bucket.Head) bool {
	moves := h.Compare(b.Announced) > 0
	if moves {
		b.Announced = h
	}
	return moves
}

// isEmpty reports whether nothing is known of the bucket.
func (b *Bucket) isEmpty() bool { return b.Versions == 0 && b.Condition.IsZero() }

// isStranger reports whether b is kept for its condition alone.
func (b *Bucket) isStranger() bool { return b.Versions == 0 && !b.Condition.IsZero() }

// moved returns the job in state s.
func (j Job) moved(s JobState) (Job, error) {
	if s > JobDead {
		return Job{}, fmt.Errorf("there is no job state %d", s)
	}
	if s == JobPending {
		j.Attempt++
	}
	j.State = s
	return j, nil
}

// kept returns the condition as the log keeps it.
func (c Condition) kept() Condition {
	c.State, c.Class = clip(c.State, maxStateSize), clip(c.Class, maxStateSize)
	c.Reason = clip(c.Reason, maxReasonSize)
	c.Since = time.UnixMilli(c.Since.UnixMilli()).UTC()
	return c
}

// clip returns s cut to at most limit bytes, not within a rune.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for cut := limit; cut > limit-utf8.UTFMax; cut-- {
		if utf8.RuneStart(s[cut]) {
			return s[:cut]
		}
	}
	return s[:limit] // not UTF-8
}
