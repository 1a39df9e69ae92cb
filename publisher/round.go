package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"headwater/bucket"
	"headwater/logstore"
)

// maxAttempts is how often in a row one head is announced if the bus calls it a repetition.
const maxAttempts = 8

// clearBatch is how many of the versions below what was announced are cleared from the outbox in one step.
const clearBatch = 32

// errForgotten: the bus takes an announcement for a repetition, under one id after the other, and does not have it. Once its
// duplicate window is over, it accepts the announcement.
var errForgotten = errors.New("the bus takes the announcement for a repetition and does not have it")

// round works off the uploads that a bucket has now. See the package comment for its order.
type round struct {
	*Publisher
	id   bucket.ID
	w    *work
	owed []owed         // ascending, as in the log
	tips []logstore.Tip // that are not merged, the greatest first
	up   bucket.Pins    // what the version before needs, and the stores have by now: it is not asked for again
	held error          // the first upload that is held up by what is not here
	gone int            // uploads cleared

	base     bucket.Head // whose pins were read last
	basePins bucket.Pins
}

// owed is an upload, with what the log says of its version.
type owed struct {
	logstore.Upload
	pins bucket.Link
	prev bucket.Link // its predecessor, whose manifest it pins too: that is in the store of manifests, or put there as owed
	base bucket.Head // newest version below it that is not owed; zero for none: all that came since must get into the stores
	tip  bool        // it is an unmerged tip: the bus must be told of it
	// lacking: the stores may lack anything that the tip needs, so all is put before the bus is told.
	lacking bool
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

// load reads what is owed, and the tips.
func (r *round) load(ctx context.Context) error {
	for u, err := range r.cfg.Log.Uploads(ctx, r.id) {
		if err != nil {
			return fmt.Errorf("read the uploads of bucket %s: %w", r.id, err)
		}
		r.owed = append(r.owed, owed{Upload: u})
	}
	if len(r.owed) == 0 {
		return nil
	}
	tips, err := r.cfg.Log.Tips(ctx, r.id)
	if err != nil {
		return fmt.Errorf("read the tips of bucket %s: %w", r.id, err)
	}
	r.tips = slices.DeleteFunc(tips, func(t logstore.Tip) bool { return t.Merged })
	base := make(map[bucket.Link]bucket.Head, len(r.owed))
	for i := range r.owed {
		o := &r.owed[i]
		e, err := r.cfg.Log.Entry(ctx, r.id, o.Head())
		if err != nil {
			return fmt.Errorf("read version %s: %w", o.Link, err)
		}
		o.pins, o.prev, o.base = e.Pins, e.Previous, e.Before()
		if b, ok := base[e.Previous]; ok {
			o.base = b
		}
		base[o.Link] = o.base
		o.tip = slices.ContainsFunc(r.tips, func(t logstore.Tip) bool { return t.Link == o.Link })
	}
	return nil
}

// run does one round.
func (r *round) run(ctx context.Context) error {
	if err := r.manifests(ctx); err != nil {
		return err
	}
	ready, rest, err := r.prepare(ctx)
	if err == nil && len(ready) > 0 {
		ready, err = r.announce(ctx, ready)
	}
	if err != nil {
		return err
	}
	for _, o := range ready {
		if o.lacking {
			continue // it was before
		}
		if _, err := r.content(ctx, o, inherited); err != nil {
			return err
		}
	}
	if err := r.clear(ctx, ready); err != nil {
		return err
	}
	for some := range slices.Chunk(rest, clearBatch) {
		done, err := r.contents(ctx, some)
		if err == nil {
			err = r.clear(ctx, done)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// manifests puts the manifests of all versions that are owed; and of all versions below an unmerged tip if the store has lost one,
// or if the tip is told of again: a peer that has nothing of the bucket needs them all.
func (r *round) manifests(ctx context.Context) error {
	b, err := r.cfg.Log.Bucket(ctx, r.id)
	if err != nil {
		return fmt.Errorf("read bucket %s: %w", r.id, err)
	}
	var hashes, bases []bucket.Hash
	oldest := map[bucket.Head]owed{} // of those with a base
	for _, o := range r.owed {
		hashes = append(hashes, o.Link.Hash())
		if _, ok := oldest[o.base]; !ok && !o.base.IsZero() {
			oldest[o.base], bases = o, append(bases, o.base.Link.Hash())
		}
	}
	lacked, missing, err := r.upload(ctx, r.cfg.ManifestStore, r.cfg.Manifests, append(hashes, bases...))
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(r.owed, func(o owed) bool { return slices.Contains(missing, o.Link.Hash()) }); i >= 0 {
		return fmt.Errorf("manifest of version %s of bucket %s: %w", r.owed[i].Link, r.id, ErrIncomplete)
	}
	for base, first := range oldest {
		again := first.Head().Compare(b.Announced) <= 0
		if (again || slices.Contains(lacked, base.Link.Hash())) && r.distrust(base) {
			if err := r.below(ctx, first); err != nil {
				return err
			}
		}
	}
	return nil
}

// distrust notes that the stores may lack anything that the tips on a base need. It reports whether there is one.
func (r *round) distrust(base bucket.Head) (found bool) {
	for i := range r.owed {
		if o := &r.owed[i]; o.base == base && o.tip {
			o.lacking, found = true, true
		}
	}
	return found
}

// below puts the manifests of all versions below one that is owed.
func (r *round) below(ctx context.Context, o owed) error {
	for at := o.base; !at.IsZero(); {
		var hashes []bucket.Hash
		for len(hashes) < askBatch && !at.IsZero() {
			e, err := r.cfg.Log.Entry(ctx, r.id, at)
			if err != nil {
				return fmt.Errorf("read version %s: %w", at.Link, err)
			}
			hashes, at = append(hashes, at.Link.Hash()), e.Before()
		}
		_, lost, err := r.upload(ctx, r.cfg.ManifestStore, r.cfg.Manifests, hashes)
		if err != nil {
			return err
		}
		if len(lost) > 0 {
			r.lose(o, lost)
		}
	}
	return nil
}

// prepare puts what the stores must have before the bus is told of the owed tips, and returns those that may be announced, in the
// order of the tips, and the other owed versions, newest first.
func (r *round) prepare(ctx context.Context) (ready, rest []owed, err error) {
	for _, o := range slices.Backward(r.owed) {
		if !o.tip {
			rest = append(rest, o)
			continue
		}
		needed := added
		if o.lacking {
			needed |= inherited
		}
		ok, err := r.content(ctx, o, needed)
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
func (r *round) announce(ctx context.Context, ready []owed) (told []owed, err error) {
	head := ready[0]
	told = ready[:min(len(ready), 1+bucket.MaxHeads)]
	a := bucket.Announcement{Link: head.Link, Height: &head.Height, Bucket: r.id, Peer: r.cfg.Peer, Attempt: head.Attempt}
	for _, o := range told[1:] {
		a.Heads = append(a.Heads, o.Link)
	}
	for _, t := range r.tips {
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
		return nil, fmt.Errorf("announce version %s of bucket %s: %w", head.Link, r.id, err)
	}
	if err := r.cfg.Log.Announced(ctx, r.id, head.Head()); err != nil {
		return nil, fmt.Errorf("note that %s was announced: %w", head.Link, err)
	}
	r.note(func(g *Progress) { g.Announced = head.Head() })
	r.cfg.Logger.Info("announced", "bucket", r.id, "link", head.Link, "height", head.Height)
	r.cfg.Announced(r.id, head.Head(), a.Heads)
	return told, nil
}

// tell announces. If the bus takes that for a repetition, and does not have it any more, it is announced under another id, a few
// times.
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
	return errForgotten
}

func (r *round) owes(link bucket.Link) bool {
	return slices.ContainsFunc(r.owed, func(o owed) bool { return o.Link == link })
}

// clear removes uploads from the outbox, in one step.
func (r *round) clear(ctx context.Context, done []owed) error {
	if len(done) == 0 {
		return nil
	}
	heads := make([]bucket.Head, len(done))
	for i, o := range done {
		heads[i] = o.Head()
	}
	if err := r.cfg.Log.Uploaded(ctx, r.id, heads...); err != nil {
		return fmt.Errorf("note that %d versions are uploaded: %w", len(done), err)
	}
	r.gone += len(done)
	r.note(func(*Progress) {}) // who watches may wait for that
	return nil
}
