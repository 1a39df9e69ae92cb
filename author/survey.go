package author

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"headwater/bucket"
)

// fetches is how many manifests of candidates are fetched at a time.
const fetches = 16

// maxStores is the most object stores that are asked for one chain before those that are configured, whoever named them.
const maxStores = 2 * bucket.MaxStores

// survey is one look at everything that may be a head of a bucket.
type survey struct {
	*walk
	known      *record // before; nil at first contact
	candidates []*candidate
	refused    []Ignored // without a walk
	forks      map[bucket.Link]tip
	tips       map[bucket.Link]tip // to be kept
	head       *candidate
}

// survey walks back from all that may be a head. Forks that are known are walked again only where the head has gone over to
// another branch.
func (a *Author) survey(
	ctx context.Context, id bucket.ID, known *record, announced []bucket.Announcement, hints []bucket.Head,
) (*survey, error) {
	s := a.newSurvey(id, known)
	s.gather(announced, hints)
	if err := s.walkAll(ctx); err != nil {
		return nil, err
	}
	if len(s.forks) == 0 || s.head == s.trusted || s.ancestor(s.trusted, s.head).Link == s.trusted.link {
		return s, nil
	}
	again := a.newSurvey(id, known)
	clear(again.forks)
	again.gather(announced, hints)
	for link := range s.forks {
		again.addCandidate(&candidate{link: link, told: make([]told, 1), member: true})
	}
	return again, again.walkAll(ctx)
}

func (a *Author) newSurvey(id bucket.ID, known *record) *survey {
	s := &survey{
		walk: &walk{
			Author: a, id: id, passed: map[bucket.Link][]*candidate{}, forks: map[bucket.Link]bool{}, trail: a.newTrail(id),
		},
		known: known, forks: map[bucket.Link]tip{}, tips: map[bucket.Link]tip{},
	}
	if known == nil {
		return s
	}
	s.genesis = known.genesis
	s.trusted = &candidate{link: known.head.Link, v: known.head, member: true}
	for link, t := range known.tips {
		switch t.Kind {
		case tipFork:
			s.forks[link] = t
		case tipMerged:
			s.tips[link] = t
		}
	}
	return s
}

// gather lists the candidates: hints first, then what members announced, then the rest.
func (s *survey) gather(announced []bucket.Announcement, hints []bucket.Head) {
	for _, h := range hints {
		c := &candidate{link: h.Link, told: make([]told, 1), member: true, hint: true}
		if h.Height != 0 {
			c.told[0].height = &h.Height
		}
		s.addCandidate(c)
	}
	rest := slices.Clone(announced)
	slices.SortStableFunc(rest, func(x, y bucket.Announcement) int {
		return cmp.Or(-compareBool(s.member(x.Peer), s.member(y.Peer)), x.Peer.Compare(y.Peer))
	})
	for _, n := range rest {
		c := &candidate{link: n.Link, told: []told{{n.Peer, n.Height, n.Hints}}, stores: n.Stores, member: s.member(n.Peer)}
		switch {
		case !n.Bucket.IsZero() && n.Bucket != s.id:
			s.refuse(c.link, c.told[0], bucket.Refuse(bucket.WrongBucket, n.Link, "it is announced for bucket %s", n.Bucket))
		case len(s.candidates) >= s.MaxHeads:
			s.refuse(c.link, c.told[0], fmt.Errorf("more than %d heads are announced; give it as a hint to have it looked at", s.MaxHeads))
		default:
			s.addCandidate(c)
		}
	}
}

func compareBool(x, y bool) int {
	switch {
	case x == y:
		return 0
	case x:
		return 1
	}
	return -1
}

// member says whether a peer has a share in the newest version that was verified before.
func (s *survey) member(k bucket.PublicKey) bool {
	if s.known == nil {
		return false
	}
	_, ok := s.known.head.Share(k)
	return ok
}

func (s *survey) refuse(link bucket.Link, t told, err error) {
	i := Ignored{Head: bucket.Head{Link: link}, Peer: t.peer, Err: err}
	if t.height != nil {
		i.Head.Height = *t.height
	}
	s.refused = append(s.refused, i)
}

// addCandidate takes a head to be looked at, unless it is listed already, or was judged before.
func (s *survey) addCandidate(c *candidate) {
	if s.trusted != nil && c.link == s.trusted.link {
		s.trusted.join(c)
		return
	}
	for _, o := range s.candidates {
		if o.link == c.link {
			o.join(c)
			return
		}
	}
	if _, known := s.forks[c.link]; known {
		return
	}
	if s.known != nil {
		switch t := s.known.tips[c.link]; {
		case t.Kind == tipMerged, t.Kind == tipBehind:
			s.tips[c.link] = t
			return
		case t.Kind == tipRefused && !c.hint && (t.Class != bucket.TooLong || !c.member):
			s.tips[c.link] = t
			s.refuse(c.link, c.told[0], t.err(c.link))
			return
		}
	}
	s.candidates = append(s.candidates, c)
}

