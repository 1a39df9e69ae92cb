package consumer

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/chain"
	"headwater/logstore"
)

// This file is the one place that appends to a log.

const (
	// maxJobPeers is the most identities that a pin job names, so that it stays well below bucket.MaxMessageSize.
	maxJobPeers = 512
	// manyVersions are enough to append them while the next ones are got ready.
	manyVersions = 128
)

// appender makes the verified versions of one catch-up durable, batch by batch: their manifests, then the log entries with the
// job. It is used by the bucket's one worker.
type appender struct {
	progress
	stores []string        // named by the announcement
	mine   logstore.Bucket // as it was before
	head   *bucket.Version

	oldest, newest *bucket.Version // appended
	added          uint64          // of those, how many the log did not have
	published      bool            // the job of the newest
	under          chan appended   // the append that is under way; nil for none
}

// appended is how an append ended.
type appended struct {
	newest *bucket.Version
	added  []logstore.Entry
	err    error
}

// newAppender notes that the way to a head is being made.
func (c *Consumer) newAppender(m Message, a bucket.Announcement, mine logstore.Bucket, head *bucket.Version) *appender {
	w := &appender{stores: a.Stores, mine: mine, head: head}
	w.progress = progress{c: c, m: m, target: head.Head(), known: mine.Known, told: c.Now()}
	w.now = Progress{Total: versionsBetween(mine.Known, w.target), Fetched: 1}
	c.board.catchingUp(m, w.target, w.now)
	return w
}

// append makes a batch durable. A large one is appended while the next one is fetched; the next call waits for it.
func (w *appender) append(ctx context.Context, batch []*bucket.Version) error {
	if w.oldest == nil {
		w.oldest = batch[0]
	}
	if err := putVersions(ctx, w.c.Manifests, batch); err != nil {
		return err
	}
	if len(batch) == 1 && w.under == nil && !w.c.AllVersions {
		added, err := appendVersions(ctx, w.c.Log, batch, w.stores, true)
		w.newest, w.added = batch[0], w.added+uint64(len(added))
		return err
	}
	if err := w.wait(ctx); err != nil {
		return err
	}
	w.under = make(chan appended, 1)
	log := func() {
		added, err := appendVersions(ctx, w.c.Log, batch, w.stores, !w.c.AllVersions)
		w.under <- appended{batch[len(batch)-1], added, err}
	}
	if len(batch) >= manyVersions {
		go log()
		return nil
	}
	log()
	return w.wait(ctx)
}

// wait returns when no append is under way.
func (w *appender) wait(ctx context.Context) error {
	if w.under == nil {
		return nil
	}
	done := <-w.under
	w.under = nil
	if done.err != nil {
		return done.err
	}
	w.newest, w.added = done.newest, w.added+uint64(len(done.added))
	w.appended(done.newest.Height)
	if !w.c.AllVersions {
		return nil
	}
	for _, e := range done.added {
		if err := w.c.publishPending(ctx, e.Bucket, e.Link); err != nil {
			return err
		}
	}
	return nil
}

// finish ends a catch-up that reached its head: it names a fork, and publishes the job.
func (w *appender) finish(ctx context.Context, up *chain.CatchUp) (_ result, err error) {
	if w.under != nil {
		err = w.wait(ctx)
	}
	if err != nil {
		return result{}, err
	}
	up.Applied()
	if !w.mine.Condition.IsZero() { // the bucket has moved on
		err = w.c.Log.SetCondition(ctx, w.m.Bucket, logstore.Condition{})
	}
	if err == nil && !w.mine.Known.IsZero() && w.oldest != nil && w.oldest.Previous != w.mine.Known.Link {
		err = w.tellFork(ctx)
	}
	if err == nil {
		err = w.c.publishPending(ctx, w.m.Bucket, w.head.Link)
		w.published = err == nil
	}
	return result{ClassApplied, Event{Link: w.head.Link, Height: w.head.Height, Versions: w.added}}, err
}

// close ends the catch-up, and publishes the job of what was appended if finish did not: of a head that was refused, or not
// reached, a part may be in the log.
func (w *appender) close(ctx context.Context, up *chain.CatchUp) {
	if w.under != nil {
		_ = w.wait(ctx) // an error of it came too late to be heard: the versions are appended again
	}
	if w.newest != nil && !w.published {
		w.c.publishLater(ctx, w.m.Bucket, w.newest.Link)
	}
	if err := up.Close(); err != nil {
		w.c.Logger.Warn("a catch-up is not closed well", "bucket", w.m.Bucket, "error", err)
	}
}

// tellFork names a fork at first sight of both heads: the versions leave our chain below the head that we had.
func (w *appender) tellFork(ctx context.Context) error {
	ancestor := w.oldest.Previous
	ours, err := w.c.otherThan(ctx, w.oldest)
	if err != nil || ours.Link.IsZero() {
		return err // without another one, they go on from the end of a branch that was named before
	}
	theirs := entryOf(w.oldest)
	w.c.Logger.Warn("fork", "bucket", w.head.Bucket, "ancestor", ancestor, "ours", ours.Link, "theirs", theirs.Link)
	w.c.Events.Emit(Event{
		At: w.c.Now().UTC(), Kind: EventForked, BucketID: w.head.Bucket, PeerID: w.c.Peer, Link: w.head.Link, Height: w.head.Height,
		Ancestor: ancestor, Heads: []bucket.Link{w.mine.Known.Link, w.head.Link}, Authors: []bucket.PublicKey{ours.Author, theirs.Author},
	})
	return nil
}

