package publisher

import (
	"context"
	"fmt"
	"slices"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/logstore"
)

// maxAttempts is how often the bus is told of one head if it says that it was.
const maxAttempts = 8

// round works off the uploads that a bucket has now. See the package comment for its order.
type round struct {
	*Publisher
	id   bucket.ID
	w    *work
	owed []owed      // ascending, as in the log
	up   bucket.Pins // what the version before needs, and the stores have by now: it is not asked for again
	held error       // the first upload that is held up by what is not here
	gone int         // uploads cleared
}

// owed is an upload, with what the log says of its version.
type owed struct {
	logstore.Upload
	pins bucket.Link
	prev bucket.Link // its predecessor, whose manifest it pins too: that is in the store of manifests, or put there as owed
	base bucket.Link // newest version below it that is not owed; zero for none: all that came since is to be in the stores
}

// rounds works off a bucket until it owes nothing, or no more can be done now.
func (p *Publisher) rounds(ctx context.Context, id bucket.ID, w *work) error {
	for first := true; ; first = false {
		r := round{Publisher: p, id: id, w: w}
		if err := r.load(ctx); err != nil || len(r.owed) == 0 {
			return err
		}
		if first {
			r.note(func(g *Progress) { *g = Progress{} })
		}
		if err := r.run(ctx); err != nil {
			return err
		}
		if r.held != nil || r.gone == 0 {
			return r.held
		}
	}
}

func (r *round) note(change func(*Progress)) { r.Publisher.note(r.w, change) }

func (r *round) load(ctx context.Context) error {
	for u, err := range r.cfg.Log.Uploads(ctx, r.id) {
		if err != nil {
			return fmt.Errorf("read the uploads of bucket %s: %w", r.id, err)
		}
		r.owed = append(r.owed, owed{Upload: u})
	}
	base := make(map[bucket.Link]bucket.Link, len(r.owed))
	for i := range r.owed {
		o := &r.owed[i]
		e, err := r.cfg.Log.Entry(ctx, r.id, o.Link)
		if err != nil {
			return fmt.Errorf("read version %s: %w", o.Link, err)
		}
		o.pins, o.prev, o.base = e.Pins, e.Previous, e.Previous
		if b, ok := base[e.Previous]; ok {
			o.base = b
		}
		base[o.Link] = o.base
	}
	return nil
}

