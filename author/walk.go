package author

import (
	"context"
	"fmt"
	"slices"

	"headwater/bucket"
)

// candidate is a head that somebody says a bucket has.
type candidate struct {
	link   bucket.Link
	told   []told
	stores []string
	member bool // hinted at, held in the state, or announced by somebody with a share
	hint   bool

	v      *bucket.Version // nil where it could not be fetched
	behind bool            // an ancestor of another candidate
	err    error           // why it is ignored
	judged bool            // err is about the version, and not about what is said of it
}

// told is what somebody says of a candidate.
type told struct {
	peer   bucket.PublicKey // zero for hints and for what the state holds
	height *uint64          // nil where it is not told
	hints  bucket.Hints
}

// strand is the walk back from one candidate, or from several whose chains have met.
type strand struct {
	at     *bucket.Version // how far it has come; all newer ones are checked against their predecessors
	tips   []*candidate
	stores []string
	steps  int
	budget int
	top    uint64 // the height of its highest tip
	// trusted: it began at the newest head that was verified before, so that all below it is sound.
	trusted bool
	rooted  bool // at is a sound genesis
}

// meeting is where two strands became one: at is the newest common ancestor of each tip on one side and each on the other.
type meeting struct {
	one, other []*candidate
	at         *bucket.Version
}

// walk goes back from all candidates at once, the highest first, so that it comes to each version once, and to where chains
// meet from both sides at the same time. Versions come many at a time where hints name them, else one by one.
type walk struct {
	*Author
	id       bucket.ID
	genesis  bucket.Link                  // the one that is trusted; zero where none is yet
	trusted  *candidate                   // the newest head that was verified before; nil at first contact
	forks    map[bucket.Link]bool         // verified tips that have no strand here
	passed   map[bucket.Link][]*candidate // those of them that a strand came to, with the tips of that strand
	strands  []*strand
	meetings []meeting
	trail    *trail // what hints tell of all chains

	// What came down to the trusted genesis without meeting the trusted strand, which may still be far above.
	down []*candidate
	root *bucket.Version
}

// add begins a strand at a candidate that was fetched.
func (w *walk) add(c *candidate) {
	s := &strand{
		at: c.v, tips: []*candidate{c}, stores: c.stores, budget: w.MaxStrangerVersions, top: c.v.Height, trusted: c == w.trusted,
	}
	if c.member || w.trusted == nil {
		s.budget = w.MaxVersions
	}
	w.strands = append(w.strands, s)
	for _, t := range c.told {
		w.trail.add(t.hints, c.stores)
	}
}

// run walks until every strand has met the trusted one, or its genesis where none is trusted, or was dropped. The error is
// that of ctx.
func (w *walk) run(ctx context.Context) error {
	for s := w.next(); s != nil; s = w.next() {
		err := w.step(ctx, s)
		if ctx.Err() != nil {
			return fmt.Errorf("find the head of bucket %s: %w", w.id, ctx.Err())
		}
		if err != nil {
			w.drop(s, err)
		} else {
			w.tell(s, len(w.trail.held))
		}
	}
	return nil
}

// next returns the highest strand that is not at its end, nil where all are. One at height 0 comes first where a genesis is
// trusted: what becomes of it is clear without going down to it from above.
func (w *walk) next() *strand {
	if len(w.strands) == 1 && w.strands[0].trusted {
		return nil
	}
	var high *strand
	for _, s := range w.strands {
		if s.at.Height == 0 && !s.trusted && w.trusted != nil {
			return s
		}
		if !s.rooted && (high == nil || s.at.Height > high.at.Height) {
			high = s
		}
	}
	return high
}

// step takes a strand one version back, and checks the version that it leaves.
func (w *walk) step(ctx context.Context, s *strand) error {
	if s.at.Height == 0 {
		return w.end(s)
	}
	if s.steps++; s.steps > s.budget {
		return bucket.Refuse(bucket.TooLong, s.tips[0].link, "more than %d versions lie between it and any that is known to be sound",
			s.budget)
	}
	if s.at.Previous.IsZero() {
		return bucket.CheckStep(w.id, nil, s.at)
	}
	prev, err := w.previous(ctx, s)
	if err != nil {
		return err
	}
	if s.trusted {
		err = bucket.CheckStep(w.id, prev, s.at)
	} else {
		err = w.Rules.Succeed(w.id, prev, s.at)
	}
	if err != nil {
		return err
	}
	s.at = prev
	if w.forks[prev.Link] {
		w.passed[prev.Link] = s.tips
	}
	if i := slices.IndexFunc(w.strands, func(o *strand) bool { return o != s && o.at.Link == prev.Link }); i >= 0 {
		w.meet(s, w.strands[i])
	}
	return nil
}

