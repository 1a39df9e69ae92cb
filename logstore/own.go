package logstore

import (
	"context"
	"fmt"
	"time"
)

// checkOwn checks the arguments of [Uploads.AppendOwn] against each other.
func checkOwn(e Entry, job *Job, held *PinCount) error {
	if (job == nil) == (held == nil) {
		return fmt.Errorf("append version %s made here: give either its job or its pins", e.Link)
	}
	return checkAppend([]Entry{e}, job)
}

// planOwn plans the append of a checked version that was made here, or returns [ErrStale]. A version that is in the log already
// makes an empty plan.
func planOwn(ctx context.Context, l ledger, b Bucket, e Entry, job *Job, held *PinCount, now time.Time) (appendPlan, error) {
	if ok, err := l.has(e.Head()); err != nil || ok {
		return appendPlan{}, err
	}
	if e.Previous != b.Known.Link {
		return appendPlan{}, fmt.Errorf("%w: %s follows %q, the head is %q", ErrStale, e.Link, e.Previous, b.Known.Link)
	}
	p, err := planAppend(ctx, l, b, []Entry{e}, job, true, now)
	if err != nil {
		return appendPlan{}, err
	}
	p.own, p.held, p.fresh[0].Complete = true, held, held != nil
	return p, nil
}
