package bucket

import (
	"bytes"
	"slices"
)

// MaxPinsSize is the most bytes of a pins list: 64 MiB, 2 Mi pins.
const MaxPinsSize = 64 << 20

// Pins is a list of the blobs that a version needs, by hash: ascending, each once. On the wire it is the hashes one after
// another, 32 bytes each, and nothing else.
type Pins []Hash

// ParsePins reads a pins list. Its order does not matter and repetitions collapse, since the original writes them in the order of
// a hash set. A length that is no multiple of 32 is a [*Refusal] of class [Malformed], a list beyond [MaxPinsSize] one of
// class [TooLarge].
func ParsePins(b []byte) (Pins, error) {
	if len(b) > MaxPinsSize {
		return nil, refuse(TooLarge, "a pins list of %d bytes; the limit is %d", len(b), MaxPinsSize)
	}
	const size = len(Hash{})
	if len(b)%size != 0 {
		return nil, refuse(Malformed, "a pins list of %d bytes, which is no multiple of %d", len(b), size)
	}
	pins := make(Pins, 0, len(b)/size)
	for c := range slices.Chunk(b, size) {
		pins = append(pins, Hash(c))
	}
	return pins.sorted(), nil
}

// Encode returns the list in ascending order, so that one set of pins has one link.
func (p Pins) Encode() []byte {
	sorted := slices.Clone(p).sorted()
	out := make([]byte, 0, len(sorted)*len(Hash{}))
	for _, h := range sorted {
		out = append(out, h[:]...)
	}
	return out
}

// sorted sorts p in place and drops repetitions.
func (p Pins) sorted() Pins {
	slices.SortFunc(p, func(a, b Hash) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(p)
}
