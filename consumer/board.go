package consumer

import (
	"maps"
	"sync"
	"time"

	"headwater/bucket"
)

// maxNotes is how many buckets, and how many subjects, the board remembers failures of. Beyond that it forgets some, so that
// announcements of strangers cannot fill the memory.
const maxNotes = 10_000

// board is what the consumer knows of its own work and does not keep: what is going on now, and what went wrong last. It
// answers status, and counts failures. Safe for concurrent use.
type board struct {
	mu       sync.Mutex
	activity map[bucket.ID]*activity
	failures map[string]failure // by subject
	counts   map[Kind]map[Outcome]uint64
}

// activity is what is going on with one bucket, or went wrong with it last.
type activity struct {
	way // to a delivered head

	looking bool // somebody has the bucket's turn to look at a head that nobody delivered
	look    way  // to that

	transfer *transfer // pins being fetched; nil for none

	lastError string
	kind      Kind      // of the message that it is of
	since     time.Time // of the first of the failures in a row
	next      time.Time // next try; zero where none is waiting
}

// way is how far the way to an announced head is made.
type way struct {
	target   bucket.Head // zero for none
	progress Progress
	working  bool // the catch-up is in work now, not waiting for its next try
}

// current returns the way that whoever has the bucket's turn makes.
func (a *activity) current() *way {
	if a.looking {
		return &a.look
	}
	return &a.way
}

// forgive forgets what went wrong.
func (a *activity) forgive() { a.lastError, a.since, a.next = "", time.Time{}, time.Time{} }

func (a *activity) idle() bool {
	return a.target.IsZero() && !a.looking && a.transfer == nil && a.lastError == ""
}

// failure counts the failures of one message in a row.
type failure struct {
	sequence uint64
	n        int
	since    time.Time
}

func newBoard() *board {
	return &board{
		activity: map[bucket.ID]*activity{}, failures: map[string]failure{},
		counts: map[Kind]map[Outcome]uint64{KindHeads: {}, KindPins: {}},
	}
}

// of returns the activity of a bucket, made where missing. The lock is held.
func (b *board) of(id bucket.ID) *activity {
	a := b.activity[id]
	if a == nil {
		makeRoom(b.activity)
		a = new(activity)
		b.activity[id] = a
	}
	return a
}

// makeRoom forgets some entry of a map that is full.
func makeRoom[K comparable, V any](m map[K]V) {
	for k := range m {
		if len(m) < maxNotes {
			return
		}
		delete(m, k)
	}
}

// catchingUp notes that the way to target is being made.
func (b *board) catchingUp(id bucket.ID, target bucket.Head, now Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*b.of(id).current() = way{target, now, true}
}

// progress notes how far that way is made.
func (b *board) progress(id bucket.ID, now Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of(id).current().progress = now
}

// fetching notes that pins are being fetched, and returns their counter.
func (b *board) fetching(id bucket.ID, head bucket.Head, needed int) *transfer {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := &transfer{head: head, needed: needed}
	b.of(id).transfer = t
	return t
}

// fetchEnded notes that no pins of the bucket are being fetched any more.
func (b *board) fetchEnded(id bucket.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of(id).transfer = nil
}

// done counts an outcome that ends a message well, and forgets what went wrong with messages of its kind before.
func (b *board) done(m Message, class Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[m.Kind][class]++
	failed := b.failures[m.Subject].n > 0
	delete(b.failures, m.Subject)
	a := b.activity[m.Bucket]
	if a == nil {
		return
	}
	if m.Kind == KindHeads && class != ClassDuplicate && class != ClassStale {
		a.way = way{}
	}
	if a.kind == m.Kind && (failed || class == ClassApplied) {
		a.forgive()
	}
	if a.idle() {
		delete(b.activity, m.Bucket)
	}
}

// looking notes that a head is worked on that nobody delivered. A delivered one that waits for its next try waits on.
func (b *board) looking(id bucket.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of(id).looking = true
}

// looked notes that nobody works on it any more. Once one was applied, the error of a head that was set aside before is forgotten.
func (b *board) looked(id bucket.ID, applied bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.activity[id]
	if a == nil {
		return
	}
	a.looking, a.look, a.working = false, way{}, false
	if applied && a.kind == KindHeads && a.next.IsZero() {
		a.forgive()
	}
	if a.idle() {
		delete(b.activity, id)
	}
}

// failed counts one more failure of a message and returns how many there were in a row.
func (b *board) failed(m Message, err error, now time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	f, ok := b.failures[m.Subject]
	if !ok {
		makeRoom(b.failures)
	}
	if f.sequence != m.Sequence {
		f = failure{sequence: m.Sequence, since: now}
	}
	f.n++
	b.failures[m.Subject] = f
	a := b.of(m.Bucket)
	a.lastError, a.kind, a.since = err.Error(), m.Kind, f.since
	if m.Kind == KindHeads {
		a.working = false
	}
	return f.n
}

// retrying counts a retry and notes when it is due.
func (b *board) retrying(m Message, next time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[m.Kind][ClassRetry]++
	b.of(m.Bucket).next = next
}

// dead counts a message that was set aside.
func (b *board) dead(m Message, class Outcome, reason string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[m.Kind][class]++
	delete(b.failures, m.Subject)
	a := b.of(m.Bucket)
	a.lastError, a.kind, a.next = string(class)+": "+reason, m.Kind, time.Time{}
	if a.since.IsZero() {
		a.since = now
	}
	if m.Kind == KindHeads {
		a.way = way{}
	}
}

// view returns a copy of a bucket's activity. Work in hand comes before what waits.
func (b *board) view(id bucket.ID) activity {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.activity[id]
	if a == nil {
		return activity{}
	}
	v := *a
	if a.look.working {
		v.way = a.look
	}
	return v
}

// buckets lists the buckets with an activity, in no order.
func (b *board) buckets() []bucket.ID {
	b.mu.Lock()
	defer b.mu.Unlock()
	ids := make([]bucket.ID, 0, len(b.activity))
	for id := range b.activity {
		ids = append(ids, id)
	}
	return ids
}

// outcomes returns a copy of the counts.
func (b *board) outcomes() map[Kind]map[Outcome]uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[Kind]map[Outcome]uint64, len(b.counts))
	for k, v := range b.counts {
		out[k] = maps.Clone(v)
	}
	return out
}
