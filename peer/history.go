package peer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/logstore"
	"headwater/peer/local"
)

// Find implements [local.History].
func (h held) Find(ctx context.Context, name string) ([]bucket.ID, error) {
	return waiting(ctx, h, func(ctx context.Context) ([]bucket.ID, error) { return h.find(ctx, name) })
}

func (p *Peer) find(ctx context.Context, name string) (found []bucket.ID, err error) {
	if found, err = p.namedBefore(ctx, name); err != nil {
		return nil, err
	}
	for b, err := range p.stores.log.Buckets(ctx, bucket.ID{}) {
		if err != nil {
			return nil, err
		}
		if !b.Known.IsZero() && meant(name, b.ID, b.Name) {
			found = append(found, b.ID)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	return p.announcedAs(ctx, name)
}

// meant reports whether a person who says name may mean a bucket.
func meant(name string, id bucket.ID, called string) bool {
	return name != "" && (name == called || strings.HasPrefix(id.String(), name))
}

// maxNamed is the most announced buckets whose manifests are fetched to learn their names.
const maxNamed = 1000

// announcedAs looks at what is announced. A name on the bus is nobody's proof, so a bucket that is found by it counts only if
// it is shared with us.
func (p *Peer) announcedAs(ctx context.Context, name string) (found []bucket.ID, err error) {
	client, err := p.broker.wait(ctx)
	if err != nil {
		return nil, nil //nolint:nilerr // without a broker only what is held can be meant
	}
	ids, err := client.Buckets(ctx)
	if errors.Is(err, jetstream.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		is := strings.HasPrefix(id.String(), name)
		if !is && i < maxNamed {
			if is, err = p.sharedAs(ctx, client, id, name); err != nil {
				return nil, err
			}
		}
		if is {
			found = append(found, id)
		}
	}
	return found, nil
}

// sharedAs reports whether somebody announces a version of the bucket that bears the name and has a share for us. What cannot be
// had is passed over; what must not be asked for is an error.
func (p *Peer) sharedAs(ctx context.Context, client *jetstream.Client, id bucket.ID, name string) (bool, error) {
	heads, err := announced(ctx, client, id)
	if err != nil {
		return false, err
	}
	for _, a := range heads {
		v, err := bucket.Open(a.Link, a.Hints.Manifest)
		if err != nil {
			v, err = p.consumer.Manifest(ctx, a.Link)
		}
		if errors.Is(err, jetstream.ErrNotPermitted) {
			return false, err
		}
		if err != nil || v.Name != name || v.Bucket != id {
			continue
		}
		if _, ok := v.Share(p.ID()); ok {
			return true, nil
		}
	}
	return false, nil
}

// announced returns the heads that are announced for a bucket, each as an announcement of its own: first those of the
// announcements themselves, then the others that they name. Announcements that cannot be read are left out: the peers that
// consume them set them aside.
func announced(ctx context.Context, client *jetstream.Client, id bucket.ID) ([]bucket.Announcement, error) {
	all, err := client.Heads(ctx, id)
	if errors.Is(err, jetstream.ErrNotFound) {
		return nil, nil // no peer was here yet
	}
	if err != nil {
		return nil, err
	}
	heads := make([]bucket.Announcement, 0, len(all))
	for _, m := range all {
		a, err := bucket.DecodeAnnouncement(m.ContentType, m.Body)
		if err != nil {
			continue
		}
		a.Bucket, a.Peer = id, m.Peer // the subject decides
		heads = append(heads, a)
	}
	return append(heads, others(heads)...), nil
}

// others returns the heads that announcements name besides their own, each once.
func others(heads []bucket.Announcement) (more []bucket.Announcement) {
	seen := map[bucket.Link]bool{}
	for _, a := range heads {
		seen[a.Link] = true
	}
	for _, a := range heads {
		for _, link := range a.Heads {
			if !seen[link] {
				seen[link] = true
				more = append(more, bucket.Announcement{Link: link, Bucket: a.Bucket, Peer: a.Peer, Stores: a.Stores})
			}
		}
	}
	return more
}

// Look implements [local.History].
func (h held) Look(ctx context.Context, id bucket.ID, bus bool) (v local.View, err error) {
	return waiting(ctx, h, func(ctx context.Context) (local.View, error) { return h.look(ctx, id, bus) })
}

func (p *Peer) look(ctx context.Context, id bucket.ID, bus bool) (v local.View, err error) {
	b, err := p.bucket(ctx, id)
	var heads []bucket.Announcement
	var ignored []consumer.Ignored
	// A running peer hears what is announced by itself; it is asked for only as the base of a new version.
	if bus || err != nil || !p.hears.Load() {
		known := err == nil
		if heads, ignored, err = p.hear(ctx, id); errors.Is(err, ErrOffline) || err != nil && known && !bus && ctx.Err() == nil {
			v.Offline = err.Error() // what is held can be read all the same
		} else if err != nil {
			return v, err
		}
		b, err = p.bucket(ctx, id)
	}
	if errors.Is(err, ErrNoBucket) && len(ignored) > 0 && errors.Is(ignored[0].Err, consumer.ErrNotShared) {
		return p.visit(ctx, id, heads, v)
	}
	if err != nil {
		return v, nothing(id, err, ignored, v.Offline)
	}
	for _, i := range ignored {
		v.Ignored = append(v.Ignored, local.Ignored{
			Link: i.Link, Height: i.Height, Peer: i.Peer, Class: string(bucket.ClassOf(i.Err)), Reason: i.Err.Error(),
		})
	}
	if v.Head, err = p.manifest(ctx, b.Known.Link); err != nil {
		return v, err
	}
	v.Complete = b.Complete
	if v.Tips, err = p.tips(ctx, b); err == nil {
		v.Unshared = p.unshared(ctx, b)
	}
	return v, err
}

// unshared returns the manifest of the newest version of a bucket if it has no share for this peer any more. The log does not
// have it, but remembers that it was verified.
func (p *Peer) unshared(ctx context.Context, b logstore.Bucket) []byte {
	c := b.Condition
	if c.State != string(consumer.StateNotShared) || c.Height <= b.Known.Height {
		return nil
	}
	m, err := p.manifest(ctx, c.Link)
	if err != nil {
		p.cfg.Logger.Warn("the version in which this peer has no share any more cannot be had", "bucket", b.ID, "link", c.Link, "error", err)
	}
	return m
}

// nothing is the error if no version of a bucket is held.
func nothing(id bucket.ID, err error, ignored []consumer.Ignored, offline string) error {
	switch {
	case !errors.Is(err, ErrNoBucket):
		return err
	case len(ignored) > 0:
		return fmt.Errorf("%w; of %d announced heads none can be taken; the first one: %w", err, len(ignored), ignored[0].Err)
	case offline != "":
		return fmt.Errorf("bucket %s is not held here, and what others announce cannot be seen: %w: %s", id, ErrOffline, offline)
	}
	return fmt.Errorf("%w, and nobody announces one", err)
}

// hear takes into the log what is announced of a bucket, as far as it verifies, and returns the rest. [ErrOffline].
func (p *Peer) hear(ctx context.Context, id bucket.ID) (heads []bucket.Announcement, ignored []consumer.Ignored, err error) {
	client, err := p.broker.wait(ctx)
	if err != nil {
		return nil, nil, err
	}
	asking, cancel := context.WithTimeout(ctx, lookTimeout)
	heads, err = announced(asking, client, id)
	cancel()
	if errors.Is(err, jetstream.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrOffline, err) // a server without JetStream, perhaps
	}
	if err != nil {
		return nil, nil, offline(err)
	}
	p.lookAtBroker(ctx, false)
	before := p.verifiedBefore(id)
	ignored, err = p.consumer.Look(ctx, id, append(before, heads...))
	if err == nil {
		err = p.forgetVerified(ctx, id, before)
	}
	return heads, ignored, err
}
