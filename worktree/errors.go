package worktree

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrChanged marks a file or directory that somebody else was changing meanwhile, each time it was tried. Wrapped with the
	// path. Trying again later helps; a file that never rests belongs in .headwaterignore.
	ErrChanged = errors.New("changed while it was worked on")

	// ErrBusy is returned while a checkout is at work in the directory, and by Checkout also during a scan.
	ErrBusy = errors.New("another headwater is at work in this directory")

	// ErrOtherBucket is returned by [Checkout] for a directory whose record is of another bucket.
	ErrOtherBucket = errors.New("directory belongs to another bucket")

	// ErrPrivate is returned for a directory that is a peer's own, or is in one: a private key is no part of a tree, and a
	// checkout would write over the peer. Choose another directory.
	ErrPrivate = errors.New("a peer's own directory")

	// ErrRecord marks a record that cannot be read: damaged, of a newer version, or of another directory. It arrives wrapped with
	// the file's name and the way out.
	ErrRecord = errors.New("record of the directory cannot be read")
)

// ConflictError says which files stand in the way of a checkout: they are not what the bucket says, and not known to be in
// one of its versions, so overwriting them would lose them.
type ConflictError struct {
	Paths []string // ascending
	// Late says that the files appeared or changed while the checkout was already at work: all else was done. If it is false
	// nothing was done.
	Late bool
}

// Error names the first few paths and the ways out.
func (e *ConflictError) Error() string {
	const most = 10
	shown := e.Paths[:min(len(e.Paths), most)]
	more := ""
	if n := len(e.Paths) - len(shown); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	when := "nothing was written"
	if e.Late {
		when = "they changed meanwhile, all else was done"
	}
	return fmt.Sprintf("%d files differ and are in no version of the bucket (%s): %s%s; commit them, move them away, "+
		"or check out with --force", len(e.Paths), when, strings.Join(quoted(shown), ", "), more)
}

func quoted(paths []string) []string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = fmt.Sprintf("%.200q", p)
	}
	return out
}

// Skip is a path that is in one of the two places only, and why.
type Skip struct {
	Path   string
	Reason string // half a sentence
}
