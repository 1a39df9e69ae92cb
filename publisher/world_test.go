package publisher_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/logstore"
	"headwater/publisher"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	manifestStore = "manifests"
	blobStore     = "blobs"
)

var errFault = errors.New("the broker does not answer")

// world plays the peer's own stores and the broker. After every step it checks that what is announced is there.
type world struct {
	tb               testing.TB
	me               bucket.Identity
	log              *logstore.Memory
	manifests, blobs blobstore.Memory

	mu        sync.Mutex
	stores    map[string]map[bucket.Hash][]byte
	puts      map[bucket.Hash]int
	announced []bucket.Announcement
	ids       map[string]bool // of messages
	asked     map[string]int  // hashes, by store
	versions  map[bucket.Link]*bucket.Version
	nowhere   map[bucket.Hash]bool // nobody has them
	stranger  *bucket.Announcement // of somebody who lies: what it tells need not be there
	steps     []string

	failAt  int  // number of the step that fails; 0: none
	applied bool // it fails after it took effect
	offline bool
	onStep  func(ctx context.Context, step string) error // called without the lock
}

func newWorld(tb testing.TB) *world {
	return &world{
		tb: tb, me: buckettest.Identity(tb, 1), log: logstore.NewMemory(),
		stores: map[string]map[bucket.Hash][]byte{manifestStore: {}, blobStore: {}},
		puts:   map[bucket.Hash]int{}, ids: map[string]bool{}, asked: map[string]int{},
		versions: map[bucket.Link]*bucket.Version{}, nowhere: map[bucket.Hash]bool{},
	}
}

func (w *world) publisher(edit ...func(*publisher.Config)) *publisher.Publisher {
	w.tb.Helper()
	c := publisher.Config{
		Peer: w.me.PublicKey(), Log: faultyLog{w.log, w}, Manifests: &w.manifests, Blobs: &w.blobs, Stores: w, Bus: w,
		ManifestStore: manifestStore, BlobStore: blobStore,
	}
	for _, e := range edit {
		e(&c)
	}
	p, err := publisher.New(c)
	if err != nil {
		w.tb.Fatal(err)
	}
	return p
}

// blob returns bytes that differ by their name.
func blob(size int, name string, args ...any) []byte {
	b := fmt.Appendf(nil, name, args...)
	return append(b, bytes.Repeat([]byte{byte(len(b))}, max(0, size-len(b)))...)
}

// hold puts blobs into the peer's own store and returns their hashes.
func (w *world) hold(blobs ...[]byte) (hashes bucket.Pins) {
	w.tb.Helper()
	for _, b := range blobs {
		h := bucket.Sum(b)
		if _, err := w.blobs.Put(context.Background(), h, bytes.NewReader(b)); err != nil {
			w.tb.Fatal(err)
		}
		hashes = append(hashes, h)
	}
	return hashes
}

// make makes a version here, with its upload, that needs the pins.
func (w *world) make(c *buckettest.Chain, pins ...bucket.Hash) *bucket.Version {
	w.tb.Helper()
	edit, list := buckettest.WithPins(pins)
	v := c.Add(w.tb, edit)
	w.hold(list)
	w.keep(v, true)
	return v
}

// keep logs a version and holds its manifest.
func (w *world) keep(v *bucket.Version, owed bool) {
	w.tb.Helper()
	if _, err := w.manifests.Put(context.Background(), v.Link.Hash(), bytes.NewReader(v.Encoded())); err != nil {
		w.tb.Fatal(err)
	}
	w.mu.Lock()
	w.versions[v.Link] = v
	w.mu.Unlock()
	e := logstore.Entry{Bucket: v.Bucket, Link: v.Link, Height: v.Height, Previous: v.Previous, Pins: v.Pins}
	err := logstore.ErrStale
	if owed {
		err = w.log.AppendOwn(context.Background(), e, nil, &logstore.PinCount{})
	}
	if errors.Is(err, logstore.ErrStale) { // a version of others, or one that became a fork
		if _, err = w.log.Append(context.Background(), []logstore.Entry{e}, nil, false); err == nil && owed {
			w.again(v)
		}
	}
	if err != nil {
		w.tb.Fatal(err)
	}
}

// again records that a version is owed.
func (w *world) again(v *bucket.Version) {
	w.tb.Helper()
	if err := w.log.AddUpload(context.Background(), v.Bucket, v.Head()); err != nil {
		w.tb.Fatal(err)
	}
}

// owes counts what is owed.
func (w *world) owes() (n int) {
	w.tb.Helper()
	for _, err := range w.log.Uploads(context.Background(), bucket.ID{}) {
		if err != nil {
			w.tb.Fatal(err)
		}
		n++
	}
	return n
}

// there puts a version into the stores, as if it had been uploaded from elsewhere.
func (w *world) there(v *bucket.Version) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stores[manifestStore][v.Link.Hash()] = v.Encoded()
	for h := range w.pinsOf(v) {
		b, err := blobstore.ReadAll(context.Background(), &w.blobs, h, 1<<30)
		if err != nil && !w.nowhere[h] {
			w.tb.Fatal(err)
		}
		if err == nil {
			w.stores[blobStore][h] = b
		}
	}
}

// pinsOf returns what a version needs, its pins list included.
func (w *world) pinsOf(v *bucket.Version) map[bucket.Hash]bool {
	all := map[bucket.Hash]bool{v.Pins.Hash(): true}
	if list, err := blobstore.ReadAll(context.Background(), &w.blobs, v.Pins.Hash(), bucket.MaxPinsSize); err == nil {
		pins, _ := bucket.ParsePins(list)
		for _, h := range pins {
			all[h] = true
		}
	}
	return all
}

