package consumer_test

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
)

// hinted is a world with a chain whose packs are in the first store.
func hinted(t *testing.T, n int) (*world, *buckettest.Chain, bucket.Hints) {
	w := newWorld(t)
	chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, n)
	w.putChain(chain)
	return w, chain, w.packChain(chain.Versions)
}

// packChain puts the packs of versions, and returns what an announcement of the last one tells.
func (w *world) packChain(versions []*bucket.Version) bucket.Hints {
	h, packs := buckettest.Hints(w.t, versions)
	for hash, b := range packs {
		w.put("manifests", hash, b)
	}
	return h
}

// tell announces a head with hints, in CBOR.
func (w *world) tell(v *bucket.Version, h bucket.Hints) {
	b, err := bucket.Announcement{Link: v.Link, Height: &v.Height, Hints: h}.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	w.send(v.Bucket, 1, b)
}

// runsNarrow runs a consumer that holds little more than near bytes, and has the first had versions of a chain.
func (w *world) runsNarrow(chain *buckettest.Chain, had int, near int64) {
	w.t.Helper()
	cfg := w.config()
	cfg.Memory = near
	w.run(cfg)
	if had > 0 {
		before := chain.Versions[:had]
		w.tell(before[had-1], w.packChain(before))
		w.wait(consumer.EventApplied)
	}
}

// fetchesOf counts what was fetched, one by one and in batches.
func (w *world) fetchesOf(versions []*bucket.Version) (single int) {
	for _, v := range versions {
		single += w.fetches(v.Link.Hash())
	}
	return single
}

func TestHintedCatchUpFetchesNothingByItself(t *testing.T) {
	for name, n := range map[string]int{"one": 2, "recent ones": 100, "packs": 700, "packs of packs": 8400} {
		t.Run(name, func(t *testing.T) {
			w, chain, h := hinted(t, n)
			w.run(w.config())
			w.tell(chain.Head(), h)
			w.wait(consumer.EventApplied)
			checkPrefix(t, w.log, chain)
			if got := w.fetchesOf(chain.Versions); got != 0 {
				t.Errorf("%d versions were fetched by themselves, want none", got)
			}
			if w.batches > 2 {
				t.Errorf("got %d batches, want at most 2", w.batches)
			}
			for h, n := range w.many {
				if n != 1 {
					t.Errorf("object %s was fetched %d times", h, n)
				}
			}
		})
	}
}

// A peer that is one version behind has all it needs in the announcement.
func TestHintedSingleVersionCostsNoRequest(t *testing.T) {
	w, chain, _ := hinted(t, 300)
	w.run(w.config())
	before := *chain
	before.Versions = chain.Versions[:299]
	w.tell(before.Head(), w.packChain(before.Versions))
	w.wait(consumer.EventApplied)
	batches, single := w.batches, w.fetchesOf(chain.Versions)
	w.tell(chain.Head(), w.packChain(chain.Versions))
	w.wait(consumer.EventApplied)
	checkPrefix(t, w.log, chain)
	if w.batches != batches || w.fetchesOf(chain.Versions) != single {
		t.Error("manifests were asked for, want none")
	}
}

// A long stretch of a bucket that we have is appended as it comes; of a new one it waits on disk until the head is reached.
func TestBounded_HintedCatchUpSpills(t *testing.T) {
	for name, had := range map[string]int{"of a new bucket": 0, "of one that we have": 50} {
		t.Run(name, func(t *testing.T) {
			w, chain, h := hinted(t, 1000)
			w.runsNarrow(chain, had, 1)
			w.tell(chain.Head(), h)
			w.wait(consumer.EventApplied)
			checkPrefix(t, w.log, chain)
			if got := w.fetchesOf(chain.Versions); got != 0 {
				t.Errorf("%d versions were fetched by themselves, want none", got)
			}
		})
	}
}

