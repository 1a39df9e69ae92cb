package author_test

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"headwater/author"
	"headwater/bucket"
	"headwater/bucket/buckettest"
)

// hinted is a world with a chain whose packs are there.
func hinted(t testing.TB, n int) (*world, *buckettest.Chain, bucket.Hints) {
	t.Helper()
	w := newWorld(t)
	c := buckettest.New(t, buckettest.Identity(t, 100)).Grow(t, n)
	w.putChain(c)
	return w, c, w.packs(c.Versions)
}

// packs puts the packs of versions, and returns what an announcement of the last one tells.
func (w *world) packs(versions []*bucket.Version) bucket.Hints {
	w.t.Helper()
	h, packs := buckettest.Hints(w.t, versions)
	maps.Copy(w.manifests, packs)
	return h
}

// fold puts packs of the next level in place of packs, though they are too few for it.
func (w *world) fold(packs []bucket.PackRef) (folded []bucket.PackRef) {
	w.t.Helper()
	for some := range slices.Chunk(packs, bucket.PackFanOut) {
		p := bucket.Pack{Level: some[0].Level + 1, Packs: some}
		b, err := p.Encode()
		if err != nil {
			w.t.Fatal(err)
		}
		folded = append(folded, bucket.PackRef{Level: p.Level, Hash: w.putOctets(b), Last: some[len(some)-1].Last})
	}
	return folded
}

// hint announces a head with hints as peer n.
func (w *world) hint(v *bucket.Version, peer byte, h bucket.Hints) {
	w.tell(bucket.Announcement{
		Link: v.Link, Height: &v.Height, Bucket: v.Bucket, Peer: buckettest.Identity(w.t, peer).PublicKey(), Hints: h,
	})
}

// singles counts what was fetched one by one.
func (w *world) singles() (n int) {
	for _, times := range w.fetched {
		n += times
	}
	return n
}

// forget counts anew.
func (w *world) forget() {
	clear(w.fetched)
	clear(w.batched)
	w.batches, w.looks = 0, 0
}

// checkAsked demands that nothing was fetched by itself, no object twice, and all in at most so many batches.
func (w *world) checkAsked(batches int) {
	w.t.Helper()
	if n := w.singles(); n != 0 {
		w.t.Errorf("%d versions were fetched by themselves, want none", n)
	}
	if w.batches > batches {
		w.t.Errorf("got %d batches, want at most %d", w.batches, batches)
	}
	for h, n := range w.batched {
		if n != 1 {
			w.t.Errorf("object %s was fetched %d times", h, n)
		}
	}
}

func checkHead(t testing.TB, h author.Heads, want *bucket.Version, forks int) {
	t.Helper()
	if h.Head.Link != want.Link || len(h.Forks) != forks {
		t.Errorf("got head %d, %s, and %d forks; want %d, %s, and %d", h.Head.Height, h.Head.Link, len(h.Forks),
			want.Height, want.Link, forks)
	}
}

func TestHintedFirstContactFetchesNothingByItself(t *testing.T) {
	for name, tt := range map[string]struct{ versions, levels, batches int }{
		"genesis": {1, 0, 0}, "recent ones": {100, 0, 1}, "packs": {1200, 0, 1}, "packs of packs": {1200, 1, 2},
		"packs of packs of packs": {700, 2, 3},
	} {
		t.Run(name, func(t *testing.T) {
			w, c, h := hinted(t, tt.versions)
			for range tt.levels {
				h.Packs = w.fold(h.Packs)
			}
			w.hint(c.Head(), 100, h)
			var done, total uint64
			d := w.deskIn(1, t.TempDir(), func(cfg *author.Config) {
				cfg.Progress = func(d, all uint64) {
					if d < done || d > all {
						t.Errorf("told %d of %d after %d", d, all, done)
					}
					done, total = d, all
				}
			})
			checkHead(t, d.find(c.ID), c.Head(), 0)
			w.checkAsked(tt.batches)
			if want := uint64(tt.versions); done != want || total != want {
				t.Errorf("told %d of %d versions, want all %d", done, total, want)
			}
		})
	}
}

