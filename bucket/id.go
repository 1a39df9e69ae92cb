package bucket

import (
	"fmt"

	"github.com/google/uuid"
)

// ID names a bucket: a UUID, compared and ordered as its 16 bytes in RFC 9562 order. The zero ID means none.
type ID [16]byte

// ParseID reads the one text form that Headwater writes and that subjects hold: 36 characters, lower case, with
// hyphens. Anything else is [ErrSyntax]: two spellings of one bucket would be two subjects.
func ParseID(s string) (ID, error) {
	u, err := uuid.Parse(s)
	if err != nil || u.String() != s {
		return ID{}, fmt.Errorf("bucket id %.64q: %w: want a lower-case UUID with hyphens", s, ErrSyntax)
	}
	return ID(u), nil
}

// NewID returns a fresh random ID (UUID version 4).
func NewID() ID { return ID(uuid.New()) }

// String returns the text form that [ParseID] reads.
func (id ID) String() string { return uuid.UUID(id).String() }

// IsZero reports whether id is the zero ID, which names no bucket.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText writes the form of [ID.String].
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what [ParseID] reads.
func (id *ID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseID(string(b))
	return err
}
