package consumer

import (
	"context"
	"errors"
	"time"

	"headwater/bucket"
	"headwater/chain"
)

// Sentinels that the ports return.
var (
	// ErrNotFound: the store answered, and has no such object, as far as it can tell. It may appear later.
	ErrNotFound = chain.ErrNotFound
	// ErrClosed: the source will deliver nothing any more.
	ErrClosed = errors.New("source is closed")
)

// Kind is which of the two loops a message belongs to. Its text is the token in dead letter subjects.
type Kind string

// The kinds of messages.
const (
	KindHeads Kind = "heads" // announcements
	KindPins  Kind = "pins"  // pin jobs
)

// Message is one delivery as the broker tells it: nothing in it is proven.
type Message struct {
	Kind       Kind
	Subject    string
	Bucket     bucket.ID           // from the subject; zero if the subject's token is no lower-case UUID
	Peer       bucket.PublicKey    // from the subject: announcer, or the peer that is asked to download; zero if it is no key
	Header     map[string][]string // as sent
	Body       []byte              // owned by the receiver
	Sequence   uint64              // in its stream
	Deliveries uint64              // 1 for the first
}

// Source yields deliveries one at a time. It holds no more undelivered messages than the concurrency it was made for, so a
// stop leaves next to nothing waiting for a lease to run out. Recreating a durable that was deleted, leader changes and
// reconnects happen inside; Next just takes longer.
type Source interface {
	// Next waits for a delivery. It returns ctx's error when ctx ends, and ErrClosed once the source is closed. Not safe for
	// concurrent use.
	Next(ctx context.Context) (Delivery, error)
}

// Delivery is a message together with its lease. Exactly one of Ack, Retry and Terminate settles it; a second one does
// nothing. All are safe for concurrent use.
type Delivery interface {
	Message() Message
	// Ack says that the message is done, and waits for the broker to confirm, as long as ctx allows.
	Ack(ctx context.Context) error
	// Retry gives the message back, to be delivered again after the delay (0: at once).
	Retry(ctx context.Context, delay time.Duration) error
	// Terminate says that the message must not be delivered again.
	Terminate(ctx context.Context, reason string) error
	// Extend starts the lease anew. It must be called at least every [Config.LeaseInterval] while work goes on.
	Extend(ctx context.Context) error
}

// Objects reads object stores by name: see [chain.Objects].
type Objects = chain.Objects

// Jobs publishes pin jobs. Safe for concurrent use.
type Jobs interface {
	// PublishJob publishes a job for this peer and returns once the broker has stored it, or has found that it did so before
	// under the same id (duplicate): that message may be done, or lost, by now. The id derives from bucket, link and attempt.
	// An older message in the broker's queue is no error.
	PublishJob(ctx context.Context, job bucket.PinJob, attempt uint32) (duplicate bool, err error)
	// QueuedJobs counts the jobs for this peer that the broker holds, in work or waiting, by bucket.
	QueuedJobs(ctx context.Context) (map[bucket.ID]uint64, error)
}

// DeadLetters sets messages aside. Safe for concurrent use.
type DeadLetters interface {
	// Bury stores the message with its reason and class and returns once the broker has it. Burying the same delivery twice
	// leaves one dead letter within the broker's duplicate window.
	Bury(ctx context.Context, m Message, class, reason string) error
}

// Events tells others what happened, without waiting and without any promise. Safe for concurrent use.
type Events interface {
	Emit(e Event)
}

// Event is one thing that happened to a bucket. Which fields are set depends on the kind; docs/PROTOCOL.md lists them.
type Event struct {
	At       time.Time        `json:"at"`
	Kind     EventKind        `json:"kind"`
	BucketID bucket.ID        `json:"bucket_id"`
	PeerID   bucket.PublicKey `json:"peer_id"` // who tells the event
	Link     bucket.Link      `json:"link,omitzero"`
	Height   uint64           `json:"height"`

	Subject  string             `json:"subject,omitempty"`  // of the message that led here
	Class    string             `json:"class,omitempty"`    // outcome class
	Reason   string             `json:"reason,omitempty"`   // one sentence
	Versions uint64             `json:"versions,omitempty"` // appended by this sync
	Pins     uint64             `json:"pins,omitempty"`     // of the completed version
	Bytes    uint64             `json:"bytes,omitempty"`    // of those pins
	Attempt  int                `json:"attempt,omitempty"`  // failures so far
	RetryIn  string             `json:"retry_in,omitempty"` // a Go duration
	Ancestor bucket.Link        `json:"ancestor,omitzero"`  // where a fork leaves
	Heads    []bucket.Link      `json:"heads,omitempty"`    // of a fork: ours before, then theirs
	Authors  []bucket.PublicKey `json:"authors,omitempty"`  // of the versions in which the branches differ first: ours, theirs
	Progress *Progress          `json:"progress,omitempty"` // of a catch-up
}

// EventKind is a kind of event and the last token of its subject.
type EventKind string

// The kinds of events.
const (
	EventApplied   EventKind = "applied"
	EventComplete  EventKind = "complete"
	EventDuplicate EventKind = "duplicate"
	EventForked    EventKind = "forked"
	EventDiverged  EventKind = "diverged"
	EventRejected  EventKind = "rejected"
	EventRetrying  EventKind = "retrying"
	EventDead      EventKind = "dead"
	EventProgress  EventKind = "progress"  // once a second, of a catch-up that takes longer than that
	EventAnnounced EventKind = "announced" // this peer told the bus of a head; the object stores have all that it needs
)
