package consumer

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"headwater/bucket"
	"headwater/logstore"
)

const (
	// nearVersions and nearSize, in octets of manifests, bound what is fetched ahead and held in memory until the walk from
	// the head has reached it: of all catch-ups together.
	nearVersions = 16 << 10
	nearSize     = 32 << 20
	// parcelsAhead is how many fetched packs wait to be opened and checked.
	parcelsAhead = 48
)

// quota counts those who share what may be held in memory. Safe for concurrent use.
type quota struct{ n atomic.Int32 }

func (q *quota) join() (leave func()) {
	q.n.Add(1)
	return func() { q.n.Add(-1) }
}

// share is what one of them may have of a limit.
func (q *quota) share(limit int) int { return limit / max(1, int(q.n.Load())) }

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
// is appended that the walk does not find below the head. A stretch longer than what memory may hold is verified and put away as
// it comes, so that memory stays flat and an interrupted catch-up goes on where it stopped. Of a bucket that is new to us it goes
// into the spool. Of one that is ours it is appended at once: it follows on our log by owners' signatures, announced or not.
//
// Hints that lie cost what they made fetch. Then, as without any, the walk fetches link by link.
func (c *Consumer) fetchAhead(
	ctx context.Context, s *stretch, mine logstore.Bucket, a bucket.Announcement, stores []string,
) error {
	if s.head.Previous.IsZero() {
		return nil
	}
	h := c.newHoard(s, mine, a.Stores)
	if known, err := h.known(ctx, s.head.Previous); known || err != nil {
		return err
	}
	route, err := c.newRoute(ctx, h.known, versionsBetween(mine.Known, s.head.Head()), a.Hints, stores)
	if err != nil || len(route.legs) == 0 {
		return err
	}
	defer c.followers.join()()
	defer c.pace.long()()
	err = c.follow(ctx, route, h.take)
	if err == nil {
		return nil
	}
	if !h.appends && s.stage.spool.count() > 0 && len(h.versions) > 0 { // so that the next try has them too
		err = errors.Join(err, h.spill(context.WithoutCancel(ctx)))
	}
	if ctx.Err() != nil {
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
		return r.send(ctx, inOrder, toOpen)
	})
	for range verifiers() {
		g.Go(func() error {
			for p := range toOpen {
				c.pace.run(ctx, func() { p.open(c.opener) })
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

// send fetches along the route, and sends what comes to be opened, and to be taken in its order. While it waits for older parts,
// those that are here already are opened.
func (r *route) send(ctx context.Context, inOrder, toOpen chan<- *parcel) error {
	early := map[bucket.Hash]*parcel{}
	pass := func(to chan<- *parcel, p *parcel) error {
		select {
		case to <- p:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for {
		l, octets, done, err := r.next(ctx, func(l leg, octets []byte) error {
			if early[l.hash] != nil {
				return nil
			}
			early[l.hash] = &parcel{leg: l, octets: octets, ready: make(chan struct{})}
			return pass(toOpen, early[l.hash])
		})
		if done || err != nil {
			return err
		}
		p := early[l.hash]
		delete(early, l.hash)
		fresh := p == nil || p.leg != l
		if fresh {
			p = &parcel{leg: l, octets: octets, ready: make(chan struct{})}
		}
		if err = pass(inOrder, p); err == nil && fresh {
			err = pass(toOpen, p)
		}
		if err != nil {
			return err
		}
	}
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
		runtime.Gosched() // others wait for this processor, whose work is short
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
	appends bool     // what does not fit is appended; else it goes into the spool
	limit   int      // versions held in memory

	last     *bucket.Version   // taken last
	versions []*bucket.Version // in s.near, oldest first
	size     int
	taken    uint64
}

// newHoard returns an empty one. A stretch that does not fit into memory, by the height of its head, is put away from its
// beginning on.
func (c *Consumer) newHoard(s *stretch, mine logstore.Bucket, stores []string) *hoard {
	_, shared := s.head.Share(c.Peer)
	h := &hoard{c: c, s: s, stores: stores, limit: c.nearVersions, taken: s.stage.spool.count()}
	h.appends = shared && !mine.Known.IsZero() && h.taken == 0
	s.progress.fetched(h.taken)
	missing := versionsBetween(mine.Known, s.head.Head())
	if missing-min(missing, h.taken) > uint64(h.limit) {
		h.limit = min(h.limit, batchVersions)
	}
	return h
}

// known says whether the log has a version, or the spool had it from the beginning.
func (h *hoard) known(ctx context.Context, link bucket.Link) (bool, error) {
	if h.s.stage.spool.left(link) {
		return true, nil
	}
	return h.c.logged(ctx, h.s.id, link)
}

// take holds one more version, unless it is known.
func (h *hoard) take(ctx context.Context, v *bucket.Version) error {
	if v.Bucket != h.s.id {
		return errLed
	}
	if h.last == nil {
		known, err := h.known(ctx, v.Link)
		if known || err != nil {
			return local(err)
		}
		if err := h.begin(v); err != nil {
			return err
		}
	} else if v.Previous != h.last.Link || v.Height != h.last.Height+1 {
		return errLed
	}
	if v.Height >= h.s.head.Height {
		return errLed // another chain: what it costs is bounded by the length of the right one
	}
	h.last = v
	h.taken++
	h.s.hold(v)
	h.versions, h.size = append(h.versions, v), h.size+len(v.Encoded())
	h.s.progress.fetched(1)
	if h.taken > h.c.MaxVersions {
		return errLed
	}
	runtime.Gosched() // as the opening of parcels does
	if len(h.versions) < h.room() && h.size < h.c.followers.share(nearSize) {
		return nil
	}
	return h.spill(ctx)
}

// room is how many versions may be held: the limit, or the share in it where others follow hints too.
func (h *hoard) room() int {
	return min(h.limit, max(h.c.followers.share(h.c.nearVersions), min(h.limit, batchVersions)))
}

// begin sees to it that v follows on what is in the spool, where something is: another head may have led to that.
func (h *hoard) begin(v *bucket.Version) error {
	spool := h.s.stage.spool
	if spool.count() == 0 {
		return nil
	}
	if v.Height > 0 {
		held, err := spool.holds(v.Previous, v.Height-1)
		if err != nil {
			return local(err)
		}
		if !held {
			return errLed
		}
	}
	return local(spool.cut(v.Height))
}

func local(err error) error {
	if err == nil {
		return nil
	}
	return &localError{err}
}

// spill makes room, from now on each time that there is a batch.
func (h *hoard) spill(ctx context.Context) error {
	versions := h.versions
	h.versions, h.size, h.s.near = nil, 0, nil // nothing of the walk is in it yet
	h.limit = min(h.limit, batchVersions)
	prev, put := h.s.stage.spool.last, h.spool
	switch {
	case h.appends:
		var err error
		if prev, err = h.c.anchor(ctx, h.s.id, versions[0]); err != nil {
			return err
		}
		put = h.append
	case prev == nil && versions[0].Height > 0: // hints that do not reach the genesis; the walk has to
		return local(h.s.stage.put(ctx, versions))
	}
	for batch := range batchesOf(versions) {
		if err := h.c.verify(ctx, h.s.id, prev, batch); err != nil {
			return err
		}
		if err := put(ctx, batch); err != nil {
			return local(err)
		}
		prev = batch[len(batch)-1]
	}
	return nil
}

// batchesOf cuts versions into batches.
func batchesOf(versions []*bucket.Version) iter.Seq[[]*bucket.Version] {
	return func(yield func([]*bucket.Version) bool) {
		for first, size, i := 0, 0, 0; i < len(versions); i++ {
			size += len(versions[i].Encoded())
			full := i+1-first == batchVersions || size > batchSize
			if (full || i+1 == len(versions)) && !yield(versions[first:i+1]) {
				return
			}
			if full {
				first, size = i+1, 0
			}
		}
	}
}

func (h *hoard) spool(_ context.Context, batch []*bucket.Version) error {
	return h.s.stage.append(batch)
}

func (h *hoard) append(ctx context.Context, batch []*bucket.Version) error {
	_, err := h.c.appendBatch(ctx, h.stores, h.s, batch)
	return err
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
