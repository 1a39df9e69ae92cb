package consumer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/logstore"
)

// world is everything around a consumer, in memory: object stores, two queues, an outbox that feeds the second, and a
// graveyard. It plays the ports, not the broker: how the broker behaves is tested in ./jetstream and ./test.
type world struct {
	t      testing.TB
	me     bucket.Identity
	log    logstore.Store
	blobs  *blobstore.Memory
	kept   *blobstore.Memory
	events chan consumer.Event
	seen   []consumer.Event // taken from events, not yet waited for

	mu        sync.Mutex
	stores    map[string]map[bucket.Hash][]byte
	broken    map[string]bool // stores that do not answer
	gets      map[bucket.Hash]int
	many      map[bucket.Hash]int // objects handed out by the batch
	batches   int
	got       int            // objects asked for by themselves
	hangs     int            // each so manieth of them never comes; 0: all come
	published map[string]int // by bucket, link and attempt
	dead      []letter
	sequence  uint64

	heads, pins *queue
	from        consumer.Sources // of a run; heads and pins, each once, unless the test says otherwise
}

type letter struct {
	consumer.Message
	class, reason string
}

func newWorld(t testing.TB) *world {
	w := &world{
		t: t, me: buckettest.Identity(t, 200), log: logstore.NewMemory(), blobs: newMemory(t), kept: newMemory(t),
		events: make(chan consumer.Event, 10_000), stores: map[string]map[bucket.Hash][]byte{},
		broken: map[string]bool{}, gets: map[bucket.Hash]int{}, many: map[bucket.Hash]int{}, published: map[string]int{},
		heads: newQueue(), pins: newQueue(),
	}
	w.from = consumer.Sources{Announcements: []consumer.Source{w.heads}, PinJobs: []consumer.Source{w.pins}}
	return w
}

func newMemory(testing.TB) *blobstore.Memory {
	return new(blobstore.Memory)
}

func (w *world) config() consumer.Config {
	return consumer.Config{
		Peer: w.me.PublicKey(), Log: w.log, Manifests: w.kept, Blobs: w.blobs, Objects: w, Jobs: w, DeadLetters: w, Events: w,
		ManifestStores: []string{"manifests"}, BlobStores: []string{"blobs"},
		RetryMin: time.Millisecond, RetryMax: 10 * time.Millisecond, StageDir: w.t.(interface{ TempDir() string }).TempDir(),
		FetchTimeout: 5 * time.Second, Logger: slog.New(slog.NewTextHandler(w.t.Output(), nil)),
	}
}

// run runs a consumer until the test ends or the returned function is called, which waits for it.
func (w *world) run(cfg consumer.Config) (*consumer.Consumer, func()) {
	w.t.Helper()
	c, err := consumer.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return c, w.runs(c)
}

// runs runs a consumer that is made already, as run does.
func (w *world) runs(c *consumer.Consumer) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, w.from) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// put places an object under a hash in a store, whatever it hashes to.
func (w *world) put(store string, h bucket.Hash, b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stores[store] == nil {
		w.stores[store] = map[bucket.Hash][]byte{}
	}
	w.stores[store][h] = b
}

func (w *world) putChain(c *buckettest.Chain) {
	for _, v := range c.Versions {
		w.put("manifests", v.Link.Hash(), v.Encoded())
	}
	w.put("blobs", bucket.Sum(nil), nil) // the pins list of versions without pins
}

// announce sends a JSON announcement of a head as peer n.
func (w *world) announce(id bucket.ID, link bucket.Link, peer byte, more string) {
	w.send(id, peer, []byte(fmt.Sprintf(`{"link":%q%s}`, link, more)))
}

func (w *world) send(id bucket.ID, peer byte, body []byte) {
	w.heads.add(w.message(consumer.KindHeads, id, buckettest.Identity(w.t, peer).PublicKey(), body))
}

func (w *world) message(kind consumer.Kind, id bucket.ID, peer bucket.PublicKey, body []byte) consumer.Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sequence++
	return consumer.Message{
		Kind: kind, Subject: fmt.Sprintf("headwater.%s.%s.%s", kind, id, peer), Bucket: id, Peer: peer, Body: body,
		Sequence: w.sequence,
	}
}

