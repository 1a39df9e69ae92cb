package chain

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"golang.org/x/sync/errgroup"

	"headwater/bucket"
)

// Request says which head is to be caught up with.
type Request struct {
	Head   *bucket.Version
	Known  bucket.Head  // of the log; zero if it has nothing of the bucket
	Stores []string     // asked before the configured ones
	Hints  bucket.Hints // what was announced with the head; zero for none
	// Report, if not nil, is told that n more versions are here, by whoever ranges over Verified. Some may turn out to be none
	// of those that are missing.
	Report func(n uint64)
}

// Reasons why a head whose chain was verified is not taken.
var (
	// ErrDiverged: its chain begins with another genesis than ours.
	ErrDiverged = errors.New("the chain begins with another genesis")
	// ErrNotShared: this peer is not among the shares of it.
	ErrNotShared = errors.New("not shared with us")
)

// CatchUp is the way from one announced head down to the log. It is not safe for concurrent use.
type CatchUp struct {
	e     *Engine
	req   Request
	id    bucket.ID
	share share
	short bool // it counts as short work

	direct bool // the head follows on the log, or is a genesis: of what comes next only anchor and genesis are used

	runs []*run // all that there are of the bucket
	plan *plan  // nil without hints

	// What came from below: tail is in memory and not verified; below is what was verified of it, if that is in a file; base is the
	// verified version that tail follows on, nil before a genesis.
	tail  run
	below *run
	base  *bucket.Version
	last  *bucket.Version // taken last
	early bool            // what is verified of it is yielded at once
	put   bool            // it does not fit into memory, and is put away a batch at a time
	taken uint64

	pieces  []piece         // of the stretch, newest first
	anchor  *bucket.Version // newest version of the chain that the log has; nil before a genesis
	genesis bucket.Link     // of the chain, if it was reached
	near    []*bucket.Version

	err     error // of Verified
	applied bool  // what it yielded is in the log
}

// piece is a part of the stretch: the versions of a run from one height up to another, or from its beginning if it goes down.
type piece struct {
	*run
	from, to uint64
}

func (p piece) low() uint64 {
	if p.up {
		return p.from
	}
	return p.first
}

// errStopped: whoever ranges over Verified does not go on.
var errStopped = errors.New("stopped")

// CatchUp begins a catch-up: if the log has the version before the head, or there is none, nothing is needed any more; else it
// opens what earlier catch-ups of the bucket have left. It is to be closed.
func (e *Engine) CatchUp(ctx context.Context, req Request) (u *CatchUp, err error) {
	u = &CatchUp{e: e, req: req, id: req.Head.Bucket, share: share{m: &e.memory}, short: true, direct: true}
	e.processors.short.Add(1)
	before := req.Head.Previous
	if !before.IsZero() {
		u.direct, err = e.logged(ctx, u.id, before)
	}
	switch {
	case err != nil:
	case !u.direct:
		err = u.openRuns(ctx)
	case !before.IsZero():
		// The manifest of a logged version is ours; if its blob was lost, a store may still have it.
		u.anchor, err = e.Manifest(ctx, req.Stores, before)
	}
	if err != nil {
		return nil, errors.Join(err, u.Close())
	}
	return u, nil
}

// Verified yields the versions that the log lacks, oldest first, in batches, each verified against its direct predecessor. It is
// ranged over once. An error ends it: a [*bucket.Refusal] if the chain breaks a rule, that of ctx, or that something could not be
// fetched or kept. A chain that is not to be appended is verified, and is [ErrDiverged] or [ErrNotShared].
//
// Nothing is yielded before the whole stretch is verified, but a long one that hints lead to from the log on.
func (u *CatchUp) Verified(ctx context.Context) iter.Seq2[[]*bucket.Version, error] {
	return func(yield func([]*bucket.Version, error) bool) {
		if u.direct {
			u.genesis = u.req.Head.Link
			if u.err = u.e.cfg.Rules.Succeed(u.id, u.anchor, u.req.Head); u.err == nil {
				u.err = u.mayTake()
			}
			if u.err == nil {
				yield([]*bucket.Version{u.req.Head}, nil)
			}
		} else {
			u.err = u.catchUp(ctx, func(batch []*bucket.Version) error {
				if !yield(batch, nil) {
					return errStopped
				}
				return nil
			})
		}
		if u.err != nil && !errors.Is(u.err, errStopped) {
			yield(nil, u.err)
		}
	}
}

// Applied notes that Verified came to its end and all that it yielded is in the log, so that nothing of it needs to be kept.
func (u *CatchUp) Applied() { u.applied = true }

// yieldFunc hands a verified batch on.
type yieldFunc func(batch []*bucket.Version) error

func (u *CatchUp) catchUp(ctx context.Context, yield yieldFunc) error {
	if err := u.goUp(ctx, yield); err != nil {
		return err
	}
	if err := u.goDown(ctx); err != nil {
		return err
	}
	if err := u.verifyAll(ctx); err != nil {
		return err
	}
	if err := u.mayTake(); err != nil {
		return err
	}
	for _, p := range slices.Backward(u.pieces) {
		for batch, err := range p.batches(ctx, p.low(), p.to) {
			if err == nil {
				err = yield(batch)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// mayTake says why a verified chain is not to be appended, if so.
func (u *CatchUp) mayTake() error {
	if u.anchor == nil && !u.req.Known.IsZero() {
		return fmt.Errorf("%w: %s, which is not ours", ErrDiverged, u.genesis)
	}
	return u.e.Shared(u.req.Head)
}

// verifyAll checks the stretch, oldest first, but for what was verified when it was written.
func (u *CatchUp) verifyAll(ctx context.Context) (err error) {
	prev := u.anchor
	for _, p := range slices.Backward(u.pieces) {
		if p.up && p.file != nil {
			if prev, err = p.version(p.to - 1); err != nil {
				return err
			}
			continue
		}
		for batch, err := range p.batches(ctx, p.low(), p.to) {
			if err == nil {
				err = u.verify(ctx, prev, batch)
			}
			if err != nil {
				return err
			}
			prev = batch[len(batch)-1]
		}
	}
	return nil
}

// verify checks a batch whose direct predecessor is prev, nil before a genesis. Signatures are checked side by side; who may
// write follows in order.
func (u *CatchUp) verify(ctx context.Context, prev *bucket.Version, batch []*bucket.Version) error {
	if len(batch) > 1 {
		u.goesLong()
		var g errgroup.Group
		for step := range slices.Chunk(batch, stepVersions) {
			g.Go(func() error {
				u.e.processors.long(ctx, func() {
					for _, v := range step {
						_ = v.VerifySignature() // remembered; judged below, in order
					}
				})
				return ctx.Err()
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	for _, v := range batch {
		if err := u.e.cfg.Rules.Succeed(u.id, prev, v); err != nil {
			return err
		}
		prev = v
	}
	return nil
}

func (u *CatchUp) goesLong() {
	if u.short {
		u.short = false
		u.e.processors.short.Add(-1)
	}
}

func (u *CatchUp) report(n uint64) {
	if u.req.Report != nil {
		u.req.Report(n)
	}
}

func (u *CatchUp) stores() []string { return slices.Concat(u.req.Stores, u.e.cfg.Stores) }
