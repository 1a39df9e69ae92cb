package chain

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"headwater/bucket"
	"headwater/bucket/buckettest"
)

// used is how many bytes a directory takes.
func used(t *testing.T, dir string) (size int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	return size
}

func TestPrefix_StretchOfAnyLengthInOrder(t *testing.T) {
	for _, n := range []int{1, 2, 3, 1024, 1025, 2100} {
		for name, hinted := range map[string]bool{"hinted": true, "bare": false} {
			w := newWorld(t, nil)
			c := w.chain(n)
			var h bucket.Hints
			if hinted {
				h = w.hints(c.Versions)
			}
			w.check(w.apply(c.Head(), h), c.Versions)
			if used(t, w.e.cfg.Dir) != 0 {
				t.Errorf("%d, %s: runs are left", n, name)
			}
		}
	}
}

// One new version with its manifest at hand reads the version before it and nothing else; no file is touched.
func TestBounded_OneVersionTouchesNoFile(t *testing.T) {
	w := newWorld(t, nil)
	c := w.chain(300)
	h := w.hints(c.Versions)
	w.apply(c.Versions[298], h)
	if err := os.RemoveAll(w.e.cfg.Dir); err != nil {
		t.Fatal(err)
	}
	clear(w.many)
	clear(w.single)
	w.check(w.apply(c.Head(), h), c.Versions[299:])
	if len(w.many)+len(w.single) > 0 {
		t.Errorf("%d objects were asked for", len(w.many)+len(w.single))
	}
	if _, err := os.Stat(w.e.cfg.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory of runs is there again: %v", err)
	}
}

// P6: whatever a walk came to is kept, also if it is short, and whatever head comes next.
func TestBrokerIsNotTrusted_WalkThatIsCutShortIsKept(t *testing.T) {
	w := newWorld(t, nil)
	c := w.chain(500)
	for _, at := range []int{400, 300, 100} {
		restore := w.lose(c.Versions[at].Link.Hash())
		if err := w.fail(c.Head(), bucket.Hints{}); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		restore()
		c.Grow(t, 3)
		w.put(c.Versions[len(c.Versions)-3:])
	}
	w.check(w.apply(c.Head(), bucket.Hints{}), c.Versions)
	for _, v := range c.Versions[101:499] {
		if n := w.single[v.Link.Hash()]; v.Height != 300 && v.Height != 400 && n != 1 {
			t.Fatalf("version %d was fetched %d times, want once", v.Height, n)
		}
	}
}

// The same when the time of a try is over.
func TestBrokerIsNotTrusted_WalkThatIsCancelledIsKept(t *testing.T) {
	w := newWorld(t, nil)
	c := w.chain(300)
	ctx, cancel := context.WithCancel(t.Context())
	err := w.e.CatchUp(ctx, Request{Head: c.Head(), Report: func(uint64) {
		if len(w.single) == 200 {
			cancel()
		}
	}}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want %v", err, context.Canceled)
	}
	clear(w.single)
	w.check(w.apply(c.Head(), bucket.Hints{}), c.Versions)
	if n := len(w.single); n > 100 {
		t.Errorf("%d versions were fetched by the second try, want at most 100", n)
	}
}

// Bytes in a store that are not those of a link say nothing about its chain: what was walked is kept.
func TestBrokerIsNotTrusted_WrongBytesThrowNoWalkAway(t *testing.T) {
	wrong := map[bucket.Class][]byte{bucket.HashMismatch: []byte("wrong"), bucket.TooLarge: make([]byte, bucket.MaxManifestSize+1)}
	for class, b := range wrong {
		t.Run(string(class), func(t *testing.T) {
			w := newWorld(t, nil)
			c := w.chain(300)
			at := c.Versions[100].Link.Hash()
			restore := w.lose(at)
			w.objects[at] = b
			if err := w.fail(c.Head(), bucket.Hints{}); bucket.ClassOf(err) != class {
				t.Fatalf("got %v, want class %s", err, class)
			}
			restore()
			clear(w.single)
			w.check(w.apply(c.Head(), bucket.Hints{}), c.Versions)
			if n := len(w.single); n > 101 {
				t.Errorf("%d versions were fetched by the second try, want at most 101", n)
			}
		})
	}
}

