package bucket

import (
	"bytes"
	"fmt"
	"sync"
)

// Version is a manifest together with the link it stands under and the bytes it came in. Only [Open] and [Opener.Open] make
// one, so its bytes are known to hash to its link. It must not be changed.
type Version struct {
	Link Link
	Manifest
	encoded   []byte
	opener    *Opener      // nil for none
	signature func() error // checks the signature, once
}

// Open makes a version of bytes that somebody says link points to. It keeps b, which must not be changed afterwards.
// What is not a strict manifest, or not the one that link names, is a [*Refusal] that names the link: of class
// [WrongCodec], [TooLarge], [HashMismatch], or one of [DecodeManifest].
func Open(link Link, b []byte) (*Version, error) { return open(link, b, nil) }

// open is [Open], with what the opener o remembers; o may be nil.
func open(link Link, b []byte, o *Opener) (*Version, error) {
	if link.Codec() != CodecDagCBOR {
		return nil, Refuse(WrongCodec, link, "a manifest is pointed to by a link of codec %#x", byte(link.Codec()))
	}
	if len(b) > MaxManifestSize {
		return nil, Refuse(TooLarge, link, "a manifest of %d bytes; the limit is %d", len(b), MaxManifestSize)
	}
	if h := Sum(b); h != link.Hash() {
		return nil, Refuse(HashMismatch, link, "the bytes hash to %s", h)
	}
	m, ok := decodeCanonical(b, o.onCurve)
	if !ok {
		var err error
		if m, err = DecodeManifest(b); err != nil {
			return nil, at(link, err)
		}
	}
	v := &Version{Link: link, Manifest: *m, encoded: b, opener: o}
	v.signature = sync.OnceValue(v.verify)
	return v, nil
}

// at adds the link to a refusal that does not know it yet.
func at(link Link, err error) error {
	if r, ok := err.(*Refusal); ok && r.Link.IsZero() { //nolint:errorlint // refusals of this package are not wrapped yet
		return &Refusal{Class: r.Class, Link: link, Reason: r.Reason}
	}
	return err
}

// Encoded returns the bytes that the link names. They must not be changed.
func (v *Version) Encoded() []byte { return v.encoded }

// Head returns the version as the head rule sees it.
func (v *Version) Head() Head { return v.head(v.Link) }

// Before returns the predecessor that the version names, the zero Head if it is a genesis.
func (v *Version) Before() Head {
	if v.Height == 0 || v.Previous.IsZero() {
		return Head{}
	}
	return Head{Link: v.Previous, Height: v.Height - 1}
}

// signatureKey is where the last entry of a signed manifest begins: "signature" is its longest key, so it sorts last.
var signatureKey = []byte("\x69signature\x98\x40")

// signable returns the bytes that the signature covers: the same map without its last entry.
func (v *Version) signable() []byte {
	end := bytes.LastIndex(v.encoded, signatureKey)
	b := bytes.Clone(v.encoded[:end])
	b[0]-- // one entry less; a manifest has at most 12, so the count is in the first byte
	return b
}

// VerifySignature checks the author's signature over this version, and nothing else of it. It returns nil or a [*Refusal] of
// class [Unsigned], [SmallOrderKey] or [BadSignature]. It is the costly check, and needs no other version, so many may be
// done side by side; the verdict is remembered. Safe for concurrent use.
func (v *Version) VerifySignature() error { return v.signature() }

func (v *Version) verify() error {
	if !v.Signed() {
		return Refuse(Unsigned, v.Link, "author or signature is missing")
	}
	return at(v.Link, v.opener.verify(*v.Author, v.signable(), *v.Signature))
}

// Rules are the rules of succession. The zero value is the strict default.
type Rules struct {
	// AllowUnsigned accepts versions without author and signature, which the original wrote in its first months: but never
	// after a signed one.
	AllowUnsigned bool
}

// Succeed checks everything about v but what follows from its bytes alone: that it belongs to the bucket and follows
// directly on prev, or is a genesis if prev is nil; that it is signed; and that its author was an owner in prev (for a
// genesis: in itself). It returns nil or a [*Refusal] of class [WrongBucket], [HeightGap], [Unsigned], [SmallOrderKey],
// [BadSignature], [AuthorNotInShares] or [AuthorNotOwner].
func (r Rules) Succeed(id ID, prev, v *Version) error {
	if err := CheckStep(id, prev, v); err != nil {
		return err
	}
	if !v.Signed() && r.AllowUnsigned {
		if prev != nil && prev.Signed() {
			return Refuse(Unsigned, v.Link, "an unsigned version after a signed one")
		}
		return nil
	}
	if err := v.VerifySignature(); err != nil {
		return err
	}
	return checkAuthor(prev, v)
}

// CheckStep is the part of [Rules.Succeed] that costs next to nothing: bucket, height and previous link. prev is nil if v
// must be a genesis.
func CheckStep(id ID, prev, v *Version) error {
	if v.Bucket != id {
		return Refuse(WrongBucket, v.Link, "it is a version of bucket %s, not of %s", v.Bucket, id)
	}
	if v.Previous.IsZero() != (v.Height == 0) {
		return Refuse(HeightGap, v.Link, "height %d %s a previous link", v.Height, withOrWithout(!v.Previous.IsZero()))
	}
	switch {
	case prev == nil && v.Height != 0:
		return Refuse(HeightGap, v.Link, "height %d where a genesis belongs", v.Height)
	case prev == nil:
		return nil
	case v.Previous != prev.Link:
		return Refuse(HeightGap, v.Link, "its previous link is %s, not %s", v.Previous, prev.Link)
	case v.Height != prev.Height+1:
		return Refuse(HeightGap, v.Link, "height %d after height %d", v.Height, prev.Height)
	}
	return nil
}

func withOrWithout(with bool) string {
	if with {
		return "with"
	}
	return "without"
}

// checkAuthor demands that the author was an owner in the version before, or in v itself if v is a genesis.
func checkAuthor(prev, v *Version) error {
	judge, where := v, "its own shares"
	if prev != nil {
		judge, where = prev, fmt.Sprintf("the shares of %s, the version before", prev.Link)
	}
	share, ok := judge.Share(*v.Author)
	if !ok {
		return Refuse(AuthorNotInShares, v.Link, "the author %s is not in %s", v.Author, where)
	}
	if share.Role != Owner {
		return Refuse(AuthorNotOwner, v.Link, "the author %s is only a mirror in %s", v.Author, where)
	}
	return nil
}
