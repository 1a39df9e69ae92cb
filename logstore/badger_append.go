package logstore

import (
	"context"

	"headwater/bucket"
)

// Append is described at [Appender]. If it returns an error, the versions that it returns with it were appended all the
// same: a stretch of several transactions was cut short by the error or by ctx.
func (s *Badger) Append(ctx context.Context, stretch []Entry, job *Job, newestOnly bool) (added []Entry, err error) {
	if err := checkAppend(stretch, job); err != nil || len(stretch) == 0 {
		return nil, err
	}
	id := stretch[0].Bucket
	added, err = s.append(ctx, id, func(l ledger, b Bucket) (appendPlan, error) {
		return planAppend(ctx, l, b, stretch, job, newestOnly, s.set.now())
	})
	return added, failed(err, "append to bucket %s", id)
}

// append plans an append when it is its turn at the bucket, and carries it out.
func (s *Badger) append(
	ctx context.Context, id bucket.ID, plan func(l ledger, b Bucket) (appendPlan, error),
) (added []Entry, err error) {
	err = s.change(ctx, id, func(r reader) error {
		b, err := r.bucketOrNew(id)
		if err != nil {
			return err
		}
		p, err := plan(bucketLedger{r, id}, b)
		if err != nil || len(p.fresh) == 0 {
			return err
		}
		added, err = s.apply(ctx, b, p)
		return err
	})
	return added, err
}

// apply carries a plan out, in as many transactions as it takes, and returns the versions that are durable.
func (s *Badger) apply(ctx context.Context, b Bucket, p appendPlan) ([]Entry, error) {
	wasStranger := b.isStranger()
	p.begin(&b)
	c := chunker{plan: p, bucket: b, maxRows: s.log.maxRows, maxSize: s.log.maxSize}
	for !c.finished() {
		rows, end := c.next()
		if err := s.log.commit(ctx, rows); err != nil {
			return p.fresh[:c.start], err
		}
		if wasStranger {
			s.countStranger(-1)
			wasStranger = false
		}
		c.start = end
	}
	return p.fresh, nil
}

// chunker cuts a plan into transactions, each of which leaves a log that keeps every promise: an unbroken chain, the head row
// and the tip rows that belong to it, and a job for the newest version written so far.
type chunker struct {
	plan             appendPlan
	bucket           Bucket // the head row after start versions
	start            int    // versions written
	standIn          *Job   // the job of an earlier chunk
	maxRows, maxSize int
}

// finished reports whether nothing is left to write. Replaced jobs that did not fit beside versions may be left for the end.
func (c *chunker) finished() bool { return c.start == len(c.plan.fresh) && len(c.plan.replaced) == 0 }

// next returns the rows of the next transaction and how many versions are written after it. It expects that the transaction
// succeeds.
func (c *chunker) next() (rows []row, end int) {
	before := c.bucket.Known
	rows, end, size := c.versions()
	if end > c.start {
		rows = append(rows, row{bucketKey(kindBucket, c.bucket.ID), encodeBucket(c.bucket)})
		rows = append(rows, c.tips(before, end)...)
	}
	if c.plan.own && c.start < end {
		u := Upload{Bucket: c.bucket.ID}
		rows = append(rows, row{headKey(kindUpload, u.Bucket, c.plan.fresh[c.start].Head()), encodeUpload(u)})
	}
	if c.plan.job != nil && !c.plan.forEvery && c.start <= c.plan.at && c.start < end {
		rows = append(rows, c.job(min(end-1, c.plan.at))...)
	}
	for len(c.plan.replaced) > 0 && len(rows) < c.maxRows && size < c.maxSize {
		r := row{key: headKey(kindJob, c.bucket.ID, c.plan.replaced[0])}
		rows, size = append(rows, r), size+r.size()
		c.plan.replaced = c.plan.replaced[1:]
	}
	return rows, end
}

