package buckettest

import (
	"slices"
	"testing"

	"headwater/bucket"
)

// Hints returns what an announcement of the last of the versions tells beside it, and the packs that it names, by hash: as
// authors make them. The versions are a chain, oldest first, of which all are small.
func Hints(tb testing.TB, versions []*bucket.Version) (h bucket.Hints, packs map[bucket.Hash][]byte) {
	tb.Helper()
	packs = map[bucket.Hash][]byte{}
	put := func(p bucket.Pack, last bucket.Link) bucket.PackRef {
		b, err := p.Encode()
		if err != nil {
			tb.Fatal(err)
		}
		packs[bucket.Sum(b)] = b
		return bucket.PackRef{Level: p.Level, Hash: bucket.Sum(b), Last: last}
	}
	head := versions[len(versions)-1]
	h.Manifest = head.Encoded()
	below := versions[:len(versions)-1]
	for len(below) >= bucket.PackVersions {
		p, size := bucket.Pack{}, 0
		for _, v := range below[:bucket.PackVersions] {
			if size += bucket.PackedSize(v.Encoded()); size > bucket.MaxPackContent {
				break
			}
			p.Manifests = append(p.Manifests, v.Encoded())
		}
		h.Packs = append(h.Packs, put(p, below[len(p.Manifests)-1].Link))
		below = below[len(p.Manifests):]
	}
	for level := range bucket.MaxPackLevel {
		first := slices.IndexFunc(h.Packs, func(r bucket.PackRef) bool { return r.Level == level })
		for first >= 0 && len(h.Packs)-first >= bucket.PackFanOut {
			full := slices.Clone(h.Packs[first : first+bucket.PackFanOut])
			ref := put(bucket.Pack{Level: level + 1, Packs: full}, full[len(full)-1].Last)
			h.Packs = slices.Replace(h.Packs, first, first+bucket.PackFanOut, ref)
			first++
		}
	}
	for _, v := range slices.Backward(below) {
		h.Recent = append(h.Recent, v.Link)
	}
	return h, packs
}
