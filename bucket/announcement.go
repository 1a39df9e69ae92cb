package bucket

import (
	"fmt"
	"strings"
)

// MaxMessageSize is the most bytes that an announcement or a pin job may have.
const MaxMessageSize = 64 << 10

// MaxStores is the most object stores that a message may name.
const MaxStores = 16

// MaxStoreNameSize is the most bytes of a store's name, its domain included.
const MaxStoreNameSize = 128

// MaxHeads is the most heads that an announcement names beside its own.
const MaxHeads = 16

// Announcement says that a peer has a head. It is a hint, never a proof. If a subject names bucket and peer, the subject
// decides, and what the body says of them must agree.
type Announcement struct {
	Link   Link
	Height *uint64   // nil if it is not told
	Bucket ID        // zero if it is not told
	Peer   PublicKey // zero if it is not told
	Stores []string  // object stores to ask first, each "name" or "domain/name"
	Heads  []Link    // unmerged heads that the peer has beside Link, at most MaxHeads; each is looked at as if it were announced
	Hints  Hints     // what makes catching up fast; zero for none

	// Attempt is not sent: it makes the message's id another one, so that an announcement which repairs what the bus has lost is
	// not dropped as a repetition.
	Attempt uint32
}

// MessageID identifies what a announces, so that the broker can drop a repetition. It derives from peer, bucket, link, the
// other heads in any order, and the attempt.
func (a Announcement) MessageID() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s.%s.%s", a.Peer, a.Bucket, a.Link)
	if len(a.Heads) > 0 {
		var all Pins // sorted, each once
		for _, l := range a.Heads {
			all = append(all, l.Hash())
		}
		fmt.Fprintf(&b, ".%.16s", Sum(all.Encode()))
	}
	if a.Attempt > 0 {
		fmt.Fprintf(&b, ".%d", a.Attempt)
	}
	return b.String()
}
