package consumer

import (
	"maps"
	"slices"
	"sync"
	"time"

	"headwater/bucket"
)

// maxNotes is how many messages the board has notes of. Beyond that it forgets some, so that announcements of strangers cannot
// fill the memory.
const maxNotes = 10_000

// board is what the consumer knows of its own work and keeps in memory alone: what is going on now, and what went wrong last. It
// answers status, and counts failures. Safe for concurrent use.
type board struct {
	mu        sync.Mutex
	notes     map[bucket.ID]map[string]*note // by subject, "" for a head that nobody delivered: a subject has one message only
	n         int                            // of those
	transfers map[bucket.ID]*transfer        // pins being fetched
	counts    map[Kind]map[Outcome]uint64
}

// note is what is known of a message that is in work, waits for its next try, or was set aside.
type note struct {
	kind     Kind
	sequence uint64

	target   bucket.Head // of an announcement, once its manifest is here; zero for none
	progress Progress    // of the way there
	working  bool        // the catch-up is in work now, not waiting for its next try

	failures  int // in a row
	lastError string
	since     time.Time // of the first of them
	next      time.Time // next try; zero if none is waiting
	dead      bool      // it was set aside
}

func newBoard() *board {
	return &board{
		notes: map[bucket.ID]map[string]*note{}, transfers: map[bucket.ID]*transfer{},
		counts: map[Kind]map[Outcome]uint64{KindHeads: {}, KindPins: {}},
	}
}

// of returns the note of a message, made if it is missing. The lock is held.
func (b *board) of(m Message) *note {
	n := b.notes[m.Bucket][m.Subject]
	if n != nil && n.sequence == m.Sequence {
		return n
	}
	if n == nil {
		for id := range b.notes { // any
			if b.n < maxNotes {
				break
			}
			b.n -= len(b.notes[id])
			delete(b.notes, id)
		}
		b.n++
	}
	if b.notes[m.Bucket] == nil {
		b.notes[m.Bucket] = map[string]*note{}
	}
	n = &note{kind: m.Kind, sequence: m.Sequence}
	b.notes[m.Bucket][m.Subject] = n
	return n
}

func (b *board) catchingUp(m Message, target bucket.Head, now Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.of(m)
	n.target, n.progress, n.working = target, now, true
}

// caughtUp notes that the target of a catch-up is in the log, if its message is not settled yet.
func (b *board) caughtUp(m Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.of(m)
	n.target, n.progress, n.working = bucket.Head{}, Progress{}, false
}

// fetching notes that pins are being fetched, and returns their counter.
func (b *board) fetching(id bucket.ID, head bucket.Head, needed int) *transfer {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := &transfer{head: head, needed: needed}
	b.transfers[id] = t
	return t
}

func (b *board) fetchEnded(id bucket.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.transfers, id)
}

func (b *board) count(k Kind, class Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[k][class]++
}

// ended forgets a message, and what its subject had before it.
func (b *board) ended(m Message) {
	b.forget(m.Bucket, func(subject string, n *note) bool { return subject == m.Subject && n.sequence <= m.Sequence })
}

// applied forgets messages of a kind that were set aside: now that another one is applied they are no error any more.
func (b *board) applied(m Message) {
	b.forget(m.Bucket, func(_ string, n *note) bool { return n.dead && n.kind == m.Kind })
}

func (b *board) forget(id bucket.ID, done func(subject string, n *note) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	notes := b.notes[id]
	before := len(notes)
	maps.DeleteFunc(notes, done)
	b.n -= before - len(notes)
	if len(notes) == 0 {
		delete(b.notes, id)
	}
}

// failed notes one more failure of a message and returns how many there were in a row.
func (b *board) failed(m Message, err error, now time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.of(m)
	if n.failures++; n.failures == 1 {
		n.since = now
	}
	n.lastError, n.working = err.Error(), false
	return n.failures
}

func (b *board) retrying(m Message, next time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[m.Kind][ClassRetry]++
	b.of(m).next = next
}

// dead counts a message that was set aside.
func (b *board) dead(m Message, class Outcome, reason string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[m.Kind][class]++
	n := b.of(m)
	since := n.since
	if since.IsZero() {
		since = now
	}
	*n = note{kind: m.Kind, sequence: m.Sequence, lastError: string(class) + ": " + reason, since: since, dead: true}
}

// view sums up what is going on with one bucket: work in hand comes before what waits, and what waits before what was set aside.
func (b *board) view(id bucket.ID) (v note, t *transfer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.notes[id] {
		if n.working && !v.working || n.working == v.working && n.target.Compare(v.target) > 0 {
			v.target, v.progress, v.working = n.target, n.progress, n.working
		}
		if n.lastError != "" && (v.lastError == "" || v.dead && !n.dead || v.dead == n.dead && n.since.After(v.since)) {
			v.lastError, v.since, v.next, v.dead = n.lastError, n.since, n.next, n.dead
		}
	}
	return v, b.transfers[id]
}

// buckets lists the buckets that there are notes of, in no order.
func (b *board) buckets() []bucket.ID {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Keys(b.notes))
}

func (b *board) outcomes() map[Kind]map[Outcome]uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[Kind]map[Outcome]uint64, len(b.counts))
	for k, v := range b.counts {
		out[k] = maps.Clone(v)
	}
	return out
}
