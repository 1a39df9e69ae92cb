package logstore

import (
	"context"
	"errors"
	"iter"
	"time"

	"headwater/bucket"
)

// Sentinels of the package. They are wrapped with the operation and its subject.
var (
	// ErrNotFound: no such bucket, version or job in this log.
	ErrNotFound = errors.New("not in the log")
	// ErrGap: an appended version's predecessor is neither in the log nor just before it in the stretch, or the heights do
	// not follow, or a genesis is appended to a bucket that has another one. Nothing was written.
	ErrGap = errors.New("does not continue the log")
	// ErrLocked: another process holds the directory. The message names the directory and, if known, the process.
	ErrLocked = errors.New("log is held by another process")
	// ErrDamaged: the log cannot be opened or read as it was written. Set it aside and rebuild it from the manifests.
	ErrDamaged = errors.New("log is damaged")
	// ErrSchema: the log was written by a newer Headwater, whose rows this one does not know.
	ErrSchema = errors.New("log has a schema this version does not know")
	// ErrStale: a version made here does not follow on the known head any more: another one was appended meanwhile. Nothing was
	// written; make it again on the new head.
	ErrStale = errors.New("no longer the newest version")
	// ErrDiskFull: too little room is left to write safely. Nothing was written.
	ErrDiskFull = errors.New("too little disk space for the log")
	// ErrTooMany: the log already holds [MaxStrangers] conditions of buckets that it has no version of.
	ErrTooMany = errors.New("too many conditions of unknown buckets")
	// ErrClosed: the log was closed.
	ErrClosed = errors.New("log is closed")
)

// MaxNameSize is the most bytes of a version's name that an entry keeps; longer names are cut at a rune boundary. The whole
// name stands in the manifest.
const MaxNameSize = 256

// MaxStrangers is the most buckets without any version that may have a [Condition], so that announcements of strangers
// cannot fill the disk.
const MaxStrangers = 10_000

// Entry is one verified version in the log. The manifest itself is a blob.
type Entry struct {
	Bucket    bucket.ID
	Link      bucket.Link
	Height    uint64
	Previous  bucket.Link      // zero for genesis
	Author    bucket.PublicKey // zero if the version is unsigned
	Pins      bucket.Link      // of the pins list
	Name      string           // at most MaxNameSize bytes
	Published bool             // anybody who holds this version can read it
	Complete  bool             // every pin was held and verified when the version was completed
	Added     time.Time        // when it was appended here, millisecond precision; set by the store
}

// Head returns the entry as the head rule sees it.
func (e Entry) Head() bucket.Head { return bucket.Head{Link: e.Link, Height: e.Height} }

// Before returns the entry's predecessor, the zero Head for a genesis.
func (e Entry) Before() bucket.Head {
	if e.Height == 0 {
		return bucket.Head{}
	}
	return bucket.Head{Link: e.Previous, Height: e.Height - 1}
}

// Bucket is what the log knows of one bucket without walking it.
type Bucket struct {
	ID        bucket.ID
	Name      string      // of the known head
	Known     bucket.Head // head of the log; zero if only a Condition is known
	Complete  bucket.Head // newest version all of whose pins are held; zero for none
	Published bucket.Head // newest version whose Published is set; zero for none
	Announced bucket.Head // newest version that the bus was told of and that the object stores have all of; zero for none
	Versions  uint64      // entries, those on forks included
	Forks     uint64      // branches beyond the first, merged ones included: [Tips] knows which are not
	Pins      PinCount    // of the complete head, as counted when it was completed
	Condition Condition   // zero if nothing is wrong
}

// PinCount counts the pins of a version and the bytes of those held.
type PinCount struct {
	Needed uint64
	Bytes  uint64
}