// previous returns the version before that of a strand, which another strand may have reached before.
func (w *walk) previous(ctx context.Context, s *strand) (*bucket.Version, error) {
	for _, o := range w.strands {
		if o.at.Link == s.at.Previous {
			return o.at, nil
		}
	}
	r := request{at: s.at, ahead: w.ahead(s), judge: !s.trusted, has: w.stands, told: func(held int) { w.tell(s, held) }}
	if w.trusted != nil {
		r.end = w.trusted.link
	}
	if v, err := w.trail.before(ctx, r); v != nil || err != nil {
		return v, err
	}
	return w.fetch(ctx, s.at.Previous, s.stores)
}

// stands says whether a strand is at a version.
func (w *walk) stands(link bucket.Link) bool {
	return slices.ContainsFunc(w.strands, func(s *strand) bool { return s.at.Link == link })
}

// floor is the height that all strands have to come down to at least.
func (w *walk) floor() uint64 {
	if w.trusted == nil {
		return 0
	}
	return w.trusted.v.Height
}

// ahead is how many versions a strand will go back, as far as it is known: to the newest one that was verified before.
// Where that is not on its way, to where it is: as many again as the strand has come.
func (w *walk) ahead(s *strand) uint64 {
	n := max(uint64(s.steps), leastAhead)
	if s.at.Height > w.floor() {
		n = s.at.Height - w.floor()
	}
	return min(n, uint64(s.budget-s.steps)+1)
}

// tell says how far the walk is. A strand has checked all versions above the one that it is at; signatures of those that are
// held are checked, too.
func (w *walk) tell(s *strand, held int) {
	total := s.top - min(s.top, w.floor())
	if w.trusted == nil {
		total++ // the genesis
	}
	if w.Progress == nil || s.trusted || total == 0 {
		return
	}
	done := s.top - s.at.Height + uint64(held)
	if s.rooted {
		done++
	}
	w.Progress(min(done, total), total)
}

// end judges a strand that has come to height 0.
func (w *walk) end(s *strand) error {
	if err := w.Rules.Succeed(w.id, nil, s.at); err != nil {
		return err
	}
	if !w.genesis.IsZero() && s.at.Link != w.genesis {
		return diverged(s.at.Link, w.genesis)
	}
	if w.trusted == nil || s.trusted {
		s.rooted = true
		return nil
	}
	w.root, w.down = s.at, append(w.down, s.tips...)
	w.markBehind(s.tips, s.at.Link)
	w.remove(s)
	return nil
}

func diverged(genesis, trusted bucket.Link) error {
	return fmt.Errorf("%w: %s, while %s is trusted", ErrDiverged, genesis, trusted)
}

// meet makes one strand of s and o, which are at the same version. It is o that goes on.
func (w *walk) meet(s, o *strand) {
	w.meetings = append(w.meetings, meeting{s.tips, o.tips, o.at})
	o.tips = slices.Concat(o.tips, s.tips)
	w.markBehind(o.tips, o.at.Link)
	o.trusted = o.trusted || s.trusted
	o.budget, o.steps, o.top = max(o.budget, s.budget), min(o.steps, s.steps), max(o.top, s.top)
	if len(o.stores) == 0 {
		o.stores = s.stores
	}
	w.remove(s)
}

// markBehind marks the candidate that is at link, where it is one, as an ancestor of others.
func (w *walk) markBehind(tips []*candidate, link bucket.Link) {
	for _, c := range tips {
		c.behind = c.behind || c.link == link
	}
}

func (w *walk) remove(s *strand) {
	w.strands = slices.DeleteFunc(w.strands, func(o *strand) bool { return o == s })
}

// drop ends a strand that cannot be verified. Where it is the trusted one, a version below the newest head cannot be had any
// more; what has not met it by then cannot be judged.
func (w *walk) drop(s *strand, err error) {
	lost := []*strand{s}
	if s.trusted {
		lost = slices.DeleteFunc(slices.Clone(w.strands), func(o *strand) bool { return o == s })
		err = fmt.Errorf("not comparable with %s, the newest version verified before: %w", w.trusted.link, unclassed{err})
	}
	for _, o := range lost {
		for _, c := range o.tips {
			c.err, c.judged = err, true
		}
	}
	w.strands = slices.DeleteFunc(w.strands, func(o *strand) bool { return slices.Contains(lost, o) })
}

// unclassed hides the class of an error that says nothing against the one it is reported for.
type unclassed struct{ err error }

func (u unclassed) Error() string { return u.err.Error() }

// ancestor returns the newest common ancestor of two candidates whose strands have met.
func (w *walk) ancestor(a, b *candidate) *bucket.Version {
	for _, m := range w.meetings {
		if (slices.Contains(m.one, a) && slices.Contains(m.other, b)) ||
			(slices.Contains(m.one, b) && slices.Contains(m.other, a)) {
			return m.at
		}
	}
	return w.root
}