// versions returns the rows of as many versions as fit beside the head row and a job, and counts them into the head row.
func (c *chunker) versions() (rows []row, end, size int) {
	const others = 6                               // head row, two tips, upload, job, removed stand-in
	size = 8 << 10                                 // the head row, tips and upload, generously
	if c.plan.job != nil && c.start <= c.plan.at { // a later chunk holds no job
		size += len(encodeJob(*c.plan.job)) + 256
	}
	for end = c.start; end < len(c.plan.fresh); end++ {
		e := c.plan.fresh[end]
		of := c.rowsOf(e)
		add := 0
		for _, r := range of {
			add += r.size()
		}
		if end > c.start && (len(rows)+len(of)+others > c.maxRows || size+add > c.maxSize) {
			break
		}
		rows, size = append(rows, of...), size+add
		c.bucket.add(e)
	}
	return rows, end, size
}

// tips returns the changes to the tip rows that belong to the versions before end. before is the known head until then. The
// known head has no row: a chain that nothing forks off writes none.
func (c *chunker) tips(before bucket.Head, end int) (rows []row) {
	id, on, last := c.bucket.ID, c.plan.follows(c.start), c.plan.fresh[end-1].Head()
	if !on.IsZero() && on != before {
		rows = append(rows, row{key: headKey(kindTip, id, on)})
	}
	switch {
	case last != c.bucket.Known:
		rows = append(rows, row{headKey(kindTip, id, last), encodeTip(Tip{})})
	case !before.IsZero() && on != before:
		rows = append(rows, row{headKey(kindTip, id, before), encodeTip(Tip{})})
	}
	return rows
}

// rowsOf returns the rows that belong to one version.
func (c *chunker) rowsOf(e Entry) []row {
	rows := []row{{headKey(kindEntry, e.Bucket, e.Head()), encodeEntry(e)}}
	if c.plan.forEvery {
		rows = append(rows, row{headKey(kindJob, e.Bucket, e.Head()), encodeJob(jobFor(e, c.plan.job))})
	}
	return rows
}

// job returns the rows that make the version at index i the one with the job.
func (c *chunker) job(i int) []row {
	var rows []row
	if c.standIn != nil {
		rows = append(rows, row{key: headKey(kindJob, c.bucket.ID, c.standIn.Head())})
	}
	j := jobFor(c.plan.fresh[i], c.plan.job)
	c.standIn = &j
	return append(rows, row{headKey(kindJob, c.bucket.ID, j.Head()), encodeJob(j)})
}

// countStranger counts buckets that are kept for their condition alone.
func (s *Badger) countStranger(by int) {
	s.strangersMu.Lock()
	defer s.strangersMu.Unlock()
	s.strangers += by
}

// admitStranger counts one more, unless there are too many.
func (s *Badger) admitStranger() bool {
	s.strangersMu.Lock()
	defer s.strangersMu.Unlock()
	if s.strangers >= MaxStrangers {
		return false
	}
	s.strangers++
	return true
}

// SetCondition is described at [Conditions].
func (s *Badger) SetCondition(ctx context.Context, id bucket.ID, cond Condition) error {
	err := s.change(ctx, id, func(r reader) error {
		b, err := r.bucketOrNew(id)
		if err != nil || b.isEmpty() && cond.IsZero() {
			return err
		}
		was := b.isStranger()
		if b.Condition = (Condition{}); !cond.IsZero() {
			b.Condition = cond.kept()
		}
		is := b.isStranger()
		if is && !was && !s.admitStranger() {
			return ErrTooMany
		}
		change := row{key: bucketKey(kindBucket, id)}
		if !b.isEmpty() {
			change.value = encodeBucket(b)
		}
		err = s.log.commit(ctx, []row{change})
		switch {
		case err != nil && is && !was:
			s.countStranger(-1)
		case err == nil && was && !is:
			s.countStranger(-1)
		}
		return err
	})
	return failed(err, "set the condition of bucket %s", id)
}

// countStrangers counts them at the start.
func countStrangers(r reader) (n int, err error) {
	err = r.scanBuckets(bucket.ID{}, func(b Bucket) (bool, error) {
		if b.isStranger() {
			n++
		}
		return true, nil
	})
	return n, err
}

// scanBuckets calls f for every head row after a bucket, ascending, until f returns false.
func (r reader) scanBuckets(behind bucket.ID, f func(b Bucket) (bool, error)) error {
	from := bucketKey(kindBucket, behind)
	if !behind.IsZero() {
		from = after(from)
	}
	return r.rows([]byte{kindBucket}, from, false, func(key, value []byte) (bool, error) {
		b, err := decodeBucket(key, value)
		if err != nil {
			return false, err
		}
		return f(b)
	})
}
