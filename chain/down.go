package chain

import (
	"context"
	"slices"

	"headwater/bucket"
)

// goDown walks from the head until it meets the log, what came from below, or a genesis. It goes through what earlier walks
// have left, whatever their head was, and fetches what is not at hand, each version once.
func (u *catchUp) goDown(ctx context.Context) error {
	v, cur, err := u.startDown()
	if err != nil {
		return err
	}
	for {
		if v.Height == 0 || v.Previous.IsZero() {
			u.genesis = v.Link
			return bucket.CheckStep(u.id, nil, v)
		}
		logged, err := u.e.logged(ctx, u.id, v.Before())
		if err != nil {
			return err
		}
		if logged {
			// The manifest of a logged version is ours; if its blob was lost, a store may still have it.
			if u.anchor, err = u.e.Manifest(ctx, u.req.Stores, v.Previous); err != nil {
				return err
			}
			return bucket.CheckStep(u.id, u.anchor, v)
		}
		r, err := u.runWith(v.Previous, v.Height-1)
		if err != nil {
			return err
		}
		if r != nil && r.up {
			return u.join(ctx, r, v.Height)
		}
		if u.req.Head.Height-v.Height+1 >= u.e.cfg.MaxVersions {
			return u.tooLong()
		}
		if r != nil {
			u.pieces, cur = append(u.pieces, piece{run: r, to: v.Height}), r
			u.report(v.Height - r.first)
			v, err = r.version(r.first)
		} else {
			v, err = u.step(ctx, cur, v)
		}
		if err != nil {
			return err
		}
	}
}

// startDown returns the oldest version that an earlier walk from or through the head has left, or else the head itself, and
// the run that goes on from it.
func (u *catchUp) startDown() (v *bucket.Version, cur *run, err error) {
	head := u.req.Head
	cur, err = u.runWith(head.Link, head.Height)
	if err != nil {
		return nil, nil, err
	}
	if cur == nil || cur.up {
		cur = u.newRun(prefixDown, head)
		cur.add(head)
		u.share.take(len(head.Encoded()))
	}
	u.pieces = append(u.pieces, piece{run: cur, to: head.Height + 1})
	u.report(head.Height - cur.first)
	v, err = cur.version(cur.first)
	return v, cur, err
}

func (u *catchUp) runWith(link bucket.Link, height uint64) (*run, error) {
	if v := u.tail.at(height); v != nil && v.Link == link {
		return &u.tail, nil
	}
	for _, r := range u.runs {
		if has, err := r.has(link, height); has || err != nil {
			return r, err
		}
	}
	return nil, nil
}

// step fetches the version before v, and adds it to the run that ends with v.
func (u *catchUp) step(ctx context.Context, cur *run, v *bucket.Version) (*bucket.Version, error) {
	prev, err := u.previous(ctx, v)
	if err == nil {
		err = bucket.CheckStep(u.id, prev, v)
	}
	if err != nil {
		return nil, err
	}
	cur.add(prev)
	u.share.take(len(prev.Encoded()))
	u.report(1)
	if len(cur.mem) >= batchVersions || cur.bytes >= batchBytes || u.share.full(cur.bytes) {
		u.goesLong()
		size := cur.bytes
		if err := cur.flush(); err != nil {
			return nil, err
		}
		u.share.give(size)
	}
	return prev, nil
}

// previous returns the predecessor of v: out of an object that hints name, with those before it, or fetched by itself.
func (u *catchUp) previous(ctx context.Context, v *bucket.Version) (*bucket.Version, error) {
	for range 2 {
		if i := slices.IndexFunc(u.near, func(n *bucket.Version) bool { return n.Link == v.Previous }); i >= 0 {
			prev := u.near[i]
			u.near = u.near[:i]
			return prev, nil
		}
		u.near = nil
		if u.plan == nil {
			break
		}
		var err error
		if u.near, err = u.plan.endingWith(ctx, v.Previous); err != nil {
			return nil, err
		}
	}
	return u.e.Manifest(ctx, u.req.Stores, v.Previous)
}

// join ends a walk that met a run from below: the walk has the versions from height to on.
func (u *catchUp) join(ctx context.Context, r *run, to uint64) (err error) {
	u.pieces = append(u.pieces, piece{run: r, from: r.first, to: to})
	if r == &u.tail && u.below != nil {
		u.pieces = append(u.pieces, piece{run: u.below, from: u.below.first, to: r.first})
	}
	oldest := &u.pieces[len(u.pieces)-1]
	if oldest.from == 0 {
		if u.genesis, err = oldest.link(0); err != nil {
			return err
		}
	}
	oldest.from, err = oldest.firstNotIn(oldest.from, oldest.to, func(h bucket.Head) (bool, error) {
		return u.e.logged(ctx, u.id, h)
	})
	if err != nil {
		return err
	}
	if u.req.Head.Height+1-oldest.from > u.e.cfg.MaxVersions {
		return u.tooLong()
	}
	switch {
	case oldest.from == 0:
		return nil
	case oldest.from > oldest.first:
		u.anchor, err = oldest.version(oldest.from - 1)
		return err
	}
	before, err := oldest.before()
	if err == nil {
		u.anchor, err = u.e.Manifest(ctx, u.req.Stores, before)
	}
	return err
}

func (u *catchUp) tooLong() error {
	return bucket.Refuse(bucket.TooLong, u.req.Head.Link, "more than %d versions are missing below it", u.e.cfg.MaxVersions)
}
