package consumer

import (
	"context"
	"errors"
	"fmt"

	"headwater/bucket"
	"headwater/chain"
	"headwater/logstore"
)

// handleAnnouncement takes one announcement from its bytes to a logged and published head, and tells of that. Other heads that it
// names are looked at in the same way; if one of them cannot be had, the error is an [*otherHead].
func (c *Consumer) handleAnnouncement(ctx context.Context, m Message) (result, error) {
	a, err := readAnnouncement(m)
	if err != nil {
		return result{}, &badMessage{err}
	}
	r, err := c.takeHead(ctx, m, a)
	if len(a.Heads) == 0 {
		return r, err
	}
	if err == nil {
		c.count(m, r.outcome)
		c.tell(m, r)
	}
	for _, link := range a.Heads {
		failed := c.look(ctx, bucket.Announcement{Bucket: a.Bucket, Peer: a.Peer, Link: link, Stores: a.Stores})
		if failed != nil && err == nil && !errors.Is(failed, ErrDiverged) && !errors.Is(failed, ErrNotShared) {
			err = &otherHead{link, failed}
		}
	}
	return result{}, err
}

// otherHead is why a head that an announcement names beside its own could not be had.
type otherHead struct {
	link bucket.Link
	err  error
}

func (o *otherHead) Error() string {
	return fmt.Sprintf("head %s, named beside the announced one: %v", o.link, o.err)
}

func (o *otherHead) Unwrap() error { return o.err }

// readAnnouncement decodes an announcement and compares it with its subject, which decides.
func readAnnouncement(m Message) (bucket.Announcement, error) {
	a, err := bucket.DecodeAnnouncement(contentType(m), m.Body)
	switch {
	case err != nil:
		return a, err
	case m.Bucket.IsZero() || m.Peer.IsZero():
		return a, bucket.Refuse(bucket.Malformed, a.Link, "the subject %.200q names no bucket and peer", m.Subject)
	case !a.Bucket.IsZero() && a.Bucket != m.Bucket:
		return a, bucket.Refuse(bucket.WrongBucket, a.Link, "announced for bucket %s on the subject of %s", a.Bucket, m.Bucket)
	case !a.Peer.IsZero() && a.Peer != m.Peer:
		return a, bucket.Refuse(bucket.Malformed, a.Link, "announced by %s on the subject of %s", a.Peer, m.Peer)
	}
	a.Bucket, a.Peer = m.Bucket, m.Peer
	return a, nil
}

// takeHead brings an announced head into the log, if it is not there, while nobody else works on an announcement of the bucket.
// m is the message that brought it: one without a subject was not delivered, so nobody settles it.
func (c *Consumer) takeHead(ctx context.Context, m Message, a bucket.Announcement) (result, error) {
	done, err := c.turns.wait(ctx, a.Bucket)
	if err != nil {
		return result{}, err
	}
	defer done()
	if m.Subject == "" {
		defer c.board.ended(m)
	}
	known, err := c.Find(ctx, a.Bucket, announcedHead(a))
	switch {
	case err == nil:
		return c.alreadyLogged(ctx, a, known)
	case !errors.Is(err, logstore.ErrNotFound):
		return result{}, err
	}
	return c.sync(ctx, m, a)
}

// announcedHead is the head that an announcement names; its height is as told, 0 if it is not told.
func announcedHead(a bucket.Announcement) bucket.Head {
	h := bucket.Head{Link: a.Link}
	if a.Height != nil {
		h.Height = *a.Height
	}
	return h
}

// Find returns a version in the log, or [logstore.ErrNotFound]. told.Height is what somebody told, 0 if nobody did: if the log does
// not have the version there, our own manifest says where it is. A version whose manifest was lost is found at its height only. Safe for concurrent use, also without Run.
func (c *Consumer) Find(ctx context.Context, id bucket.ID, told bucket.Head) (logstore.Entry, error) {
	e, err := c.Log.Entry(ctx, id, told)
	if !errors.Is(err, logstore.ErrNotFound) {
		return e, err
	}
	if v := c.chain.Held(ctx, told.Link); v != nil && v.Height != told.Height {
		return c.Log.Entry(ctx, id, v.Head())
	}
	return e, err
}

// sync catches up with an announced head: what is missing is found and verified by package chain, and appended here, batch by
// batch, each with its job. Whatever was appended has its job published, however this ends.
func (c *Consumer) sync(ctx context.Context, m Message, a bucket.Announcement) (result, error) {
	head, err := c.fetchHead(ctx, a)
	if err != nil {
		return result{}, err
	}
	known, err := c.Log.Entry(ctx, a.Bucket, head.Head())
	switch {
	case err == nil:
		return c.regained(ctx, a, head, known)
	case !errors.Is(err, logstore.ErrNotFound):
		return result{}, err
	}
	mine, err := c.Log.Bucket(ctx, a.Bucket)
	if err != nil && !errors.Is(err, logstore.ErrNotFound) {
		return result{}, err
	}
	if mine.Known.IsZero() {
		if err := c.chain.Shared(head); err != nil {
			return c.recordUnapplied(ctx, a, head, err)
		}
	}
	w := c.newAppender(m, a.Stores, mine, head)
	defer w.close(ctx)
	err = c.chain.CatchUp(ctx, chain.Request{
		Head: head, Known: mine.Known, Stores: a.Stores, Hints: a.Hints, Report: w.fetched,
	}, func(batch []*bucket.Version) error { return w.append(ctx, batch) })
	switch {
	case errors.Is(err, ErrDiverged) || errors.Is(err, ErrNotShared):
		return c.recordUnapplied(ctx, a, head, err)
	case err != nil:
		return result{}, err
	}
	return w.finish(ctx)
}

