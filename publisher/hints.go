package publisher

import (
	"context"
	"fmt"
	"slices"

	"headwater/blobstore"
	"headwater/bucket"
)

// maxRepack is the most versions that are packed for one announcement: as many as one pack of level 1 holds.
const maxRepack = bucket.PackVersions * bucket.PackFanOut

// hints returns what the announcement of a version tells beside it, so that a peer that is far behind needs few round trips:
// its manifest, the links below it, and packs of what is older. The packs go on from those that were announced last, by this
// publisher or, if it remembers none, by any peer with a share; all else comes from the log, and is put before hints returns. An
// error comes with hints that are right, but fewer.
//
// Packs are made from the genesis up, each of as many versions as fit, so that peers make the same ones. If nothing is
// known of a chain longer than [maxRepack], they begin anew.
func (r *round) hints(ctx context.Context, o owed) (bucket.Hints, error) {
	b, err := blobstore.ReadAll(ctx, r.cfg.Manifests, o.Link.Hash(), bucket.MaxManifestSize)
	if err != nil {
		return bucket.Hints{}, err
	}
	v, err := bucket.Open(o.Link, b)
	if err != nil {
		return bucket.Hints{}, err
	}
	known, err := r.cfg.Log.Bucket(ctx, r.id)
	if err != nil {
		return bucket.Hints{Manifest: b}, err
	}
	s, err := r.stretch(ctx, v, known.Announced.Compare(v.Head()) >= 0)
	if err == nil {
		err = r.pack(ctx, s)
	}
	h := bucket.Hints{Manifest: b, Recent: s.links, Packs: s.packs}
	if len(h.Recent) > bucket.MaxRecent || err != nil {
		h.Recent, h.Packs = h.Recent[:min(len(h.Recent), bucket.MaxRecent)], nil
		return h, err
	}
	r.remember(s.packed)
	return h, nil
}

// maxPacked is the most buckets whose packs are remembered. For others the bus is asked.
const maxPacked = 256

// remember notes how far the chain is packed; one of which nothing is packed needs no memory.
func (r *round) remember(p packed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.packed) >= maxPacked {
		clear(r.packed)
	}
	if delete(r.packed, r.id); !p.below.IsZero() {
		r.packed[r.id] = p
	}
}

// packed is how far a chain is packed.
type packed struct {
	packs []bucket.PackRef
	below bucket.Link // newest version in packs, or the one that hints begin above; zero: packs begin with the genesis
}

// stretch is the versions below an announced one that are not packed yet, newest first, and the packs below them.
type stretch struct {
	links []bucket.Link
	packed
}

// stretch finds what has to be packed below a version. repair says that the version was announced before: the packs that are
// remembered may be lost, too.
func (r *round) stretch(ctx context.Context, v *bucket.Version, repair bool) (*stretch, error) {
	r.mu.Lock()
	mine, ok := r.packed[r.id]
	r.mu.Unlock()
	if ok {
		if s, found, err := r.walk(ctx, v, mine); err != nil || found {
			return r.present(ctx, v, s, repair, err)
		}
	}
	var announced []packed
	var failed error
	if v.Height >= bucket.PackVersions { // else there is nothing that could be packed
		announced, failed = r.announcedPacks(ctx, v)
	}
	s, found, err := r.walk(ctx, v, announced...)
	if err != nil || found {
		return r.present(ctx, v, s, true, err)
	}
	s.beginAnew(v)
	return s, failed
}

// walk goes down from a version to one that packs end with, or to the genesis. It reports whether it found either within
// [maxRepack] versions.
func (r *round) walk(ctx context.Context, v *bucket.Version, known ...packed) (*stretch, bool, error) {
	s := &stretch{}
	for at := v.Before(); !at.IsZero(); {
		if i := slices.IndexFunc(known, func(k packed) bool { return k.below == at.Link }); i >= 0 {
			s.packed = packed{packs: slices.Clone(known[i].packs), below: at.Link}
			return s, true, nil
		}
		if len(s.links) == maxRepack {
			s.below = at.Link
			return s, false, nil
		}
		s.links = append(s.links, at.Link)
		e, err := r.cfg.Log.Entry(ctx, r.id, at)
		if err != nil {
			return &stretch{}, false, fmt.Errorf("read version %s: %w", at.Link, err)
		}
		at = e.Before()
	}
	return s, true, nil
}

// beginAnew makes the stretch begin at a height that is a multiple of [bucket.PackVersions], so that others who begin anew make
// the same packs.
func (s *stretch) beginAnew(v *bucket.Version) {
	first := v.Height - uint64(len(s.links)) // height of the oldest
	cut := int(-first % bucket.PackVersions)
	if n := len(s.links) - cut; cut > 0 && n > 0 {
		s.links, s.below = s.links[:n], s.links[n]
	}
}

