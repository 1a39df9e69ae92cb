package chain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"headwater/bucket"
)

// Limits on what hints can make a peer fetch.
const (
	// windowBytes is how many bytes a catch-up asks for at a time, at most.
	windowBytes = 12 << 20
	// looseObjects is how many objects may be fetched by hints that have led to no version yet.
	looseObjects = 512
)

var (
	// errMisled says that hints lead nowhere. What they would have led to is found link by link.
	errMisled = errors.New("the hints do not lead there")
	// errWindowFull ends a request whose answer is larger than expected.
	errWindowFull = errors.New("more bytes than were asked for")
)

// plan is what hints name of the way to a head, oldest first, and in which order it is fetched: from the oldest on, or, when a
// walk comes down, from the newest. What comes is proven by its hash alone.
type plan struct {
	u    *catchUp
	most int // bytes asked for at a time: what is missing, generously

	items   []item
	held    map[bucket.Hash]*object
	holds   atomic.Int64 // bytes of those, and of those that are sent and not handed on
	opening sync.WaitGroup
	fetched int         // objects
	yielded int         // of those, how many held versions
	taken   bucket.Link // the newest version that was handed on
	begun   bool        // the oldest item that is needed is found, so that all others are needed too
}

// newPlan makes a plan of hints. Items whose newest version is known are left out, with all before them.
func newPlan(ctx context.Context, u *catchUp) (p *plan, err error) {
	p = &plan{u: u, held: map[bucket.Hash]*object{}}
	missing := min(u.req.Head.Height, windowBytes/manifestBytes)
	if !u.req.Known.IsZero() {
		missing = min(missing, u.req.Head.Height-min(u.req.Known.Height, u.req.Head.Height))
	}
	p.most = min(windowBytes, 2*bucket.MaxPackSize+int(missing)*manifestBytes)
	h := u.req.Hints
	for _, ref := range h.Packs {
		p.items = append(p.items, item{ref.Hash, ref.Level, ref.Last})
	}
	for i := len(h.Recent) - 1; i >= 0; i-- {
		p.items = append(p.items, item{h.Recent[i].Hash(), -1, h.Recent[i]})
	}
	p.items, err = p.needed(ctx, p.items)
	return p, err
}

// needed returns the items behind the newest one whose end is known.
func (p *plan) needed(ctx context.Context, items []item) ([]item, error) {
	if p.begun || len(items) == 0 {
		return items, nil
	}
	links := make([]bucket.Link, len(items))
	for i, it := range items {
		links[i] = it.newest
	}
	known, err := p.u.newestKnown(ctx, links)
	return items[known+1:], err
}

// each calls take with the versions that the items lead to, oldest first. The next window is fetched meanwhile. wrong says what
// is wrong with the hints or the stores; err is that of take or of ctx.
func (p *plan) each(ctx context.Context, take func(*bucket.Version) error) (wrong, err error) {
	items := p.items
	fetching, cancel := context.WithCancel(ctx)
	windows, sent := make(chan []*object), make(chan error, 1)
	go func() {
		defer close(windows)
		sent <- p.send(fetching, windows)
	}()
	for window := range windows {
		for _, o := range window {
			if wrong == nil && err == nil {
				wrong, err = p.hand(ctx, o, take)
			}
		}
		if wrong != nil || err != nil {
			break
		}
	}
	cancel()
	if sendErr := <-sent; wrong == nil {
		wrong = sendErr
	}
	p.close()
	p.items = p.behind(items) // for a walk that comes down
	return wrong, err
}