// P7: what an honest catch-up has kept is there after heads that are refused, or lead elsewhere.
func TestPoisonDoesNotBlock_RefusedHeadsLeaveWhatOthersKept(t *testing.T) {
	stranger := buckettest.Identity(t, 66)
	bad := map[string]func(w *world, c *buckettest.Chain) (*bucket.Version, bucket.Hints){
		"a height without a version before it": func(w *world, c *buckettest.Chain) (*bucket.Version, bucket.Hints) {
			f := c.Fork(0)
			return f.Add(w.t, func(m *bucket.Manifest) { m.Height, m.Previous = 5, bucket.Link{} }), bucket.Hints{}
		},
		"a genesis of one's own, with hints, not to its end": func(w *world, c *buckettest.Chain) (*bucket.Version, bucket.Hints) {
			own := buckettest.New(w.t, stranger, w.me.PublicKey())
			own.ID = c.ID
			own.Grow(w.t, 900)
			w.put(own.Versions)
			h := w.hints(own.Versions)
			w.lose(h.Packs[4].Hash)
			w.lose(own.Versions[600].Link.Hash())
			return own.Head(), h
		},
		"signed by a stranger on top": func(w *world, c *buckettest.Chain) (*bucket.Version, bucket.Hints) {
			f := c.Fork(998)
			f.Owner = stranger
			f.Grow(w.t, 1)
			w.put(f.Versions)
			return f.Head(), bucket.Hints{}
		},
		"signed by a stranger from the beginning, with hints": func(w *world, c *buckettest.Chain) (*bucket.Version, bucket.Hints) {
			f := c.Fork(3)
			f.Owner = stranger
			f.Grow(w.t, 900)
			w.put(f.Versions)
			return f.Head(), w.hints(f.Versions)
		},
	}
	for name, make := range bad {
		for _, hinted := range []bool{true, false} {
			t.Run(name+map[bool]string{true: ", kept from below", false: ", kept from a walk"}[hinted], func(t *testing.T) {
				w := newWorld(t, func(c *Config) { c.Memory = 1 })
				c := w.chain(1000)
				h := w.hints(c.Versions)
				restorePack, restore := w.lose(h.Packs[5].Hash), w.lose(c.Versions[700].Link.Hash())
				if !hinted {
					h = bucket.Hints{}
				}
				w.fail(c.Head(), h)
				before := used(t, w.e.cfg.Dir)
				head, lies := make(w, c)
				w.fail(head, lies)
				if after := used(t, w.e.cfg.Dir); before == 0 || after < before {
					t.Errorf("%d bytes were kept before, %d after", before, after)
				}
				restorePack()
				restore()
				clear(w.many)
				clear(w.single)
				w.check(w.apply(c.Head(), h), c.Versions)
				for _, p := range h.Packs[:min(5, len(h.Packs))] {
					if w.many[p.Hash] > 0 {
						t.Error("a pack was fetched again")
					}
				}
				if n := len(w.single); n > 720 || (hinted && n > 0) {
					t.Errorf("%d versions were fetched by themselves", n)
				}
			})
		}
	}
}

// P5: what runs take on disk is what they are accounted with, whatever is cut, refilled and removed.
func TestBounded_RoomOnDiskIsGivenBack(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Memory = 1 })
	c := w.chain(1000)
	fork := c.Fork(300).Grow(t, 700)
	w.put(fork.Versions)
	for round := range 6 {
		one := []*buckettest.Chain{c, fork}[round%2]
		h := w.hints(one.Versions)
		restorePack, restore := w.lose(h.Packs[6].Hash), w.lose(one.Versions[850].Link.Hash())
		w.fail(one.Head(), h)
		restorePack()
		restore()
		if got, want := w.e.disk.total, used(t, w.e.cfg.Dir); got != want {
			t.Fatalf("round %d: %d bytes are accounted for, %d are on disk", round, got, want)
		}
	}
	if w.e.disk.total == 0 {
		t.Error("nothing was kept")
	}
	w.check(w.apply(c.Head(), w.hints(c.Versions)), c.Versions)
	if w.e.disk.total != 0 || used(t, w.e.cfg.Dir) != 0 {
		t.Errorf("%d bytes are accounted for, %d are on disk, want none", w.e.disk.total, used(t, w.e.cfg.Dir))
	}
}

// A limit on disk removes what others have kept, the oldest first, and never more than is there.
func TestBounded_RoomOnDiskIsShared(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Memory, c.DiskLimit = 1, 1<<20 })
	for range 5 {
		c := w.chain(1000)
		h := w.hints(c.Versions)
		w.lose(h.Packs[6].Hash)
		w.lose(c.Versions[850].Link.Hash())
		w.fail(c.Head(), h)
		if size := used(t, w.e.cfg.Dir); size > 1<<20 || size != w.e.disk.total || size == 0 {
			t.Fatalf("%d bytes are on disk, %d are accounted for, at most %d may be", size, w.e.disk.total, 1<<20)
		}
	}
}

// P8: what is held is bounded by what came, not by what it was expected to be.
func TestBounded_LargeManifestsAreCountedAsTheyAre(t *testing.T) {
	const limit = 1 << 20
	w := newWorld(t, func(c *Config) { c.Memory = limit })
	c := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey())
	large := func(m *bucket.Manifest) {
		for i := range 800 { // shares of some 140 bytes each
			m.Shares = append(m.Shares, bucket.Share{Identity: buckettest.Identity(t, byte(i%90+2)).PublicKey(), Role: bucket.Mirror})
		}
		seen := map[bucket.PublicKey]bool{}
		kept := m.Shares[:0]
		for _, s := range m.Shares {
			if !seen[s.Identity] {
				kept = append(kept, s)
			}
			seen[s.Identity] = true
		}
		m.Shares, m.Name = kept, string(make([]byte, 100<<10))
	}
	for range 60 {
		c.Add(t, large)
	}
	w.put(c.Versions)
	h := w.hints(c.Versions)
	h.Packs, h.Recent = nil, nil
	for i := len(c.Versions) - 2; i >= 0; i-- {
		h.Recent = append(h.Recent, c.Versions[i].Link)
	}
	w.check(w.apply(c.Head(), h), c.Versions)
	if most := int64(limit + 6*counted*floor); w.peak > most {
		t.Errorf("%d bytes were held at most, want at most %d", w.peak, most)
	}
	if w.peak == 0 {
		t.Error("nothing was accounted for")
	}
}

