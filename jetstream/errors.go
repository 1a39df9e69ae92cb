package jetstream

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Sentinels of this package, wrapped with the operation and its subject.
var (
	// ErrUnreachable: no server answers at the URLs given, or the connection is down at this moment. Retrying may help.
	ErrUnreachable = errors.New("NATS server not reachable")
	// ErrTimeout: the server is connected, but did not answer a request in time. Retrying may help.
	ErrTimeout = errors.New("no answer in time")
	// ErrNotPermitted: the server refuses the credentials, or does not let them publish or subscribe to a subject.
	ErrNotPermitted = errors.New("not permitted")
	// ErrNotFound: the server answered, and has no such stream, durable, object store or letter.
	ErrNotFound = errors.New("not found on the server")
	// ErrPayload: a message is larger than the server, or the protocol, allows, or cannot be sent as it is.
	ErrPayload = errors.New("payload not allowed")
	// ErrMissing: assets are missing and the client may not make them. The text lists them with the commands that do.
	ErrMissing = errors.New("missing on the server")
	// ErrNoPeer: nobody answers the question: the peer is not running, or runs on another account.
	ErrNoPeer = errors.New("peer is not running")
	// ErrSuperseded: a newer announcement stands where a dead letter would be replayed.
	ErrSuperseded = errors.New("a newer announcement stands on the subject")
)

// errNoResponders: nobody listens on the subject of a request at this moment. What that means depends on the subject.
var errNoResponders = errors.New("nobody answers")

// Error codes of the JetStream API that decide what is done next.
const (
	codeNoSuitablePeers   = 10005
	codeClusterNotAvail   = 10008
	codeConsumerNameInUse = 10013
	codeConsumerNotFound  = 10014
	codeInvalidJSON       = 10025 // to a strict server also: a setting that it does not know
	codeMessageNotFound   = 10037
	codeSequenceNotFound  = 10043
	codeDeleteFailed      = 10057
	codeStreamNameInUse   = 10058
	codeStreamNotFound    = 10059
	codeWrongLastSequence = 10071
	codeConsumerExists    = 10148
	codeSequenceInFlight  = 10164 // as codeWrongLastSequence, because of a message that is not stored yet
)

// apiError is an error that the JetStream API answered. It is [ErrNotFound] if its code says that something is not
// there.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string {
	return fmt.Sprintf("%s (JetStream error %d)", clip(e.Description, 300), e.ErrCode)
}

// Is lets errors.Is find [ErrNotFound] in the codes that mean it.
func (e *apiError) Is(target error) bool {
	return target == ErrNotFound && hasCode(e, codeConsumerNotFound, codeMessageNotFound, codeStreamNotFound)
}

// sequenceTaken reports whether err is a stream's refusal of a message because another one was faster.
func sequenceTaken(err error) bool { return hasCode(err, codeWrongLastSequence, codeSequenceInFlight) }

// hasCode reports whether err is an API error with one of the codes.
func hasCode(err error, codes ...int) bool {
	api, ok := errors.AsType[*apiError](err)
	return ok && slices.Contains(codes, api.ErrCode)
}

// clip cuts s, made printable on one line, to n bytes.
func clip(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return ' '
		}
		return r
	}, s)
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
