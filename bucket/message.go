package bucket

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// Content types of the two messages of the wire. A body that begins with { is JSON whatever the header says.
const (
	ContentTypeCBOR = "application/cbor"
	ContentTypeJSON = "application/json"
)

// messageFormat is the only value of the field "v" that is understood; an absent one means the same.
const messageFormat = 1

// wireMessage is what announcement and pin job have in common, in CBOR and JSON alike. Unknown fields are ignored.
type wireMessage struct {
	V        *uint64     `cbor:"v,omitempty" json:"v,omitempty"`
	Link     *Link       `cbor:"link,omitempty" json:"link,omitempty"`
	Height   *uint64     `cbor:"height,omitempty" json:"height,omitempty"`
	BucketID *messageID  `cbor:"bucket_id,omitempty" json:"bucket_id,omitempty"`
	Stores   []string    `cbor:"stores,omitempty" json:"stores,omitempty"`
	PeerID   *messageKey `cbor:"peer_id,omitempty" json:"peer_id,omitempty"`
	// These two stand in pin jobs only.
	Pins    *Link        `cbor:"pins,omitempty" json:"pins,omitempty"`
	PeerIDs []messageKey `cbor:"peer_ids,omitempty" json:"peer_ids,omitempty"`
	// Heads and hints stand in announcements only.
	Heads    []Link     `cbor:"heads,omitempty" json:"heads,omitempty"`
	Manifest *hintBytes `cbor:"manifest,omitempty" json:"manifest,omitempty"`
	Recent   *hintBytes `cbor:"recent,omitempty" json:"recent,omitempty"`
	PackRefs *hintBytes `cbor:"packs,omitempty" json:"packs,omitempty"`
}

// messageID and messageKey are read from messages less strictly than from manifests: nothing hashes a message. In CBOR they
// are written as byte strings, and read from text and (keys) arrays of integers too.
type (
	messageID  ID
	messageKey PublicKey
)

func (id messageID) MarshalCBOR() ([]byte, error)  { return ID(id).MarshalCBOR() }
func (id messageID) MarshalText() ([]byte, error)  { return ID(id).MarshalText() }
func (id *messageID) UnmarshalText(b []byte) error { return (*ID)(id).UnmarshalText(b) }

func (id *messageID) UnmarshalCBOR(b []byte) error {
	if text, ok := readText(b); ok {
		return id.UnmarshalText(text)
	}
	return (*ID)(id).UnmarshalCBOR(b)
}

func (k messageKey) MarshalCBOR() ([]byte, error) {
	return append([]byte{majorBytes<<5 | 24, byte(len(k))}, k[:]...), nil
}
func (k messageKey) MarshalText() ([]byte, error)  { return PublicKey(k).MarshalText() }
func (k *messageKey) UnmarshalText(b []byte) error { return (*PublicKey)(k).UnmarshalText(b) }

func (k *messageKey) UnmarshalCBOR(b []byte) error {
	if text, ok := readText(b); ok {
		return k.UnmarshalText(text)
	}
	if c, ok := readBytes(b); ok && len(c) == len(k) {
		copy(k[:], c)
		return nil
	}
	return (*PublicKey)(k).UnmarshalCBOR(b)
}

// readText reads a text string that fills b to its end.
func readText(b []byte) ([]byte, bool) {
	major, n, rest, ok := readHead(b)
	return rest, ok && major == majorText && n == uint64(len(rest))
}

// messageCodec ignores unknown fields.
var messageCodec = sync.OnceValues(func() (codec, error) { return newCodec(cbor.ExtraDecErrorNone) })

// Encode returns the announcement in CBOR.
func (a Announcement) Encode() ([]byte, error) { return a.wire().encode() }

// EncodeJSON returns the announcement in JSON, for people to read.
func (a Announcement) EncodeJSON() ([]byte, error) { return json.Marshal(a.wire()) }

func (a Announcement) wire() *wireMessage {
	w := &wireMessage{
		V: new(uint64(messageFormat)), Link: presentLink(a.Link), Height: a.Height, BucketID: presentID(a.Bucket),
		Stores: a.Stores, PeerID: presentKey(a.Peer), Heads: a.Heads,
	}
	a.Hints.wire(w)
	return w
}

// DecodeAnnouncement reads the body of an announcement. What cannot be read, or names no manifest, is a [*Refusal] of class
// [Malformed] or [WrongCodec]; one beyond [MaxMessageSize] of class [TooLarge]. The caller has to compare it with its
// subject.
func DecodeAnnouncement(contentType string, body []byte) (Announcement, error) {
	w, err := decodeMessage("announcement", contentType, body)
	if err != nil {
		return Announcement{}, err
	}
	a := Announcement{Link: *w.Link, Height: w.Height, Stores: w.Stores, Heads: w.Heads, Hints: w.hints()}
	if w.BucketID != nil {
		a.Bucket = ID(*w.BucketID)
	}
	if w.PeerID != nil {
		a.Peer = PublicKey(*w.PeerID)
	}
	return a, nil
}