// regained ends an announcement of a version that the log has and whose manifest was lost here: it is kept again.
func (c *Consumer) regained(ctx context.Context, a bucket.Announcement, head *bucket.Version, known logstore.Entry) (result, error) {
	if err := putVersions(ctx, c.Manifests, []*bucket.Version{head}); err != nil {
		return result{}, err
	}
	return c.alreadyLogged(ctx, a, known)
}

// fetchHead returns the announced version: out of the announcement, if it carries it, else fetched. It must agree with what the
// announcement says of it.
func (c *Consumer) fetchHead(ctx context.Context, a bucket.Announcement) (head *bucket.Version, err error) {
	if len(a.Hints.Manifest) > 0 {
		head, err = c.chain.Open(a.Link, a.Hints.Manifest)
	}
	if head == nil {
		head, err = c.chain.Manifest(ctx, a.Stores, a.Link)
	}
	if err != nil {
		return nil, err
	}
	if head.Bucket != a.Bucket {
		return nil, bucket.Refuse(bucket.WrongBucket, a.Link, "it is a version of bucket %s", head.Bucket)
	}
	return head, checkHeight(a, head.Height)
}

func checkHeight(a bucket.Announcement, height uint64) error {
	if a.Height != nil && *a.Height != height {
		return &badMessage{bucket.Refuse(bucket.HeightGap, a.Link, "announced at height %d; its manifest says %d", *a.Height, height)}
	}
	return nil
}

// alreadyLogged deals with a known head. It fetches nothing: it publishes a job of it that was not published, and takes up again
// one that was given up.
func (c *Consumer) alreadyLogged(ctx context.Context, a bucket.Announcement, e logstore.Entry) (result, error) {
	if err := checkHeight(a, e.Height); err != nil {
		return result{}, err
	}
	_, changes := c.done.get(a.Bucket)
	blocked, err := c.clearBlocked(ctx, a)
	if err != nil {
		return result{}, err
	}
	r := result{outcome: ClassDuplicate, event: Event{Link: a.Link, Height: e.Height}}
	if e.Complete {
		if !blocked {
			c.done.add(a.Bucket, e.Head(), changes)
		}
		return r, nil
	}
	job, err := c.Log.Job(ctx, a.Bucket, e.Head())
	if errors.Is(err, logstore.ErrNotFound) {
		return r, nil
	}
	if err == nil && job.State == logstore.JobDead {
		job, err = c.revive(ctx, job)
	}
	if err == nil && job.State == logstore.JobPending {
		err = c.publish(ctx, job)
	}
	return r, err
}

// clearBlocked forgets that an announced head could not be had, once it is in the log or its announcer has gone back to one
// that is. It reports whether the bucket stays blocked, for another announcement to clear.
func (c *Consumer) clearBlocked(ctx context.Context, a bucket.Announcement) (blocked bool, err error) {
	b, err := c.Log.Bucket(ctx, a.Bucket)
	if err != nil || b.Condition.State != string(StateBlocked) {
		return false, err
	}
	if b.Condition.Link != a.Link && b.Condition.Peer != a.Peer {
		return true, nil
	}
	return false, c.Log.SetCondition(ctx, a.Bucket, logstore.Condition{})
}

// recordUnapplied ends the sync of a head that must not be appended; status says why. If we hold the bucket, the head was
// verified all the same, so that nobody can take a bucket from us with a version that no owner signed. Another genesis proves
// nothing about its author: anybody can make one, so that state says only who announced it.
func (c *Consumer) recordUnapplied(ctx context.Context, a bucket.Announcement, head *bucket.Version, why error) (result, error) {
	state, r := StateNotShared, result{outcome: ClassNotShared, why: why}
	if errors.Is(why, ErrDiverged) {
		state, r.outcome = StateDiverged, ClassDiverged
	}
	reason := fmt.Sprintf("announced by peer %s: %v", a.Peer, why)
	r.event = Event{Link: head.Link, Height: head.Height, Class: string(r.outcome), Reason: reason}
	return r, c.setCondition(ctx, a.Bucket, logstore.Condition{
		State: string(state), Class: r.event.Class, Reason: reason, Link: head.Link, Height: head.Height, Peer: a.Peer,
	})
}
