package bucket

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// wireManifest is a manifest as it stands in DAG-CBOR. A field is a pointer if a decoder has to tell an absent value from
// an empty one; the library sorts the fields.
type wireManifest struct {
	ID        *ID                  `cbor:"id"`
	Name      *string              `cbor:"name"`
	Pins      *Link                `cbor:"pins"`
	Entry     *Link                `cbor:"entry"`
	Author    *PublicKey           `cbor:"author,omitempty"`
	Height    *uint64              `cbor:"height"`
	Public    *Secret              `cbor:"public,omitempty"`
	Shares    map[string]wireShare `cbor:"shares"`
	OpsLog    *Link                `cbor:"ops_log,omitempty"`
	Version   *string              `cbor:"version"`
	Previous  *Link                `cbor:"previous"` // null for genesis, never absent
	Signature *Signature           `cbor:"signature,omitempty"`
}

type wireShare struct {
	Share     *SecretShare   `cbor:"share"` // null for mirrors
	Principal *wirePrincipal `cbor:"principal"`
}

type wirePrincipal struct {
	Role     *Role      `cbor:"role"`
	Identity *PublicKey `cbor:"identity"`
}

// strictCodec refuses unknown fields; it is made once, on first use.
var strictCodec = sync.OnceValues(func() (codec, error) { return newCodec(cbor.ExtraDecErrorUnknownField) })

// Encode returns the canonical DAG-CBOR encoding, whose hash names the version. Shares are sorted in place; two of one
// identity are an error.
func (m *Manifest) Encode() ([]byte, error) {
	slices.SortFunc(m.Shares, func(a, b Share) int { return a.Identity.Compare(b.Identity) })
	w := wireManifest{
		ID: &m.Bucket, Name: &m.Name, Pins: &m.Pins, Entry: &m.Entry, Author: m.Author, Height: &m.Height,
		Public: m.Public, OpsLog: presentLink(m.OpsLog), Version: &m.Format, Previous: presentLink(m.Previous),
		Signature: m.Signature, Shares: make(map[string]wireShare, len(m.Shares)),
	}
	for i := range m.Shares {
		s := &m.Shares[i]
		w.Shares[s.Identity.String()] = wireShare{s.Secret, &wirePrincipal{&s.Role, &s.Identity}}
	}
	if len(w.Shares) != len(m.Shares) {
		return nil, errors.New("encode manifest: two shares of one identity")
	}
	return w.encode()
}

func (w *wireManifest) encode() ([]byte, error) {
	c, err := strictCodec()
	if err != nil {
		return nil, err
	}
	b, err := c.enc.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return b, nil
}

func presentLink(l Link) *Link {
	if l.IsZero() {
		return nil
	}
	return &l
}

// DecodeManifest reads the one canonical encoding of a manifest: what it returns encodes to b again, byte for byte.
// Anything else is a [*Refusal], of class [TooLarge], [Malformed], [NonCanonical], [WrongCodec] or [ShareKeyMismatch].
func DecodeManifest(b []byte) (*Manifest, error) {
	if len(b) > MaxManifestSize {
		return nil, refuse(TooLarge, "a manifest of %d bytes; the limit is %d", len(b), MaxManifestSize)
	}
	c, err := strictCodec()
	if err != nil {
		return nil, err
	}
	var w wireManifest
	if err := c.dec.Unmarshal(b, &w); err != nil {
		return nil, classifyCBOR(err)
	}
	m, err := w.manifest()
	if err != nil {
		return nil, err
	}
	again, err := w.encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(b, again) {
		return nil, refuse(NonCanonical, "a manifest whose canonical encoding has other bytes")
	}
	if err := m.checkLinks(); err != nil {
		return nil, err
	}
	return m, nil
}

// classifyCBOR turns the library's error into a refusal. A lenient reader would accept a map with a key twice, or an
// unknown field, so those are not canonical; all else is malformed.
func classifyCBOR(err error) error {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r
	}
	if _, ok := errors.AsType[*cbor.DupMapKeyError](err); ok {
		return refuse(NonCanonical, "a map with a key twice")
	}
	if _, ok := errors.AsType[*cbor.UnknownFieldError](err); ok {
		return refuse(NonCanonical, "a field that a manifest does not have")
	}
	return refuse(Malformed, "bytes that are no manifest: %v", err)
}

// manifest checks what the library does not (presence, keys, codecs) and makes the value.
func (w *wireManifest) manifest() (*Manifest, error) {
	if w.ID == nil || w.Name == nil || w.Pins == nil || w.Entry == nil || w.Height == nil || w.Shares == nil ||
		w.Version == nil {
		return nil, refuse(Malformed, "a manifest that lacks a field")
	}
	if w.Author != nil && !w.Author.onCurve() {
		return nil, refuse(Malformed, "an author that is no point of the curve")
	}
	m := &Manifest{
		Bucket: *w.ID, Name: *w.Name, Height: *w.Height, Entry: *w.Entry, Pins: *w.Pins, Public: w.Public,
		Format: *w.Version, Author: w.Author, Signature: w.Signature,
	}
	if w.OpsLog != nil {
		m.OpsLog = *w.OpsLog
	}
	if w.Previous != nil {
		m.Previous = *w.Previous
	}
	return m, m.setShares(w.Shares)
}

// setShares takes the shares over in ascending order of their identities.
func (m *Manifest) setShares(shares map[string]wireShare) error {
	m.Shares = make([]Share, 0, len(shares))
	for key, s := range shares {
		if s.Principal == nil || s.Principal.Role == nil || s.Principal.Identity == nil {
			return refuse(Malformed, "a share that lacks a field")
		}
		if !s.Principal.Identity.onCurve() {
			return refuse(Malformed, "a share whose identity is no point of the curve")
		}
		if s.Principal.Identity.String() != key {
			return refuse(ShareKeyMismatch, "a share of %s that stands under the key %.80q", s.Principal.Identity, key)
		}
		m.Shares = append(m.Shares, Share{*s.Principal.Identity, *s.Principal.Role, s.Share})
	}
	slices.SortFunc(m.Shares, func(a, b Share) int { return a.Identity.Compare(b.Identity) })
	return nil
}

// checkLinks checks that each link has the codec that its field demands.
func (m *Manifest) checkLinks() error {
	switch {
	case m.Entry.Codec() != CodecRaw:
		return refuse(WrongCodec, "an entry link of codec %#x", byte(m.Entry.Codec()))
	case m.Pins.Codec() != CodecRaw:
		return refuse(WrongCodec, "a pins link of codec %#x", byte(m.Pins.Codec()))
	case !m.OpsLog.IsZero() && m.OpsLog.Codec() != CodecRaw:
		return refuse(WrongCodec, "an operation log link of codec %#x", byte(m.OpsLog.Codec()))
	case !m.Previous.IsZero() && m.Previous.Codec() != CodecDagCBOR:
		return refuse(WrongCodec, "a previous link of codec %#x", byte(m.Previous.Codec()))
	}
	return nil
}
