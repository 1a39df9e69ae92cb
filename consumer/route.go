package consumer

import (
	"context"
	"errors"
	"fmt"

	"headwater/bucket"
)

// Limits on what hints can make a peer fetch.
const (
	// windowOctets is how many octets are asked for at a time, at most, by all catch-ups together.
	windowOctets = 12 << 20
	// looseObjects is how many objects may be fetched by hints that have led to no version yet.
	looseObjects = 512
	// manifestOctets and indexOctets are what a manifest, and a pack of packs, is taken to have.
	manifestOctets = 4 << 10
	indexOctets    = 8 << 10
)

// errLed says that hints lead nowhere. What they would have led to is found link by link.
var errLed = errors.New("the hints do not lead there")

// leg is an object on the way from the log to an announced head: a pack, or a single manifest.
type leg struct {
	hash   bucket.Hash
	level  int         // of a pack; -1 for a manifest
	newest bucket.Link // the newest version in it
}

// octets is what the leg takes at most, as far as can be told.
func (l leg) octets() int {
	switch {
	case l.level < 0:
		return manifestOctets
	case l.level > 0:
		return indexOctets
	}
	return bucket.MaxPackSize
}

// route fetches the objects that hints name, oldest first, many at a time, and opens packs of packs on the way. Nothing that
// comes is proven but by its hash.
type route struct {
	c       *Consumer
	stores  []string
	known   knows
	most    int   // octets asked for at a time: what is missing, generously, so that a longer chain is no use to a liar
	legs    []leg // oldest first
	held    map[bucket.Hash][]byte
	fetched int // objects
	yielded int // objects that held versions
}

// knows says whether a version need not be fetched, nor any below it.
type knows func(ctx context.Context, link bucket.Link) (bool, error)

// newRoute makes a route of hints, to so many versions. Legs whose end is known are left out, with all before them.
func (c *Consumer) newRoute(ctx context.Context, known knows, missing uint64, h bucket.Hints, stores []string) (*route, error) {
	r := &route{c: c, known: known, stores: stores, held: map[bucket.Hash][]byte{}}
	r.most = 2*bucket.MaxPackSize + int(min(missing, windowOctets/manifestOctets))*manifestOctets
	for _, p := range h.Packs {
		r.legs = append(r.legs, leg{p.Hash, p.Level, p.Last})
	}
	for i := len(h.Recent) - 1; i >= 0; i-- {
		r.legs = append(r.legs, leg{h.Recent[i].Hash(), -1, h.Recent[i]})
	}
	var err error
	r.legs, err = known.unknown(ctx, r.legs)
	return r, err
}

// unknown returns the legs behind the newest one whose end is known.
func (k knows) unknown(ctx context.Context, legs []leg) ([]leg, error) {
	for i := len(legs) - 1; i >= 0; i-- {
		known, err := k(ctx, legs[i].newest)
		if err != nil {
			return nil, err
		}
		if known {
			return legs[i+1:], nil
		}
	}
	return legs, nil
}

// next returns the next object that holds versions: the octets of a pack of manifests, or of one manifest. done says that
// there are no more. Where it has to ask for it, early is called before with objects that are here and come later.
func (r *route) next(
	ctx context.Context, early func(l leg, octets []byte) error,
) (l leg, octets []byte, done bool, err error) {
	for len(r.legs) > 0 {
		l, r.legs = r.legs[0], r.legs[1:]
		octets, err := r.take(ctx, l, early)
		if err != nil {
			return l, nil, false, err
		}
		if octets == nil {
			continue // missing: its versions are fetched one by one
		}
		if l.level <= 0 {
			r.yielded++
			return l, octets, false, nil
		}
		if err := r.open(ctx, l, octets); err != nil {
			return l, nil, false, err
		}
	}
	return leg{}, nil, true, nil
}

// open puts what a pack of packs names in its place.
func (r *route) open(ctx context.Context, l leg, octets []byte) error {
	p, err := bucket.DecodePack(octets)
	if err != nil {
		return fmt.Errorf("%w: pack %s: %w", errLed, l.hash, err)
	}
	if p.Level != l.level {
		return fmt.Errorf("%w: pack %s is of level %d, not %d", errLed, l.hash, p.Level, l.level)
	}
	legs := make([]leg, len(p.Packs))
	for i, ref := range p.Packs {
		legs[i] = leg{ref.Hash, ref.Level, ref.Last}
	}
	legs, err = r.known.unknown(ctx, legs)
	r.legs = append(legs, r.legs...)
	return err
}

// take returns the octets of a leg, fetched together with those that follow. None are left where no store has them.
func (r *route) take(ctx context.Context, l leg, early func(leg, []byte) error) ([]byte, error) {
	octets, ok := r.held[l.hash]
	if !ok {
		if err := r.offer(early); err != nil {
			return nil, err
		}
		if err := r.fetch(ctx, l); err != nil {
			return nil, err
		}
		octets = r.held[l.hash]
	}
	delete(r.held, l.hash)
	return octets, nil
}

// offer hands out what is here of the rest of the route, from its beginning, a quarter of a window at most.
func (r *route) offer(early func(leg, []byte) error) error {
	room := windowOctets / 4
	for _, l := range r.legs {
		octets, held := r.held[l.hash]
		if !held || l.level > 0 {
			continue
		}
		if room -= len(octets); room < 0 {
			return nil
		}
		if err := early(l, octets); err != nil {
			return err
		}
	}
	return nil
}

// fetch asks the stores for a leg and those behind it, as many as a window holds.
func (r *route) fetch(ctx context.Context, first leg) error {
	window := []bucket.Hash{first.hash}
	room := min(r.c.window(), r.most) - first.octets()
	for _, l := range r.legs {
		if room -= l.octets(); room < 0 {
			break
		}
		if _, held := r.held[l.hash]; !held {
			window = append(window, l.hash)
		}
	}
	if r.fetched += len(window); r.fetched > looseObjects+bucket.PackFanOut*r.yielded+len(window) {
		return fmt.Errorf("%w: %d objects for %d with versions", errLed, r.fetched, r.yielded)
	}
	var worst error
	for _, store := range r.stores {
		missing := window[:0:0]
		for _, h := range window {
			if _, held := r.held[h]; !held {
				missing = append(missing, h)
			}
		}
		if len(missing) == 0 {
			return nil
		}
		if err := r.c.fromStoreMany(ctx, store, missing, r.held); err != nil {
			worst = err
		}
	}
	if _, ok := r.held[first.hash]; !ok && worst != nil {
		return worst
	}
	return ctx.Err()
}

// window is how many octets may be asked for at a time: fewer while there is short work, whose answers come over the same
// connection.
func (c *Consumer) window() int {
	window := c.followers.share(windowOctets)
	if c.pace.short.Load() > 0 {
		window /= 4
	}
	return window
}

// fromStoreMany reads what one store has of many objects. They are right: their hashes were compared.
func (c *Consumer) fromStoreMany(ctx context.Context, store string, hashes []bucket.Hash, held map[bucket.Hash][]byte) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := newWatchdog(c.FetchTimeout, cancel)
	defer watch.stop()
	err := c.Objects.GetMany(ctx, store, hashes, func(h bucket.Hash, octets []byte) error {
		watch.calm()
		if len(octets) <= bucket.MaxPackSize { // a larger manifest is fetched by itself, so that memory stays bounded
			held[h] = octets
		}
		return nil
	})
	if watch.bit() {
		return fmt.Errorf("%s: no answer for %s", store, c.FetchTimeout)
	}
	return err
}
