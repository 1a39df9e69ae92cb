package consumer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/logstore"
)

// State is how a bucket stands, in one word. A reader takes a state that it does not know to mean not in sync.
type State string

// The states of a bucket.
const (
	StateInSync     State = "in_sync"     // the known head is complete, and nothing newer is announced
	StateBehind     State = "behind"      // a newer head is announced; its catch-up waits for the next try
	StateCatchingUp State = "catching_up" // versions are being fetched
	StateFetching   State = "fetching"    // the log is up to date; pins are being fetched, or wait to be
	StateBlocked    State = "blocked"     // given up: a dead letter says why
	StateDiverged   State = "diverged"    // a chain from another genesis is announced for the bucket
	StateNotShared  State = "not_shared"  // this peer is not among the shares of the newest version
	StateUploading  State = "uploading"   // the object stores, or the bus, still lack a version that was made here
	StateOffline    State = "offline"     // the broker does not answer, so that nobody knows whether there is something newer
	StateNotRunning State = "not_running" // no peer runs, so that nobody hears
)

// Status is how one bucket stands. Its JSON is what scripts rely on.
type Status struct {
	BucketID  bucket.ID    `json:"bucket_id"`
	Name      string       `json:"name"`
	State     State        `json:"state"`
	Known     *bucket.Head `json:"known"`     // null if no version is logged
	Complete  *bucket.Head `json:"complete"`  // null if no version has all its pins
	Announced *bucket.Head `json:"announced"` // newest version that the bus was told of; null for none
	Published *bucket.Head `json:"published"`
	Target    *bucket.Head `json:"target,omitempty"`  // announced head that is being caught up with
	Behind    uint64       `json:"behind"`            // versions between the known head and the target
	CatchUp   Progress     `json:"catch_up,omitzero"` // how far that is
	Versions  uint64       `json:"versions"`
	Pins      PinStatus    `json:"pins"`
	Forks     uint64       `json:"forks"`
	Dead      uint64       `json:"dead"` // dead letters of this peer about the bucket
	LastError string       `json:"last_error"`
	Since     *time.Time   `json:"since,omitempty"`    // since when it is not in sync
	NextTry   *time.Time   `json:"next_try,omitempty"` // of what failed
}

// PinStatus counts the pins of the known head. BytesNeeded is what stores have told so far: exact once all are held.
type PinStatus struct {
	Needed      uint64 `json:"needed"`
	Held        uint64 `json:"held"`
	BytesNeeded uint64 `json:"bytes_needed"`
	BytesHeld   uint64 `json:"bytes_held"`
}

// Outcomes counts, since the process started, how messages of each kind ended, by class.
func (c *Consumer) Outcomes() map[Kind]map[Outcome]uint64 { return c.board.outcomes() }

// Status tells how one bucket stands. If nothing is known of it, the error is logstore.ErrNotFound. Dead is left zero: only
// the broker knows. Safe for concurrent use, also while Run runs.
func (c *Consumer) Status(ctx context.Context, id bucket.ID) (Status, error) {
	b, err := c.Log.Bucket(ctx, id)
	if errors.Is(err, logstore.ErrNotFound) {
		if n, _ := c.board.view(id); n.lastError != "" || !n.target.IsZero() {
			return c.statusOf(ctx, logstore.Bucket{ID: id})
		}
	}
	if err != nil {
		return Status{}, fmt.Errorf("status of bucket %s: %w", id, err)
	}
	return c.statusOf(ctx, b)
}

