package bucket

import (
	"errors"
	"fmt"
)

// ErrSyntax marks text that is not of the expected form: returned by the Parse functions, wrapped with what was read.
var ErrSyntax = errors.New("wrong form")

// Class says why bytes can never become a version of a bucket. The list is closed: it stands in dead letters, in events
// and in exit codes, so a value is never renamed.
type Class string

// The classes of refusal.
const (
	Malformed         Class = "malformed"
	NonCanonical      Class = "non_canonical"
	HashMismatch      Class = "hash_mismatch"
	WrongBucket       Class = "wrong_bucket"
	WrongCodec        Class = "wrong_codec"
	HeightGap         Class = "height_gap"
	BadSignature      Class = "bad_signature"
	Unsigned          Class = "unsigned"
	SmallOrderKey     Class = "small_order_key"
	AuthorNotInShares Class = "author_not_in_shares"
	AuthorNotOwner    Class = "author_not_owner"
	ShareKeyMismatch  Class = "share_key_mismatch"
	TooLarge          Class = "too_large"
	TooLong           Class = "too_long"
)

// Refusal is the error of every rule of this package: the bytes break a rule, and no later state of the world can mend
// that.
type Refusal struct {
	Class  Class
	Link   Link   // the version refused, zero if it is not known yet
	Reason string // one sentence without a full stop, without key material
}

// Error returns the reason, with the link in front if it is known.
func (r *Refusal) Error() string {
	if r.Link.IsZero() {
		return fmt.Sprintf("%s: %s", r.Class, r.Reason)
	}
	return fmt.Sprintf("version %s: %s: %s", r.Link, r.Class, r.Reason)
}

// ClassOf returns the class of the first [*Refusal] in err's chain, or the empty Class.
func ClassOf(err error) Class {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.Class
	}
	return ""
}

// refuse makes a Refusal that does not know its link yet.
func refuse(c Class, format string, args ...any) error {
	return &Refusal{Class: c, Reason: fmt.Sprintf(format, args...)}
}

// Refuse makes a [*Refusal] of class c for the version at link: for packages that find a broken rule in the course of
// I/O, such as by a size that a store tells.
func Refuse(c Class, link Link, format string, args ...any) error {
	return &Refusal{Class: c, Link: link, Reason: fmt.Sprintf(format, args...)}
}
