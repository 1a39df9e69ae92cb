package bucket

import (
	"encoding/hex"
	"math"
	"sync"
	"unicode/utf8"
)

// An Opener opens many versions faster than [Open] does one by one, and checks their signatures faster: chains name the same keys
// in version after version, and it remembers which are points of the curve, and multiples of those that sign most. The zero
// Opener is ready. It is safe for concurrent use, and takes at most some 12 MiB.
type Opener struct {
	mu       sync.RWMutex
	keys     map[PublicKey]bool
	verifier verifier
}

// maxKeys is the most keys that an Opener remembers.
const maxKeys = 10_000

// Open is [Open].
func (o *Opener) Open(link Link, b []byte) (*Version, error) { return open(link, b, o) }

// verify is [PublicKey.Verify].
func (o *Opener) verify(k PublicKey, message []byte, sig Signature) error {
	if o != nil && o.verifier.holds(k, message, sig) && !encodesSmallOrder(k[:]) && !encodesSmallOrder(sig[:32]) {
		return nil
	}
	return k.Verify(message, sig)
}

func (o *Opener) onCurve(k *PublicKey) bool {
	if o == nil {
		return k.onCurve()
	}
	o.mu.RLock()
	known := o.keys[*k]
	o.mu.RUnlock()
	if known {
		return true
	}
	if !k.onCurve() {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.keys == nil || len(o.keys) >= maxKeys {
		o.keys = map[PublicKey]bool{}
	}
	o.keys[*k] = true
	return true
}

// canonical parses a manifest from front to back, and knows only the one right encoding: on anything else it gives up, and
// [DecodeManifest] finds out the long way what is wrong. It accepts nothing that [DecodeManifest] refuses; a fuzz target
// compares the two.
type canonical struct {
	b   []byte
	bad bool
}

// decodeCanonical reads a manifest in its canonical encoding, and reports whether it is one. onCurve reports whether a key is a
// point of the curve.
func decodeCanonical(b []byte, onCurve func(*PublicKey) bool) (*Manifest, bool) {
	if len(b) > MaxManifestSize {
		return nil, false
	}
	c := &canonical{b: b}
	m := new(Manifest)
	entries := c.head(majorMap)
	count := uint64(8)
	optional := func(key string) bool {
		there := c.has(key)
		if there {
			count++
		}
		return there
	}
	c.exactly("\x62id\x50")
	copy(m.Bucket[:], c.take(16))
	c.exactly("\x64name")
	m.Name = c.text()
	c.exactly("\x64pins")
	m.Pins = c.link(CodecRaw)
	c.exactly("\x65entry")
	m.Entry = c.link(CodecRaw)
	if optional("\x66author") {
		m.Author = new(PublicKey)
		c.ints(m.Author[:])
	}
	c.exactly("\x66height")
	m.Height = c.head(majorUint)
	if optional("\x66public") {
		m.Public = new(Secret)
		c.ints(m.Public[:])
	}
	c.exactly("\x66shares")
	m.Shares = c.shares(onCurve)
	if optional("\x67ops_log") {
		m.OpsLog = c.link(CodecRaw)
	}
	c.exactly("\x67version")
	m.Format = c.text()
	c.exactly("\x68previous")
	if !c.null() {
		m.Previous = c.link(CodecDagCBOR)
	}
	if optional("\x69signature") {
		m.Signature = new(Signature)
		c.ints(m.Signature[:])
	}
	if c.bad || len(c.b) > 0 || entries != count || (m.Author != nil && !onCurve(m.Author)) {
		return nil, false
	}
	return m, true
}

// shares reads the map of shares, whose keys ascend.
func (c *canonical) shares(onCurve func(*PublicKey) bool) []Share {
	const least = 66 + 8 + 1 + 20 + 5 + 40 // bytes of a share
	n := c.head(majorMap)
	if n > uint64(len(c.b)/least) {
		c.bad = true
		return nil
	}
	shares := make([]Share, 0, n)
	for range n {
		var key PublicKey
		c.exactly("\x78\x40")
		text := c.take(64)
		if _, err := hex.Decode(key[:], text); err != nil || hex.EncodeToString(key[:]) != string(text) {
			c.bad = true
		}
		s := c.share()
		if c.bad || s.Identity != key || !onCurve(&s.Identity) ||
			(len(shares) > 0 && shares[len(shares)-1].Identity.Compare(key) >= 0) {
			c.bad = true
			return nil
		}
		shares = append(shares, s)
	}
	return shares
}

func (c *canonical) share() (s Share) {
	c.exactly("\xa2\x65share")
	if !c.null() {
		c.exactly("\x58\x48")
		s.Secret = new(SecretShare)
		copy(s.Secret[:], c.take(SecretShareSize))
	}
	c.exactly("\x69principal\xa2\x64role")
	switch {
	case c.has("\x65Owner"):
		s.Role = Owner
	case c.has("\x66Mirror"):
		s.Role = Mirror
	default:
		c.bad = true
	}
	c.exactly("\x68identity")
	c.ints(s.Identity[:])
	return s
}

// has takes a text off the front, and reports whether it was there.
func (c *canonical) has(text string) bool {
	if len(c.b) < len(text) || string(c.b[:len(text)]) != text {
		return false
	}
	c.b = c.b[len(text):]
	return true
}

func (c *canonical) exactly(text string) { c.bad = !c.has(text) || c.bad }

func (c *canonical) null() bool { return c.has("\xf6") }

// take takes n bytes off the front; if there are fewer, it takes none and sets bad.
func (c *canonical) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.bad = true
		n = 0
	}
	taken := c.b[:n]
	c.b = c.b[n:]
	return taken
}

// head reads a head of the major type in its shortest form.
func (c *canonical) head(want byte) uint64 {
	major, n, rest, ok := readHead(c.b)
	if !ok || major != want || len(c.b)-len(rest) != headSize(n) {
		c.bad = true
		return 0
	}
	c.b = rest
	return n
}

// headSize is how many bytes the shortest head with the argument n takes.
func headSize(n uint64) int {
	switch {
	case n < 24:
		return 1
	case n <= math.MaxUint8:
		return 2
	case n <= math.MaxUint16:
		return 3
	case n <= math.MaxUint32:
		return 5
	}
	return 9
}

func (c *canonical) text() string {
	t := c.take(c.head(majorText))
	c.bad = c.bad || !utf8.Valid(t)
	return string(t)
}

// ints fills dst, of 24 to 255 bytes, from an array of integers.
func (c *canonical) ints(dst []byte) {
	c.exactly(string([]byte{majorArray<<5 | 24, byte(len(dst))}))
	b := c.b
	for i := range dst {
		switch {
		case len(b) > 0 && b[0] < 24:
			dst[i], b = b[0], b[1:]
		case len(b) > 1 && b[0] == 24 && b[1] > 23:
			dst[i], b = b[1], b[2:]
		default:
			c.bad = true
			return
		}
	}
	c.b = b
}

// link reads a link of a codec.
func (c *canonical) link(codec Codec) Link {
	c.exactly(string([]byte{majorTag<<5 | 24, tagCID, majorBytes<<5 | 24, CIDSize + 1, 0, 1, byte(codec), 0x1e, 0x20}))
	h := c.take(32)
	if c.bad {
		return Link{}
	}
	return NewLink(codec, Hash(h))
}
