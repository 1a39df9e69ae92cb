package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"headwater/author"
	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
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

// errNotFound is what commands wrap where a bucket, a link or a peer does not exist.
var errNotFound = errors.New("not found")

// usageError is a mistake in how a command was called.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitCode is the one place where an error becomes an exit code.
func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &usage), errors.Is(err, bucket.ErrSyntax):
		return exitUsage
	case errors.Is(err, worktree.ErrRecord), errors.Is(err, author.ErrState):
		return exitFailed // a file of ours, whatever is wrong with it
	case bucket.ClassOf(err) != "", errors.Is(err, author.ErrNotShared), errors.Is(err, author.ErrNotPublished),
		errors.Is(err, author.ErrNotOwner), errors.Is(err, author.ErrDiverged), errors.Is(err, tree.ErrUnreadable), errors.Is(err, tree.ErrName):
		return exitRefused
	case errors.Is(err, jetstream.ErrUnreachable), errors.Is(err, jetstream.ErrNoPeer), errors.Is(err, jetstream.ErrTimeout):
		return exitUnreachable
	case errors.Is(err, errNotFound), errors.Is(err, author.ErrNoBucket), errors.Is(err, author.ErrNoVersion), errors.Is(err, author.ErrNoShare),
		errors.Is(err, fs.ErrNotExist), errors.Is(err, blobstore.ErrNotFound),
		errors.Is(err, jetstream.ErrNotFound), errors.Is(err, consumer.ErrNotFound), isNotFoundAnswer(err):
		return exitNotFound
	}
	return exitFailed
}

// isNotFoundAnswer says whether a peer answered that it does not have what it was asked for.
func isNotFoundAnswer(err error) bool {
	answer, ok := errors.AsType[*jetstream.ServiceError](err)
	return ok && answer.Code == answerNotFound
}

// report writes what failed for a person, or as one object with --json, and returns the exit code.
func report(w io.Writer, asJSON bool, err error) int {
	code := exitCode(err)
	if err == nil {
		return code
	}
	if !asJSON {
		fmt.Fprintf(w, "headwater: %v\n", err)
		return code
	}
	_ = writeJSON(w, struct {
		Error string       `json:"error"`
		Class bucket.Class `json:"class,omitempty"`
		Exit  int          `json:"exit"`
	}{err.Error(), bucket.ClassOf(err), code})
	return code
}
