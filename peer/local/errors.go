package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
	"headwater/logstore"
)

// sentinels are the errors that are the same on both sides of the socket, by the names under which they cross it.
var sentinels = map[string]error{
	"no_bucket": ErrNoBucket, "no_version": ErrNoVersion, "stale": ErrStale, "offline": ErrOffline, "gone": ErrGone, "refused": ErrRefused,
	"blob_not_found": blobstore.ErrNotFound, "blob_mismatch": blobstore.ErrMismatch, "blob_too_large": blobstore.ErrTooLarge,
	"blob_corrupt": blobstore.ErrCorrupt, "log_not_found": logstore.ErrNotFound, "log_disk_full": logstore.ErrDiskFull,
	"log_damaged": logstore.ErrDamaged, "object_not_found": consumer.ErrNotFound, "diverged": consumer.ErrDiverged,
	"not_shared": consumer.ErrNotShared, "canceled": context.Canceled, "deadline": context.DeadlineExceeded, "not_exist": fs.ErrNotExist,
}

// wireError is an error as it crosses the socket.
type wireError struct {
	Text    string   `json:"text"`
	Is      []string `json:"is,omitempty"`
	Refusal *refusal `json:"refusal,omitempty"`
}

type refusal struct {
	Class  bucket.Class `json:"class"`
	Link   bucket.Link  `json:"link,omitzero"`
	Reason string       `json:"reason"`
}

func encodeError(err error) wireError {
	w := wireError{Text: err.Error()}
	for name, s := range sentinels {
		if errors.Is(err, s) {
			w.Is = append(w.Is, name)
		}
	}
	if r, ok := errors.AsType[*bucket.Refusal](err); ok {
		w.Refusal = &refusal{r.Class, r.Link, r.Reason}
	}
	return w
}

// remoteError is an error of the holder: its text, and whatever it is.
type remoteError struct {
	text string
	is   []error
}

func (e *remoteError) Error() string   { return e.text }
func (e *remoteError) Unwrap() []error { return e.is }

// decodeError makes an error of the content of an error frame.
func decodeError(content []byte) error {
	var w wireError
	if err := json.Unmarshal(content, &w); err != nil {
		return fmt.Errorf("%w: an error that cannot be read: %w", errFrame, err)
	}
	e := &remoteError{text: w.Text}
	for _, name := range w.Is {
		if s := sentinels[name]; s != nil {
			e.is = append(e.is, s)
		}
	}
	if r := w.Refusal; r != nil {
		e.is = append(e.is, &bucket.Refusal{Class: r.Class, Link: r.Link, Reason: r.Reason})
	}
	return e
}
