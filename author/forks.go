package author

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"headwater/blobstore"
	"headwater/bucket"
)

// result is what a survey has found.
func (s *survey) result(ctx context.Context) (Heads, error) {
	heads := Heads{Ignored: s.refused}
	for _, c := range s.candidates {
		if c.err != nil {
			heads.Ignored = append(heads.Ignored, c.ignored())
		}
	}
	if s.head == nil {
		return heads, s.nothing(heads.Ignored)
	}
	heads.Head, heads.Genesis = s.head.v, s.genesis
	forks, fresh := s.newForks()
	forks = append(forks, s.knownForks(ctx, &heads)...)
	if s.head != s.trusted || fresh {
		var err error
		if forks, err = s.unmerged(ctx, forks); err != nil {
			return heads, err
		}
	}
	for _, f := range forks {
		s.tips[f.Tip.Link] = tip{Height: f.Tip.Height, Kind: tipFork, Base: f.Ancestor.Link}
	}
	slices.SortFunc(forks, func(x, y Fork) int { return y.Tip.Head().Compare(x.Tip.Head()) })
	heads.Forks = forks
	return heads, nil
}

func (c *candidate) ignored() Ignored {
	i := Ignored{Head: bucket.Head{Link: c.link}, Peer: c.told[0].peer, Err: c.err}
	switch {
	case c.v != nil:
		i.Head = c.v.Head()
	case c.told[0].height != nil:
		i.Head.Height = *c.told[0].height
	}
	return i
}

// nothing is the error where no head can be verified.
func (s *survey) nothing(ignored []Ignored) error {
	if len(ignored) == 0 {
		return fmt.Errorf("bucket %s: %w: nobody has announced it", s.id, ErrNoBucket)
	}
	return fmt.Errorf("bucket %s: %w: of %d announced heads none can be verified; the first one: %w", s.id, ErrNoBucket,
		len(ignored), ignored[0].Err)
}

// newForks lists the verified candidates that are no ancestors of others, and keeps those that are for the next time. fresh
// says whether there are any.
func (s *survey) newForks() (forks []Fork, fresh bool) {
	all := s.candidates
	if s.trusted != nil {
		all = append(slices.Clone(all), s.trusted)
	}
	for _, c := range all {
		switch {
		case c == s.head || c.err != nil:
		case c.behind:
			if c != s.trusted {
				s.tips[c.link] = tip{Height: c.v.Height, Kind: tipBehind}
			}
		default:
			forks = append(forks, forkOf(c.v, s.ancestor(c, s.head)))
		}
	}
	return forks, len(forks) > 0
}

func forkOf(v, ancestor *bucket.Version) Fork {
	f := Fork{Tip: v, Ancestor: ancestor}
	if v.Signed() {
		f.Author = *v.Author
	}
	return f
}

// knownForks fetches the forks that were verified before, and left out of the walk. One that cannot be fetched is ignored
// this time, and kept. One that another chain goes on from is a tip no more.
func (s *survey) knownForks(ctx context.Context, heads *Heads) (forks []Fork) {
	var links []bucket.Link // tip and base of each
	for link, t := range s.forks {
		if tips, passed := s.passed[link]; !passed || tips[0].err != nil {
			links = append(links, link, t.Base)
		}
	}
	if len(links) == 0 {
		return nil
	}
	versions := s.fetchMany(ctx, links)
	for ; len(links) > 0; links, versions = links[2:], versions[2:] {
		var err error
		for i := range 2 {
			if versions[i] == nil && err == nil {
				versions[i], err = s.fetch(ctx, links[i], nil)
			}
		}
		if err != nil {
			t := s.forks[links[0]]
			s.tips[links[0]] = t
			heads.Ignored = append(heads.Ignored, Ignored{Head: bucket.Head{Link: links[0], Height: t.Height}, Err: err})
			continue
		}
		forks = append(forks, forkOf(versions[0], versions[1]))
	}
	return forks
}