// Who is a little behind asks for what is missing, and who is one version behind for nothing.
func TestHintedLookAsksForWhatIsMissing(t *testing.T) {
	w, c, h := hinted(t, 700)
	for behind, batches := range map[int]int{0: 0, 1: 0, 5: 1, 300: 1} {
		before := c.Versions[:700-behind]
		w.hint(before[len(before)-1], 100, w.packs(before))
		d := w.desk(1)
		d.find(c.ID)
		w.forget()
		w.hint(c.Head(), 100, h)
		checkHead(t, d.restart().find(c.ID), c.Head(), 0)
		w.checkAsked(batches)
		if len(w.batched) > behind {
			t.Errorf("%d versions behind: got %d objects, want no more than that", behind, len(w.batched))
		}
	}
}

// A chain of large manifests takes several windows. None is larger than it may be, and each asks for what none did before.
func TestBounded_HintsAreFollowedWindowByWindow(t *testing.T) {
	const n = 800
	w := newWorld(t)
	var mirrors []bucket.PublicKey
	for i := range byte(90) {
		mirrors = append(mirrors, buckettest.Identity(t, i).PublicKey())
	}
	c := buckettest.New(t, buckettest.Identity(t, 100), mirrors...).Grow(t, n)
	w.putChain(c)
	size, perPack := 0, bucket.MaxPackContent/bucket.PackedSize(c.Head().Encoded())
	for _, v := range c.Versions {
		size += len(v.Encoded())
	}
	w.hint(c.Head(), 100, w.packs(c.Versions))
	checkHead(t, w.desk(1).find(c.ID), c.Head(), 0)
	if perPack > 32 {
		t.Fatalf("%d versions are in a pack; the test has not tried what it is for", perPack)
	}
	if least := size / (12 << 20); w.batches < least {
		t.Errorf("got %d batches, want at least %d for %d octets", w.batches, least, size)
	}
	w.checkAsked(size/(12<<20) + 3) // and one for packs of packs
}

