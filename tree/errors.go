package tree

import (
	"errors"

	"headwater/bucket"
)

var (
	// ErrUnreadable marks what a key does not open: it was made for another secret or recipient, or its bytes were
	// altered; which of these cannot be told. Returned by [Open] and [Unwrap], wrapped with the check that failed,
	// never with a secret or a part of the plain bytes.
	ErrUnreadable = errors.New("cannot be decrypted")

	// ErrName marks a name that must not become the name of a real file: returned by [CheckName], wrapped with the name
	// and the reason, and by what checks whole paths and trees.
	ErrName = errors.New("unsafe name")
)

// refuse makes a refusal that does not know the link of what it refuses; the caller who does adds it.
func refuse(c bucket.Class, format string, args ...any) error {
	return bucket.Refuse(c, bucket.Link{}, format, args...)
}
