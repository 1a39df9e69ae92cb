package author

import (
	"context"
	"fmt"
	"slices"

	"headwater/bucket"
)

// Heads is what the newest versions of a bucket are.
type Heads struct {
	// Head is the newest verified version, by the head rule; nil where there is none.
	Head *bucket.Version
	// Genesis is the one that the head's chain begins with.
	Genesis bucket.Link
	// Forks are the tips that are neither ancestors of the head nor merged, the greatest first.
	Forks []Fork
	// Ignored are the heads that were announced, hinted at or known, and cannot be verified.
	Ignored []Ignored
}

// Fork is a chain that left that of the head, and was not merged.
type Fork struct {
	Tip *bucket.Version
	// Ancestor is the newest version that the head has all of: the one where the chains part, or a later one of the fork
	// that was merged before.
	Ancestor *bucket.Version
	Author   bucket.PublicKey // of the tip; zero where it is unsigned
}

// Ignored is a head that was not taken.
type Ignored struct {
	Head bucket.Head      // its height is as told, and 0 where it is not told
	Peer bucket.PublicKey // one that announced it; zero for hints and known forks
	// Err says why: a [*bucket.Refusal], [ErrDiverged], or that something could not be fetched.
	Err error
}

// Heads finds the newest version of a bucket and its forks, out of what is announced, what was verified before, and hints:
// heads that the caller has from elsewhere. A hint is as little proof as an announcement, but decides at first contact which
// genesis is trusted; a hint of height 0 is that genesis itself. What was found is kept, durably, on return. Versions of
// ours that nobody announces, such as one that was made just before this process died, are announced; where that fails it is
// logged only.
//
// Nothing verifiable at all is [ErrNoBucket], with what was ignored. Other errors are those of the ports and the state.
func (a *Author) Heads(ctx context.Context, id bucket.ID, hints ...bucket.Head) (Heads, error) {
	known, err := a.State.load(id)
	if err != nil {
		return Heads{}, err
	}
	announced, err := a.Bus.Heads(ctx, id)
	if err != nil {
		return Heads{}, fmt.Errorf("ask for the heads of bucket %s: %w", id, err)
	}
	s, err := a.survey(ctx, id, known, announced, hints)
	if err != nil {
		return Heads{}, err
	}
	a.heard.keep(id, announced, s.sound())
	heads, err := s.result(ctx)
	a.logIgnored(id, heads.Ignored)
	if err != nil {
		return heads, err
	}
	if err := a.remember(ctx, s); err != nil {
		return heads, err
	}
	a.announceOwn(ctx, s, heads, announced)
	return heads, nil
}

func (a *Author) logIgnored(id bucket.ID, ignored []Ignored) {
	for _, i := range ignored {
		a.Logger.Warn("announced head ignored", "bucket", id, "link", i.Head.Link, "peer", i.Peer, "err", i.Err)
	}
}

// sound lists the verified heads that are no ancestors of others.
func (s *survey) sound() map[bucket.Link]bool {
	links := map[bucket.Link]bool{}
	for _, c := range append(slices.Clone(s.candidates), s.trusted) {
		if c != nil && c.err == nil && !c.behind {
			links[c.link] = true
		}
	}
	return links
}
