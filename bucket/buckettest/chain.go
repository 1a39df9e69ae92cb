// Package buckettest makes buckets for tests: signed chains with forks, and the chains of the vectors. Only tests import it.
package buckettest

import (
	"fmt"
	"slices"
	"testing"

	"headwater/bucket"
)

// Identity returns the identity whose seed is n, then zeros.
func Identity(tb testing.TB, n byte) bucket.Identity {
	tb.Helper()
	seed := make([]byte, bucket.SeedSize)
	seed[0] = n
	id, err := bucket.NewIdentity(seed)
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

// Chain is a bucket's versions, oldest first. Forks are made by Fork.
type Chain struct {
	ID       bucket.ID
	Owner    bucket.Identity
	Versions []*bucket.Version
	shares   []bucket.Share
	nonce    uint64 // makes versions of equal height differ
	dropped  uint64 // versions before those in Versions
}

// New returns a chain without versions, owned by owner and shared with mirrors.
func New(tb testing.TB, owner bucket.Identity, mirrors ...bucket.PublicKey) *Chain {
	tb.Helper()
	c := &Chain{ID: bucket.NewID(), Owner: owner}
	c.shares = []bucket.Share{{Identity: owner.PublicKey(), Role: bucket.Owner, Secret: new(bucket.SecretShare)}}
	for _, m := range mirrors {
		c.shares = append(c.shares, bucket.Share{Identity: m, Role: bucket.Mirror})
	}
	return c
}

// Grow adds n versions, each without pins, and returns c.
func (c *Chain) Grow(tb testing.TB, n int) *Chain {
	tb.Helper()
	for range n {
		c.Add(tb, nil)
	}
	return c
}

// Drop keeps the newest version alone, so that a chain may be longer than memory holds. It cannot be forked below that.
func (c *Chain) Drop() {
	older := len(c.Versions) - 1
	c.dropped += uint64(older)
	c.Versions = slices.Clone(c.Versions[older:])
}

// Add adds one version signed by the owner; edit may change the manifest before it is signed.
func (c *Chain) Add(tb testing.TB, edit func(*bucket.Manifest)) *bucket.Version {
	tb.Helper()
	m := c.next()
	if edit != nil {
		edit(m)
	}
	return c.add(Sign(tb, c.Owner, m))
}

// AddUnsigned adds one version that nobody signed, as the original made them in its first months.
func (c *Chain) AddUnsigned(tb testing.TB) *bucket.Version {
	tb.Helper()
	b, err := c.next().Encode()
	if err != nil {
		tb.Fatal(err)
	}
	v, err := bucket.Open(bucket.ManifestLink(b), b)
	if err != nil {
		tb.Fatal(err)
	}
	return c.add(v)
}

// next makes the manifest of the next version.
func (c *Chain) next() *bucket.Manifest {
	c.nonce++
	m := &bucket.Manifest{
		Bucket: c.ID, Name: "test", Height: c.dropped + uint64(len(c.Versions)), Pins: bucket.RawLink(nil),
		Entry:  bucket.RawLink(fmt.Appendf(nil, "%p %d", c, c.nonce)),
		Shares: append([]bucket.Share(nil), c.shares...),
	}
	if n := len(c.Versions); n > 0 {
		m.Previous = c.Versions[n-1].Link
	}
	return m
}

func (c *Chain) add(v *bucket.Version) *bucket.Version {
	c.Versions = append(c.Versions, v)
	return v
}

// Sign signs a manifest and opens it as a version.
func Sign(tb testing.TB, author bucket.Identity, m *bucket.Manifest) *bucket.Version {
	tb.Helper()
	b, err := m.Sign(author)
	if err != nil {
		tb.Fatal(err)
	}
	v, err := bucket.Open(bucket.ManifestLink(b), b)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// WithPins returns an edit for Add, by which the version needs the blobs of those hashes, and the encoded pins list, a blob
// to be put.
func WithPins(pins bucket.Pins) (edit func(*bucket.Manifest), list []byte) {
	list = pins.Encode()
	return func(m *bucket.Manifest) { m.Pins = bucket.RawLink(list) }, list
}

// Fork returns a chain that shares the versions up to and including height with c, and goes its own way from there.
func (c *Chain) Fork(height int) *Chain {
	f := *c
	f.Versions = append([]*bucket.Version(nil), c.Versions[:height+1-int(c.dropped)]...)
	f.nonce += 1 << 32
	return &f
}

// Restart returns a chain of the same bucket that begins with another genesis.
func (c *Chain) Restart(tb testing.TB) *Chain {
	tb.Helper()
	f := *c
	f.Versions, f.dropped = nil, 0
	f.nonce += 1 << 40
	return f.Grow(tb, 1)
}

// Head returns the newest version.
func (c *Chain) Head() *bucket.Version { return c.Versions[len(c.Versions)-1] }
