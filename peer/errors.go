package peer

import (
	"errors"

	"headwater/peer/local"
)

// Sentinels, returned wrapped with what failed and what to do.
var (
	// ErrNoBucket: neither the log nor what is announced has a version of the bucket that verifies.
	ErrNoBucket = local.ErrNoBucket
	// ErrNoVersion: the chain has no such version.
	ErrNoVersion = local.ErrNoVersion
	// ErrStale: another version became the newest one while ours was made, again and again.
	ErrStale = local.ErrStale
	// ErrOffline: the broker does not answer, and what was asked for needs it.
	ErrOffline = local.ErrOffline

	// ErrNoIdentity: the directory has no identity. Make one with [MakeIdentity], or import one.
	ErrNoIdentity = errors.New("no identity")
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
	// ErrUsage: what was asked for makes no sense, whatever the bucket holds.
	ErrUsage = errors.New("wrong use")
	// ErrFormat: the directory was written by a newer program, whose files this one does not know.
	ErrFormat = errors.New("the directory has a newer format")
	// ErrOtherBroker: the process that holds the directory works with another broker than the one that was asked for.
	ErrOtherBroker = errors.New("the directory's peer works with another broker")
	// ErrRunning: a peer runs on the directory already.
	ErrRunning = errors.New("a peer runs on the directory already")
)
