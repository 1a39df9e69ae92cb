package consumer_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/logstore"
)

// runNarrow runs a consumer that holds as little in memory as it can.
func (w *world) runNarrow(cfg consumer.Config) (stop func()) {
	w.t.Helper()
	cfg.Memory = 1
	_, stop = w.run(cfg)
	return stop
}

// lose takes an object out of the store, and returns what puts it back.
func (w *world) lose(h bucket.Hash) (restore func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.stores["manifests"][h]
	delete(w.stores["manifests"], h)
	return func() { w.put("manifests", h, b) }
}

// interrupted is a world in which a catch-up of a new bucket's 1,000 versions was stopped after 640 of them: neither the sixth pack nor
// the manifests that it would have brought could be had.
func interrupted(t *testing.T) (w *world, chain *buckettest.Chain, h bucket.Hints, cfg consumer.Config) {
	w, chain, h = hinted(t, 1000)
	cfg = w.config()
	cfg.RetryMin, cfg.RetryMax = time.Hour, time.Hour
	restorePack := w.lose(h.Packs[5].Hash)
	restoreManifest := w.lose(chain.Versions[700].Link.Hash())
	stop := w.runNarrow(cfg)
	w.tell(chain.Head(), h)
	w.wait(consumer.EventRetrying)
	stop()
	if info, err := os.Stat(runOf(cfg, chain.ID)); err != nil || info.Size() == 0 {
		t.Errorf("nothing is kept of the interrupted catch-up: %v", err)
	}
	if _, err := w.log.Bucket(t.Context(), chain.ID); !errors.Is(err, logstore.ErrNotFound) {
		t.Errorf("the log has the bucket (%v) before its head was reached", err)
	}
	restorePack()
	restoreManifest()
	return w, chain, h, cfg
}

// runOf returns the file with what came from below of a bucket.
func runOf(cfg consumer.Config, id bucket.ID) string {
	all, _ := filepath.Glob(filepath.Join(cfg.StageDir, id.String(), "up-*"))
	return strings.Join(all, " ")
}

func TestPrefix_InterruptedHintedCatchUpGoesOnWhereItStopped(t *testing.T) {
	w, chain, h, cfg := interrupted(t)
	w.tell(chain.Head(), h)
	w.runNarrow(cfg)
	w.wait(consumer.EventApplied)
	checkPrefix(t, w.log, chain)
	for i, p := range h.Packs[:5] {
		if n := w.many[p.Hash]; n != 1 {
			t.Errorf("pack %d was fetched %d times, want once", i, n)
		}
	}
	if n := w.fetchesOf(chain.Versions[:640]); n != 0 {
		t.Errorf("%d versions of those packs were fetched by themselves, want none", n)
	}
	if left, _ := os.ReadDir(cfg.StageDir); len(left) > 0 {
		t.Errorf("runs are still there after the catch-up: %v", left)
	}
}

// A process that died when all was appended, and before what it had kept was removed, hinders no later catch-up.
func TestPrefix_InterruptedHintedCatchUpDiedBeforeItCleanedUp(t *testing.T) {
	w, chain, h, cfg := interrupted(t)
	path := runOf(cfg, chain.ID)
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	w.tell(chain.Head(), h)
	stop := w.runNarrow(cfg)
	w.wait(consumer.EventApplied)
	stop()
	if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
		err = os.WriteFile(path, kept, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	chain.Grow(t, 700)
	w.putChain(chain)
	before := w.fetchesOf(chain.Versions)
	w.tell(chain.Head(), w.packChain(chain.Versions))
	w.runNarrow(cfg)
	w.wait(consumer.EventApplied)
	checkPrefix(t, w.log, chain)
	if n := w.fetchesOf(chain.Versions) - before; n != 0 {
		t.Errorf("%d versions were fetched by themselves, want none", n)
	}
}

// What was kept and is wrong by now is fetched again.
func TestPrefix_InterruptedHintedCatchUpWithDamagedFile(t *testing.T) {
	for name, damage := range map[string]func(b []byte) []byte{
		"torn":               func(b []byte) []byte { return b[:len(b)-100] },
		"cut in a head":      func(b []byte) []byte { return b[:20] },
		"one bit":            func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"first bit":          func(b []byte) []byte { b[0] ^= 1; return b },
		"bytes behind it":    func(b []byte) []byte { return append(b, make([]byte, 100)...) },
		"nothing":            func([]byte) []byte { return nil },
		"its beginning lost": func(b []byte) []byte { return b[len(b)/2:] },
	} {
		t.Run(name, func(t *testing.T) {
			w, chain, h, cfg := interrupted(t)
			w.tell(chain.Head(), h)
			path := runOf(cfg, chain.ID)
			b, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, damage(b), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			w.runNarrow(cfg)
			w.wait(consumer.EventApplied)
			checkPrefix(t, w.log, chain)
		})
	}
}

// The head that is reached in the end need not be the one for which versions were kept.
func TestPrefix_InterruptedHintedCatchUpEndsAtAnotherHead(t *testing.T) {
	for name, other := range map[string]func(t *testing.T, chain *buckettest.Chain) *buckettest.Chain{
		"a longer chain":              func(t *testing.T, c *buckettest.Chain) *buckettest.Chain { return c.Fork(999).Grow(t, 50) },
		"a fork behind what was kept": func(t *testing.T, c *buckettest.Chain) *buckettest.Chain { return c.Fork(660).Grow(t, 500) },
		"a fork of what was kept":     func(t *testing.T, c *buckettest.Chain) *buckettest.Chain { return c.Fork(300).Grow(t, 900) },
		"a fork below a pack's end":   func(t *testing.T, c *buckettest.Chain) *buckettest.Chain { return c.Fork(127).Grow(t, 900) },
		"a short fork":                func(t *testing.T, c *buckettest.Chain) *buckettest.Chain { return c.Fork(300).Grow(t, 2) },
		"a version of what was kept":  func(t *testing.T, c *buckettest.Chain) *buckettest.Chain { return c.Fork(500) },
		"another genesis": func(t *testing.T, c *buckettest.Chain) *buckettest.Chain {
			return c.Fork(0).Restart(t).Grow(t, 700)
		},
	} {
		for _, bare := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", without hints"}[bare], func(t *testing.T) {
				w, chain, _, cfg := interrupted(t)
				next := other(t, chain)
				w.putChain(next)
				h := w.packChain(next.Versions)
				if bare {
					h = bucket.Hints{}
				}
				w.tell(next.Head(), h)
				w.runNarrow(cfg)
				w.wait(consumer.EventApplied)
				checkPrefix(t, w.log, next)
			})
		}
	}
}

