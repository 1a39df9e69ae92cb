package tree

import (
	"crypto/rand"

	"headwater/bucket"
)

// NewSecret returns a secret from the system's random source. Each file, each node and each version is sealed with one of
// its own.
func NewSecret() (s bucket.Secret) {
	rand.Read(s[:]) // never fails
	return s
}
