package bucket

import (
	"fmt"
	"slices"
)

// Limits on what a decoder takes. They are part of the protocol: a version beyond them is refused everywhere.
const (
	// MaxManifestSize is the most bytes of an encoded manifest: 1 MiB.
	MaxManifestSize = 1 << 20
	// MaxChainLength is the most versions that one catch-up takes.
	MaxChainLength = 1_000_000
)

// Role is what the holder of a share may do.
type Role byte

const (
	// Owner reads and writes.
	Owner Role = 1 + iota
	// Mirror holds every version, and reads those that are published.
	Mirror
)

// String returns the role's name on the wire: Owner or Mirror.
func (r Role) String() string {
	switch r {
	case Owner:
		return "Owner"
	case Mirror:
		return "Mirror"
	}
	return fmt.Sprintf("Role(%d)", byte(r))
}

// ParseRole reads what [Role.String] writes; anything else is [ErrSyntax].
func ParseRole(s string) (Role, error) {
	switch s {
	case "Owner":
		return Owner, nil
	case "Mirror":
		return Mirror, nil
	}
	return 0, fmt.Errorf("role %.32q: %w: want Owner or Mirror", s, ErrSyntax)
}

// Share lets one peer hold a bucket.
type Share struct {
	Identity PublicKey
	Role     Role
	Secret   *SecretShare // the version's secret, wrapped for the identity; nil for mirrors
}

// Manifest is one version of a bucket. Fields that a version may lack are nil, or the zero Link.
type Manifest struct {
	Bucket    ID
	Name      string
	Height    uint64
	Previous  Link    // of the predecessor; zero for genesis only
	Entry     Link    // of the encrypted root node
	Pins      Link    // of the pins list
	OpsLog    Link    // of this version's encrypted operation log; zero for none
	Public    *Secret // the version's secret in clear: the version is published
	Shares    []Share // ascending by identity, each identity once
	Format    string  // "version" on the wire; the original always writes the empty string
	Author    *PublicKey
	Signature *Signature
}

// Published reports whether everybody who holds this version can read it.
func (m *Manifest) Published() bool { return m.Public != nil }

// Signed reports whether author and signature are both there; one without the other counts as unsigned.
func (m *Manifest) Signed() bool { return m.Author != nil && m.Signature != nil }

// Share returns the share of a peer.
func (m *Manifest) Share(k PublicKey) (Share, bool) {
	i, ok := slices.BinarySearchFunc(m.Shares, k, func(s Share, k PublicKey) int { return s.Identity.Compare(k) })
	if !ok {
		return Share{}, false
	}
	return m.Shares[i], true
}

// head returns the manifest at link as the head rule sees it.
func (m *Manifest) head(link Link) Head { return Head{Link: link, Height: m.Height} }

// Sign makes author the manifest's author, signs it, and returns its encoding. Shares are sorted in place.
func (m *Manifest) Sign(author Identity) ([]byte, error) {
	k := author.PublicKey()
	m.Author, m.Signature = &k, nil
	message, err := m.Encode()
	if err != nil {
		return nil, fmt.Errorf("sign version of bucket %s: %w", m.Bucket, err)
	}
	sig := author.Sign(message)
	m.Signature = &sig
	return m.Encode()
}