// hand calls take with the good versions of an object.
func (p *plan) hand(ctx context.Context, o *object, take func(*bucket.Version) error) (wrong, err error) {
	select {
	case <-o.opened:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	left := len(o.bytes)
	p.holds.Add(int64(-left))
	defer func() { p.u.share.give(left) }()
	for _, v := range o.versions {
		left -= len(v.Encoded()) // take accounts for it from now on
		if err := take(v); err != nil {
			return nil, err
		}
		p.taken = v.Link
	}
	return o.err, nil
}

func (p *plan) behind(items []item) []item {
	return items[1+slices.IndexFunc(items, func(it item) bool { return it.newest == p.taken }):]
}

// send fetches the items, and sends those that hold versions, in order.
func (p *plan) send(ctx context.Context, windows chan<- []*object) error {
	for {
		window, err := p.leading(ctx)
		if err != nil || (len(window) == 0 && len(p.items) == 0) {
			return err
		}
		if len(window) == 0 {
			if err := p.fetch(ctx, p.items); err != nil {
				return err
			}
			if p.held[p.items[0].hash] == nil {
				return fmt.Errorf("%w: object %s is in no store", errMisled, p.items[0].hash)
			}
			continue
		}
		select {
		case windows <- window:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// leading takes the oldest objects that are here. Packs of packs are replaced by what they name.
func (p *plan) leading(ctx context.Context) (window []*object, err error) {
	for len(p.items) > 0 {
		it := p.items[0]
		o := p.held[it.hash]
		if o == nil {
			break
		}
		p.items = p.items[1:]
		delete(p.held, it.hash)
		if it.level <= 0 {
			p.begun = true
			p.yielded++
			window = append(window, o)
			continue
		}
		inner, err := p.inside(ctx, it, o)
		if err != nil {
			return nil, err
		}
		p.items = append(inner, p.items...)
	}
	return window, nil
}

func (p *plan) inside(ctx context.Context, it item, o *object) ([]item, error) {
	p.release(o)
	pack, err := bucket.DecodePack(o.bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: pack %s: %w", errMisled, it.hash, err)
	}
	if pack.Level != it.level {
		return nil, fmt.Errorf("%w: pack %s is of level %d, not %d", errMisled, it.hash, pack.Level, it.level)
	}
	items := make([]item, len(pack.Packs))
	for i, ref := range pack.Packs {
		items[i] = item{ref.Hash, ref.Level, ref.Last}
	}
	return p.needed(ctx, items)
}

// fetch asks the stores for the first of items, and for as many of those that follow as a window holds. No more is held
// than was reserved for it, whatever comes.
func (p *plan) fetch(ctx context.Context, items []item) error {
	room := p.u.share.reserve(p.most)
	left := room
	defer func() { p.u.share.give(left) }()
	var wanted []bucket.Hash
	levels := map[bucket.Hash]int{}
	for i, it := range items {
		if room -= it.expected(); room < 0 && i > 0 {
			break
		}
		if p.held[it.hash] == nil {
			wanted, levels[it.hash] = append(wanted, it.hash), it.level
		}
	}
	if p.fetched += len(wanted); p.fetched > looseObjects+bucket.PackFanOut*p.yielded+len(wanted) {
		return fmt.Errorf("%w: %d objects for %d with versions", errMisled, p.fetched, p.yielded)
	}
	err := p.u.e.fetcher.Many(ctx, p.u.stores(), wanted, func(h bucket.Hash, b []byte) error {
		switch {
		case len(b) > bucket.MaxPackSize:
			return nil // a manifest of that size is fetched by itself
		case len(b) > left:
			return errWindowFull
		}
		left -= len(b)
		p.holds.Add(int64(len(b)))
		p.held[h] = p.open(ctx, levels[h], b)
		return nil
	})
	switch {
	case p.held[items[0].hash] != nil:
		return ctx.Err()
	case errors.Is(err, errWindowFull) && len(items) > 1:
		return p.fetch(ctx, items[:1])
	}
	return err
}

// endingWith returns the versions of the object that ends with a version, oldest first: none if no item does, or no store has it.
// Items behind it are given up: the caller goes down.
func (p *plan) endingWith(ctx context.Context, newest bucket.Link) ([]*bucket.Version, error) {
	for {
		i := slices.IndexFunc(p.items, func(it item) bool { return it.newest == newest })
		if i < 0 {
			return nil, nil
		}
		for j := i + 1; j < len(p.items) && p.items[j].newest == newest; j++ {
			i = j // packs of packs end with the same version as what they name
		}
		it := p.items[i]
		if p.held[it.hash] == nil {
			back := slices.Clone(p.items[:i+1])
			slices.Reverse(back)
			if err := p.fetch(ctx, back); err != nil && !errors.Is(err, errMisled) {
				return nil, ctx.Err() // what the stores say is heard when it is fetched by itself
			}
		}
		o := p.held[it.hash]
		p.items = p.items[:i]
		delete(p.held, it.hash)
		switch {
		case o == nil:
			return nil, nil
		case it.level <= 0:
			<-o.opened
			p.release(o)
			p.yielded++
			return o.versions, ctx.Err()
		}
		inner, err := p.inside(ctx, it, o)
		if err != nil {
			return nil, nil //nolint:nilerr // a lie; the walk goes on without
		}
		p.items = append(p.items, p.behind(inner)...)
	}
}

func (p *plan) release(o *object) {
	p.holds.Add(int64(-len(o.bytes)))
	p.u.share.give(len(o.bytes))
}

// close forgets what is held, once nothing is being opened any more. The plan can still be used.
func (p *plan) close() {
	p.opening.Wait()
	clear(p.held)
	p.u.share.give(int(p.holds.Swap(0)))
}