// Whatever hints say, the head that is announced is reached, and nothing else is logged.
func TestBrokerIsNotTrusted_LyingHintsCostOnlyTime(t *testing.T) {
	const n = 400
	lies := map[string]func(w *world, chain *buckettest.Chain, h *bucket.Hints){
		"links to nothing": func(w *world, _ *buckettest.Chain, h *bucket.Hints) {
			for i := range h.Recent {
				h.Recent[i] = bucket.ManifestLink([]byte{byte(i), 7})
			}
		},
		"another bucket's stretch": func(w *world, _ *buckettest.Chain, h *bucket.Hints) {
			other := buckettest.New(w.t, buckettest.Identity(w.t, 1), w.me.PublicKey()).Grow(w.t, n)
			w.putChain(other)
			*h = bucket.Hints{Packs: w.packChain(other.Versions).Packs, Recent: w.packChain(other.Versions).Recent}
		},
		"another genesis of the bucket": func(w *world, chain *buckettest.Chain, h *bucket.Hints) {
			other := buckettest.New(w.t, buckettest.Identity(w.t, 9), w.me.PublicKey())
			other.ID = chain.ID
			other.Grow(w.t, n)
			w.putChain(other)
			*h = w.packChain(other.Versions)
			h.Manifest = nil
		},
		"a truncated pack": func(w *world, _ *buckettest.Chain, h *bucket.Hints) {
			b := w.stores["manifests"][h.Packs[1].Hash]
			b = b[:len(b)-10]
			h.Packs[1].Hash = bucket.Sum(b)
			w.put("manifests", h.Packs[1].Hash, b)
		},
		"an oversized pack": func(w *world, _ *buckettest.Chain, h *bucket.Hints) {
			b := append(slices.Clone(w.stores["manifests"][h.Packs[0].Hash]), make([]byte, bucket.MaxPackSize)...)
			h.Packs[0].Hash = bucket.Sum(b)
			w.put("manifests", h.Packs[0].Hash, b)
		},
		"bytes of another pack": func(w *world, _ *buckettest.Chain, h *bucket.Hints) {
			w.put("manifests", h.Packs[0].Hash, w.stores["manifests"][h.Packs[1].Hash])
		},
		"the wrong order": func(w *world, _ *buckettest.Chain, h *bucket.Hints) {
			slices.Reverse(h.Packs)
			slices.Reverse(h.Recent)
		},
		"the same pack again and again": func(w *world, _ *buckettest.Chain, h *bucket.Hints) {
			for range 50 {
				h.Packs = append(h.Packs, h.Packs[0])
			}
		},
		"packs of packs without end": func(w *world, _ *buckettest.Chain, h *bucket.Hints) {
			refs := slices.Repeat([]bucket.PackRef{{Hash: bucket.Sum([]byte("nothing")), Last: chain0(h)}}, bucket.PackFanOut)
			for level := 1; level <= bucket.MaxPackLevel; level++ {
				b, err := bucket.Pack{Level: level, Packs: refs}.Encode()
				if err != nil {
					w.t.Fatal(err)
				}
				w.put("manifests", bucket.Sum(b), b)
				ref := bucket.PackRef{Level: level, Hash: bucket.Sum(b), Last: chain0(h)}
				refs = slices.Repeat([]bucket.PackRef{ref}, bucket.PackFanOut)
			}
			h.Packs = refs
		},
		"a manifest that is another": func(w *world, chain *buckettest.Chain, h *bucket.Hints) {
			h.Manifest = chain.Versions[3].Encoded()
		},
		"a pack of bytes that are no manifests": func(w *world, chain *buckettest.Chain, h *bucket.Hints) {
			b, err := bucket.Pack{Manifests: [][]byte{bytes.Repeat([]byte{0xa2}, 500)}}.Encode()
			if err != nil {
				w.t.Fatal(err)
			}
			w.put("manifests", bucket.Sum(b), b)
			h.Packs[1].Hash = bucket.Sum(b)
		},
		"a missing pack": func(w *world, _ *buckettest.Chain, h *bucket.Hints) {
			delete(w.stores["manifests"], h.Packs[1].Hash)
		},
	}
	for _, name := range slices.Sorted(maps.Keys(lies)) {
		for _, had := range []int{0, 20} {
			t.Run(name+map[bool]string{true: ", new", false: ", known"}[had == 0], func(t *testing.T) {
				w, chain, h := hinted(t, n)
				w.runsNarrow(chain, had, 1)
				lies[name](w, chain, &h)
				w.tell(chain.Head(), h)
				w.wait(consumer.EventApplied)
				checkPrefix(t, w.log, chain)
			})
		}
	}
}

// chain0 is some link that hints know, for a reference that has to name one.
func chain0(h *bucket.Hints) bucket.Link { return bucket.ManifestLink(h.Manifest[:1]) }

// What the first store lacks or has wrong comes from the second.
func TestHintedCatchUpAsksEveryStore(t *testing.T) {
	w, chain, h := hinted(t, 400)
	cfg := w.config()
	cfg.ManifestStores = []string{"empty", "silent", "manifests"}
	w.put("empty", h.Packs[0].Hash, []byte("something else"))
	w.broken["silent"] = true
	w.run(cfg)
	w.tell(chain.Head(), h)
	w.wait(consumer.EventApplied)
	checkPrefix(t, w.log, chain)
	if got := w.fetchesOf(chain.Versions); got != 0 {
		t.Errorf("%d versions were fetched by themselves, want none", got)
	}
}
