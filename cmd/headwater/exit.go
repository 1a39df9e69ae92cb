package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/logstore"
	"headwater/peer"
	"headwater/peer/local"
	"headwater/tree"
	"headwater/worktree"
)

// Exit codes. Help lists them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitRefused     = 4
	exitUnreachable = 5
	exitInterrupted = 130
)

const exitHelp = `Exit codes: 0 done; 1 failed; 2 wrong use; 3 no such bucket, link or peer;
4 verification failed; 5 broker or peer not reachable; 130 interrupted.`

// errNotFound is what commands wrap if a bucket, a link or a peer does not exist.
var errNotFound = errors.New("not found")

// usageError is a mistake in how a command was called.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Errors by the exit code that they lead to.
var (
	refusals = []error{
		peer.ErrNotShared, peer.ErrNotPublished, peer.ErrNotOwner, consumer.ErrDiverged, consumer.ErrNotShared, tree.ErrUnreadable, tree.ErrName,
	}
	unreachables = []error{
		peer.ErrOffline, local.ErrHung, jetstream.ErrUnreachable, jetstream.ErrNoPeer, jetstream.ErrTimeout,
	}
	absences = []error{
		errNotFound, peer.ErrNoIdentity, peer.ErrNoBucket, peer.ErrNoVersion, peer.ErrNoShare, fs.ErrNotExist, blobstore.ErrNotFound,
		logstore.ErrNotFound, jetstream.ErrNotFound, consumer.ErrNotFound,
	}
)

// exitCode is the one place where an error becomes an exit code.
func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &usage), errors.Is(err, bucket.ErrSyntax), errors.Is(err, peer.ErrUsage), errors.Is(err, peer.ErrOtherBroker),
		errors.Is(err, worktree.ErrPrivate):
		return exitUsage
	case errors.Is(err, worktree.ErrRecord):
		return exitFailed // a file of ours, whatever is wrong with it
	case isAny(err, refusals...), bucket.ClassOf(err) != "":
		return exitRefused
	case isAny(err, unreachables...):
		return exitUnreachable
	case isAny(err, absences...):
		return exitNotFound
	}
	return exitFailed
}

func isAny(err error, sentinels ...error) bool {
	return slices.ContainsFunc(sentinels, func(s error) bool { return errors.Is(err, s) })
}

// report writes what failed for a person, or as one object with --json, and returns the exit code.
func report(w io.Writer, asJSON bool, err error) int {
	code := exitCode(err)
	if err == nil {
		return code
	}
	text := strings.ReplaceAll(err.Error(), context.Canceled.Error(), "interrupted")
	if code == exitInterrupted && !strings.Contains(text, "interrupted") { // the cause may be worded differently
		text = "interrupted: " + text
	}
	if !asJSON {
		fmt.Fprintf(w, "headwater: %s\n", text)
		return code
	}
	_ = writeJSON(w, struct {
		Error string       `json:"error"`
		Class bucket.Class `json:"class,omitempty"`
		Exit  int          `json:"exit"`
	}{text, bucket.ClassOf(err), code})
	return code
}
