package author

import (
	"context"
	"slices"

	"headwater/bucket"
)

// Limits on what hints can make an author fetch, and hold.
const (
	// windowOctets is how many octets are asked for at a time, at most: some 12,000 versions in their packs.
	windowOctets = 12 << 20
	// heldOctets is how many octets of versions are held that the walk has not come to, at most: two windows, so that both
	// sides of a fork have one.
	heldOctets = 2 * windowOctets
	// lostOctets is how many octets may turn out to have been fetched for nothing before no more hints are followed.
	lostOctets = 4 * windowOctets
	// windowLegs is the most legs that are looked at for a window.
	windowLegs = 4096
	// leastAhead is the fewest versions that a window is made for, where it cannot be known how many are needed.
	leastAhead = 16
	// idleSteps is after how many steps of the walk a window is given up that led nowhere in all of them.
	idleSteps = 1024
	// fruitless is how many requests may fail that brought nothing before no more hints are followed.
	fruitless = 3
	// tries is how often an object is asked for, where requests break off before it comes.
	tries = 2
	// indexOctets is what a pack of packs is taken to have.
	indexOctets = 8 << 10
)

// leg is a part of a chain as hints name it: a pack, or a single manifest.
type leg struct {
	hash    bucket.Hash
	level   int         // of a pack; single for a manifest
	newest  bucket.Link // the newest version in it
	stores  []string    // named with the hints
	older   *leg        // that follows on the way back
	spliced bool        // its parts follow in its place
}

// single is the level of legs that are one manifest.
const single = -1

// trail is what hints tell about the chains below announced heads. A walk back comes to the versions newest first, and asks
// the trail for each one; where a leg of the trail begins with it, that leg and those behind it are fetched, as many as a
// window holds, with one request. So nothing is fetched but from where the walk really is, and nothing comes twice, in however
// many hints it stands.
//
// Nothing of it is trusted: a version that is found here has the right octets, and the walk judges it like any other. What
// hints do not yield, the walk fetches by itself. A lie costs what one window brings, and all lies of a walk together what
// lostOctets and heldOctets allow.
//
// Memory is flat: what is held are the windows that the walk is in, and each version goes as the walk comes to it. What
// grows with the chain are the hashes that were asked for: one for 128 versions, and so are the references of packs of packs.
type trail struct {
	*Author
	id    bucket.ID
	legs  map[bucket.Link][]*leg           // by the newest version
	asked map[bucket.Hash]int              // objects, and how often; tries where they came, or are not there
	index map[bucket.Hash][]bucket.PackRef // what came of packs of packs
	held  map[bucket.Link]find             // versions that the walk has not come to
	open  []*window                        // what they came in
	clock int                              // steps of the walk
	lost  int                              // octets fetched for nothing
	fails int                              // requests without fruit
}

// request is what a walk needs to know of the version before another.
type request struct {
	at    *bucket.Version
	ahead uint64                 // how many versions the walk will go back from it, as far as it knows
	judge bool                   // signatures will be asked for
	end   bucket.Link            // known, with all below it; zero for none
	has   func(bucket.Link) bool // the walk has it already; nil for none
	told  func(held int)         // is called as versions come, from one goroutine at a time; nil for nobody
}

func (a *Author) newTrail(id bucket.ID) *trail {
	return &trail{
		Author: a, id: id, legs: map[bucket.Link][]*leg{}, asked: map[bucket.Hash]int{},
		index: map[bucket.Hash][]bucket.PackRef{}, held: map[bucket.Link]find{},
	}
}

// add takes the hints of one announcement.
func (t *trail) add(h bucket.Hints, stores []string) {
	var newer *leg
	follow := func(l *leg) {
		l.stores = stores
		t.legs[l.newest] = append(t.legs[l.newest], l)
		if newer != nil {
			newer.older = l
		}
		newer = l
	}
	for _, link := range h.Recent {
		follow(&leg{hash: link.Hash(), level: single, newest: link})
	}
	for _, p := range slices.Backward(h.Packs) {
		follow(&leg{hash: p.Hash, level: p.Level, newest: p.Last})
	}
}

// before returns the version before r.at, or nil where the hints do not lead to it. The error is that of ctx.
func (t *trail) before(ctx context.Context, r request) (*bucket.Version, error) {
	t.clock++
	for {
		if v := t.take(r.at.Previous); v != nil {
			return v, nil
		}
		first := t.next(r.at.Previous)
		if first == nil {
			return nil, nil
		}
		window := t.choose(first, r)
		if len(window) == 0 {
			return nil, nil
		}
		came, err := t.fetch(ctx, window, first.stores, r)
		if !came || err != nil {
			return nil, err
		}
	}
}

// next returns a leg that begins with a version, and is to be asked for.
func (t *trail) next(link bucket.Link) *leg {
	if t.fails >= fruitless || t.lost > lostOctets {
		return nil
	}
	for _, l := range t.legs[link] {
		for t.splice(l) {
			l = l.older // which begins with the same version
		}
		if t.asked[l.hash] < tries {
			return l
		}
	}
	return nil
}

// splice puts the parts of a pack of packs in its place, once it came. It says whether they are there.
func (t *trail) splice(l *leg) bool {
	if l.spliced || l.level <= 0 {
		return l.spliced
	}
	parts := t.index[l.hash]
	if len(parts) == 0 || parts[0].Level != l.level-1 || parts[len(parts)-1].Last != l.newest {
		return false
	}
	l.spliced = true
	behind := l.older
	for _, p := range slices.Backward(parts) {
		part := &leg{hash: p.Hash, level: p.Level, newest: p.Last, stores: l.stores}
		t.legs[p.Last] = append(t.legs[p.Last], part)
		l.older, l = part, part
	}
	l.older = behind
	return true
}

// choose lists the objects of a window: a leg and those behind it, as many as the walk may need and memory may hold.
func (t *trail) choose(first *leg, r request) (window []choice) {
	room, ahead := min(windowOctets, heldOctets-t.holds()), r.ahead
	chosen := map[bucket.Hash]bool{}
	l := first
	for looked := 0; l != nil && looked < windowLegs && ahead > 0 && (l == first || l.newest != r.end); looked++ {
		if !t.splice(l) {
			if t.asked[l.hash] < tries && !chosen[l.hash] && (l.level != single || r.has == nil || !r.has(l.newest)) {
				if room -= l.octets(r.at); room < 0 {
					break
				}
				chosen[l.hash] = true
				window = append(window, choice{l.hash, l.level})
			}
			ahead -= min(ahead, l.versions(r.at))
		}
		l = l.older
	}
	if len(window) == 1 && first.level == single {
		return nil // as quick by itself
	}
	return window
}

// choice is an object to be asked for, and what it is expected to be.
type choice struct {
	hash  bucket.Hash
	level int
}

// octets is what a leg takes, as far as can be told from a version near by.
func (l *leg) octets(near *bucket.Version) int {
	switch {
	case l.level == single:
		return bucket.PackedSize(near.Encoded())
	case l.level > 0:
		return indexOctets
	}
	return bucket.MaxPackSize
}

// versions is how many versions a leg has, as far as can be told from a version near by.
func (l *leg) versions(near *bucket.Version) uint64 {
	if l.level == single {
		return 1
	}
	n := uint64(min(max(bucket.MaxPackContent/bucket.PackedSize(near.Encoded()), 1), bucket.PackVersions))
	for range l.level {
		n *= bucket.PackFanOut
	}
	return n
}