// present asks the store, if ask is set, for the packs that a stretch goes on from. If any are gone, the stretch begins anew.
func (r *round) present(ctx context.Context, v *bucket.Version, s *stretch, ask bool, err error) (*stretch, error) {
	if err != nil || !ask || len(s.packs) == 0 {
		return s, err
	}
	hashes := make([]bucket.Hash, len(s.packs))
	for i, p := range s.packs {
		hashes[i] = p.Hash
	}
	absent, err := r.cfg.Stores.Absent(ctx, r.cfg.ManifestStore, hashes)
	if err != nil || len(absent) == 0 {
		return s, err
	}
	r.cfg.Logger.Info("packs are gone, hints begin anew", "bucket", r.id, "packs", len(absent))
	s, found, err := r.walk(ctx, v)
	if err == nil && !found {
		s.beginAnew(v)
	}
	return s, err
}

// announcedPacks returns the packs that peers with a share announce, those of this peer first.
func (r *round) announcedPacks(ctx context.Context, v *bucket.Version) (all []packed, err error) {
	announced, err := r.cfg.Bus.Heads(ctx, r.id)
	for _, a := range announced {
		n := len(a.Hints.Packs)
		if _, member := v.Share(a.Peer); !member || n == 0 {
			continue
		}
		p := packed{packs: a.Hints.Packs, below: a.Hints.Packs[n-1].Last}
		if a.Peer == r.cfg.Peer {
			all = slices.Insert(all, 0, p)
		} else {
			all = append(all, p)
		}
	}
	return all, err
}

// pack moves the oldest versions of a stretch into packs, as long as there are enough for one, and puts those.
func (r *round) pack(ctx context.Context, s *stretch) error {
	var made []blobstore.Small
	for len(s.links) >= bucket.PackVersions {
		p, err := r.oldest(ctx, s.links[len(s.links)-bucket.PackVersions:])
		if err != nil {
			return err
		}
		n := len(s.links) - max(1, len(p.Manifests))
		s.below, s.links = s.links[n], s.links[:n]
		if len(p.Manifests) == 0 { // a version that fits no pack: hints begin above it
			s.packs = nil
			continue
		}
		if made, err = s.add(made, p); err != nil {
			return err
		}
		if len(made) > bucket.PackFanOut {
			if err := r.putPacks(ctx, made); err != nil {
				return err
			}
			made = nil
		}
	}
	return r.putPacks(ctx, made)
}

// oldest returns a pack of versions, which are given newest first: as many as fit, the oldest first.
func (r *round) oldest(ctx context.Context, links []bucket.Link) (p bucket.Pack, err error) {
	size := 0
	for _, l := range slices.Backward(links) {
		b, err := blobstore.ReadAll(ctx, r.cfg.Manifests, l.Hash(), bucket.MaxManifestSize)
		if err != nil {
			return p, fmt.Errorf("read manifest: %w", err)
		}
		if size += bucket.PackedSize(b); size > bucket.MaxPackContent {
			break
		}
		p.Manifests = append(p.Manifests, b)
	}
	return p, nil
}

// add adds a pack to the stretch, and gathers packs in one of the next level as often as there are enough of a level. It returns
// the packs made so far, together with these.
func (s *stretch) add(made []blobstore.Small, p bucket.Pack) ([]blobstore.Small, error) {
	ref, b, err := encodePack(p, s.below)
	if err != nil {
		return made, err
	}
	s.packs, made = append(s.packs, ref), append(made, b)
	for level := range bucket.MaxPackLevel {
		first := slices.IndexFunc(s.packs, func(p bucket.PackRef) bool { return p.Level == level })
		last := first + bucket.PackFanOut - 1
		if first < 0 || last >= len(s.packs) || s.packs[last].Level != level {
			break
		}
		full := s.packs[first : last+1]
		if ref, b, err = encodePack(bucket.Pack{Level: level + 1, Packs: full}, full[len(full)-1].Last); err != nil {
			return made, err
		}
		s.packs, made = slices.Concat(s.packs[:first], []bucket.PackRef{ref}, s.packs[last+1:]), append(made, b)
	}
	return made, nil
}

func encodePack(p bucket.Pack, last bucket.Link) (bucket.PackRef, blobstore.Small, error) {
	b, err := p.Encode()
	h := bucket.Sum(b)
	return bucket.PackRef{Level: p.Level, Hash: h, Last: last}, blobstore.Small{Hash: h, Data: b}, err
}

// putPacks puts those packs that the store lacks.
func (r *round) putPacks(ctx context.Context, made []blobstore.Small) error {
	if len(made) > 1 { // one is mostly new
		hashes := make([]bucket.Hash, len(made))
		for i, m := range made {
			hashes[i] = m.Hash
		}
		absent, err := r.cfg.Stores.Absent(ctx, r.cfg.ManifestStore, hashes)
		if err != nil {
			return err
		}
		made = slices.DeleteFunc(made, func(m blobstore.Small) bool { return !slices.Contains(absent, m.Hash) })
	}
	if len(made) == 0 {
		return nil
	}
	if err := r.cfg.Stores.PutMany(ctx, r.cfg.ManifestStore, made); err != nil {
		return fmt.Errorf("put packs of versions: %w", err)
	}
	return nil
}
