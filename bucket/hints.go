package bucket

import (
	"encoding/json"

	"github.com/fxamacker/cbor/v2"
)

// Limits on the hints of an announcement. What is beyond them is not sent, and is ignored when received.
const (
	// MaxInlineManifest is the most bytes of a manifest that an announcement carries: 16 KiB, with some 60 shares.
	MaxInlineManifest = 16 << 10
	// MaxRecent is the most recent versions that an announcement lists.
	MaxRecent = 2 * PackVersions
	// MaxPackRefs is the most packs that an announcement names: as many of each level as make one of the next.
	MaxPackRefs = (MaxPackLevel + 1) * PackFanOut
)

// Hints make catching up fast: sent with the head, they tell a peer that is far behind what it needs. None of them is
// proven: a false one costs time.
type Hints struct {
	// Manifest is the bytes of the announced version; nil if it is not told.
	Manifest []byte
	// Recent are versions below the announced one, newest first, without a gap, down to the one after the newest in Packs.
	Recent []Link
	// Packs hold the versions below those, oldest first, without a gap; levels never rise.
	Packs []PackRef
}

// hintBytes is a field that holds a hint: a byte string, in JSON base64. Anything else is ignored, and is no reason to
// refuse the announcement.
type hintBytes []byte

func (h hintBytes) MarshalCBOR() ([]byte, error) { return cbor.Marshal([]byte(h)) }

func (h *hintBytes) UnmarshalCBOR(b []byte) error {
	if c, ok := readBytes(b); ok {
		*h = append(hintBytes(nil), c...)
	}
	return nil
}

func (h *hintBytes) UnmarshalJSON(b []byte) error {
	var raw []byte
	if json.Unmarshal(b, &raw) == nil {
		*h = raw
	}
	return nil
}

func (h hintBytes) MarshalJSON() ([]byte, error) { return json.Marshal([]byte(h)) }

// wire writes the hints into a message. Links are their 32 bytes of hash, one after another; a reference to a pack is a
// byte for the level, then the two hashes.
func (h Hints) wire(w *wireMessage) {
	if len(h.Manifest) <= MaxInlineManifest {
		w.Manifest = presentBytes(h.Manifest)
	}
	var recent, packs []byte
	for _, l := range h.Recent[:min(len(h.Recent), MaxRecent)] {
		hash := l.Hash()
		recent = append(recent, hash[:]...)
	}
	for _, p := range h.Packs[max(0, len(h.Packs)-MaxPackRefs):] {
		last := p.Last.Hash()
		packs = append(append(append(packs, byte(p.Level)), p.Hash[:]...), last[:]...)
	}
	w.Recent, w.PackRefs = presentBytes(recent), presentBytes(packs)
}

func presentBytes(b []byte) *hintBytes {
	if len(b) == 0 {
		return nil
	}
	return (*hintBytes)(&b)
}

// items returns what a field holds if that is a whole number of items, and not more than the limit; else nil.
func (h *hintBytes) items(item, limit int) []byte {
	if h == nil || len(*h)%item != 0 || len(*h) > item*limit {
		return nil
	}
	return *h
}

// hints reads what wire writes. A field of another form is left out.
func (w *wireMessage) hints() (h Hints) {
	if m := w.Manifest.items(1, MaxInlineManifest); len(m) > 0 {
		h.Manifest = m
	}
	for b := w.Recent.items(len(Hash{}), MaxRecent); len(b) > 0; b = b[len(Hash{}):] {
		h.Recent = append(h.Recent, NewLink(CodecDagCBOR, Hash(b[:len(Hash{})])))
	}
	for b := w.PackRefs.items(1+packRefSize, MaxPackRefs); len(b) > 0; b = b[1+packRefSize:] {
		h.Packs = append(h.Packs, readPackRef(int(b[0]), b[1:]))
	}
	if !descend(h.Packs) {
		h.Packs = nil
	}
	return h
}

// descend reports whether the levels are known ones and never rise.
func descend(packs []PackRef) bool {
	level := MaxPackLevel
	for _, p := range packs {
		if p.Level > level {
			return false
		}
		level = p.Level
	}
	return true
}
