package author

import "errors"

// Sentinels, returned wrapped with what failed and what to do.
var (
	// ErrNoBucket: nothing that is announced for the bucket can be verified, and nothing was before.
	ErrNoBucket = errors.New("no such bucket")
	// ErrNoVersion: the chain has no such version.
	ErrNoVersion = errors.New("no such version")
	// ErrDiverged: the chain begins with another genesis than the one that is trusted.
	ErrDiverged = errors.New("the chain begins with another genesis")
	// ErrNotShared: our key is not among the shares of the version.
	ErrNotShared = errors.New("not shared with us")
	// ErrNotPublished: we are a mirror of the bucket, and the version is not published.
	ErrNotPublished = errors.New("not published")
	// ErrNotOwner: only an owner of a version may write the next one.
	ErrNotOwner = errors.New("not an owner")
	// ErrNoOwner: the version would have no owner left.
	ErrNoOwner = errors.New("no owner would be left")
	// ErrNoShare: a key that is to lose its share has none.
	ErrNoShare = errors.New("the bucket is not shared with that key")
	// ErrStale: the version is no longer the newest one that this author knows, so the next one cannot follow on it.
	ErrStale = errors.New("no longer the newest version")
	// ErrNotFork: what is to be recorded as merged is no fork that Heads has found.
	ErrNotFork = errors.New("no fork that is known")
	// ErrNotAnnounced: the version is made and kept, but nobody was told. The next Heads tells it.
	ErrNotAnnounced = errors.New("not announced yet")
	// ErrState: the file that holds what was verified before cannot be read.
	ErrState = errors.New("the state of the bucket is damaged")
)
