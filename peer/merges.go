package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/logstore"
	"headwater/peer/local"
)

// tips returns the branches that did not become the head and are not merged.
func (p *Peer) tips(ctx context.Context, b logstore.Bucket) (unmerged []local.Tip, err error) {
	tips, err := p.stores.log.Tips(ctx, b.ID)
	tips = slices.DeleteFunc(tips, func(t logstore.Tip) bool { return t.Merged && t.Link != b.Known.Link })
	if err != nil || len(tips) < 2 {
		return nil, err
	}
	m := &merges{p, b, tips, map[bucket.Head][]bucket.Link{}}
	head := sync.OnceValue(func() bucket.Pins {
		pins, _ := p.merged(ctx, b.ID, b.Known) // none if the list cannot be had
		return pins
	})
	var merged []bucket.Head
	for _, t := range tips {
		if t.Link == b.Known.Link {
			continue
		}
		done, err := m.of(ctx, t)
		if err != nil {
			return nil, err
		}
		if done {
			merged = append(merged, t.Head)
			continue
		}
		tip, err := p.tip(ctx, b, t.Head, head())
		if err != nil {
			return nil, err
		}
		unmerged = append(unmerged, tip)
	}
	if len(merged) > 0 {
		err = p.stores.log.SetMerged(ctx, b.ID, merged...)
	}
	if errors.Is(err, logstore.ErrDiskFull) { // the mark only saves asking again
		err = nil
	}
	return unmerged, err
}

// merges knows which versions of a bucket hold which of its tips as merged. It reads every pins list once, and serves one call.
type merges struct {
	*Peer
	b    logstore.Bucket
	tips []logstore.Tip
	by   map[bucket.Head][]bucket.Link // tips that a version holds as merged; nil if its list cannot be had
}

// in reports whether a version holds a tip as merged; ok is false if that cannot be told.
func (m *merges) in(ctx context.Context, version bucket.Head, tip bucket.Link) (merged, ok bool) {
	found, seen := m.by[version]
	if !seen {
		if pins, err := m.merged(ctx, m.b.ID, version); err == nil {
			found = []bucket.Link{}
			for _, t := range m.tips {
				if holds(pins, t.Link) {
					found = append(found, t.Link)
				}
			}
		}
		m.by[version] = found
	}
	return slices.Contains(found, tip), found != nil
}

// of reports whether any version holds a tip as merged: another tip, or one below the head.
func (m *merges) of(ctx context.Context, t logstore.Tip) (bool, error) {
	for _, other := range m.tips {
		if merged, _ := m.in(ctx, other.Head, t.Link); merged {
			return true, nil
		}
	}
	return m.below(ctx, t)
}

// maxMerges is how many versions below a head one call looks at to learn whether they have merged a branch.
const maxMerges = 1000

// below reports whether a version below the head has merged a tip. It asks those that could have, the ones above the tip, the
// oldest first: a version that was made by somebody who did not know of the branch does not name it again. What was asked once is
// remembered, as it stays so; the next call goes on from there.
func (m *merges) below(ctx context.Context, t logstore.Tip) (bool, error) {
	asked, _ := m.unmerged.Load(t.Link)
	var above []bucket.Head
	_, err := m.back(ctx, m.b.ID, m.b.Known, func(e logstore.Entry) bool {
		below := e.Height <= t.Height || e.Link == asked
		if !below && e.Link != m.b.Known.Link {
			above = append(above, e.Head())
		}
		return below
	})
	if err != nil {
		return false, err
	}
	slices.Reverse(above)
	told := true
	for _, h := range above[:min(len(above), maxMerges)] {
		merged, ok := m.in(ctx, h, t.Link)
		if merged {
			return true, nil
		}
		if told = told && ok; told {
			m.unmerged.Store(t.Link, h.Link)
		}
	}
	return false, ctx.Err()
}

