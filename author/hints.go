package author

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"headwater/bucket"
)

// packFetches is how many manifests are fetched side by side to make a pack.
const packFetches = 32

// Hints returns what the announcement of a version tells beside it, so that a peer that is far behind needs few round trips:
// its manifest, the links below it, and packs of what is older. They go on from the hints that were announced with the version
// before. Every [bucket.PackVersions] versions there are enough links for a pack, which is put here: each version is fetched
// once for that.
//
// Where the version before was announced without hints, as by hand, they begin with it.
func (a *Author) Hints(ctx context.Context, v *bucket.Version) (bucket.Hints, error) {
	h := bucket.Hints{Manifest: v.Encoded()}
	if v.Previous.IsZero() {
		return h, nil
	}
	announced, err := a.Bus.Heads(ctx, v.Bucket)
	if err != nil {
		return h, err
	}
	h.Recent = []bucket.Link{v.Previous}
	for _, n := range announced {
		if n.Link == v.Previous && len(n.Hints.Packs)+len(n.Hints.Recent)+1 >= len(h.Packs)+len(h.Recent) {
			h.Recent, h.Packs = slices.Concat([]bucket.Link{v.Previous}, n.Hints.Recent), slices.Clone(n.Hints.Packs)
		}
	}
	for len(h.Recent) >= bucket.PackVersions {
		if h.Recent, h.Packs, err = a.pack(ctx, v.Bucket, h.Recent, h.Packs); err != nil {
			// What was announced with the version before is not what it seems, or cannot be had now: begin anew.
			return bucket.Hints{Manifest: v.Encoded(), Recent: h.Recent[:1]}, err
		}
	}
	return h, nil
}

// pack moves the oldest of the recent versions into a pack.
func (a *Author) pack(
	ctx context.Context, id bucket.ID, recent []bucket.Link, packs []bucket.PackRef,
) ([]bucket.Link, []bucket.PackRef, error) {
	oldest := slices.Clone(recent[len(recent)-bucket.PackVersions:])
	slices.Reverse(oldest)
	versions, err := a.stretch(ctx, id, oldest)
	if err != nil {
		return recent, packs, err
	}
	var p bucket.Pack
	for size := 0; len(p.Manifests) < len(versions); {
		m := versions[len(p.Manifests)].Encoded()
		if size += bucket.PackedSize(m); size > bucket.MaxPackContent {
			break
		}
		p.Manifests = append(p.Manifests, m)
	}
	if len(p.Manifests) == 0 {
		return recent, packs, fmt.Errorf("version %s of %d octets is too large for a pack", oldest[0], len(versions[0].Encoded()))
	}
	ref, err := a.putPack(ctx, p, oldest[len(p.Manifests)-1])
	if err != nil {
		return recent, packs, err
	}
	packs, err = a.fold(ctx, append(packs, ref))
	return recent[:len(recent)-len(p.Manifests)], packs, err
}

// stretch fetches versions that follow one on the other, oldest first.
func (a *Author) stretch(ctx context.Context, id bucket.ID, links []bucket.Link) ([]*bucket.Version, error) {
	versions := make([]*bucket.Version, len(links))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(packFetches)
	for i, l := range links {
		g.Go(func() (err error) {
			versions[i], err = a.fetch(ctx, l, nil)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, v := range versions[1:] {
		if err := bucket.CheckStep(id, versions[i], v); err != nil {
			return nil, err
		}
	}
	return versions, nil
}

func (a *Author) putPack(ctx context.Context, p bucket.Pack, last bucket.Link) (bucket.PackRef, error) {
	b, err := p.Encode()
	if err != nil {
		return bucket.PackRef{}, err
	}
	if err := a.Manifests.PutPack(ctx, b); err != nil {
		return bucket.PackRef{}, fmt.Errorf("put a pack of versions: %w", err)
	}
	return bucket.PackRef{Level: p.Level, Hash: bucket.Sum(b), Last: last}, nil
}

// fold gathers packs in one of the next level, as often as there are enough of a level.
func (a *Author) fold(ctx context.Context, packs []bucket.PackRef) ([]bucket.PackRef, error) {
	for level := range bucket.MaxPackLevel {
		first := slices.IndexFunc(packs, func(r bucket.PackRef) bool { return r.Level == level })
		last := first + bucket.PackFanOut - 1
		if first < 0 || last >= len(packs) || packs[last].Level != level {
			break
		}
		full := packs[first : last+1]
		ref, err := a.putPack(ctx, bucket.Pack{Level: level + 1, Packs: full}, full[len(full)-1].Last)
		if err != nil {
			return packs, err
		}
		packs = slices.Concat(packs[:first], []bucket.PackRef{ref}, packs[last+1:])
	}
	return packs, nil
}
