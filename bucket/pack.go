package bucket

import (
	"encoding/binary"
	"fmt"
)

// Limits on packs, and on what an announcement may say about them.
const (
	// MaxPackSize is the most bytes of an encoded pack: 128 KiB, so that it is one chunk of an object store, and one direct
	// get.
	MaxPackSize = 128 << 10
	// PackVersions is the most versions of one pack.
	PackVersions = 128
	// PackFanOut is how many packs of one level are gathered in one of the next: 64.
	PackFanOut = 64
	// MaxPackLevel bounds the levels: 128 versions times 64 to the power of 3 are more than [MaxChainLength].
	MaxPackLevel = 3
)

// A Pack is a stretch of a chain in one object, oldest version first, so that many versions take one fetch. It is kept in
// the store of manifests, named by the hash of its bytes. A pack of level 0 holds manifests; one of a higher level holds
// references to packs of the level below. Like all hints it proves nothing: each manifest in it stands or falls by its own
// hash, its signature, and the version before it.
//
// On the wire it is "hwpack", a byte for the format (1), a byte for the level, and then up to the end, at level 0: for
// each manifest its size as 4 bytes, big-endian, and its bytes; above: for each reference the hash of the pack and the hash
// of the newest version in it, 32 bytes each.
type Pack struct {
	Level     int
	Manifests [][]byte  // of level 0
	Packs     []PackRef // of other levels; each of the level below
}

// PackRef names a pack.
type PackRef struct {
	Level int
	Hash  Hash // of the pack's bytes
	Last  Link // of the newest version in it, or in the packs that it names
}

const (
	packMagic   = "hwpack"
	packHead    = len(packMagic) + 2
	packFormat  = 1
	packRefSize = 2 * 32
)

// PackedSize is how many bytes a manifest takes in a pack.
func PackedSize(manifest []byte) int { return 4 + len(manifest) }

// MaxPackContent is the most bytes that the manifests of a pack may take together, each by [PackedSize].
const MaxPackContent = MaxPackSize - packHead

// Encode returns the pack's bytes. What [DecodePack] would refuse is an error of class [TooLarge] or [Malformed].
func (p Pack) Encode() ([]byte, error) {
	b := append([]byte(packMagic), packFormat, byte(p.Level))
	for _, m := range p.Manifests {
		b = binary.BigEndian.AppendUint32(b, uint32(len(m)))
		b = append(b, m...)
	}
	for _, r := range p.Packs {
		last := r.Last.Hash()
		b = append(append(b, r.Hash[:]...), last[:]...)
	}
	if _, err := DecodePack(b); err != nil {
		return nil, fmt.Errorf("encode pack: %w", err)
	}
	return b, nil
}

// DecodePack reads a pack. Its manifests are parts of b, not yet decoded. A [*Refusal] is of class [Malformed] or [TooLarge].
func DecodePack(b []byte) (Pack, error) {
	switch {
	case len(b) > MaxPackSize:
		return Pack{}, refuse(TooLarge, "a pack of %d bytes; the limit is %d", len(b), MaxPackSize)
	case len(b) < packHead || string(b[:len(packMagic)]) != packMagic:
		return Pack{}, refuse(Malformed, "bytes that are no pack")
	case b[len(packMagic)] != packFormat:
		return Pack{}, refuse(Malformed, "a pack of format %d; this peer knows format %d only", b[len(packMagic)], packFormat)
	case int(b[len(packMagic)+1]) > MaxPackLevel:
		return Pack{}, refuse(Malformed, "a pack of level %d; the highest is %d", b[len(packMagic)+1], MaxPackLevel)
	}
	p := Pack{Level: int(b[len(packMagic)+1])}
	if p.Level == 0 {
		return p, p.readManifests(b[packHead:])
	}
	return p, p.readRefs(b[packHead:])
}

func (p *Pack) readManifests(b []byte) error {
	for len(b) > 0 {
		if len(b) < 4 || uint64(binary.BigEndian.Uint32(b)) > uint64(len(b)-4) {
			return refuse(Malformed, "a pack that ends too soon")
		}
		if len(p.Manifests) == PackVersions {
			return refuse(TooLarge, "a pack of more than %d versions", PackVersions)
		}
		end := 4 + int(binary.BigEndian.Uint32(b))
		p.Manifests = append(p.Manifests, b[4:end:end])
		b = b[end:]
	}
	if len(p.Manifests) == 0 {
		return refuse(Malformed, "a pack that holds nothing")
	}
	return nil
}

func (p *Pack) readRefs(b []byte) error {
	n := len(b) / packRefSize
	switch {
	case n == 0 || len(b)%packRefSize != 0:
		return refuse(Malformed, "a pack whose references take %d bytes", len(b))
	case n > PackFanOut:
		return refuse(TooLarge, "a pack of %d packs; the limit is %d", n, PackFanOut)
	}
	for ; len(b) > 0; b = b[packRefSize:] {
		p.Packs = append(p.Packs, readPackRef(p.Level-1, b))
	}
	return nil
}

// readPackRef reads the two hashes that b begins with.
func readPackRef(level int, b []byte) PackRef {
	return PackRef{Level: level, Hash: Hash(b[:32]), Last: NewLink(CodecDagCBOR, Hash(b[32:packRefSize]))}
}
