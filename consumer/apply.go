package consumer

import (
	"context"
	"errors"
	"runtime"

	"golang.org/x/sync/errgroup"

	"headwater/bucket"
	"headwater/logstore"
)

// maxJobPeers is the most identities that a pin job names, so that it stays well below bucket.MaxMessageSize.
const maxJobPeers = 512

// verifyAll checks what was walked, oldest first, each version against its direct predecessor, before any of it is appended: a
// stretch with one version that breaks a rule leaves the log untouched. What is in the spool was verified before.
func (c *Consumer) verifyAll(ctx context.Context, s *stretch) error {
	prev := s.base
	for batch, err := range s.walked(ctx) {
		if err == nil {
			err = c.verify(ctx, s.id, prev, batch)
		}
		if err != nil {
			return err
		}
		prev = batch[len(batch)-1]
	}
	return nil
}

// verify checks a batch whose direct predecessor is prev, nil before a genesis. Signatures are checked side by side; who
// may write follows in order.
func (c *Consumer) verify(ctx context.Context, id bucket.ID, prev *bucket.Version, batch []*bucket.Version) error {
	if len(batch) > 1 {
		var g errgroup.Group
		n := verifiers()
		for worker := range n {
			g.Go(func() error {
				for i := worker; i < len(batch) && ctx.Err() == nil; i += n {
					_ = batch[i].VerifySignature() // remembered; judged below, in order
					runtime.Gosched()              // others wait for this processor, whose work is short
				}
				return ctx.Err()
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	for _, v := range batch {
		if err := c.Rules.Succeed(id, prev, v); err != nil {
			return err
		}
		prev = v
	}
	return nil
}

// apply appends a verified stretch and publishes its pin job.
func (c *Consumer) apply(ctx context.Context, a bucket.Announcement, mine logstore.Bucket, s *stretch) (result, error) {
	added, err := c.appendAll(ctx, a.Stores, s)
	if err != nil {
		return result{}, err
	}
	if err := c.clearCondition(ctx, s.id); err != nil {
		return result{}, err
	}
	if err := c.tellFork(ctx, mine, s); err != nil {
		return result{}, err
	}
	if err := c.publishPending(ctx, s.id, s.head.Link); err != nil {
		return result{}, err
	}
	event := Event{Link: s.head.Link, Height: s.head.Height, Versions: added}
	if added == 0 {
		return result{ClassDuplicate, event}, nil // another process was faster
	}
	return result{ClassApplied, event}, nil
}

// appendAll makes a stretch durable, batch by batch: the manifests of one while the entries of the one before are appended. It
// returns how many versions the log did not have.
func (c *Consumer) appendAll(ctx context.Context, stores []string, s *stretch) (added uint64, err error) {
	if len(s.links) == 1 && s.from == s.to {
		return c.appendBatch(ctx, stores, s, []*bucket.Version{s.head}) // nothing to do side by side
	}
	if s.to > s.from {
		defer c.pace.long()()
	}
	g, ctx := errgroup.WithContext(ctx)
	kept := make(chan []*bucket.Version, 1)
	g.Go(func() error {
		defer close(kept)
		for batch, err := range s.batches(ctx) {
			if err == nil {
				err = putVersions(ctx, c.Manifests, batch)
			}
			if err != nil {
				return err
			}
			select {
			case kept <- batch:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	g.Go(func() error {
		for batch := range kept {
			n, err := c.appendKept(ctx, stores, s, batch)
			if added += n; err != nil {
				return err
			}
		}
		return nil
	})
	err = g.Wait()
	return added, err
}

// appendBatch makes a verified batch durable: its manifests first, then the log entries with the job.
func (c *Consumer) appendBatch(ctx context.Context, stores []string, s *stretch, batch []*bucket.Version) (uint64, error) {
	if err := putVersions(ctx, c.Manifests, batch); err != nil {
		return 0, err
	}
	return c.appendKept(ctx, stores, s, batch)
}

// appendKept appends a batch whose manifests are durable, and returns how many of it the log did not have.
func (c *Consumer) appendKept(ctx context.Context, stores []string, s *stretch, batch []*bucket.Version) (uint64, error) {
	entries := make([]logstore.Entry, len(batch))
	for i, v := range batch {
		entries[i] = entryOf(v)
	}
	newest := batch[len(batch)-1]
	added, err := c.Log.Append(ctx, entries, jobFor(newest, stores), !c.AllVersions)
	if err == nil {
		err = c.publishEvery(ctx, added)
	}
	if err == nil {
		s.progress.appended(newest.Height)
	}
	return uint64(len(added)), err
}

// publishEvery publishes the jobs of versions just appended, where every version has one.
func (c *Consumer) publishEvery(ctx context.Context, added []logstore.Entry) error {
	if !c.AllVersions {
		return nil
	}
	for _, e := range added {
		if err := c.publishPending(ctx, e.Bucket, e.Link); err != nil {
			return err
		}
	}
	return nil
}

// entryOf is what the log keeps of a version.
func entryOf(v *bucket.Version) logstore.Entry {
	e := logstore.Entry{
		Bucket: v.Bucket, Link: v.Link, Height: v.Height, Previous: v.Previous, Pins: v.Pins, Name: v.Name,
		Published: v.Published(),
	}
	if v.Signed() {
		e.Author = *v.Author
	}
	return e
}

// jobFor makes the pin job of a version.
func jobFor(v *bucket.Version, stores []string) *logstore.Job {
	return &logstore.Job{PinJob: bucket.PinJob{
		Bucket: v.Bucket, Link: v.Link, Height: v.Height, Pins: v.Pins, Stores: stores, Peers: sharers(v),
	}}
}

// sharers lists the identities in a version's shares.
func sharers(v *bucket.Version) []bucket.PublicKey {
	peers := make([]bucket.PublicKey, 0, min(len(v.Shares), maxJobPeers))
	for _, s := range v.Shares[:cap(peers)] {
		peers = append(peers, s.Identity)
	}
	return peers
}

// clearCondition forgets what kept the bucket from being in sync, now that it has moved on.
func (c *Consumer) clearCondition(ctx context.Context, id bucket.ID) error {
	b, err := c.Log.Bucket(ctx, id)
	if err != nil || b.Condition.IsZero() {
		return err
	}
	return c.Log.SetCondition(ctx, id, logstore.Condition{})
}

// tellFork names a fork at first sight of both heads: where the stretch leaves our chain below the head that we had.
func (c *Consumer) tellFork(ctx context.Context, mine logstore.Bucket, s *stretch) error {
	if s.anchor == nil || mine.Known.IsZero() || s.anchor.Link == mine.Known.Link {
		return nil
	}
	e := Event{
		At: c.Now().UTC(), Kind: EventForked, BucketID: s.id, PeerID: c.Peer, Link: s.head.Link, Height: s.head.Height,
		Ancestor: s.anchor.Link, Heads: []bucket.Link{mine.Known.Link, s.head.Link},
	}
	ours, theirs, err := c.branches(ctx, s)
	if err != nil {
		return err
	}
	if ours.Link.IsZero() {
		return nil // the announced chain goes on from the end of a branch that was named before
	}
	e.Authors = []bucket.PublicKey{ours.Author, theirs.Author}
	c.Logger.Warn("fork", "bucket", s.id, "ancestor", e.Ancestor, "ours", ours.Link, "theirs", theirs.Link)
	c.Events.Emit(e)
	return nil
}

// branches returns the first version of the stretch, and another successor of the same ancestor, zero where there is none.
func (c *Consumer) branches(ctx context.Context, s *stretch) (ours, theirs logstore.Entry, err error) {
	oldest, err := s.oldest()
	if err != nil {
		return ours, theirs, err
	}
	if theirs, err = c.Log.Entry(ctx, s.id, oldest); err != nil {
		return ours, theirs, err
	}
	links, err := c.Log.Heads(ctx, s.id, theirs.Height)
	if err != nil {
		return ours, theirs, err
	}
	for _, l := range links {
		e, err := c.Log.Entry(ctx, s.id, l)
		if err != nil && !errors.Is(err, logstore.ErrNotFound) {
			return ours, theirs, err
		}
		if l != oldest && e.Previous == s.anchor.Link {
			return e, theirs, nil
		}
	}
	return logstore.Entry{}, theirs, nil
}
