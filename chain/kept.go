package chain

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"headwater/bucket"
)

// keepTimeout bounds how long a catch-up verifies what it keeps, when the process may be about to end.
const keepTimeout = 2 * time.Second

// openRuns reads what earlier catch-ups of the bucket have left, and removes what is of no use any more.
func (u *catchUp) openRuns(ctx context.Context) error {
	for _, k := range u.e.disk.open(u.id) {
		up := strings.HasPrefix(k.name, prefixUp)
		if up && strings.HasPrefix(k.name, prefixUpUnsigned) != u.e.cfg.Rules.AllowUnsigned {
			continue // verified by other rules
		}
		f, err := k.open(ctx)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		r := &run{kept: k, up: up, file: f}
		r.first, r.end = f.heights()
		useful, err := u.isUseful(ctx, r)
		if err == nil && !useful {
			err = errors.Join(f.file.Close(), k.drop())
		} else {
			u.runs = append(u.runs, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isUseful reports whether the log lacks part of a run, and, if the run is verified, has what it follows on.
func (u *catchUp) isUseful(ctx context.Context, r *run) (bool, error) {
	if r.count() == 0 {
		return false, nil
	}
	newest, err := r.link(r.end - 1)
	if err != nil {
		return false, err
	}
	if logged, err := u.e.logged(ctx, u.id, bucket.Head{Link: newest, Height: r.end - 1}); logged || err != nil || !r.up || r.first == 0 {
		return !logged, err
	}
	before, err := r.before()
	if err != nil {
		return false, err
	}
	return u.e.logged(ctx, u.id, bucket.Head{Link: before, Height: r.first - 1})
}

// newRun returns an empty run that is to begin with a version, and goes up or down.
func (u *catchUp) newRun(prefix string, v *bucket.Version) *run {
	r := &run{
		kept: u.e.disk.file(u.id, prefix+v.Link.Hash().String()), up: prefix != prefixDown, made: true,
	}
	u.runs = append(u.runs, r)
	return r
}

// close ends the catch-up. If it was interrupted, its runs are kept for the next one; if it succeeded, they are all removed. If
// the chain was refused, or must not be appended, those that this one made are removed, and those of earlier ones are kept,
// except walks through what was refused.
func (u *catchUp) close() error {
	u.goesLong()
	if u.plan != nil {
		u.plan.close()
	}
	refused := bucket.ClassOf(u.err)
	// Wrong bytes in a store, or too many, say nothing about the chain.
	unproven := refused == "" || refused == bucket.HashMismatch || refused == bucket.TooLarge
	interrupted := u.err != nil && unproven && !errors.Is(u.err, ErrDiverged) && !errors.Is(u.err, ErrNotShared)
	var err error
	if interrupted {
		ctx, cancel := context.WithTimeout(context.Background(), keepTimeout)
		err = u.keep(ctx)
		cancel()
	}
	useless := map[*run]bool{}
	for _, r := range u.runs {
		useless[r] = u.err == nil || (!interrupted && (r.made || (refused != "" && u.isRefused(r))))
	}
	for _, r := range u.runs {
		if r.file == nil {
			continue
		}
		err = errors.Join(err, r.file.file.Close())
		if useless[r] {
			err = errors.Join(err, r.kept.drop())
		}
	}
	u.share.close()
	return errors.Join(err, u.e.disk.close(u.id))
}

// keep writes what is in memory, so that the next catch-up need not fetch it again. What came from below is verified before, as
// much of it as ctx gives time for.
func (u *catchUp) keep(ctx context.Context) error {
	u.early = false
	if err := u.putAway(ctx, nil); err != nil && bucket.ClassOf(err) == "" && ctx.Err() == nil {
		return err
	}
	for _, r := range u.runs {
		if r.count() < 2 {
			continue // an announcement says as much
		}
		if err := r.flush(); err != nil {
			return err
		}
	}
	return nil
}

// isRefused reports whether a run is a walk that has the version that was refused, or versions after it.
func (u *catchUp) isRefused(r *run) bool {
	refusal, _ := errors.AsType[*bucket.Refusal](u.err)
	for _, p := range u.pieces { // newest first
		if p.run == r {
			return !r.up
		}
		for h := p.low(); h < p.to; h++ {
			if l, err := p.link(h); err != nil || l == refusal.Link {
				return false
			}
		}
	}
	return false
}
