package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
	"headwater/logstore"
)

// Sentinels of the two ends of the socket.
var (
	// ErrNoHolder is returned by [Dial] if no process holds the directory.
	ErrNoHolder = errors.New("no process holds the directory")
	// ErrHung is what a [*HungError] is.
	ErrHung = errors.New("the process that holds the directory does not answer")
	// ErrLost: the holder ended during the call. A call that only reads, or waits, or puts a blob can be made again with the
	// next holder; whether a version was kept, only the log tells.
	ErrLost = errors.New("the process that holds the directory ended during the call")
)

// errProtocol is returned for what the other end should not have said.
var errProtocol = errors.New("the other end does not keep to the protocol")

// HungError is returned by [Dial] for a holder that takes the connection and does not answer.
type HungError struct {
	Dir     string
	Timeout time.Duration // how long was waited
	PID     int           // of the holder; 0 until somebody who can read it fills it in
	Since   time.Time     // since when it holds the directory
}

// Error says who does not answer, and what to do.
func (e *HungError) Error() string {
	who := "the process that holds " + e.Dir
	if e.PID != 0 {
		who = fmt.Sprintf("process %d, which holds %s since %s,", e.PID, e.Dir, e.Since.Local().Format(time.DateTime))
	}
	return fmt.Sprintf("%s has not answered within %v; it is stopped or stuck: continue or end it, then try again", who, e.Timeout)
}

// Is reports whether target is [ErrHung].
func (e *HungError) Is(target error) bool { return target == ErrHung }

// sentinels are the errors that stay themselves across the socket, by their names on the wire.
var sentinels = []struct {
	name string
	err  error
}{
	{"no_bucket", ErrNoBucket}, {"no_version", ErrNoVersion}, {"stale", ErrStale}, {"offline", ErrOffline},
	{"gone", ErrGone}, {"refused", ErrRefused}, {"lost", ErrLost},
	{"blob.not_found", blobstore.ErrNotFound}, {"blob.mismatch", blobstore.ErrMismatch},
	{"blob.too_large", blobstore.ErrTooLarge}, {"blob.corrupt", blobstore.ErrCorrupt},
	{"blob.locked", blobstore.ErrLocked}, {"blob.closed", blobstore.ErrClosed},
	{"log.not_found", logstore.ErrNotFound}, {"log.gap", logstore.ErrGap}, {"log.locked", logstore.ErrLocked},
	{"log.damaged", logstore.ErrDamaged}, {"log.schema", logstore.ErrSchema}, {"log.stale", logstore.ErrStale},
	{"log.disk_full", logstore.ErrDiskFull}, {"log.too_many", logstore.ErrTooMany}, {"log.closed", logstore.ErrClosed},
	{"object.not_found", consumer.ErrNotFound}, {"diverged", consumer.ErrDiverged}, {"not_shared", consumer.ErrNotShared},
	{"syntax", bucket.ErrSyntax},
	{"canceled", context.Canceled}, {"deadline", context.DeadlineExceeded},
	{"not_exist", fs.ErrNotExist}, {"exist", fs.ErrExist}, {"permission", fs.ErrPermission},
	{"unexpected_eof", io.ErrUnexpectedEOF},
}

// maxErrorText is the most bytes of an error's text.
const maxErrorText = 16 << 10

// wireError is an error on the wire.
type wireError struct {
	Text    string       `json:"text"`
	Is      []string     `json:"is,omitempty"` // names of sentinels
	Refusal *wireRefusal `json:"refusal,omitempty"`
}

// wireRefusal is a [bucket.Refusal] on the wire.
type wireRefusal struct {
	Class  bucket.Class `json:"class"`
	Link   bucket.Link  `json:"link,omitzero"`
	Reason string       `json:"reason"`
}

// toWire returns the parts of an error that cross the socket.
func toWire(err error) wireError {
	text := err.Error()
	w := wireError{Text: text[:min(len(text), maxErrorText)]}
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			w.Is = append(w.Is, s.name)
		}
	}
	if r, ok := errors.AsType[*bucket.Refusal](err); ok {
		w.Refusal = &wireRefusal{r.Class, r.Link, r.Reason[:min(len(r.Reason), maxErrorText)]}
	}
	return w
}

// remoteError is an error of the other end.
type remoteError struct {
	text  string
	holds []error
}

// Error returns the text that the error had there.
func (e *remoteError) Error() string { return e.text }

// Unwrap returns the sentinels and the refusal that the error held there.
func (e *remoteError) Unwrap() []error { return e.holds }

// err returns the error as it was, as far as this end knows its parts.
func (w wireError) err() error {
	e := &remoteError{text: w.Text}
	for _, name := range w.Is {
		for _, s := range sentinels {
			if s.name == name {
				e.holds = append(e.holds, s.err)
			}
		}
	}
	if r := w.Refusal; r != nil {
		e.holds = append(e.holds, &bucket.Refusal{Class: r.Class, Link: r.Link, Reason: r.Reason})
	}
	return e
}