// otherThan returns another successor of the version before v, zero if there is none.
func (c *Consumer) otherThan(ctx context.Context, v *bucket.Version) (logstore.Entry, error) {
	links, err := c.Log.Heads(ctx, v.Bucket, v.Height)
	for _, l := range links {
		e, err := c.Log.Entry(ctx, v.Bucket, l)
		if err != nil && !errors.Is(err, logstore.ErrNotFound) {
			return e, err
		}
		if l != v.Link && e.Previous == v.Previous {
			return e, nil
		}
	}
	return logstore.Entry{}, err
}

// AppendOwn appends a version that was made here: once its rules hold against its predecessor it is durable, in one step with its
// outbox entry. held counts its pins if all are held; else, with nil, a pin job is recorded for those that are not. A version
// that does not follow on the known head any more is logstore.ErrStale. Whether the broker answers does not matter. Safe for
// concurrent use, also without Run.
func (c *Consumer) AppendOwn(ctx context.Context, v *bucket.Version, held *logstore.PinCount) error {
	prev, err := c.before(ctx, v)
	if err != nil {
		return err
	}
	if err := c.Rules.Succeed(v.Bucket, prev, v); err != nil {
		return err
	}
	if err := putVersions(ctx, c.Manifests, []*bucket.Version{v}); err != nil {
		return err
	}
	var job *logstore.Job
	if held == nil {
		job = jobFor(v, nil)
	}
	if err := c.Log.AppendOwn(ctx, entryOf(v), job, held); err != nil {
		return err
	}
	if job != nil {
		c.publishLater(ctx, v.Bucket, v.Link)
	}
	c.Events.Emit(Event{
		At: c.Now().UTC(), Kind: EventApplied, BucketID: v.Bucket, PeerID: c.Peer, Link: v.Link, Height: v.Height, Versions: 1,
	})
	return nil
}

// before returns the version before one that is made here, which the log has to have; nil for a genesis of a bucket that is new.
// It comes before the manifest is kept, so that what is refused leaves nothing for a rebuild to find.
func (c *Consumer) before(ctx context.Context, v *bucket.Version) (*bucket.Version, error) {
	if !v.Previous.IsZero() {
		if _, err := c.Log.Entry(ctx, v.Bucket, v.Previous); err != nil {
			return nil, fmt.Errorf("what version %s follows on: %w", v.Link, err)
		}
		return c.chain.Manifest(ctx, nil, v.Previous)
	}
	b, err := c.Log.Bucket(ctx, v.Bucket)
	if errors.Is(err, logstore.ErrNotFound) {
		return nil, nil
	}
	if err == nil && b.Versions > 0 {
		if _, err = c.Log.Entry(ctx, v.Bucket, v.Link); errors.Is(err, logstore.ErrNotFound) {
			return nil, fmt.Errorf("genesis %s of bucket %s, which has versions: %w", v.Link, v.Bucket, logstore.ErrStale)
		}
	}
	return nil, err
}

// appendVersions appends the entries of verified versions, oldest first, with the job of the newest one.
func appendVersions(
	ctx context.Context, log logstore.Store, batch []*bucket.Version, stores []string, newestOnly bool,
) ([]logstore.Entry, error) {
	entries := make([]logstore.Entry, len(batch))
	for i, v := range batch {
		entries[i] = entryOf(v)
	}
	return log.Append(ctx, entries, jobFor(batch[len(batch)-1], stores), newestOnly)
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
	peers := make([]bucket.PublicKey, 0, min(len(v.Shares), maxJobPeers))
	for _, s := range v.Shares[:cap(peers)] {
		peers = append(peers, s.Identity)
	}
	return &logstore.Job{PinJob: bucket.PinJob{
		Bucket: v.Bucket, Link: v.Link, Height: v.Height, Pins: v.Pins, Stores: stores, Peers: peers,
	}}
}

// putVersions keeps manifests durably: the small ones, which is nearly all, together.
func putVersions(ctx context.Context, store Manifests, versions []*bucket.Version) error {
	small := make([]blobstore.Small, 0, len(versions))
	for _, v := range versions {
		b := v.Encoded()
		if len(b) <= blobstore.SmallSize {
			small = append(small, blobstore.Small{Hash: v.Link.Hash(), Data: b})
			continue
		}
		if _, err := store.Put(ctx, v.Link.Hash(), bytes.NewReader(b)); err != nil {
			return fmt.Errorf("keep manifest %s: %w", v.Link, err)
		}
	}
	if err := store.PutBatch(ctx, small); err != nil {
		return fmt.Errorf("keep %d manifests: %w", len(small), err)
	}
	return nil
}

// clearCondition forgets what kept the bucket from being in sync, now that it has moved on.
func (c *Consumer) clearCondition(ctx context.Context, id bucket.ID) error {
	b, err := c.Log.Bucket(ctx, id)
	if err != nil || b.Condition.IsZero() {
		return err
	}
	return c.Log.SetCondition(ctx, id, logstore.Condition{})
}