// join adds what somebody else says of the same version.
func (c *candidate) join(o *candidate) {
	c.stores = slices.Concat(c.stores, o.stores)
	c.stores = c.stores[:min(len(c.stores), maxStores)]
	c.told = append(c.told, o.told...)
	c.member, c.hint = c.member || o.member, c.hint || o.hint
}

// walkAll fetches the candidates, walks back from them, and picks the head.
func (s *survey) walkAll(ctx context.Context) error {
	for link := range s.forks {
		s.walk.forks[link] = true
	}
	if err := s.fetchAll(ctx); err != nil {
		return err
	}
	if s.trusted != nil {
		s.add(s.trusted)
	}
	for _, c := range s.candidates {
		if c.err != nil {
			continue
		}
		if c.hint && c.v.Height == 0 && s.genesis.IsZero() {
			s.genesis = c.link
		}
		s.add(c)
	}
	if err := s.run(ctx); err != nil {
		return err
	}
	if s.trusted == nil {
		s.settle()
	}
	s.head = s.trusted
	for _, c := range s.candidates {
		if c.err == nil && (s.head == nil || c.v.Head().Compare(s.head.v.Head()) > 0) {
			s.head = c
		}
	}
	return nil
}

// fetchAll fetches the manifests of all candidates that are announced without.
func (s *survey) fetchAll(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(fetches)
	for _, c := range s.candidates {
		c.judged = true
		if c.v = s.inline(c); c.v != nil {
			continue
		}
		g.Go(func() error {
			c.v, c.err = s.fetch(ctx, c.link, c.stores)
			return nil
		})
	}
	if err := errors.Join(g.Wait(), ctx.Err()); err != nil {
		return fmt.Errorf("find the head of bucket %s: %w", s.id, err)
	}
	for _, c := range s.candidates {
		if c.err == nil {
			s.check(c)
		}
	}
	return nil
}

// inline returns the version that a candidate is, where somebody has announced its manifest with it.
func (s *survey) inline(c *candidate) *bucket.Version {
	for _, t := range c.told {
		if len(t.hints.Manifest) == 0 {
			continue
		}
		if v, err := s.opener.Open(c.link, t.hints.Manifest); err == nil {
			return v
		}
	}
	return nil
}

// check compares a fetched candidate with what was said of it. One that is announced at a wrong height by some is still good
// where others say better.
func (s *survey) check(c *candidate) {
	if c.v.Bucket != s.id {
		c.err = bucket.Refuse(bucket.WrongBucket, c.link, "it is a version of bucket %s, not of %s", c.v.Bucket, s.id)
		return
	}
	lies := func(t told) bool { return t.height != nil && *t.height != c.v.Height }
	for i, t := range c.told {
		if !lies(t) {
			continue
		}
		err := bucket.Refuse(bucket.HeightGap, c.link, "announced at height %d; its manifest says %d", *t.height, c.v.Height)
		if i == 0 && !slices.ContainsFunc(c.told, func(t told) bool { return !lies(t) }) {
			c.err, c.judged = err, false
			return
		}
		s.refuse(c.link, t, err)
	}
}

// settle decides at first contact which genesis is trusted. All chains that begin with another one are diverged.
func (s *survey) settle() {
	var best *strand
	for _, st := range s.strands {
		if best == nil || s.preferred(st, best) {
			best = st
		}
	}
	if best == nil {
		return
	}
	s.genesis = best.at.Link
	for _, st := range s.strands {
		for _, c := range st.tips {
			if st != best {
				c.err = diverged(st.at.Link, s.genesis)
			}
		}
	}
}

// preferred says whether x is to be trusted rather than y: what is hinted at, then what has a share for us, then the greater
// head.
func (s *survey) preferred(x, y *strand) bool {
	newest := func(st *strand) *bucket.Version {
		return slices.MaxFunc(st.tips, func(a, b *candidate) int { return a.v.Head().Compare(b.v.Head()) }).v
	}
	hinted := func(st *strand) bool { return slices.ContainsFunc(st.tips, func(c *candidate) bool { return c.hint }) }
	shared := func(v *bucket.Version) bool { _, ok := v.Share(s.me); return ok }
	a, b := newest(x), newest(y)
	return cmp.Or(
		compareBool(hinted(x), hinted(y)), compareBool(shared(a), shared(b)), a.Head().Compare(b.Head()),
	) > 0
}