// P8: memory does not grow with the length of a chain, hinted or not.
func TestBounded_MemoryDoesNotGrowWithTheChain(t *testing.T) {
	for name, hinted := range map[string]bool{"hinted": true, "bare": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.Memory = 1 })
			c := w.chain(3000)
			var h bucket.Hints
			if hinted {
				h = w.hints(c.Versions)
			}
			w.check(w.apply(c.Head(), h), c.Versions)
			if most := int64(6 * counted * floor); w.peak > most {
				t.Errorf("%d bytes were held at most, want at most %d", w.peak, most)
			}
		})
	}
}

// Hints that begin in the middle of a chain help the walk on its way down.
func TestHintsThatDoNotReachTheLogAreUsedByTheWalk(t *testing.T) {
	for name, known := range map[string]int{"new": 0, "known": 20} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			c := w.chain(1000)
			if known > 0 {
				w.apply(c.Versions[known-1], bucket.Hints{})
				clear(w.single)
			}
			h := w.hints(c.Versions[400:])
			w.check(w.apply(c.Head(), h), c.Versions[known:])
			for _, v := range c.Versions[400:] {
				if w.single[v.Link.Hash()] > 0 {
					t.Fatalf("version %d was fetched by itself", v.Height)
				}
			}
		})
	}
}

// A long stretch that follows on the log is yielded before its head is looked at; one that does not fit the log never is.
func TestOnlyWhoMay_LongStretchIsYieldedBelowARefusedHead(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Memory = 1 })
	c := w.chain(1050)
	h := w.hints(c.Versions)
	w.apply(c.Versions[49], bucket.Hints{})
	f := c.Fork(1049)
	f.Owner = buckettest.Identity(t, 66)
	head := f.Add(t, nil)
	got, err := w.catchUp(t.Context(), head, h)
	if bucket.ClassOf(err) != bucket.AuthorNotInShares {
		t.Fatalf("got %v, want a refusal", err)
	}
	if len(got) == 0 {
		t.Fatal("nothing was yielded below the refused head")
	}
	for i, v := range got {
		if v.Link != c.Versions[50+i].Link {
			t.Fatalf("version %d is another", i)
		}
	}
	w.check(w.apply(c.Head(), h), c.Versions[50+len(got):])
}

func TestDivergedAndNotSharedYieldNothing(t *testing.T) {
	w := newWorld(t, nil)
	c := w.chain(3)
	w.apply(c.Head(), bucket.Hints{})
	other := buckettest.New(t, buckettest.Identity(t, 2), w.me.PublicKey())
	other.ID = c.ID
	other.Grow(t, 1500)
	w.put(other.Versions)
	got, err := w.catchUp(t.Context(), other.Head(), w.hints(other.Versions))
	if len(got) > 0 || !errors.Is(err, ErrDiverged) {
		t.Errorf("got %d versions, %v; want none, %v", len(got), err, ErrDiverged)
	}
	removed := c.Add(t, func(m *bucket.Manifest) { m.Shares = m.Shares[:1] })
	got, err = w.catchUp(t.Context(), removed, bucket.Hints{})
	if len(got) > 0 || !errors.Is(err, ErrNotShared) {
		t.Errorf("got %d versions, %v; want none, %v", len(got), err, ErrNotShared)
	}
	if used(t, w.e.cfg.Dir) != 0 {
		t.Error("runs are left")
	}
}

// Keeping what a catch-up came to does not outlast its time: what is not verified by then is fetched again.
func TestBounded_KeepingEndsWithItsTime(t *testing.T) {
	w := newWorld(t, nil)
	c := w.chain(3000)
	h := w.hints(c.Versions)
	ctx, cancel := context.WithCancel(t.Context())
	up := w.e.newCatchUp(Request{Head: c.Head(), Hints: h, Report: func(uint64) { cancel() }})
	if err := up.goUp(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	held := up.tail.count()
	if err := up.keep(ctx); err != nil {
		t.Fatal(err)
	}
	for _, r := range up.runs {
		if r.up && r.count() > 0 {
			t.Errorf("%d of %d versions were verified after the time was over", r.count(), held)
		}
	}
	if held == 0 {
		t.Error("nothing was held")
	}
	up.err = ctx.Err()
	if err := up.close(); err != nil {
		t.Fatal(err)
	}
	w.check(w.apply(c.Head(), h), c.Versions)
}
