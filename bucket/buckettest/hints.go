package buckettest

import (
	"slices"
	"testing"

	"headwater/bucket"
)

// Hints returns the hints of an announcement of the last version, and the packs that they name, by hash: as authors make
// them. The versions are a chain, oldest first; all are small.
func Hints(tb testing.TB, versions []*bucket.Version) (h bucket.Hints, packs map[bucket.Hash][]byte) {
	tb.Helper()
	packs = map[bucket.Hash][]byte{}
	p := Packer{Put: func(h bucket.Hash, b []byte) { packs[h] = b }}
	head := len(versions) - 1
	for _, v := range versions[:head] {
		p.Add(tb, v)
	}
	return p.Hints(versions[head]), packs
}

// Packer packs the versions of a chain as they come, oldest first, as its authors do.
type Packer struct {
	Put func(h bucket.Hash, pack []byte) // is handed each pack

	recent []*bucket.Version
	packs  []bucket.PackRef
}

// Add packs one more version, which is small.
func (p *Packer) Add(tb testing.TB, v *bucket.Version) {
	tb.Helper()
	if p.recent = append(p.recent, v); len(p.recent) < bucket.PackVersions {
		return
	}
	pack, size := bucket.Pack{}, 0
	for _, v := range p.recent {
		if size += bucket.PackedSize(v.Encoded()); size > bucket.MaxPackContent {
			break
		}
		pack.Manifests = append(pack.Manifests, v.Encoded())
	}
	n := len(pack.Manifests)
	p.packs = append(p.packs, p.put(tb, pack, p.recent[n-1].Link))
	p.recent = slices.Clone(p.recent[n:])
	p.fold(tb)
}

// fold gathers packs in one of the next level.
func (p *Packer) fold(tb testing.TB) {
	tb.Helper()
	for level := range bucket.MaxPackLevel {
		first := slices.IndexFunc(p.packs, func(r bucket.PackRef) bool { return r.Level == level })
		if first < 0 || len(p.packs)-first < bucket.PackFanOut {
			return
		}
		full := slices.Clone(p.packs[first:])
		p.packs = append(p.packs[:first], p.put(tb, bucket.Pack{Level: level + 1, Packs: full}, full[len(full)-1].Last))
	}
}

func (p *Packer) put(tb testing.TB, pack bucket.Pack, last bucket.Link) bucket.PackRef {
	tb.Helper()
	b, err := pack.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	p.Put(bucket.Sum(b), b)
	return bucket.PackRef{Level: pack.Level, Hash: bucket.Sum(b), Last: last}
}

// Hints returns the hints of an announcement of head, the version after the last that was added.
func (p *Packer) Hints(head *bucket.Version) bucket.Hints {
	h := bucket.Hints{Manifest: head.Encoded(), Packs: slices.Clone(p.packs)}
	for _, v := range slices.Backward(p.recent) {
		h.Recent = append(h.Recent, v.Link)
	}
	return h
}