// Whatever hints say, the head is found, and it costs little more than without.
func TestBrokerIsNotTrusted_LyingHintsCostOnlyTime(t *testing.T) {
	const n = 300
	lies := map[string]func(w *world, c *buckettest.Chain, h *bucket.Hints){
		"links to nothing": func(_ *world, _ *buckettest.Chain, h *bucket.Hints) {
			for i := range h.Recent {
				h.Recent[i] = bucket.ManifestLink([]byte{byte(i), 7})
			}
		},
		"another bucket's stretch": func(w *world, _ *buckettest.Chain, h *bucket.Hints) {
			other := buckettest.New(w.t, buckettest.Identity(w.t, 100)).Grow(w.t, n)
			w.putChain(other)
			o := w.packs(other.Versions)
			for i := range h.Packs { // begins where it should
				h.Packs[i].Hash = o.Packs[i].Hash
			}
		},
		"another genesis of the bucket": func(w *world, c *buckettest.Chain, h *bucket.Hints) {
			other := buckettest.New(w.t, buckettest.Identity(w.t, 9))
			other.ID = c.ID
			w.putChain(other.Grow(w.t, n))
			o := w.packs(other.Versions)
			for i := range h.Packs {
				h.Packs[i].Hash = o.Packs[i].Hash
			}
		},
		"a truncated pack": func(w *world, _ *buckettest.Chain, h *bucket.Hints) {
			b := w.manifests[h.Packs[1].Hash]
			h.Packs[1].Hash = w.putOctets(b[:len(b)-10])
		},
		"an oversized pack": func(w *world, _ *buckettest.Chain, h *bucket.Hints) {
			h.Packs[0].Hash = w.putOctets(append(slices.Clone(w.manifests[h.Packs[0].Hash]), make([]byte, bucket.MaxPackSize)...))
		},
		"octets of another pack": func(w *world, _ *buckettest.Chain, h *bucket.Hints) {
			w.manifests[h.Packs[0].Hash] = w.manifests[h.Packs[1].Hash]
		},
		"the wrong order": func(_ *world, _ *buckettest.Chain, h *bucket.Hints) {
			slices.Reverse(h.Packs)
			slices.Reverse(h.Recent)
		},
		"the same pack again and again": func(_ *world, _ *buckettest.Chain, h *bucket.Hints) {
			for range 50 {
				h.Packs = append(h.Packs, h.Packs[0])
			}
		},
		"packs of packs without end": func(w *world, c *buckettest.Chain, h *bucket.Hints) {
			refs := slices.Repeat([]bucket.PackRef{{Hash: bucket.Sum([]byte("nothing")), Last: c.Versions[n-2].Link}}, bucket.PackFanOut)
			for level := 1; level <= bucket.MaxPackLevel; level++ {
				refs[0].Last = bucket.ManifestLink([]byte{byte(level)})
				b, err := bucket.Pack{Level: level, Packs: refs}.Encode()
				if err != nil {
					w.t.Fatal(err)
				}
				ref := bucket.PackRef{Level: level, Hash: w.putOctets(b), Last: c.Versions[n-2].Link}
				refs = slices.Repeat([]bucket.PackRef{ref}, bucket.PackFanOut)
			}
			h.Recent, h.Packs = nil, refs
		},
		"packs of packs that lead astray": func(w *world, c *buckettest.Chain, h *bucket.Hints) {
			var refs []bucket.PackRef
			for i := range byte(bucket.PackFanOut) {
				refs = append(refs, bucket.PackRef{Hash: bucket.Sum([]byte{i}), Last: bucket.ManifestLink([]byte{i})})
			}
			refs[len(refs)-1].Last = c.Versions[n-2].Link
			b, err := bucket.Pack{Level: 1, Packs: refs}.Encode()
			if err != nil {
				w.t.Fatal(err)
			}
			h.Recent, h.Packs = nil, []bucket.PackRef{{Level: 1, Hash: w.putOctets(b), Last: c.Versions[n-2].Link}}
		},
		"a pack of another level": func(_ *world, _ *buckettest.Chain, h *bucket.Hints) {
			h.Packs[0].Level = 2
		},
		"a manifest that is another": func(_ *world, c *buckettest.Chain, h *bucket.Hints) {
			h.Manifest = c.Versions[3].Encoded()
		},
		"a pack of octets that are no manifests": func(w *world, _ *buckettest.Chain, h *bucket.Hints) {
			b, err := bucket.Pack{Manifests: [][]byte{bytes.Repeat([]byte{0xa2}, 500)}}.Encode()
			if err != nil {
				w.t.Fatal(err)
			}
			h.Packs[1].Hash = w.putOctets(b)
		},
		"a missing pack": func(w *world, _ *buckettest.Chain, h *bucket.Hints) {
			delete(w.manifests, h.Packs[1].Hash)
		},
		"links to packs": func(_ *world, _ *buckettest.Chain, h *bucket.Hints) {
			for i := range h.Recent[1:] {
				h.Recent[i+1] = bucket.NewLink(bucket.CodecDagCBOR, h.Packs[i%len(h.Packs)].Hash)
			}
		},
	}
	chain := buckettest.New(t, buckettest.Identity(t, 100)).Grow(t, n)
	for _, name := range slices.Sorted(maps.Keys(lies)) {
		for _, had := range []int{0, 20} {
			t.Run(name+map[bool]string{true: ", new", false: ", known"}[had == 0], func(t *testing.T) {
				w, c := newWorld(t), chain
				w.putChain(c)
				h := w.packs(c.Versions)
				d := w.desk(1)
				if had > 0 {
					w.announce(c.ID, c.Versions[had-1].Link, 100)
					d.find(c.ID)
					w.forget()
				}
				honest := h
				honest.Recent, honest.Packs = slices.Clone(h.Recent), slices.Clone(h.Packs)
				lies[name](w, c, &h)
				w.hint(c.Head(), 100, h)
				checkHead(t, d.find(c.ID), c.Head(), 0)
				if got := w.singles(); got > n-had {
					t.Errorf("%d versions were fetched by themselves, want at most the %d there are", got, n-had)
				}
				if w.batches > len(h.Recent)+8 {
					t.Errorf("got %d batches", w.batches)
				}
				for o, times := range w.batched {
					if times != 1 {
						t.Errorf("object %s was fetched %d times", o, times)
					}
				}
				if name == "octets of another pack" || had > 0 {
					return // the pack is gone for everybody; who knows the bucket does no other
				}
				// Beside an honest announcement of the same head, a lie does not even cost time.
				w.forget()
				w.hint(c.Head(), 101, honest)
				checkHead(t, w.desk(2).find(c.ID), c.Head(), 0)
				if got := w.singles(); got > bucket.PackVersions {
					t.Errorf("%d versions were fetched by themselves beside honest hints", got)
				}
			})
		}
	}
}