// tip returns a branch with the newest version of it that the head has all of: the one that both chains have, or a later one
// that was merged before.
func (p *Peer) tip(ctx context.Context, b logstore.Bucket, h bucket.Head, head bucket.Pins) (local.Tip, error) {
	manifest, err := p.manifest(ctx, h.Link)
	if err != nil {
		return local.Tip{}, err
	}
	at, err := p.leaves(ctx, b, h, head, func(logstore.Entry) {})
	return local.Tip{Manifest: manifest, Base: at.Head()}, err
}

// leaves goes back from a version to the newest one that the head has all of, which it returns, and calls f with those on the way.
// head is what the head holds as merged.
func (p *Peer) leaves(
	ctx context.Context, b logstore.Bucket, h bucket.Head, head bucket.Pins, f func(logstore.Entry),
) (at logstore.Entry, err error) {
	base, err := p.mergeBase(ctx, b.ID, b.Known, h)
	if err != nil {
		return at, err
	}
	return p.back(ctx, b.ID, h, func(e logstore.Entry) bool {
		has := e.Height <= base.Height || holds(head, e.Link)
		if !has {
			f(e)
		}
		return has
	})
}

// merged returns the pins of a version. The manifests of its bucket among them are those that it holds as merged: its
// predecessor's, which every version pins, is left out.
func (p *Peer) merged(ctx context.Context, id bucket.ID, h bucket.Head) (pins bucket.Pins, err error) {
	e, err := p.stores.log.Entry(ctx, id, h)
	var list []byte
	if err == nil {
		list, err = blobstore.ReadAll(ctx, held{p}, e.Pins.Hash(), bucket.MaxPinsSize)
	}
	if err == nil {
		pins, err = bucket.ParsePins(list)
	}
	if err != nil {
		level := slog.LevelWarn
		if errors.Is(err, ErrOffline) {
			level = slog.LevelDebug
		}
		p.cfg.Logger.Log(ctx, level, "what a version has merged cannot be seen", "bucket", id, "link", h.Link, "error", err)
		return nil, fmt.Errorf("pins list of version %s: %w", h.Link, err)
	}
	return slices.DeleteFunc(pins, func(h bucket.Hash) bool { return h == e.Previous.Hash() }), nil
}

func holds(pins bucket.Pins, link bucket.Link) bool {
	_, found := slices.BinarySearchFunc(pins, link.Hash(), func(h, want bucket.Hash) int { return bytes.Compare(h[:], want[:]) })
	return found
}

// Carried implements [local.History].
func (h held) Carried(ctx context.Context, id bucket.ID, tips []bucket.Link) (carried bucket.Pins, err error) {
	done, err := h.calls.enter()
	if err != nil {
		return nil, err
	}
	defer done()
	b, err := h.bucket(ctx, id)
	if err != nil || b.Forks == 0 {
		return nil, err // without a fork nothing was ever merged
	}
	head, err := h.merged(ctx, id, b.Known)
	if err != nil {
		return nil, err
	}
	if carried, err = h.versions(ctx, id, head); err != nil {
		return nil, err
	}
	for _, link := range tips {
		tip, err := h.named(ctx, id, link)
		if err != nil {
			return nil, err
		}
		_, err = h.leaves(ctx, b, tip.Head(), head, func(e logstore.Entry) { carried = append(carried, e.Link.Hash()) })
		if err != nil {
			return nil, err
		}
		pins, err := h.merged(ctx, id, tip.Head())
		if err == nil {
			pins, err = h.versions(ctx, id, pins)
		}
		if err != nil {
			return nil, err
		}
		carried = append(carried, pins...)
	}
	return carried, nil
}

// versions returns those of pins that are versions of a bucket in the log.
func (p *Peer) versions(ctx context.Context, id bucket.ID, pins bucket.Pins) (versions bucket.Pins, err error) {
	for _, h := range pins {
		has, err := p.stores.manifests.Has(ctx, h) // most are none, and that is quicker to say
		if err == nil && has {
			_, err = p.consumer.Find(ctx, id, bucket.Head{Link: bucket.NewLink(bucket.CodecDagCBOR, h)})
			has = err == nil
		}
		if err != nil && !errors.Is(err, logstore.ErrNotFound) {
			return nil, err
		}
		if has {
			versions = append(versions, h)
		}
	}
	return versions, nil
}