// unmerged leaves out the forks that the head, or another fork, holds as merged: their manifests stand in its pins list. For
// those that are left it looks for a later ancestor: a version of theirs that was merged before.
func (s *survey) unmerged(ctx context.Context, forks []Fork) ([]Fork, error) {
	if len(forks) == 0 {
		return nil, nil
	}
	merged := map[bucket.Link]bool{}
	look := func(v *bucket.Version) (bucket.Pins, error) {
		pins, err := s.pins(ctx, v)
		for _, f := range forks {
			if f.Tip.Link != v.Link && holds(pins, f.Tip.Link) {
				merged[f.Tip.Link] = true
			}
		}
		return pins, err
	}
	pins, err := look(s.head.v)
	if err != nil {
		return nil, fmt.Errorf("find out which forks are merged: %w", err)
	}
	for _, f := range forks {
		if _, err := look(f.Tip); err != nil {
			s.Logger.Warn("what a fork has merged cannot be seen", "bucket", s.id, "link", f.Tip.Link, "err", err)
		}
	}
	var left []Fork
	for _, f := range forks {
		if merged[f.Tip.Link] {
			s.tips[f.Tip.Link] = tip{Height: f.Tip.Height, Kind: tipMerged}
			continue
		}
		if f.Ancestor, err = s.mergedBefore(ctx, f, pins); err != nil {
			return nil, err
		}
		left = append(left, f)
	}
	return left, nil
}

// mergedBefore returns the newest version of a fork that the head's pins hold, and its ancestor where there is none.
func (s *survey) mergedBefore(ctx context.Context, f Fork, pins bucket.Pins) (*bucket.Version, error) {
	merged := func(v *bucket.Version) bool { return holds(pins, v.Link) }
	v, err := s.back(ctx, f.Tip, f.Tip.Height-min(f.Tip.Height, f.Ancestor.Height+1), func(v *bucket.Version) bool {
		return merged(v) || v.Previous == f.Ancestor.Link
	})
	if err == nil && !merged(v) {
		v = f.Ancestor
	}
	return v, err
}

// holds says whether a manifest is pinned.
func holds(pins bucket.Pins, link bucket.Link) bool {
	_, found := slices.BinarySearchFunc(pins, link.Hash(), func(h, want bucket.Hash) int { return bytes.Compare(h[:], want[:]) })
	return found
}

// pins returns the pins list of a version.
func (a *Author) pins(ctx context.Context, v *bucket.Version) (bucket.Pins, error) {
	b, err := blobstore.ReadAll(ctx, a.Blobs, v.Pins.Hash(), bucket.MaxPinsSize)
	if err != nil {
		return nil, fmt.Errorf("pins list of version %s: %w", v.Link, err)
	}
	pins, err := bucket.ParsePins(b)
	if err != nil {
		return nil, fmt.Errorf("pins list of version %s: %w", v.Link, err)
	}
	return pins, nil
}

// remember keeps what a survey has found. Where another command has found more meanwhile, that stays.
func (a *Author) remember(ctx context.Context, s *survey) error {
	for _, c := range s.candidates {
		if t, lasting := c.refusal(); lasting {
			s.tips[c.link] = t
		}
	}
	found := &record{s.genesis, s.head.v, s.tips}
	if s.known != nil && s.known.equal(found) {
		return nil
	}
	return a.State.change(ctx, s.id, func(old *record) (*record, error) {
		if old != nil && old.genesis == found.genesis && old.head.Head().Compare(found.head.Head()) > 0 {
			return nil, nil
		}
		return found, nil
	})
}

// maxReason is the most octets that are kept of why a head was refused.
const maxReason = 300

// refusal says why a candidate can never become right, as far as that is so.
func (c *candidate) refusal() (t tip, lasting bool) {
	class := bucket.ClassOf(c.err)
	switch {
	case c.err == nil || !c.judged:
		return tip{}, false
	case class == "" && !errors.Is(c.err, ErrDiverged):
		return tip{}, false // not fetched, this time
	case class == bucket.HashMismatch || class == bucket.Unsigned:
		return tip{}, false // another store may do better; other rules may allow it
	}
	reason := c.err.Error()
	if r, ok := errors.AsType[*bucket.Refusal](c.err); ok {
		reason = r.Reason
		if r.Link != c.link && !r.Link.IsZero() {
			reason = "version " + r.Link.String() + ": " + reason
		}
	}
	t = tip{Kind: tipRefused, Class: class, Reason: strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")}
	if c.v != nil {
		t.Height = c.v.Height
	}
	return t, true
}
