package consumer

import (
	"context"
	"errors"
	"fmt"

	"headwater/bucket"
	"headwater/logstore"
)

// handleAnnouncement takes one announcement from its octets to a logged, published and settled sync.
func (c *Consumer) handleAnnouncement(ctx context.Context, m Message) (result, error) {
	a, err := readAnnouncement(m)
	if err != nil {
		return result{}, &badMessage{err}
	}
	known, err := c.Log.Entry(ctx, a.Bucket, a.Link)
	if err == nil {
		return c.alreadyLogged(ctx, a, known)
	}
	if !errors.Is(err, logstore.ErrNotFound) {
		return result{}, err
	}
	return c.sync(ctx, m, a)
}

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

// checkHeight compares an announced height with the manifest's.
func checkHeight(a bucket.Announcement, height uint64) error {
	if a.Height != nil && *a.Height != height {
		return &badMessage{bucket.Refuse(bucket.HeightGap, a.Link, "announced at height %d; its manifest says %d", *a.Height, height)}
	}
	return nil
}

// alreadyLogged is what is left to do for a version that the log has: publishing its job, where that was not done, and
// taking it up again where it was given up.
func (c *Consumer) alreadyLogged(ctx context.Context, a bucket.Announcement, e logstore.Entry) (result, error) {
	if err := checkHeight(a, e.Height); err != nil {
		return result{}, err
	}
	if err := c.clearBlocked(ctx, a); err != nil {
		return result{}, err
	}
	r := result{ClassDuplicate, Event{Link: a.Link, Height: e.Height}}
	if e.Complete {
		return r, nil
	}
	job, err := c.Log.Job(ctx, a.Bucket, a.Link)
	if errors.Is(err, logstore.ErrNotFound) {
		return r, nil
	}
	if err != nil {
		return result{}, err
	}
	if job.State == logstore.JobDead {
		if job, err = c.revive(ctx, job); err != nil {
			return result{}, err
		}
	}
	if job.State == logstore.JobPending {
		err = c.publish(ctx, job)
	}
	return r, err
}

// clearBlocked forgets that an announced head could not be had, once it is in the log or its announcer has gone back to one
// that is.
func (c *Consumer) clearBlocked(ctx context.Context, a bucket.Announcement) error {
	b, err := c.Log.Bucket(ctx, a.Bucket)
	if err != nil || b.Condition.State != StateBlocked || (b.Condition.Link != a.Link && b.Condition.Peer != a.Peer) {
		return err
	}
	return c.Log.SetCondition(ctx, a.Bucket, logstore.Condition{})
}

// sync brings the announced head into the log. What was appended by then has its job published, however it ends.
func (c *Consumer) sync(ctx context.Context, m Message, a bucket.Announcement) (r result, err error) {
	done, err := c.turns.wait(ctx, a.Bucket)
	if err != nil {
		return result{}, err
	}
	defer done()
	if r, err = c.syncAlone(ctx, m, a); err != nil {
		c.publishHead(ctx, a.Bucket)
	}
	return r, err
}

// publishHead publishes the job of a bucket's newest version, if that is still to be done: a catch-up that failed may have
// appended a part.
func (c *Consumer) publishHead(ctx context.Context, id bucket.ID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	b, err := c.Log.Bucket(ctx, id)
	if err == nil && !b.Known.IsZero() {
		err = c.publishPending(ctx, id, b.Known.Link)
	}
	if err != nil && !errors.Is(err, logstore.ErrNotFound) {
		c.Logger.Debug("pin job not published yet", "bucket", id, "error", err)
	}
}

// syncAlone is sync while nobody else works on an announcement of the bucket.
func (c *Consumer) syncAlone(ctx context.Context, m Message, a bucket.Announcement) (result, error) {
	stores := append(a.Stores, c.ManifestStores...)
	head, err := c.announcedManifest(ctx, a, stores)
	if err != nil {
		return result{}, err
	}
	if head.Bucket != a.Bucket {
		return result{}, bucket.Refuse(bucket.WrongBucket, a.Link, "it is a version of bucket %s", head.Bucket)
	}
	if err := checkHeight(a, head.Height); err != nil {
		return result{}, err
	}
	mine, err := c.Log.Bucket(ctx, a.Bucket)
	if err != nil && !errors.Is(err, logstore.ErrNotFound) {
		return result{}, err
	}
	_, shared := head.Share(c.Peer)
	shared = shared || c.Visit
	if !shared && mine.Known.IsZero() {
		return c.notShared(ctx, m, head)
	}
	s, err := c.catchUp(ctx, mine, head, a, stores)
	if err == nil {
		err = c.verifyAll(ctx, s)
	}
	var r result
	switch {
	case err != nil:
	case s.diverged || !shared:
		r, err = c.refrain(ctx, m, s)
	default:
		r, err = c.apply(ctx, a, mine, s)
	}
	return r, s.end(err)
}

// announcedManifest returns the announced version: out of the announcement, where it carries it, else fetched.
func (c *Consumer) announcedManifest(ctx context.Context, a bucket.Announcement, stores []string) (*bucket.Version, error) {
	if len(a.Hints.Manifest) > 0 {
		if v, err := c.opener.Open(a.Link, a.Hints.Manifest); err == nil {
			return v, nil
		}
	}
	return c.fetchManifest(ctx, stores, a.Link)
}

// notShared ends the sync of a bucket that is not ours: nothing is kept, and status says so.
func (c *Consumer) notShared(ctx context.Context, m Message, head *bucket.Version) (result, error) {
	err := c.setCondition(ctx, m, logstore.Condition{
		State: StateNotShared, Class: ClassNotShared, Link: head.Link, Height: head.Height,
		Reason: fmt.Sprintf("peer %s is not among the shares of version %s", c.Peer, head.Link),
	})
	return result{ClassNotShared, Event{Link: head.Link, Height: head.Height}}, err
}

// refrain ends the sync of a verified stretch that is not appended. It was verified all the same, so that nobody can take a
// bucket from us with a version that no owner signed. Another genesis proves nothing about its author: anybody can make one, so
// that state only says who announced it.
func (c *Consumer) refrain(ctx context.Context, m Message, s *stretch) (result, error) {
	if !s.diverged {
		return c.notShared(ctx, m, s.head)
	}
	reason := fmt.Sprintf("the chain that peer %s announces reaches the genesis %s, which is not ours", m.Peer, s.genesis)
	err := c.setCondition(ctx, m, logstore.Condition{
		State: StateDiverged, Class: ClassDiverged, Link: s.head.Link, Height: s.head.Height, Reason: reason,
	})
	return result{ClassDiverged, Event{Link: s.head.Link, Height: s.head.Height, Class: ClassDiverged, Reason: reason}}, err
}