// What was verified by laxer rules is verified again by stricter ones.
func TestOnlyWhoMay_InterruptedHintedCatchUpUnderOtherRules(t *testing.T) {
	w := newWorld(t)
	chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey())
	for range 1000 {
		chain.AddUnsigned(t)
	}
	w.putChain(chain)
	h := w.packChain(chain.Versions)
	cfg := w.config()
	cfg.RetryMin, cfg.RetryMax = time.Hour, time.Hour
	cfg.Rules.AllowUnsigned = true
	restorePack, restoreManifest := w.lose(h.Packs[5].Hash), w.lose(chain.Versions[700].Link.Hash())
	stop := w.runNarrow(cfg)
	w.tell(chain.Head(), h)
	w.wait(consumer.EventRetrying)
	stop()
	restorePack()
	restoreManifest()
	cfg.Rules.AllowUnsigned = false
	w.tell(chain.Head(), h)
	w.runNarrow(cfg)
	w.wait(consumer.EventRejected)
	if b, err := w.log.Bucket(t.Context(), chain.ID); err == nil && b.Versions > 0 {
		t.Errorf("%d unsigned versions are in the log, want none", b.Versions)
	}
}

// failingLog refuses to append once it has done so a number of times.
type failingLog struct {
	logstore.Store
	left atomic.Int32
}

func (l *failingLog) Append(
	ctx context.Context, entries []logstore.Entry, job *logstore.Job, newestOnly bool,
) ([]logstore.Entry, error) {
	if l.left.Add(-1) < 0 {
		return nil, errors.New("no more")
	}
	return l.Store.Append(ctx, entries, job, newestOnly)
}

// A process that dies while it appends what it had kept, and comes back, appends the rest.
func TestPrefix_HintedCatchUpInterruptedWhileAppending(t *testing.T) {
	w, chain, h := hinted(t, 1000)
	cfg := w.config()
	cfg.RetryLimit = 1000
	log := &failingLog{Store: w.log}
	log.left.Store(3)
	cfg.Log = log
	stop := w.runNarrow(cfg)
	w.tell(chain.Head(), h)
	w.wait(consumer.EventRetrying)
	stop()
	if b, err := w.log.Bucket(t.Context(), chain.ID); err != nil || b.Versions == 0 || b.Versions == 1000 {
		t.Fatalf("got %d versions (%v), want some", b.Versions, err)
	}
	batches := w.batches
	cfg.Log = w.log
	w.runNarrow(cfg)
	w.wait(consumer.EventApplied)
	checkPrefix(t, w.log, chain)
	for i, p := range h.Packs[:6] {
		if n := w.many[p.Hash]; n != 1 {
			t.Errorf("pack %d was fetched %d times, want once", i, n)
		}
	}
	if w.batches > batches+1 || w.fetchesOf(chain.Versions) > 0 {
		t.Errorf("got %d more batches and %d single fetches, want one and none", w.batches-batches, w.fetchesOf(chain.Versions))
	}
}

// How far a long catch-up is can be seen all the time.
func TestStatusTellsHowFarACatchUpIs(t *testing.T) {
	w, chain, h := hinted(t, 1000)
	cfg := w.config()
	cfg.RetryMin, cfg.RetryMax = time.Hour, time.Hour
	restore := w.lose(h.Packs[5].Hash)
	restoreManifest := w.lose(chain.Versions[700].Link.Hash())
	cfg.Memory = 1
	c, _ := w.run(cfg)
	w.tell(chain.Head(), h)
	w.wait(consumer.EventRetrying)
	s, err := c.Status(t.Context(), chain.ID)
	if err != nil {
		t.Fatal(err)
	}
	if p := s.CatchUp; p.Total != 1000 || p.Fetched < 640 || p.Fetched >= 1000 || p.Appended != 0 {
		t.Errorf("got progress %+v, want 640 to 999 of 1000, and none appended", p)
	}
	if s.Behind != 1000 {
		t.Errorf("got %d behind, want 1000", s.Behind)
	}
	restore()
	restoreManifest()
	if ignored, err := c.Look(t.Context(), chain.ID, []bucket.Announcement{{Link: chain.Head().Link}}); err != nil || len(ignored) > 0 {
		t.Fatalf("got %v ignored, %v, want none", ignored, err)
	}
	if s, err = c.Status(t.Context(), chain.ID); err != nil || s.CatchUp != (consumer.Progress{}) {
		t.Errorf("got progress %+v (%v) of a bucket that is caught up, want none", s.CatchUp, err)
	}
}