// Statuses tells how up to limit buckets stand, by ascending ID, beginning after the given one. Safe for concurrent use.
func (c *Consumer) Statuses(ctx context.Context, after bucket.ID, limit int) ([]Status, error) {
	var ids []bucket.ID
	for b, err := range c.Log.Buckets(ctx, after) {
		if err != nil {
			return nil, err
		}
		if ids = append(ids, b.ID); len(ids) == limit {
			break
		}
	}
	for _, id := range c.board.buckets() { // those that nothing is logged of yet
		if bytes.Compare(id[:], after[:]) > 0 {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b bucket.ID) int { return bytes.Compare(a[:], b[:]) })
	ids = slices.Compact(ids)
	out := make([]Status, 0, min(limit, len(ids)))
	for _, id := range ids[:min(limit, len(ids))] {
		s, err := c.Status(ctx, id)
		if errors.Is(err, logstore.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (c *Consumer) statusOf(ctx context.Context, b logstore.Bucket) (Status, error) {
	n, t := c.board.view(b.ID)
	s := Status{
		BucketID: b.ID, Name: b.Name, Known: orNil(b.Known), Complete: orNil(b.Complete),
		Announced: orNil(b.Announced), Published: orNil(b.Published), Versions: b.Versions, LastError: n.lastError,
		Since: orNil(n.since), NextTry: orNil(n.next),
	}
	if s.LastError == "" && !b.Condition.IsZero() {
		s.LastError, s.Since = b.Condition.Class+": "+b.Condition.Reason, orNil(b.Condition.Since)
	}
	if n.target.Compare(b.Known) > 0 {
		s.Target, s.CatchUp = orNil(n.target), n.progress
		s.Behind = versionsBetween(b.Known, n.target)
	}
	var err error
	if s.Forks, err = c.forks(ctx, b); err != nil {
		return s, err
	}
	s.Pins, err = c.pinStatus(ctx, b, t)
	s.State = stateOf(b, n, t)
	return s, err
}

// forks counts the branches beside the head that nobody has merged, as far as that is known.
func (c *Consumer) forks(ctx context.Context, b logstore.Bucket) (n uint64, err error) {
	if b.Forks == 0 {
		return 0, nil
	}
	tips, err := c.Log.Tips(ctx, b.ID)
	for _, t := range tips {
		if !t.Merged && t.Link != b.Known.Link {
			n++
		}
	}
	return n, err
}

// stateOf picks the one state that a person should see: work in hand first, then what stops it.
func stateOf(b logstore.Bucket, n note, t *transfer) State {
	switch {
	case n.working:
		return StateCatchingUp
	case t != nil:
		return StateFetching
	case n.target.Compare(b.Known) > 0:
		return StateBehind
	case !b.Condition.IsZero():
		return State(b.Condition.State)
	case b.Known.IsZero():
		return StateBehind
	case b.Known != b.Complete:
		return StateFetching
	}
	return StateInSync
}

func versionsBetween(known, target bucket.Head) uint64 {
	if known.IsZero() {
		return target.Height + 1
	}
	return max(target.Height, known.Height+1) - known.Height
}

// pinStatus counts the pins of the known head: as recorded if it is complete, as counted while they are fetched, or by
// asking the blob store if the job waits.
func (c *Consumer) pinStatus(ctx context.Context, b logstore.Bucket, t *transfer) (PinStatus, error) {
	if b.Known == b.Complete {
		return PinStatus{b.Pins.Needed, b.Pins.Needed, b.Pins.Bytes, b.Pins.Bytes}, nil
	}
	if t != nil && t.head == b.Known {
		bytes := uint64(t.bytes.Load())
		return PinStatus{uint64(t.needed), uint64(t.pins.Load()), bytes + uint64(t.inFlight.Load()), bytes}, nil
	}
	e, err := c.Log.Entry(ctx, b.ID, b.Known)
	if err != nil {
		return PinStatus{}, err
	}
	n, missing, err := CountPins(ctx, c.Blobs, c.Manifests, e.Pins)
	if blobstore.IsMissing(err) || bucket.ClassOf(err) != "" {
		return PinStatus{}, nil // how many there are is not known before the list is here; its job says why one is refused
	}
	return PinStatus{n.Needed, n.Needed - uint64(missing), n.Bytes, n.Bytes}, err
}

func orNil[T interface{ IsZero() bool }](v T) *T {
	if v.IsZero() {
		return nil
	}
	return &v
}