// Get, GetMany, PublishJob, QueuedJobs, Bury and Emit are the ports.
func (w *world) Get(ctx context.Context, store string, h bucket.Hash, _ bool) (io.ReadCloser, int64, error) {
	w.mu.Lock()
	w.gets[h]++
	w.got++
	hangs := w.hangs > 0 && w.got%w.hangs == 0
	w.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return nil, 0, ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken[store] {
		return nil, 0, errors.New("no responders")
	}
	b, ok := w.stores[store][h]
	if !ok {
		return nil, 0, consumer.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
}

func (w *world) GetMany(
	_ context.Context, store string, hashes []bucket.Hash, take func(bucket.Hash, []byte) error,
) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.batches++
	if w.broken[store] {
		return errors.New("no responders")
	}
	for _, h := range hashes {
		b, ok := w.stores[store][h]
		if !ok || bucket.Sum(b) != h {
			continue
		}
		w.many[h]++
		if err := take(h, b); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) PublishJob(_ context.Context, j bucket.PinJob, attempt uint32) (duplicate bool, err error) {
	b, err := j.Encode()
	if err != nil {
		return false, err
	}
	key := fmt.Sprintf("%s.%s.%d", j.Bucket, j.Link, attempt)
	w.mu.Lock()
	w.published[key]++
	first := w.published[key] == 1
	w.mu.Unlock()
	if first { // the broker drops a repetition
		w.pins.add(w.message(consumer.KindPins, j.Bucket, w.me.PublicKey(), b))
	}
	return !first, nil
}

// publishedAs returns how often a job was published as bucket, link and attempt.
func (w *world) publishedAs(key string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.published[key]
}

func (w *world) QueuedJobs(context.Context) (map[bucket.ID]uint64, error) { return w.pins.count(), nil }

func (w *world) Bury(_ context.Context, m consumer.Message, class, reason string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = append(w.dead, letter{m, class, reason})
	return nil
}

func (w *world) Emit(e consumer.Event) {
	select {
	case w.events <- e:
	default:
	}
}

// wait returns the next event of a kind that no wait returned before, whatever came in between: a version may be complete
// before its announcement is settled.
func (w *world) wait(kind consumer.EventKind) consumer.Event {
	w.t.Helper()
	timeout := time.After(time.Minute)
	for {
		if i := slices.IndexFunc(w.seen, func(e consumer.Event) bool { return e.Kind == kind }); i >= 0 {
			e := w.seen[i]
			w.seen = slices.Delete(w.seen, i, i+1)
			return e
		}
		select {
		case e := <-w.events:
			w.seen = append(w.seen, e)
		case <-timeout:
			w.t.Fatalf("no event %q", kind)
		}
	}
}

func (w *world) letters() []letter {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]letter(nil), w.dead...)
}

func (w *world) fetches(h bucket.Hash) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gets[h]
}

func (w *world) jobsPublished() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, k := range w.published {
		n += k
	}
	return n
}

// queue is a source that redelivers what is given back.
type queue struct {
	settling func() // called before a delivery is settled, if set
	messages chan consumer.Message
	mu       sync.Mutex
	open     map[uint64]consumer.Message
	settled  map[string]int // by how
}

func newQueue() *queue {
	return &queue{
		messages: make(chan consumer.Message, 100_000), open: map[uint64]consumer.Message{}, settled: map[string]int{},
	}
}

func (q *queue) add(m consumer.Message) {
	q.mu.Lock()
	q.open[m.Sequence] = m
	q.mu.Unlock()
	q.messages <- m
}

func (q *queue) count() map[bucket.ID]uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := map[bucket.ID]uint64{}
	for _, m := range q.open {
		n[m.Bucket]++
	}
	return n
}

func (q *queue) Next(ctx context.Context) (consumer.Delivery, error) {
	select {
	case m := <-q.messages:
		if ctx.Err() != nil { // given back by somebody who stops, too
			q.messages <- m
			return nil, ctx.Err()
		}
		m.Deliveries++
		return &delivery{q: q, m: m}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// counts returns how often deliveries were settled in a way: ack, retry or terminate.
func (q *queue) counts(how string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.settled[how]
}

type delivery struct {
	q    *queue
	m    consumer.Message
	once sync.Once
}

func (d *delivery) Message() consumer.Message { return d.m }

func (d *delivery) settle(how string, again bool) {
	d.once.Do(func() {
		if d.q.settling != nil {
			d.q.settling()
		}
		d.q.mu.Lock()
		d.q.settled[how]++
		if !again {
			delete(d.q.open, d.m.Sequence)
		}
		d.q.mu.Unlock()
		if again {
			d.q.messages <- d.m
		}
	})
}

func (d *delivery) Ack(context.Context) error               { d.settle("ack", false); return nil }
func (d *delivery) Terminate(context.Context, string) error { d.settle("terminate", false); return nil }
func (d *delivery) Extend(context.Context) error            { return nil }
func (d *delivery) Retry(_ context.Context, in time.Duration) error {
	if in == 0 {
		d.settle("return", true)
		return nil
	}
	time.AfterFunc(in, func() { d.settle("retry", true) })
	return nil
}

// waitSettled returns once a delivery was settled in that way.
func (q *queue) waitSettled(t testing.TB, how string) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); q.counts(how) == 0; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("nothing was settled by %s", how)
		}
	}
}

// waitState returns once a bucket is in a state.
func waitState(t testing.TB, c *consumer.Consumer, id bucket.ID, state consumer.State) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		s, err := c.Status(t.Context(), id)
		if err == nil && s.State == state {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %+v, %v, want state %s", s, err, state)
		}
	}
}

// forget loses everything that is queued.
func (q *queue) forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(q.open)
}
