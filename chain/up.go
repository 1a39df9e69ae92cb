package chain

import (
	"context"
	"errors"

	"headwater/bucket"
)

// goUp fetches what hints lead to, oldest first, and holds it for the walk from the head, which alone decides. What does not fit
// into memory is verified and put away as it comes: if it follows on the log, and the head is for us, it is handed on at once,
// since its owners' signatures prove it, whatever becomes of the head. Else it goes into a file.
//
// False hints cost what they made us fetch. Then the walk goes on by itself, as without hints.
func (u *catchUp) goUp(ctx context.Context, take takeFunc) error {
	head := u.req.Head
	var err error
	if u.plan, err = newPlan(ctx, u); err != nil || len(u.plan.items) == 0 {
		return err
	}
	u.goesLong()
	missing := head.Height - min(head.Height, u.req.Known.Height)
	u.put = missing*manifestBytes/4 > uint64(u.e.cfg.Memory)/counted/2 // by some 1 KiB for a manifest
	wrong, err := u.plan.each(ctx, func(v *bucket.Version) error { return u.add(ctx, v, take) })
	if errors.Is(err, errMisled) || bucket.ClassOf(err) != "" {
		wrong, err = err, nil
	}
	if wrong != nil && err == nil {
		u.e.cfg.Logger.Info("hints of an announcement end early; the rest is fetched link by link",
			"bucket", u.id, "link", head.Link, "versions", u.taken, "error", wrong)
		err = ctx.Err()
	}
	return err
}

// newestKnown returns the index of the newest of links that the log or a run that goes up has, and with it all below; -1 for none.
func (u *catchUp) newestKnown(ctx context.Context, links []bucket.Link) (int, error) {
	newest := -1
	for i := len(links) - 1; i > newest; i-- {
		known, err := u.linkLogged(ctx, links[i])
		if err != nil {
			return -1, err
		}
		if known {
			newest = i
		}
	}
	for _, r := range u.runs {
		if !r.up || r.file == nil {
			continue
		}
		i, err := r.file.newestOf(links)
		if err != nil {
			return -1, err
		}
		newest = max(newest, i)
	}
	return newest, nil
}

// linkLogged reports whether the log has a version of which only the link is known: our own manifest says its height.
func (u *catchUp) linkLogged(ctx context.Context, link bucket.Link) (bool, error) {
	if link == u.req.Known.Link {
		return true, nil
	}
	v := u.e.Held(ctx, link)
	if v == nil {
		return false, nil
	}
	return u.e.logged(ctx, u.id, v.Head())
}

// add holds one more version from below, unless it is known.
func (u *catchUp) add(ctx context.Context, v *bucket.Version, take takeFunc) error {
	switch {
	case v.Bucket != u.id || v.Height >= u.req.Head.Height:
		return errMisled // another chain: what it costs is bounded by the length of the right one
	case u.last == nil:
		if known, err := u.begin(ctx, v); known || err != nil {
			u.share.give(len(v.Encoded()))
			return err
		}
	case v.Previous != u.last.Link || v.Height != u.last.Height+1 || u.taken >= u.e.cfg.MaxVersions:
		return errMisled
	}
	u.last = v
	u.taken++
	u.tail.add(v)
	u.report(1)
	full := u.share.full(u.tail.bytes)
	u.put = u.put || full
	if full || (u.put && (len(u.tail.mem) >= batchVersions || u.tail.bytes >= batchBytes)) {
		return u.putAway(ctx, take)
	}
	return nil
}

// begin finds what the first version that hints lead to follows on: the log, what an earlier catch-up has left, or nothing, as a
// genesis. known reports that the version itself is there.
func (u *catchUp) begin(ctx context.Context, v *bucket.Version) (known bool, err error) {
	if known, err := u.e.logged(ctx, u.id, v.Head()); known || err != nil {
		return known, err
	}
	for _, r := range u.runs {
		if !r.up {
			continue
		}
		if known, err := r.has(v.Link, v.Height); known || err != nil {
			return known, err
		}
		if v.Height == 0 {
			continue
		}
		follows, err := r.has(v.Previous, v.Height-1)
		if err == nil && follows {
			u.below = r
			u.base, err = r.version(v.Height - 1)
		}
		if follows || err != nil {
			return false, err
		}
	}
	if v.Previous.IsZero() {
		if !u.req.Known.IsZero() {
			return false, errMisled // a second genesis
		}
		return false, nil
	}
	follows, err := u.e.logged(ctx, u.id, v.Before())
	if err != nil {
		return false, err
	}
	if !follows {
		return false, errMisled // they do not reach down to us: the walk has to, and may use them on its way
	}
	u.early = u.e.Shared(u.req.Head) == nil
	u.base, err = u.e.Manifest(ctx, u.req.Stores, v.Previous)
	return false, err
}

// putAway verifies what came from below, and hands it on or writes it.
func (u *catchUp) putAway(ctx context.Context, take takeFunc) error {
	for u.tail.count() > 0 {
		batch, err := u.tail.batch(u.tail.first, u.tail.end)
		if err == nil {
			err = u.verify(ctx, u.base, batch)
		}
		if err != nil {
			u.share.give(u.tail.bytes)
			u.tail = run{up: true}
			return err
		}
		if u.early {
			err = take(batch)
		} else {
			err = u.write(batch)
		}
		if err != nil {
			return err
		}
		u.base = batch[len(batch)-1]
		before := u.tail.bytes
		u.tail.forget(len(batch))
		u.tail.first += uint64(len(batch))
		u.share.give(before - u.tail.bytes)
	}
	return nil
}

// write adds verified versions to what is in the file. Only now that they are known to be good do they replace others.
func (u *catchUp) write(batch []*bucket.Version) error {
	if u.below == nil {
		prefix := prefixUp
		if u.e.cfg.Rules.AllowUnsigned {
			prefix = prefixUpUnsigned
		}
		u.below = u.newRun(prefix, batch[0])
	} else if err := u.below.cut(batch[0].Height); err != nil {
		return err
	}
	for _, v := range batch {
		u.below.add(v)
	}
	return u.below.flush()
}