func (r *round) run(ctx context.Context) error {
	if err := r.manifests(ctx); err != nil {
		return err
	}
	tips, err := r.cfg.Log.Tips(ctx, r.id)
	if err != nil {
		return fmt.Errorf("read the tips of bucket %s: %w", r.id, err)
	}
	tips = slices.DeleteFunc(tips, func(t logstore.Tip) bool { return t.Merged })
	ready, rest, err := r.tips(ctx, tips)
	if err == nil && len(ready) > 0 {
		ready, err = r.announce(ctx, ready, tips)
	}
	if err == nil {
		err = r.clear(ctx, ready...)
	}
	if err != nil {
		return err
	}
	for _, o := range rest {
		if ok, err := r.content(ctx, o); err != nil {
			return err
		} else if !ok {
			continue
		}
		if err := r.clear(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// manifests puts those of all versions that are owed, and of all versions below them if the store has lost one: whoever has none
// of the bucket needs them all.
func (r *round) manifests(ctx context.Context) error {
	b, err := r.cfg.Log.Bucket(ctx, r.id)
	if err != nil {
		return fmt.Errorf("read bucket %s: %w", r.id, err)
	}
	var hashes []bucket.Hash
	var bases []owed // one for each base
	for _, o := range r.owed {
		hashes = append(hashes, o.Link.Hash())
		if !o.base.IsZero() && !slices.ContainsFunc(bases, func(b owed) bool { return b.base == o.base }) {
			bases = append(bases, o)
		}
	}
	for _, o := range bases {
		hashes = append(hashes, o.base.Hash())
	}
	t, err := r.upload(ctx, r.cfg.ManifestStore, r.cfg.Manifests, hashes)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(r.owed, func(o owed) bool { return slices.Contains(t.missing, o.Link.Hash()) }); i >= 0 {
		return fmt.Errorf("manifest of version %s of bucket %s: %w", r.owed[i].Link, r.id, ErrIncomplete)
	}
	for _, o := range bases {
		again := bucket.Head{Link: o.Link, Height: o.Height}.Compare(b.Announced) <= 0
		if again || slices.Contains(t.lacked, o.base.Hash()) {
			if err := r.below(ctx, o); err != nil {
				return err
			}
		}
	}
	return nil
}

// below puts the manifests of all versions below one that is owed.
func (r *round) below(ctx context.Context, o owed) error {
	for link := o.base; !link.IsZero(); {
		var hashes []bucket.Hash
		for len(hashes) < askBatch && !link.IsZero() {
			e, err := r.cfg.Log.Entry(ctx, r.id, link)
			if err != nil {
				return fmt.Errorf("read version %s: %w", link, err)
			}
			hashes, link = append(hashes, link.Hash()), e.Previous
		}
		t, err := r.upload(ctx, r.cfg.ManifestStore, r.cfg.Manifests, hashes)
		if err != nil {
			return err
		}
		r.lose(o, t.missing)
	}
	return nil
}

// tips puts what those owed versions need that are unmerged tips, and returns those that may be announced, in the order of the
// tips, and the other owed versions, newest first.
func (r *round) tips(ctx context.Context, tips []logstore.Tip) (ready, rest []owed, err error) {
	for _, o := range slices.Backward(r.owed) {
		if !slices.ContainsFunc(tips, func(t logstore.Tip) bool { return t.Link == o.Link }) {
			rest = append(rest, o)
			continue
		}
		ok, err := r.content(ctx, o)
		if err != nil {
			return nil, nil, err
		}
		if ok {
			ready = append(ready, o)
		}
	}
	return ready, rest, nil
}

// announce tells the bus of the first of the ready versions, and of as many others as an announcement may name. It returns
// those that were told of.
func (r *round) announce(ctx context.Context, ready []owed, tips []logstore.Tip) (told []owed, err error) {
	head := ready[0]
	told = ready[:min(len(ready), 1+bucket.MaxHeads)]
	a := bucket.Announcement{Link: head.Link, Height: &head.Height, Bucket: r.id, Peer: r.cfg.Peer, Attempt: head.Attempt}
	for _, o := range told[1:] {
		a.Heads = append(a.Heads, o.Link)
	}
	for _, t := range tips {
		if !r.owes(t.Link) && len(a.Heads) < bucket.MaxHeads {
			a.Heads = append(a.Heads, t.Link)
		}
	}
	if a.Hints, err = r.hints(ctx, head); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		r.cfg.Logger.Debug("announced with few hints", "bucket", r.id, "link", head.Link, "err", err)
	}
	if err := r.tell(ctx, a); err != nil {
		return nil, err
	}
	if err := r.cfg.Log.Announced(ctx, r.id, head.Link); err != nil {
		return nil, fmt.Errorf("note that %s was announced: %w", head.Link, err)
	}
	known := bucket.Head{Link: head.Link, Height: head.Height}
	r.note(func(g *Progress) { g.Announced = known })
	r.cfg.Logger.Info("announced", "bucket", r.id, "link", head.Link, "height", head.Height)
	r.cfg.Announced(r.id, known, a.Heads)
	return told, nil
}

// tell announces. What the bus takes for a repetition, and does not have any more, is announced under another id.
func (r *round) tell(ctx context.Context, a bucket.Announcement) error {
	for range maxAttempts {
		duplicate, err := r.cfg.Bus.Announce(ctx, a)
		r.note(func(g *Progress) { g.Duplicate = duplicate })
		if err != nil || !duplicate {
			return err
		}
		all, err := r.cfg.Bus.Heads(ctx, r.id)
		if err == nil && slices.ContainsFunc(all, func(b bucket.Announcement) bool {
			return b.Peer == a.Peer && b.Link == a.Link && slices.Equal(b.Heads, a.Heads)
		}) {
			return nil
		}
		a.Attempt++
	}
	return nil // the bus has been told so often within its duplicate window that somebody has heard
}

func (r *round) owes(link bucket.Link) bool {
	return slices.ContainsFunc(r.owed, func(o owed) bool { return o.Link == link })
}

func (r *round) clear(ctx context.Context, done ...owed) error {
	for _, o := range done {
		if err := r.cfg.Log.Uploaded(ctx, r.id, o.Link); err != nil {
			return fmt.Errorf("note that %s is uploaded: %w", o.Link, err)
		}
		r.gone++
	}
	return nil
}

// content puts what the store of blobs lacks of a version. It reports whether the store has all that was added since the
// version's base; if not, that is kept as what holds the upload up.
func (r *round) content(ctx context.Context, o owed) (ok bool, err error) {
	wanted, added, err := r.wanted(ctx, o)
	if blobstore.IsMissing(err) {
		r.hold(o, 1, o.pins.Hash())
		return false, nil
	}
	if err != nil {
		return false, err
	}
	missing, err := r.pinned(ctx, wanted[:added])
	if err != nil {
		return false, err
	}
	lost, err := r.pinned(ctx, wanted[added:])
	if err != nil {
		return false, err
	}
	r.lose(o, lost)
	if len(missing) > 0 {
		r.hold(o, len(missing), missing[0])
	}
	r.forgetMissing(missing, lost)
	return len(missing) == 0, nil
}

// pinned puts what the stores lack of some pins, and returns those that are nowhere. Manifests are among the pins of a merge; they
// are looked for, and put, in the store of manifests.
func (r *round) pinned(ctx context.Context, hashes []bucket.Hash) (missing []bucket.Hash, err error) {
	t, err := r.upload(ctx, r.cfg.BlobStore, r.cfg.Blobs, hashes)
	if err == nil && len(t.missing) > 0 {
		t, err = r.upload(ctx, r.cfg.ManifestStore, r.cfg.Manifests, t.missing)
	}
	if err != nil {
		return nil, err
	}
	return t.missing, nil
}

func (r *round) hold(o owed, n int, first bucket.Hash) {
	r.note(func(g *Progress) { g.Missing += n })
	if r.held == nil {
		r.held = fmt.Errorf("version %s of bucket %s lacks %d blobs, first %s: %w", o.Link, r.id, n, first, ErrIncomplete)
	}
}

// lose names inherited blobs that are neither here nor in the store.
func (r *round) lose(o owed, lost []bucket.Hash) {
	if len(lost) == 0 {
		return
	}
	const named = 8
	r.note(func(g *Progress) {
		g.Missing += len(lost)
		g.Lost = append(g.Lost, lost[:min(len(lost), max(0, named-len(g.Lost)))]...)
	})
	r.cfg.Logger.Warn("inherited objects are neither held nor in the store", "bucket", r.id, "link", o.Link, "count", len(lost),
		"first", lost[0])
}