// Hints that name much that leads nowhere cost no more than a request may bring, however many announce them.
func TestBounded_JunkThatHintsName(t *testing.T) {
	w, c, _ := hinted(t, 60)
	const peers = 8
	for peer := range byte(peers) {
		h := bucket.Hints{Recent: []bucket.Link{c.Versions[58].Link}}
		for i := range byte(200) {
			junk := bytes.Repeat([]byte{i, peer}, bucket.MaxPackSize/2)
			h.Recent = append(h.Recent, bucket.NewLink(bucket.CodecDagCBOR, w.putOctets(junk)))
		}
		h.Recent = slices.Insert(h.Recent, 1+int(peer), c.Versions[57-peer].Link)
		w.hint(c.Head(), 100+peer, h)
	}
	checkHead(t, w.desk(1).find(c.ID), c.Head(), 0)
	came := 0
	for o := range w.batched {
		came += len(w.manifests[o])
	}
	if limit := 72 << 20; came > limit {
		t.Errorf("%d octets were fetched for nothing, want at most %d", came, limit)
	}
	if got := w.singles(); got > 59 {
		t.Errorf("%d versions were fetched by themselves, want at most the 59 there are", got)
	}
}

// putOctets keeps an object beside the manifests.
func (w *world) putOctets(b []byte) bucket.Hash {
	w.manifests[bucket.Sum(b)] = b
	return bucket.Sum(b)
}

// What the first store lacks or has wrong comes from the second, and nothing is asked for by itself.
func TestHintedFirstContactAsksEveryStore(t *testing.T) {
	w, c, h := hinted(t, 400)
	for _, p := range h.Packs {
		w.elsewhere[p.Hash] = w.manifests[p.Hash]
		w.manifests[p.Hash] = []byte("something else")
	}
	w.hint(c.Head(), 100, h)
	checkHead(t, w.desk(1).find(c.ID), c.Head(), 0)
	w.checkAsked(1)
}

// Where nothing can be fetched together, a few requests say so, and all is fetched link by link.
func TestHintsThatCannotBeFollowedAreGivenUp(t *testing.T) {
	w, c, h := hinted(t, 400)
	w.failing = true
	w.hint(c.Head(), 100, h)
	checkHead(t, w.desk(1).find(c.ID), c.Head(), 0)
	if w.singles() != 399 || w.batches > 3 {
		t.Errorf("got %d manifests one by one after %d batches, want 399 and at most 3", w.singles(), w.batches)
	}
}

// What a request that breaks off has not brought is asked for again.
func TestHintsAreFollowedOnAfterABreak(t *testing.T) {
	w, c, h := hinted(t, 700)
	w.breaks = 1
	w.hint(c.Head(), 100, h)
	checkHead(t, w.desk(1).find(c.ID), c.Head(), 0)
	w.checkAsked(2)
}

// Forks have packs in common. No object is fetched twice, whoever names it.
func TestForksShareWhatTheirHintsName(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, buckettest.Identity(t, 100)).Grow(t, 600)
	forks := []*buckettest.Chain{c.Fork(400).Grow(t, 150), c.Fork(550).Grow(t, 30)}
	w.putChain(c)
	w.hint(c.Head(), 100, w.packs(c.Versions))
	for i, f := range forks {
		w.putChain(f)
		w.hint(f.Head(), byte(101+i), w.packs(f.Versions))
	}
	w.hint(c.Versions[580], 110, w.packs(c.Versions[:581])) // a peer that lags behind
	d := w.desk(1)
	h := d.find(c.ID)
	checkHead(t, h, c.Head(), 2)
	for i, base := range []uint64{550, 400} {
		if got := h.Forks[i].Ancestor.Height; got != base {
			t.Errorf("a fork begins at height %d, want %d", got, base)
		}
	}
	// Each of the three walks opens windows, and each fork is gone through once more for what was merged of it.
	if n := w.singles(); n > 1 || w.batches > 12 {
		t.Errorf("got %d manifests one by one and %d batches", n, w.batches)
	}
	for _, p := range w.packs(c.Versions[:401]).Packs {
		if w.batched[p.Hash] != 1 {
			t.Errorf("a pack of all was fetched %d times, want once", w.batched[p.Hash])
		}
	}
	// The fork that is met later by who knows the head costs what it has of its own.
	w2 := newWorld(t)
	w2.putChain(c)
	w2.putChain(forks[1])
	w2.hint(c.Head(), 100, w2.packs(c.Versions))
	d = w2.desk(1)
	d.find(c.ID)
	w2.forget()
	w2.hint(forks[1].Head(), 101, w2.packs(forks[1].Versions))
	checkHead(t, d.find(c.ID), c.Head(), 1)
	if n := len(w2.batched) + w2.singles(); n > 300 {
		t.Errorf("%d objects were fetched for a fork 50 versions below the head", n)
	}
}

