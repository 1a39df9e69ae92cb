package consumer

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"headwater/bucket"
	"headwater/logstore"
)

const (
	// nearVersions and nearSize, in octets of manifests, bound what is fetched ahead and held in memory until the walk from
	// the head has reached it.
	nearVersions = 16 << 10
	nearSize     = 32 << 20
	// parcelsAhead is how many fetched packs wait to be opened and checked.
	parcelsAhead = 2 * bucket.PackFanOut
)

// parcel is a fetched object on its way through the workers that open it. They work side by side; the parcels are taken in
// their order.
type parcel struct {
	leg      leg
	octets   []byte
	ready    chan struct{}
	versions []*bucket.Version // oldest first
	err      error
}

// fetchAhead fetches what hints lead to, oldest first, and holds it for the walk from the head, which alone decides: nothing
// is appended that the walk does not find below the head. But where the stretch is longer than what memory may hold, and the
// bucket is ours already, its older parts are verified and appended as they come, so that memory stays flat and an
// interrupted catch-up goes on where it stopped: they follow on our log by owners' signatures, announced or not.
//
// Hints that lie cost what they made fetch. Then, as without any, the walk fetches link by link.
func (c *Consumer) fetchAhead(
	ctx context.Context, s *stretch, mine logstore.Bucket, a bucket.Announcement, stores []string,
) error {
	if s.head.Previous.IsZero() {
		return nil
	}
	if known, err := c.logged(ctx, s.id, s.head.Previous); known || err != nil {
		return err
	}
	route, err := c.newRoute(ctx, s.id, a.Hints, stores)
	if err != nil || len(route.legs) == 0 {
		return err
	}
	_, shared := s.head.Share(c.Peer)
	h := &hoard{c: c, s: s, stores: a.Stores, appends: shared && !mine.Known.IsZero()}
	err = c.follow(ctx, route, h.take)
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	if local, ok := errors.AsType[*localError](err); ok {
		return local.error
	}
	c.Logger.Info("hints of an announcement end early; the rest is fetched link by link",
		"bucket", s.id, "link", s.head.Link, "peer", a.Peer, "versions", h.taken, "error", err)
	return nil
}

// localError is one that is not the hints' fault.
type localError struct{ error }

// follow fetches along a route, opens what comes on all processors, and calls take with each version in the order of the
// route.
func (c *Consumer) follow(ctx context.Context, r *route, take func(context.Context, *bucket.Version) error) error {
	g, ctx := errgroup.WithContext(ctx)
	inOrder, toOpen := make(chan *parcel, parcelsAhead), make(chan *parcel, parcelsAhead)
	g.Go(func() error {
		defer close(inOrder)
		defer close(toOpen)
		for {
			l, octets, done, err := r.next(ctx)
			if done || err != nil {
				return err
			}
			p := &parcel{leg: l, octets: octets, ready: make(chan struct{})}
			for _, to := range []chan *parcel{inOrder, toOpen} {
				select {
				case to <- p:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
	})
	for range verifiers() {
		g.Go(func() error {
			for p := range toOpen {
				p.open(c.opener)
			}
			return nil
		})
	}
	g.Go(func() error {
		for p := range inOrder {
			select {
			case <-p.ready:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := p.each(ctx, take); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// open takes the object apart, and checks the signatures in it: the verdict is remembered for whoever asks.
func (p *parcel) open(o *bucket.Opener) {
	defer close(p.ready)
	manifests := [][]byte{p.octets}
	if p.leg.level == 0 {
		pack, err := bucket.DecodePack(p.octets)
		if err != nil {
			p.err = err
			return
		}
		manifests = pack.Manifests
	}
	p.octets = nil
	for _, m := range manifests {
		v, err := o.Open(bucket.ManifestLink(m), m)
		if err != nil {
			p.err = err
			return
		}
		_ = v.VerifySignature()
		p.versions = append(p.versions, v)
	}
}

// each calls take with what was good in the parcel, and returns what was not.
func (p *parcel) each(ctx context.Context, take func(context.Context, *bucket.Version) error) error {
	for _, v := range p.versions {
		if err := take(ctx, v); err != nil {
			return err
		}
	}
	return p.err
}

// hoard gathers versions, oldest first, for a walk that comes from the other end.
type hoard struct {
	c       *Consumer
	s       *stretch
	stores  []string // named by the announcement
	appends bool     // what does not fit is verified and appended; else it is staged

	last     *bucket.Version   // taken last
	versions []*bucket.Version // in s.near, oldest first
	size     int
	taken    int
}

// take holds one more version, unless the log has it.
func (h *hoard) take(ctx context.Context, v *bucket.Version) error {
	if h.last == nil {
		known, err := h.c.logged(ctx, h.s.id, v.Link)
		if known || err != nil {
			return local(err)
		}
	} else if v.Previous != h.last.Link {
		return errLed
	}
	if v.Bucket != h.s.id {
		return errLed
	}
	h.last = v
	h.taken++
	h.s.hold(v)
	h.versions, h.size = append(h.versions, v), h.size+len(v.Encoded())
	h.c.board.fetched(h.s.id, h.taken)
	if uint64(h.taken) > h.c.MaxVersions {
		return errLed
	}
	if len(h.versions) < h.c.nearVersions && h.size < nearSize {
		return nil
	}
	return h.spill(ctx)
}

func local(err error) error {
	if err == nil {
		return nil
	}
	return &localError{err}
}

// spill makes room.
func (h *hoard) spill(ctx context.Context) error {
	versions := h.versions
	h.versions, h.size, h.s.near = nil, 0, nil // nothing of the walk is in it yet
	if !h.appends {
		return local(h.s.stage.put(ctx, versions))
	}
	prev, err := h.c.anchor(ctx, h.s.id, versions[0])
	if err != nil {
		return err
	}
	for len(versions) > 0 {
		batch := versions[:min(len(versions), batchVersions)]
		versions = versions[len(batch):]
		if err := h.c.verify(ctx, h.s.id, prev, batch); err != nil {
			return err
		}
		entries, err := h.c.append(ctx, h.stores, batch)
		if err == nil {
			err = h.c.publishEvery(ctx, entries)
		}
		if err != nil {
			return local(err)
		}
		prev = batch[len(batch)-1]
		h.c.board.appended(h.s.id, prev.Head())
	}
	return nil
}

// anchor returns the predecessor of a version, which has to be in the log.
func (c *Consumer) anchor(ctx context.Context, id bucket.ID, v *bucket.Version) (*bucket.Version, error) {
	if v.Previous.IsZero() {
		return nil, errLed // a second genesis
	}
	known, err := c.logged(ctx, id, v.Previous)
	if err != nil {
		return nil, local(err)
	}
	if !known {
		return nil, errLed
	}
	prev, err := c.fetchManifest(ctx, c.ManifestStores, v.Previous)
	return prev, local(err)
}

// logged says whether the log has a version.
func (c *Consumer) logged(ctx context.Context, id bucket.ID, link bucket.Link) (bool, error) {
	_, err := c.Log.Entry(ctx, id, link)
	if errors.Is(err, logstore.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