// step plays one call: it fails, before or after do took effect, if its turn has come.
func (w *world) step(ctx context.Context, name string, do func()) error {
	if w.onStep != nil {
		if err := w.onStep(ctx, name); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps = append(w.steps, name)
	fails := w.offline || len(w.steps) == w.failAt
	if !fails || w.applied {
		do()
	}
	if name == "announce" {
		w.check()
	}
	if fails {
		return fmt.Errorf("%s: %w", name, errFault)
	}
	return nil
}

// check demands that all is there that was announced last: nothing goes away by itself. The lock is held.
func (w *world) check() {
	w.tb.Helper()
	for _, a := range w.announced[max(0, len(w.announced)-1):] {
		for _, l := range append([]bucket.Link{a.Link}, a.Heads...) {
			w.checkHead(l)
		}
		for _, p := range a.Hints.Packs {
			if w.stores[manifestStore][p.Hash] == nil {
				w.tb.Errorf("pack %s is announced and not there", p.Hash)
			}
		}
	}
}

func (w *world) checkPins(v *bucket.Version) {
	w.tb.Helper()
	for h := range w.pinsOf(v) {
		if w.stores[blobStore][h] == nil && !w.nowhere[h] {
			w.tb.Errorf("blob %s of version %s is not there", h, v.Link)
		}
	}
}

func (w *world) checkHead(l bucket.Link) {
	w.tb.Helper()
	w.checkPins(w.versions[l])
	for v := w.versions[l]; v != nil; v = w.versions[v.Previous] {
		if w.stores[manifestStore][v.Link.Hash()] == nil {
			w.tb.Errorf("version %s is announced, and manifest %s is not there", l, v.Link)
		}
	}
}

// checkDone demands that nothing is owed, and all that is held is there.
func (w *world) checkDone() {
	w.tb.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := w.owes(); n != 0 {
		w.tb.Errorf("%d uploads are owed still", n)
	}
	for _, v := range w.versions {
		w.checkPins(v)
		if w.stores[manifestStore][v.Link.Hash()] == nil {
			w.tb.Errorf("manifest %s is not there", v.Link)
		}
	}
}

func (w *world) Absent(ctx context.Context, store string, hashes []bucket.Hash) (absent []bucket.Hash, err error) {
	err = w.step(ctx, "ask "+store, func() {
		w.asked[store] += len(hashes)
		for _, h := range hashes {
			if w.stores[store][h] == nil {
				absent = append(absent, h)
			}
		}
	})
	return absent, err
}

func (w *world) Put(ctx context.Context, store string, h bucket.Hash, size int64, r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if int64(len(b)) != size || bucket.Sum(b) != h {
		w.tb.Errorf("%d bytes are put as %s", len(b), h)
	}
	return w.step(ctx, "put "+store, func() { w.store(store, h, b) })
}

func (w *world) PutMany(ctx context.Context, store string, blobs []blobstore.Small) error {
	size := 0
	for _, b := range blobs {
		size += len(b.Data)
	}
	if size > 8<<20+bucket.MaxPackSize || len(blobs) == 0 {
		w.tb.Errorf("a batch of %d blobs and %d bytes", len(blobs), size)
	}
	return w.step(ctx, "batch "+store, func() {
		for _, b := range blobs {
			w.store(store, b.Hash, b.Data)
		}
	})
}

func (w *world) store(store string, h bucket.Hash, b []byte) {
	w.puts[h]++
	if bucket.Sum(b) != h {
		w.tb.Errorf("other bytes are put as %s", h)
	}
	w.stores[store][h] = b
}

func (w *world) Announce(ctx context.Context, a bucket.Announcement) (duplicate bool, err error) {
	if _, err := a.Encode(); err != nil {
		w.tb.Error(err)
	}
	err = w.step(ctx, "announce", func() {
		if duplicate = w.ids[a.MessageID()]; !duplicate {
			w.ids[a.MessageID()] = true
			w.announced = append(w.announced, a)
		}
	})
	return duplicate, err
}

// Heads returns the newest announcement of each peer.
func (w *world) Heads(ctx context.Context, id bucket.ID) (heads []bucket.Announcement, err error) {
	err = w.step(ctx, "heads", func() {
		if w.stranger != nil {
			heads = append(heads, *w.stranger)
		}
		for _, a := range slices.Backward(w.announced) {
			if a.Bucket == id && !slices.ContainsFunc(heads, func(h bucket.Announcement) bool { return h.Peer == a.Peer }) {
				heads = append(heads, a)
			}
		}
	})
	return heads, err
}

// last returns the newest announcement.
func (w *world) last() bucket.Announcement {
	w.tb.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.announced) == 0 {
		w.tb.Fatal("nothing is announced")
	}
	return w.announced[len(w.announced)-1]
}

// count counts the steps so far of a name.
func (w *world) count(name string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.steps {
		if s == name {
			n++
		}
	}
	return n
}

// faultyLog makes the log's changes steps of the world, too.
type faultyLog struct {
	*logstore.Memory
	w *world
}

func (l faultyLog) Announced(ctx context.Context, id bucket.ID, h bucket.Head) error {
	return l.w.step(ctx, "note announced", func() {
		if err := l.Memory.Announced(ctx, id, h); err != nil {
			l.w.tb.Error(err)
		}
	})
}

func (l faultyLog) Uploaded(ctx context.Context, id bucket.ID, heads ...bucket.Head) error {
	return l.w.step(ctx, "note uploaded", func() {
		if err := l.Memory.Uploaded(ctx, id, heads...); err != nil {
			l.w.tb.Error(err)
		}
	})
}

// publish works off a bucket and demands that it succeeds.
func publish(tb testing.TB, p *publisher.Publisher, id bucket.ID) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := p.Publish(ctx, id, nil); err != nil {
		tb.Fatal(err)
	}
}