// A version by its height, or by its link, takes few requests, however old it is.
func TestOldVersionsAreFoundByHints(t *testing.T) {
	w, c, h := hinted(t, 1200)
	w.hint(c.Head(), 100, h)
	d := w.desk(1)
	head := d.find(c.ID).Head
	for _, height := range []int{1190, 700, 0} {
		w.forget()
		v, err := d.At(t.Context(), head, uint64(height))
		if err != nil || v.Link != c.Versions[height].Link {
			t.Errorf("At(%d) = %v, %v", height, v, err)
		}
		w.checkAsked(1)
		w.forget()
		v, err = d.AtLink(t.Context(), head, c.Versions[height].Link)
		if err != nil || v.Link != c.Versions[height].Link {
			t.Errorf("AtLink(%d) = %v, %v", height, v, err)
		}
		w.checkAsked(8) // twice as many each time
	}
}

// Making a version asks the bus for nothing that is known; each 128th takes one request more, for its pack.
func TestHintsAreMadeWithFewRequests(t *testing.T) {
	for name, tt := range map[string]struct {
		packs   int
		failing bool
	}{"together": {2, false}, "one by one": {1, true}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ann := w.desk(1)
			v, err := ann.Create(t.Context(), "bucket")
			if err != nil {
				t.Fatal(err)
			}
			w.failing = tt.failing
			for v.Height <= uint64(tt.packs)*bucket.PackVersions {
				if v.Height%50 == 0 {
					ann = ann.restart() // a command of its own, which looks for the head first
					ann.find(v.Bucket)
				}
				w.forget()
				if v, _, err = ann.Next(t.Context(), v, author.Change{}); err != nil {
					t.Fatal(err)
				}
				batches, singles := 0, 0
				if v.Height%bucket.PackVersions == 0 {
					if batches = 1; tt.failing {
						singles = bucket.PackVersions
					}
				}
				if w.looks != 0 || w.batches != batches || w.singles() != singles {
					t.Fatalf("version %d took %d looks, %d batches and %d manifests, want 0, %d, %d", v.Height, w.looks, w.batches,
						w.singles(), batches, singles)
				}
			}
			if h := w.announcedBy(t, ann, v.Bucket).Hints; len(h.Packs) != tt.packs || len(h.Recent) != 1 {
				t.Errorf("got %d packs and %d recent versions, want %d and 1", len(h.Packs), len(h.Recent), tt.packs)
			}
		})
	}
}

// A pack that cannot be made now is made with the next version.
func TestPackThatCannotBeMadeWaits(t *testing.T) {
	w := newWorld(t)
	ann := w.desk(1)
	v, err := ann.Create(t.Context(), "bucket")
	if err != nil {
		t.Fatal(err)
	}
	var lost bucket.Hash
	for v.Height < bucket.PackVersions+5 {
		octets := w.manifests[lost]
		if v.Height > 100 && v.Height != bucket.PackVersions+3 {
			delete(w.manifests, lost)
		}
		if v, _, err = ann.Next(t.Context(), v, author.Change{}); err != nil {
			t.Fatal(err)
		}
		if w.manifests[lost] = octets; v.Height == 60 {
			lost = v.Link.Hash()
		}
		if n := len(w.chainOf(w.announcedBy(t, ann, v.Bucket).Hints)); uint64(n) != v.Height {
			t.Fatalf("the hints of version %d lead to %d versions, want all", v.Height, n)
		}
	}
	if h := w.announcedBy(t, ann, v.Bucket).Hints; len(h.Packs) != 1 {
		t.Errorf("got %d packs, want the one that could not be made", len(h.Packs))
	}
}
