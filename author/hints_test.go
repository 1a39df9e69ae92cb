package author_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/author"
	"headwater/bucket"
)

// chainOf lists what hints lead to, newest first, by opening every pack they name.
func (w *world) chainOf(h bucket.Hints) []bucket.Link {
	w.t.Helper()
	chain := slices.Clone(h.Recent)
	for _, ref := range slices.Backward(h.Packs) {
		chain = append(chain, w.packed(ref)...)
	}
	return chain
}

// packed lists the versions below a pack, newest first.
func (w *world) packed(ref bucket.PackRef) (chain []bucket.Link) {
	w.t.Helper()
	p, err := bucket.DecodePack(w.manifests[ref.Hash])
	if err != nil || p.Level != ref.Level {
		w.t.Fatalf("pack %s: got level %d, %v, want level %d", ref.Hash, p.Level, err, ref.Level)
	}
	for _, r := range slices.Backward(p.Packs) {
		chain = append(chain, w.packed(r)...)
	}
	for _, m := range slices.Backward(p.Manifests) {
		chain = append(chain, bucket.ManifestLink(m))
	}
	if len(chain) == 0 || chain[0] != ref.Last {
		w.t.Errorf("pack %s: its newest version is not the one that its reference tells", ref.Hash)
	}
	return chain
}

func (w *world) announcedBy(t *testing.T, d *desk, id bucket.ID) bucket.Announcement {
	t.Helper()
	a, ok := w.heads[id][d.me.PublicKey()]
	if !ok {
		t.Fatal("nothing is announced")
	}
	return a
}

// Announcements tell the whole chain below the head, without a gap, whoever of two owners wrote it, and stay small.
func TestHintsLeadToEveryVersion(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.desk(1), w.desk(2)
	v, err := ann.Create(t.Context(), "bucket")
	if err != nil {
		t.Fatal(err)
	}
	var chain []bucket.Link
	for n := range 2*bucket.PackVersions + 40 {
		who, c := ann, author.Change{}
		switch {
		case n == 0:
			c.Share = map[bucket.PublicKey]bucket.Role{bob.me.PublicKey(): bucket.Owner}
		case n%7 == 3:
			who = bob
		}
		if _, err := who.Author.Heads(t.Context(), v.Bucket); err != nil {
			t.Fatal(err)
		}
		chain = append([]bucket.Link{v.Link}, chain...)
		if v, _, err = who.Next(t.Context(), v, c); err != nil {
			t.Fatal(err)
		}
		a := w.announcedBy(t, who, v.Bucket)
		if a.Link != v.Link || string(a.Hints.Manifest) != string(v.Encoded()) {
			t.Fatalf("version %d is announced as %s, with another manifest or none", v.Height, a.Link)
		}
		if len(a.Hints.Recent) >= bucket.PackVersions {
			t.Fatalf("got %d recent versions at height %d, want fewer than %d", len(a.Hints.Recent), v.Height, bucket.PackVersions)
		}
		if got := w.chainOf(a.Hints); !slices.Equal(got, chain) {
			diff := cmp.Diff(chain, got)
			t.Fatalf("the hints of version %d lead to another chain (-want +got):\n%s", v.Height, diff)
		}
	}
}

// Full levels are gathered in packs of the next one.
func TestHintsOfManyPacksAreGathered(t *testing.T) {
	w := newWorld(t)
	ann := w.desk(1)
	v, err := ann.Create(t.Context(), "bucket")
	if err != nil {
		t.Fatal(err)
	}
	var chain []bucket.Link
	for range bucket.PackVersions {
		chain = append(chain, v.Link)
		if v, _, err = ann.Next(t.Context(), v, author.Change{}); err != nil {
			t.Fatal(err)
		}
	}
	made := w.announcedBy(t, ann, v.Bucket).Hints
	// As if as many packs were there already as make the next one of their level, at two levels.
	var before []bucket.PackRef
	for level, n := range []int{bucket.PackFanOut - 2, bucket.PackFanOut - 1} {
		for range n {
			before = append([]bucket.PackRef{{Level: level, Hash: made.Packs[0].Hash, Last: made.Packs[0].Last}}, before...)
		}
	}
	slices.Reverse(chain)
	w.heads[v.Bucket][ann.me.PublicKey()] = bucket.Announcement{
		Link: v.Link, Bucket: v.Bucket, Peer: ann.me.PublicKey(), Height: &v.Height,
		Hints: bucket.Hints{Recent: chain, Packs: append(before, made.Packs...)},
	}
	ann = ann.restart() // which has heard nothing yet
	if v, _, err = ann.Next(t.Context(), v, author.Change{}); err != nil {
		t.Fatal(err)
	}
	got := w.announcedBy(t, ann, v.Bucket).Hints
	if len(got.Packs) != 1 || got.Packs[0].Level != 2 {
		t.Errorf("got packs %v, want one of level 2", got.Packs)
	}
}

// Hints that lie are not handed on once somebody looks.
func TestHintsThatLieEndWithTheNextPack(t *testing.T) {
	w := newWorld(t)
	ann := w.desk(1)
	v, err := ann.Create(t.Context(), "bucket")
	if err != nil {
		t.Fatal(err)
	}
	if v, _, err = ann.Next(t.Context(), v, author.Change{}); err != nil {
		t.Fatal(err)
	}
	lies := make([]bucket.Link, bucket.PackVersions)
	for i := range lies {
		lies[i] = v.Link
	}
	w.heads[v.Bucket][ann.me.PublicKey()] = bucket.Announcement{
		Link: v.Link, Bucket: v.Bucket, Peer: ann.me.PublicKey(), Height: &v.Height, Hints: bucket.Hints{Recent: lies},
	}
	before := v.Link
	ann = ann.restart()
	if v, _, err = ann.Next(t.Context(), v, author.Change{}); err != nil {
		t.Fatal(err)
	}
	got := w.announcedBy(t, ann, v.Bucket).Hints
	if diff := cmp.Diff([]bucket.Link{before}, got.Recent); diff != "" || len(got.Packs) > 0 {
		t.Errorf("got hints %v, want the version before alone", got)
	}
}