// Condition is why a bucket is not simply in sync, kept for a person: the newest outcome that stopped work on it.
type Condition struct {
	State  string           // "diverged", "not_shared" or "blocked"
	Class  string           // outcome class
	Reason string           // one sentence; at most 1 KiB is kept
	Link   bucket.Link      // announced head
	Height uint64           // of the announced head, 0 if unknown
	Peer   bucket.PublicKey // announcer, zero if unknown
	Since  time.Time        // millisecond precision
}

// IsZero reports whether c says nothing.
func (c Condition) IsZero() bool { return c.State == "" }

// JobState is where a pin job stands.
type JobState byte

const (
	// JobPending: recorded with its version, not yet known to be published.
	JobPending JobState = iota
	// JobPublished: the broker has acknowledged the message.
	JobPublished
	// JobDead: given up until somebody acts; a dead letter says why. Announcing the same head again makes it pending.
	JobDead
)

// Job is a pin job that is not done. It lives from the append of its version until Complete or Drop.
type Job struct {
	bucket.PinJob
	State   JobState
	Attempt uint32 // 0 at first; one more each time it is made pending again
}

// Reader reads versions. All methods are safe for concurrent use, and cost no more on a long history than on a short one.
// What Append returned is seen by every later call.
type Reader interface {
	// Bucket returns what is known of a bucket, or ErrNotFound if there is neither a version nor a condition.
	Bucket(ctx context.Context, id bucket.ID) (Bucket, error)
	// Entry returns one version of a bucket, or ErrNotFound. Whoever has only its link finds the height in its manifest.
	Entry(ctx context.Context, id bucket.ID, h bucket.Head) (Entry, error)
	// Heads returns the links at a height, ascending; the last one is the head of that height. None is no error.
	Heads(ctx context.Context, id bucket.ID, height uint64) ([]bucket.Link, error)
	// Buckets yields every bucket with a version or a condition, by ascending ID, beginning after the given one (the zero ID
	// for all). An error ends the sequence.
	Buckets(ctx context.Context, after bucket.ID) iter.Seq2[Bucket, error]
	// Walk yields a bucket's versions newest first (by [bucket.Head.Compare], descending), forks included, beginning with the
	// newest one that comes strictly before the given head (the zero Head for all). An error ends the sequence.
	Walk(ctx context.Context, id bucket.ID, before bucket.Head) iter.Seq2[Entry, error]
}

// Appender adds verified versions.
type Appender interface {
	// Append adds a stretch of one bucket's versions, oldest first, each the direct successor of the one before it; the first
	// is a genesis or continues a version in the log. Versions already there are passed over. It returns those added, in
	// order, once they are durable.
	//
	// The job, if not nil, is recorded as pending in the same durable step as its version, which must be one of the
	// stretch. With newestOnly it is the only job, not recorded if its version was there before, and it replaces the
	// pending jobs of the version's ancestors. A stretch too long for one transaction is written as several, oldest first: a
	// crash leaves a shorter unbroken stretch, and a job for the newest version that was written (made from the given one and
	// its entry), so that what is in the log is never left without a job. Without newestOnly every version that is added gets
	// such a job, and no pending one is replaced.
	//
	// Two concurrent calls with overlapping stretches leave the same log as one after the other; each version is returned as
	// added by exactly one of them. ErrGap, ErrDiskFull.
	Append(ctx context.Context, stretch []Entry, job *Job, newestOnly bool) (added []Entry, err error)
}

// Jobs is the outbox: jobs that wait to be published, and published ones that are not done.
type Jobs interface {
	// Job returns one job, or ErrNotFound: never recorded, or done.
	Job(ctx context.Context, id bucket.ID, h bucket.Head) (Job, error)
	// Jobs yields every job by ascending bucket, then head order. An error ends the sequence.
	Jobs(ctx context.Context) iter.Seq2[Job, error]
	// SetJob moves a job to a state; Attempt grows by one if the state is JobPending. Only JobPublished is not durable
	// on return, but with the next durable write or Close: a crash in between publishes the message a second time, under the
	// same id. The other states are durable on return. ErrNotFound if there is no such job.
	SetJob(ctx context.Context, id bucket.ID, h bucket.Head, s JobState) error
	// Complete marks a version complete, moves the bucket's complete head to it if it is the greater one, and removes its job, in
	// one durable step. With announced the announced head moves likewise: the version was heard of, and its content came from the
	// object stores. Repeating it changes nothing. ErrNotFound if the version is not in the log.
	Complete(ctx context.Context, id bucket.ID, h bucket.Head, pins PinCount, announced bool) error
	// Drop removes a job that a newer version made needless. Absent is no error. Durable on return.
	Drop(ctx context.Context, id bucket.ID, h bucket.Head) error
}