// Encode returns the job in CBOR.
func (j PinJob) Encode() ([]byte, error) {
	peers := make([]messageKey, len(j.Peers))
	for i, p := range j.Peers {
		peers[i] = messageKey(p)
	}
	w := wireMessage{
		V: new(uint64(messageFormat)), Link: presentLink(j.Link), Height: &j.Height, BucketID: presentID(j.Bucket),
		Stores: j.Stores, Pins: presentLink(j.Pins), PeerIDs: peers,
	}
	return w.encode()
}

// DecodePinJob reads the body of a pin job. Errors are those of [DecodeAnnouncement].
func DecodePinJob(contentType string, body []byte) (PinJob, error) {
	w, err := decodeMessage("pin job", contentType, body)
	if err != nil {
		return PinJob{}, err
	}
	j := PinJob{Link: *w.Link, Stores: w.Stores}
	if w.BucketID != nil {
		j.Bucket = ID(*w.BucketID)
	}
	if w.Height != nil {
		j.Height = *w.Height
	}
	if w.Pins != nil {
		j.Pins = *w.Pins
	}
	for _, p := range w.PeerIDs {
		j.Peers = append(j.Peers, PublicKey(p))
	}
	return j, nil
}

func (w *wireMessage) encode() ([]byte, error) {
	c, err := messageCodec()
	if err != nil {
		return nil, err
	}
	return c.enc.Marshal(w)
}

func decodeMessage(what, contentType string, body []byte) (*wireMessage, error) {
	if len(body) > MaxMessageSize {
		return nil, refuse(TooLarge, "%s of %d bytes; the limit is %d", what, len(body), MaxMessageSize)
	}
	w := new(wireMessage)
	var err error
	if isJSON(contentType, body) {
		err = json.Unmarshal(body, w)
	} else {
		var c codec
		if c, err = messageCodec(); err != nil {
			return nil, err
		}
		err = c.dec.Unmarshal(body, w)
	}
	if err != nil {
		if c := ClassOf(err); c != "" {
			return nil, refuse(c, "%s that cannot be read: %v", what, err)
		}
		return nil, refuse(Malformed, "%s that cannot be read: %v", what, err)
	}
	return w, w.check(what)
}

// check refuses what no later field can put right.
func (w *wireMessage) check(what string) error {
	switch {
	case w.V != nil && *w.V != messageFormat:
		return refuse(Malformed, "%s of format %d; this peer knows format %d only", what, *w.V, messageFormat)
	case w.Link == nil || w.Link.IsZero():
		return refuse(Malformed, "%s without a link", what)
	case w.Link.Codec() != CodecDagCBOR:
		return refuse(WrongCodec, "%s whose link is of codec %#x", what, byte(w.Link.Codec()))
	case len(w.Stores) > MaxStores:
		return refuse(Malformed, "%s that names %d stores; the limit is %d", what, len(w.Stores), MaxStores)
	case len(w.Heads) > MaxHeads:
		return refuse(Malformed, "%s that names %d other heads; the limit is %d", what, len(w.Heads), MaxHeads)
	}
	for _, l := range w.Heads {
		switch {
		case l.IsZero():
			return refuse(Malformed, "%s that names a head without a link", what)
		case l.Codec() != CodecDagCBOR:
			return refuse(WrongCodec, "%s that names a head of codec %#x", what, byte(l.Codec()))
		}
	}
	for _, s := range w.Stores {
		if err := CheckStoreName(s); err != nil {
			return refuse(Malformed, "%s that names the store %.80q", what, s)
		}
	}
	return nil
}

// isJSON tells the two encodings apart.
func isJSON(contentType string, body []byte) bool {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(media), ContentTypeJSON) || (len(body) > 0 && body[0] == '{')
}

// CheckStoreName demands the form "name" or "domain/name", both of letters, digits, hyphens and underscores, at most
// [MaxStoreNameSize] bytes; anything else is [ErrSyntax].
func CheckStoreName(s string) error {
	domain, name, found := strings.Cut(s, "/")
	if !found {
		domain, name = "x", s
	}
	if len(s) > MaxStoreNameSize || !isToken(domain) || !isToken(name) {
		return fmt.Errorf("store %.140q: %w: want NAME or DOMAIN/NAME of letters, digits, - and _", s, ErrSyntax)
	}
	return nil
}

func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return s != ""
}

func presentID(id ID) *messageID {
	if id.IsZero() {
		return nil
	}
	return (*messageID)(&id)
}

func presentKey(k PublicKey) *messageKey {
	if k.IsZero() {
		return nil
	}
	return (*messageKey)(&k)
}
