package bucket

import "fmt"

// MaxMessageSize is the most octets that an announcement or a pin job may have.
const MaxMessageSize = 64 << 10

// MaxStores is the most object stores that a message may name.
const MaxStores = 16

// MaxStoreNameSize is the most octets of a store's name, its domain included.
const MaxStoreNameSize = 128

// Announcement says that a peer has a head. It is a hint, never a proof. Where a subject names bucket and peer, the subject
// decides, and what the body says of them must agree.
type Announcement struct {
	Link   Link
	Height *uint64   // nil where it is not told
	Bucket ID        // zero where it is not told
	Peer   PublicKey // zero where it is not told
	Stores []string  // object stores to ask first, each "name" or "domain/name"
	Hints  Hints     // what makes catching up fast; zero for none
}

// MessageID identifies what a announces, so that the broker can drop a repetition. It derives from peer, bucket and link
// alone.
func (a Announcement) MessageID() string {
	return fmt.Sprintf("%s.%s.%s", a.Peer, a.Bucket, a.Link)
}