// Tip is a version that no other version in the log follows on. A bucket with one tip has no fork.
type Tip struct {
	bucket.Head
	// Merged reports whether a version holds this tip as merged, so that it is no fork any more. See [Tips].
	Merged bool
}

// Tips knows where a bucket's branches end.
type Tips interface {
	// Tips returns the tips of a bucket, the greatest first: the known head is one of them. None is no error. Its cost depends
	// on the number of tips alone.
	Tips(ctx context.Context, id bucket.ID) ([]Tip, error)
	// SetMerged marks tips as merged. The mark stays until a version follows on the tip. Heads that are no tips of the bucket
	// are passed over, and so is the known head, which no version can hold as merged. Durable on return.
	SetMerged(ctx context.Context, id bucket.ID, heads ...bucket.Head) error
}

// Upload is a version that this peer still owes the broker: the object stores may lack something that it needs, or the bus
// was not told of it.
type Upload struct {
	Bucket  bucket.ID
	Link    bucket.Link
	Height  uint64
	Attempt uint32 // 0 at first; one more each time it is recorded again
}

// Head returns the version that is owed.
func (u Upload) Head() bucket.Head { return bucket.Head{Link: u.Link, Height: u.Height} }

// Uploads is the half of the outbox that goes out.
type Uploads interface {
	// AppendOwn appends one version that was made here, and whose manifest is durable, together with its upload, in one durable
	// step. If held is not nil, the version is complete with that count of pins, and the complete head moves; else job is
	// recorded as pending, as Append does with newestOnly. Exactly one of job and held is given.
	//
	// The version must follow on the bucket's known head, or be the genesis of a bucket without versions: else it is
	// [ErrStale], and nothing was written. A version that is in the log already is no error and changes nothing. ErrDiskFull.
	AppendOwn(ctx context.Context, e Entry, job *Job, held *PinCount) error
	// Uploads yields the uploads by ascending bucket, then head order: those of one bucket, or, for the zero ID, all. An error
	// ends the sequence.
	Uploads(ctx context.Context, id bucket.ID) iter.Seq2[Upload, error]
	// AddUpload records that a version is owed (again): Attempt grows by one if it is there. Durable on return. ErrNotFound
	// if the version is not in the log.
	AddUpload(ctx context.Context, id bucket.ID, h bucket.Head) error
	// Announced moves the bucket's announced head to a version, if it is the greater one. Its upload stays. Durable on
	// return. ErrNotFound if the version is not in the log.
	Announced(ctx context.Context, id bucket.ID, h bucket.Head) error
	// Uploaded removes uploads of a bucket, in one durable step: the object stores have all that the versions need, and each was
	// announced, or a version above it was. Absent is no error. Durable on return.
	Uploaded(ctx context.Context, id bucket.ID, heads ...bucket.Head) error
}

// Conditions remembers why buckets are not in sync.
type Conditions interface {
	// SetCondition replaces the condition of a bucket; the zero Condition clears it. Durable on return. ErrTooMany for a bucket
	// without versions if MaxStrangers such conditions are kept already.
	SetCondition(ctx context.Context, id bucket.ID, c Condition) error
}

// Store is a whole log.
type Store interface {
	Reader
	Appender
	Tips
	Jobs
	Uploads
	Conditions
	// Close makes everything durable and frees the directory. Calls after it return ErrClosed.
	Close() error
}
