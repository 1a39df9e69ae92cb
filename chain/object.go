package chain

import (
	"context"
	"fmt"

	"headwater/bucket"
)

const (
	// manifestBytes and indexBytes are the expected sizes of a manifest and of a pack of packs. What comes is counted by its real
	// size.
	manifestBytes = 4 << 10
	indexBytes    = 8 << 10
	// stepVersions is how many signatures are checked in one step.
	stepVersions = 8
)

// item is an object on the way from the log to an announced head: a pack, or a single manifest.
type item struct {
	hash   bucket.Hash
	level  int         // of a pack; -1 for a manifest
	newest bucket.Link // the newest version in it
}

func (i item) expected() int {
	switch {
	case i.level < 0:
		return manifestBytes
	case i.level > 0:
		return indexBytes
	}
	return bucket.MaxPackSize
}

// object is one that was fetched. If it holds versions, it is opened at once, before its turn comes.
type object struct {
	bytes    []byte
	opened   chan struct{} // closed when versions and err are set
	versions []*bucket.Version
	err      error
}

// open makes an object of its bytes. If it holds versions, they are decoded and their signatures checked meanwhile; each
// version remembers its verdict.
func (p *plan) open(ctx context.Context, level int, b []byte) *object {
	o := &object{bytes: b, opened: make(chan struct{})}
	if level > 0 {
		close(o.opened)
		return o
	}
	p.opening.Go(func() {
		defer close(o.opened)
		manifests := [][]byte{b}
		if level == 0 {
			pack, err := bucket.DecodePack(b)
			if err != nil {
				o.err = fmt.Errorf("%w: %w", errMisled, err)
				return
			}
			manifests = pack.Manifests
		}
		for len(manifests) > 0 && o.err == nil && ctx.Err() == nil {
			step := manifests[:min(len(manifests), stepVersions)]
			manifests = manifests[len(step):]
			p.u.e.processors.long(ctx, func() { o.check(p.u.e.opener, step) })
		}
		if o.err == nil {
			o.err = ctx.Err()
		}
	})
	return o
}

func (o *object) check(opener *bucket.Opener, manifests [][]byte) {
	for _, m := range manifests {
		v, err := opener.Open(bucket.ManifestLink(m), m)
		if err != nil {
			o.err = fmt.Errorf("%w: %w", errMisled, err)
			return
		}
		_ = v.VerifySignature()
		o.versions = append(o.versions, v)
	}
}
