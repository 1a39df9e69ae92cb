package chain

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"headwater/bucket"
)

// Request says which head to catch up with.
type Request struct {
	Head   *bucket.Version
	Known  bucket.Head  // of the log; zero if it has nothing of the bucket
	Stores []string     // asked before the configured ones
	Hints  bucket.Hints // what was announced with the head; zero for none
	// Report, if not nil, is told that n more versions are here, in the goroutine that called CatchUp. Some may turn out not to be
	// among those that are missing.
	Report func(n uint64)
}

// Reasons why a head whose chain was verified is not taken.
var (
	// ErrDiverged: its chain begins with another genesis than ours.
	ErrDiverged = errors.New("the chain begins with another genesis")
	// ErrNotShared: this peer is not among the shares of the head.
	ErrNotShared = errors.New("not shared with us")
)

// catchUp is the way from one announced head down to the log. It is used by the bucket's one worker.
type catchUp struct {
	e     *Engine
	req   Request
	id    bucket.ID
	share share
	short bool // it counts as short work

	runs []*run // all that there are of the bucket
	plan *plan  // nil without hints

	// What came from below: tail is in memory and not verified; below is what was verified of it, if that is in a file; base is the
	// verified version that tail follows on, nil before a genesis.
	tail  run
	below *run
	base  *bucket.Version
	last  *bucket.Version // taken last
	early bool            // what is verified of it is handed on at once
	put   bool            // it does not fit into memory, and is put away a batch at a time
	taken uint64

	pieces  []piece         // of the stretch, newest first
	anchor  *bucket.Version // newest version of the chain that the log has; nil before a genesis
	genesis bucket.Link     // of the chain, if it was reached
	near    []*bucket.Version

	err error // how it ended; nil once all of it is in the log
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

// takeFunc is given verified versions, oldest first, in batches.
type takeFunc func(batch []*bucket.Version) error

// CatchUp finds the versions between a head and the log, and gives them to take, each verified against its direct predecessor. Last
// it gives an empty batch, for which take must not return before all others are in the log. The error is that of take, a
// [*bucket.Refusal] if the chain breaks a rule, that of ctx, or says that something could not be fetched or kept. For a chain that
// is verified but must not be appended it is [ErrDiverged] or [ErrNotShared].
//
// Nothing is given before the whole stretch is verified, except of a long one that hints lead to from the log on. After an error,
// what was fetched is kept for the next catch-up of the bucket, unless the chain was refused or must not be appended: see the
// package comment.
func (e *Engine) CatchUp(ctx context.Context, req Request, take takeFunc) error {
	u := e.newCatchUp(req)
	u.err = u.run(ctx, take)
	if err := u.close(); err != nil {
		e.cfg.Logger.Warn("a catch-up is not closed well", "bucket", u.id, "error", err)
	}
	return u.err
}

func (e *Engine) newCatchUp(req Request) *catchUp {
	e.processors.short.Add(1)
	return &catchUp{e: e, req: req, id: req.Head.Bucket, share: share{m: &e.memory}, short: true, tail: run{up: true}}
}

func (u *catchUp) run(ctx context.Context, take takeFunc) error {
	if err := u.openRuns(ctx); err != nil {
		return err
	}
	if err := u.goUp(ctx, take); err != nil {
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
		for batch, err := range ahead(p.batches(ctx, p.low(), p.to)) {
			if err == nil {
				err = take(batch)
			}
			if err != nil {
				return err
			}
		}
	}
	return take(nil)
}

// mayTake returns why a verified chain must not be appended, nil if it may.
func (u *catchUp) mayTake() error {
	if u.anchor == nil && !u.req.Known.IsZero() {
		return fmt.Errorf("%w: %s, which is not ours", ErrDiverged, u.genesis)
	}
	return u.e.Shared(u.req.Head)
}

// verifyAll checks the stretch, oldest first, except what was verified when it was written.
func (u *catchUp) verifyAll(ctx context.Context) (err error) {
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
func (u *catchUp) verify(ctx context.Context, prev *bucket.Version, batch []*bucket.Version) error {
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

func (u *catchUp) goesLong() {
	if u.short {
		u.short = false
		u.e.processors.short.Add(-1)
	}
}

func (u *catchUp) report(n uint64) {
	if u.req.Report != nil {
		u.req.Report(n)
	}
}

func (u *catchUp) stores() []string { return slices.Concat(u.req.Stores, u.e.cfg.Stores) }
