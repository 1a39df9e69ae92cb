package author

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"headwater/bucket"
)

// packFetches is how many manifests are fetched side by side to make a pack, of those that do not come together.
const packFetches = 32

// Hints returns what the announcement of a version tells beside it, so that a peer that is far behind needs few round trips:
// its manifest, the links below it, and packs of what is older. They go on from the hints that were announced with the version
// before, as far as this author has heard or made them; only where it has not, the bus is asked. Every [bucket.PackVersions]
// versions there are enough links for a pack, which is put here: the versions in it are fetched for that, with one request.
//
// Where the version before was announced without hints, as by hand, they begin with it.
func (a *Author) Hints(ctx context.Context, v *bucket.Version) (bucket.Hints, error) {
	if v.Height <= 1 {
		return a.hintsAfter(ctx, v, nil)
	}
	before := a.heard.of(v.Bucket, v.Previous)
	if len(before) == 0 {
		announced, err := a.Bus.Heads(ctx, v.Bucket)
		if err != nil {
			h, _ := a.hintsAfter(ctx, v, nil) // which asks nobody
			return h, err
		}
		before = about(announced, v.Previous)
	}
	return a.hintsAfter(ctx, v, before)
}

// hintsAfter returns the hints for a version out of what was announced with the one before.
func (a *Author) hintsAfter(ctx context.Context, v *bucket.Version, before []bucket.Announcement) (bucket.Hints, error) {
	h := bucket.Hints{Manifest: v.Encoded()}
	if v.Previous.IsZero() {
		return h, nil
	}
	h.Recent = []bucket.Link{v.Previous}
	if len(before) > 0 {
		best := slices.MaxFunc(before, func(x, y bucket.Announcement) int { return compareHints(v, x, y) }).Hints
		h.Recent, h.Packs = append(h.Recent, best.Recent...), slices.Clone(best.Packs)
	}
	for len(h.Recent) >= bucket.PackVersions {
		var err error
		if h.Recent, h.Packs, err = a.pack(ctx, v.Bucket, h.Recent, h.Packs); err == nil {
			continue
		}
		if bucket.ClassOf(err) == "" && len(h.Recent) <= bucket.MaxRecent {
			return h, err // cannot be had now: the next version tries again
		}
		// What was announced with the version before is not what it seems: begin anew.
		return bucket.Hints{Manifest: v.Encoded(), Recent: h.Recent[:1]}, err
	}
	return h, nil
}

// compareHints says whose hints are the better ones to go on from for v: those of somebody with a share, then those that name
// the most.
func compareHints(v *bucket.Version, x, y bucket.Announcement) int {
	_, xMember := v.Share(x.Peer)
	_, yMember := v.Share(y.Peer)
	return cmp.Or(compareBool(xMember, yMember),
		cmp.Compare(len(x.Hints.Packs)+len(x.Hints.Recent), len(y.Hints.Packs)+len(y.Hints.Recent)))
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
		return recent, packs, bucket.Refuse(bucket.TooLarge, oldest[0], "%d octets are too many for a pack",
			len(versions[0].Encoded()))
	}
	ref, err := a.putPack(ctx, p, oldest[len(p.Manifests)-1])
	if err != nil {
		return recent, packs, err
	}
	packs, err = a.fold(ctx, append(packs, ref))
	return recent[:len(recent)-len(p.Manifests)], packs, err
}

// stretch fetches versions that follow one on the other, oldest first: all together, and by itself what does not come so.
func (a *Author) stretch(ctx context.Context, id bucket.ID, links []bucket.Link) ([]*bucket.Version, error) {
	versions := a.fetchMany(ctx, links)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(packFetches)
	for i, l := range links {
		if versions[i] == nil {
			g.Go(func() (err error) {
				versions[i], err = a.fetch(ctx, l, nil)
				return err
			})
		}
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

// fetchMany fetches versions with one request, in their order. Those that do not come so are nil: they may be had by
// themselves. They are all in memory at once, so there should be few.
func (a *Author) fetchMany(ctx context.Context, links []bucket.Link) []*bucket.Version {
	hashes := make([]bucket.Hash, len(links))
	for i, l := range links {
		hashes[i] = l.Hash()
	}
	came := make(map[bucket.Hash]*bucket.Version, len(links))
	err := a.Manifests.GetMany(ctx, hashes, nil, func(h bucket.Hash, octets []byte) error {
		if v, err := a.opener.Open(bucket.NewLink(bucket.CodecDagCBOR, h), octets); err == nil {
			came[h] = v
		}
		return nil
	})
	if err != nil {
		a.Logger.Debug("not all versions come together", "versions", len(links), "err", err)
	}
	versions := make([]*bucket.Version, len(links))
	for i, l := range links {
		if l.Codec() == bucket.CodecDagCBOR {
			versions[i] = came[l.Hash()]
		}
	}
	return versions
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
