package chain

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/logstore"
)

// world is an engine with one object store, a log and our own manifests, all in memory but the runs.
type world struct {
	t    testing.TB
	me   bucket.Identity
	log  logstore.Store
	kept *blobstore.Memory
	e    *Engine

	mu      sync.Mutex
	objects map[bucket.Hash][]byte
	single  map[bucket.Hash]int // how often each was fetched by itself
	many    map[bucket.Hash]int // and together with others
	peak    int64               // most memory accounted for when something came
}

func newWorld(t testing.TB, change func(*Config)) *world {
	t.Helper()
	w := &world{
		t: t, me: buckettest.Identity(t, 200), log: logstore.NewMemory(), kept: new(blobstore.Memory),
		objects: map[bucket.Hash][]byte{}, single: map[bucket.Hash]int{}, many: map[bucket.Hash]int{},
	}
	cfg := Config{
		Peer: w.me.PublicKey(), Log: w.log, Manifests: w.kept, Objects: w, Stores: []string{"store"}, Dir: t.TempDir(),
		FetchTimeout: 5 * time.Second,
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if w.e, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) chain(n int) *buckettest.Chain {
	c := buckettest.New(w.t, buckettest.Identity(w.t, 1), w.me.PublicKey()).Grow(w.t, n)
	w.put(c.Versions)
	return c
}

func (w *world) put(versions []*bucket.Version) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range versions {
		w.objects[v.Link.Hash()] = v.Encoded()
	}
}

// hints puts the packs of versions into the store.
func (w *world) hints(versions []*bucket.Version) bucket.Hints {
	h, packs := buckettest.Hints(w.t, versions)
	w.mu.Lock()
	defer w.mu.Unlock()
	for hash, b := range packs {
		w.objects[hash] = b
	}
	return h
}

// lose takes an object out of the store, and returns what puts it back.
func (w *world) lose(h bucket.Hash) (restore func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.objects[h]
	delete(w.objects, h)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.objects[h] = b
	}
}

func (w *world) notePeak() { w.peak = max(w.peak, w.e.cfg.Memory-w.e.memory.free.Load()) }

// Get implements [Objects].
func (w *world) Get(ctx context.Context, _ string, h bucket.Hash, _ bool) (io.ReadCloser, int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.single[h]++
	w.notePeak()
	b, ok := w.objects[h]
	if !ok {
		return nil, 0, ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), ctx.Err()
}

// GetMany implements [Objects].
func (w *world) GetMany(_ context.Context, _ string, hashes []bucket.Hash, take func(bucket.Hash, []byte) error) error {
	for _, h := range hashes {
		w.mu.Lock()
		b, ok := w.objects[h]
		if ok {
			w.many[h]++
		}
		w.notePeak()
		w.mu.Unlock()
		if !ok {
			continue
		}
		if err := take(h, b); err != nil {
			return err
		}
	}
	return nil
}

// catchUp catches up with a head, and appends what is yielded, as consumer does.
func (w *world) catchUp(ctx context.Context, head *bucket.Version, h bucket.Hints) (got []*bucket.Version, err error) {
	w.t.Helper()
	mine, err := w.log.Bucket(ctx, head.Bucket)
	if err != nil && !errors.Is(err, logstore.ErrNotFound) {
		w.t.Fatal(err)
	}
	err = w.e.CatchUp(ctx, Request{Head: head, Known: mine.Known, Hints: h}, func(batch []*bucket.Version) error {
		var entries []logstore.Entry
		for _, v := range batch {
			entries = append(entries, logstore.Entry{Bucket: v.Bucket, Link: v.Link, Height: v.Height, Previous: v.Previous, Pins: v.Pins})
			if _, err := w.kept.Put(ctx, v.Link.Hash(), bytes.NewReader(v.Encoded())); err != nil {
				w.t.Fatal(err)
			}
		}
		if len(batch) > 0 {
			if _, err := w.log.Append(ctx, entries, nil, true); err != nil {
				w.t.Fatal(err)
			}
		}
		got = append(got, batch...)
		return nil
	})
	return got, err
}

// apply catches up with a head that has nothing wrong.
func (w *world) apply(head *bucket.Version, h bucket.Hints) []*bucket.Version {
	w.t.Helper()
	got, err := w.catchUp(w.t.Context(), head, h)
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

// fail catches up with a head that cannot be reached.
func (w *world) fail(head *bucket.Version, h bucket.Hints) error {
	w.t.Helper()
	_, err := w.catchUp(w.t.Context(), head, h)
	if err == nil {
		w.t.Fatal("got no error")
	}
	return err
}

// check fails unless versions are exactly those of a chain, from a height on.
func (w *world) check(got, want []*bucket.Version) {
	w.t.Helper()
	if len(got) != len(want) {
		w.t.Fatalf("got %d versions, want %d", len(got), len(want))
	}
	for i, v := range want {
		if got[i].Link != v.Link {
			w.t.Fatalf("version %d is %s, want %s", i, got[i].Link, v.Link)
		}
	}
	if held := w.e.cfg.Memory - w.e.memory.free.Load(); held != 0 {
		w.t.Errorf("%d bytes of memory are still accounted for", held)
	}
	if n := w.e.processors.short.Load(); n != 0 {
		w.t.Errorf("%d catch-ups still count as short", n)
	}
}
