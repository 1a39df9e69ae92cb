package consumer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/logstore"
)

// This file is the one place that appends versions of others to a log; own.go appends those made here.

const (
	// maxJobPeers is the most identities that a pin job names, so that it stays well below bucket.MaxMessageSize.
	maxJobPeers = 512
	// manyVersions are enough to append them while the next ones are got ready.
	manyVersions = 128
	// tellEvery is how often a catch-up that takes longer than that tells how far it is.
	tellEvery = time.Second
)

// Progress is how far a catch-up has come. What an interrupted one has left counts as here.
type Progress struct {
	Total    uint64 `json:"total"`    // versions that were missing when it began, by the height of the announced head
	Fetched  uint64 `json:"fetched"`  // of those, how many are here
	Appended uint64 `json:"appended"` // of those, how many are in the log
}

// appender makes the verified versions of one catch-up durable, batch by batch: their manifests, then the log entries with the
// job. It reports its progress: to the board for status, and to everybody by events. It is used by the bucket's one worker.
type appender struct {
	c      *Consumer
	m      Message         // that led here
	stores []string        // named by the announcement
	mine   logstore.Bucket // as it was before
	head   *bucket.Version

	newest    *bucket.Version // appended
	added     uint64          // how many the log did not have
	published bool            // the job of the newest
	under     chan appended   // the append that is under way; nil for none

	now  Progress
	told time.Time
}

// appended is how an append ended.
type appended struct {
	batch []*bucket.Version
	added []logstore.Entry
	err   error
}

// newAppender notes that a catch-up with a head has begun.
func (c *Consumer) newAppender(m Message, stores []string, mine logstore.Bucket, head *bucket.Version) *appender {
	w := &appender{c: c, m: m, stores: stores, mine: mine, head: head, told: time.Now()}
	w.now = Progress{Total: versionsBetween(mine.Known, head.Head()), Fetched: 1}
	w.tell()
	return w
}

// append makes a batch durable. A large one is appended while the next one is fetched; the next call, even with an empty batch,
// waits for it.
func (w *appender) append(ctx context.Context, batch []*bucket.Version) error {
	if len(batch) == 0 {
		return w.wait(ctx)
	}
	if err := putVersions(ctx, w.c.Manifests, batch); err != nil {
		return err
	}
	if err := w.wait(ctx); err != nil {
		return err
	}
	under := make(chan appended, 1)
	w.under = under
	log := func() {
		added, err := appendVersions(ctx, w.c.Log, batch, w.stores, !w.c.AllVersions)
		under <- appended{batch, added, err}
	}
	if len(batch) >= manyVersions {
		go log()
		return nil
	}
	log()
	return w.wait(ctx)
}

func (w *appender) wait(ctx context.Context) error {
	if w.under == nil {
		return nil
	}
	done := <-w.under
	w.under = nil
	if done.err != nil {
		return done.err
	}
	first := w.newest == nil
	w.newest, w.added = done.batch[len(done.batch)-1], w.added+uint64(len(done.added))
	w.now.Appended = min(versionsBetween(w.mine.Known, w.newest.Head()), w.now.Total)
	w.fetched(0)
	if first {
		if err := w.tellFork(context.WithoutCancel(ctx), done.batch[0]); err != nil {
			return err
		}
	}
	if !w.c.AllVersions {
		return nil
	}
	for _, e := range done.added {
		if err := w.c.publishPending(ctx, e.Bucket, e.Head()); err != nil {
			return err
		}
	}
	return nil
}

// fetched notes that n more versions are here. Some may turn out not to be among those that are missing.
func (w *appender) fetched(n uint64) {
	w.now.Fetched = max(min(w.now.Fetched+n, w.now.Total), w.now.Appended)
	w.tell()
}

func (w *appender) tell() {
	w.c.board.catchingUp(w.m, w.head.Head(), w.now)
	if now := time.Now(); now.Sub(w.told) >= tellEvery {
		w.told = now
		progress := w.now
		w.c.emit(Message{Bucket: w.m.Bucket}, EventProgress, Event{Link: w.head.Link, Height: w.head.Height, Progress: &progress})
	}
}

// finish ends a catch-up that reached its head, and publishes the job. Status is told first: who hears that the pins are here must
// not find the catch-up still in work.
func (w *appender) finish(ctx context.Context) (result, error) {
	w.c.board.caughtUp(w.m)
	err := w.c.clearCondition(ctx, w.m.Bucket)
	if err == nil {
		err = w.c.publishPending(ctx, w.m.Bucket, w.head.Head())
		w.published = err == nil
	}
	return result{outcome: ClassApplied, event: Event{Link: w.head.Link, Height: w.head.Height, Versions: w.added}}, err
}

// close ends the catch-up, and publishes the job of what was appended if finish did not: part of the chain of a head that was
// refused, or not reached, may be in the log.
func (w *appender) close(ctx context.Context) {
	_ = w.wait(ctx) // an error of it came too late to be heard: the versions are appended again
	if w.newest != nil && !w.published {
		w.c.publishLater(ctx, w.m.Bucket, w.newest.Head())
	}
}

// tellFork reports a fork, with both heads, once the oldest version of the new branch is in the log, whatever becomes of the
// others. The branch leaves our chain below the head that we had.
func (w *appender) tellFork(ctx context.Context, oldest *bucket.Version) error {
	ours, err := w.c.otherThan(ctx, oldest)
	if err != nil || ours.Link.IsZero() {
		return err // without another one, it goes on from the end of a branch that was named before
	}
	before := w.mine.Known.Link
	if before == oldest.Previous {
		before = ours.Link // made here meanwhile
	}
	w.c.Logger.Warn("fork", "bucket", oldest.Bucket, "ancestor", ours.Previous, "ours", ours.Link, "theirs", oldest.Link)
	w.c.emit(Message{Bucket: oldest.Bucket}, EventForked, Event{
		Link: w.head.Link, Height: w.head.Height, Ancestor: ours.Previous, Heads: []bucket.Link{before, w.head.Link},
		Authors: []bucket.PublicKey{ours.Author, entryOf(oldest).Author},
	})
	return nil
}

// otherThan returns another successor of the version before v, zero if there is none.
func (c *Consumer) otherThan(ctx context.Context, v *bucket.Version) (logstore.Entry, error) {
	links, err := c.Log.Heads(ctx, v.Bucket, v.Height)
	for _, l := range links {
		e, err := c.Log.Entry(ctx, v.Bucket, bucket.Head{Link: l, Height: v.Height})
		if err != nil && !errors.Is(err, logstore.ErrNotFound) {
			return e, err
		}
		if l != v.Link && e.Previous == v.Previous {
			return e, nil
		}
	}
	return logstore.Entry{}, err
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
