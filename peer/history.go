package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/logstore"
	"headwater/peer/local"
)

// Find implements [local.History].
func (h held) Find(ctx context.Context, name string) (found []bucket.ID, err error) {
	ctx, done, err := h.calls.wait(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	for b, err := range h.stores.log.Buckets(ctx, bucket.ID{}) {
		if err != nil {
			return nil, err
		}
		if !b.Known.IsZero() && (b.Name == name || strings.HasPrefix(b.ID.String(), name)) {
			found = append(found, b.ID)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	found, err = h.announcedAs(ctx, name)
	return found, ended(ctx, err)
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
		if strings.HasPrefix(id.String(), name) {
			found = append(found, id)
			continue
		}
		if i < maxNamed {
			shared, err := p.sharedAs(ctx, client, id, name)
			if err != nil {
				return nil, err
			}
			if shared {
				found = append(found, id)
			}
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

// announced returns what stands announced for a bucket, each head as an announcement of its own: first those that were told of,
// then the others that they name. Announcements that cannot be read are left out: the peers that consume
// them set them aside.
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

// others returns the heads that announcements name beside their own, each once.
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
	ctx, done, err := h.calls.wait(ctx)
	if err != nil {
		return v, err
	}
	defer done()
	v, err = h.look(ctx, id, bus)
	return v, ended(ctx, err)
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
	before := p.verifiedBefore(id)
	ignored, err = p.consumer.Look(ctx, id, append(before, heads...))
	if err == nil {
		err = p.forgetVerified(ctx, id, before)
	}
	return heads, ignored, err
}

// tips returns the branches that did not become the head and are not merged.
func (p *Peer) tips(ctx context.Context, b logstore.Bucket) (unmerged []local.Tip, err error) {
	tips, err := p.stores.log.Tips(ctx, b.ID)
	if err != nil || len(tips) < 2 {
		return nil, err
	}
	tips = slices.DeleteFunc(tips, func(t logstore.Tip) bool { return t.Merged && t.Link != b.Known.Link })
	head := p.merges(ctx, b.ID, b.Known.Link)
	var merged []bucket.Link
	for _, t := range tips {
		if t.Link == b.Known.Link {
			continue
		}
		byOther := func(o logstore.Tip) bool { return o.Link != t.Link && p.merges(ctx, b.ID, o.Link)(t.Link) }
		done := head(t.Link) || slices.ContainsFunc(tips, byOther)
		if !done {
			if done, err = p.mergedBelow(ctx, b, t); err != nil {
				return nil, err
			}
		}
		if done {
			merged = append(merged, t.Link)
			continue
		}
		tip, err := p.tip(ctx, b, t, head)
		if err != nil {
			return nil, err
		}
		unmerged = append(unmerged, tip)
	}
	if len(merged) > 0 {
		err = p.stores.log.SetMerged(ctx, b.ID, merged...)
	}
	return unmerged, err
}

// maxMerges is how many versions below a head are asked whether they have merged a branch.
const maxMerges = 1000

// mergedBelow reports whether a version below the head has merged a branch, of those that could: the ones above its tip, the oldest
// first. A version that was made by somebody who did not know of the branch does not name it again. What was asked once is
// remembered, as it stays so.
func (p *Peer) mergedBelow(ctx context.Context, b logstore.Bucket, t logstore.Tip) (bool, error) {
	asked, _ := p.unmerged.Load(t.Link)
	var links []bucket.Link
	_, err := p.back(ctx, b.ID, b.Known, func(e logstore.Entry) bool {
		below := e.Height <= t.Height || e.Link == asked
		if !below && e.Link != b.Known.Link {
			links = append(links, e.Link)
		}
		return below
	})
	if err != nil {
		return false, err
	}
	slices.Reverse(links)
	for _, link := range links[:min(len(links), maxMerges)] {
		if p.merges(ctx, b.ID, link)(t.Link) {
			return true, nil
		}
	}
	if _, err := p.broker.use(); err == nil { // else a list may have been out of reach
		p.unmerged.Store(t.Link, b.Known.Link)
	}
	return false, nil
}

// tip returns a branch with the newest version of it that the head has all of: the one that both chains have, or a later one
// that was merged before.
func (p *Peer) tip(ctx context.Context, b logstore.Bucket, t logstore.Tip, head func(bucket.Link) bool) (local.Tip, error) {
	manifest, err := p.manifest(ctx, t.Link)
	if err != nil {
		return local.Tip{}, err
	}
	base, err := p.mergeBase(ctx, b.ID, b.Known, t.Head)
	if err != nil {
		return local.Tip{}, err
	}
	at, err := p.back(ctx, b.ID, t.Head, func(e logstore.Entry) bool { return e.Height <= base.Height || head(e.Link) })
	return local.Tip{Manifest: manifest, Base: at.Head()}, err
}

// merges returns what reports whether a version holds another one as merged: its pins list names that one's manifest. Each
// version holds its predecessor's anyway. Of a version whose list cannot be had nothing is said.
func (p *Peer) merges(ctx context.Context, id bucket.ID, link bucket.Link) func(bucket.Link) bool {
	e, err := p.stores.log.Entry(ctx, id, link)
	var pins bucket.Pins
	if err == nil {
		pins, err = p.pins(ctx, e.Pins)
	}
	if err != nil {
		level := slog.LevelWarn
		if errors.Is(err, ErrOffline) {
			level = slog.LevelDebug
		}
		p.cfg.Logger.Log(ctx, level, "what a version has merged cannot be seen", "bucket", id, "link", link, "error", err)
		return func(bucket.Link) bool { return false }
	}
	return func(l bucket.Link) bool { return l != e.Previous && holds(pins, l.Hash()) }
}

func holds(pins bucket.Pins, hash bucket.Hash) bool {
	_, found := slices.BinarySearchFunc(pins, hash, func(h, want bucket.Hash) int { return bytes.Compare(h[:], want[:]) })
	return found
}

// pins returns a pins list.
func (p *Peer) pins(ctx context.Context, list bucket.Link) (bucket.Pins, error) {
	b, err := blobstore.ReadAll(ctx, held{p}, list.Hash(), bucket.MaxPinsSize)
	if err != nil {
		return nil, fmt.Errorf("pins list %s: %w", list, err)
	}
	return bucket.ParsePins(b)
}

// Carried implements [local.History].
func (h held) Carried(ctx context.Context, id bucket.ID, tips []bucket.Link) (carried bucket.Pins, err error) {
	done, err := h.calls.enter()
	if err != nil {
		return nil, err
	}
	defer done()
	b, err := h.bucket(ctx, id)
	if err != nil {
		return nil, err
	}
	if b.Forks == 0 {
		return nil, nil // nothing was ever merged
	}
	head := h.merges(ctx, id, b.Known.Link)
	for _, link := range tips {
		e, err := h.stores.log.Entry(ctx, id, link)
		if err != nil {
			return nil, err
		}
		base, err := h.mergeBase(ctx, id, b.Known, e.Head())
		if err != nil {
			return nil, err
		}
		_, err = h.back(ctx, id, e.Head(), func(e logstore.Entry) bool {
			below := e.Height <= base.Height || head(e.Link)
			if !below {
				carried = append(carried, e.Link.Hash())
			}
			return below
		})
		if err != nil {
			return nil, err
		}
	}
	for _, link := range append([]bucket.Link{b.Known.Link}, tips...) {
		more, err := h.mergedIn(ctx, id, link)
		if err != nil {
			return nil, err
		}
		carried = append(carried, more...)
	}
	return carried, nil
}

// mergedIn lists the manifests that a version holds as merged: those of the log that its pins list names, but its predecessor's.
func (p *Peer) mergedIn(ctx context.Context, id bucket.ID, link bucket.Link) (merged bucket.Pins, err error) {
	e, err := p.stores.log.Entry(ctx, id, link)
	if err != nil {
		return nil, err
	}
	pins, err := p.pins(ctx, e.Pins)
	if err != nil {
		return nil, err
	}
	for _, h := range pins {
		version := bucket.NewLink(bucket.CodecDagCBOR, h)
		if version == e.Previous {
			continue
		}
		_, err := p.stores.log.Entry(ctx, id, version)
		if err == nil {
			merged = append(merged, h)
		} else if !errors.Is(err, logstore.ErrNotFound) {
			return nil, err
		}
	}
	return merged, nil
}
