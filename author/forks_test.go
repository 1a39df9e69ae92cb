package author_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"headwater/author"
	"headwater/bucket"
	"headwater/tree"
)

// shared makes a bucket that ann owns together with others, who all have seen it.
func shared(ann *desk, others ...*desk) *bucket.Version {
	ann.t.Helper()
	roles := map[bucket.PublicKey]bucket.Role{}
	for _, o := range others {
		roles[o.me.PublicKey()] = bucket.Owner
	}
	v := ann.commit(ann.create(), "base", "base")
	v, _ = ann.next(v, author.Change{Share: roles})
	for _, o := range others {
		o.find(v.Bucket)
	}
	return v
}

// merge makes one version of the head and all forks, as a command does. What these have merged before is carried along.
func (d *desk) merge(h author.Heads, carried ...bucket.Link) *bucket.Version {
	d.t.Helper()
	tree1 := func(v *bucket.Version) *tree.Listing {
		secret, err := d.Open(v)
		if err != nil {
			d.t.Fatal(err)
		}
		return load(d.t, d, v, secret)
	}
	ours := tree1(h.Head)
	before := ours
	var tips []bucket.Link
	for _, f := range h.Forks {
		ours, _ = tree.Merge(tree1(f.Ancestor), ours, tree1(f.Tip), func(p string) string {
			return tree.ConflictName(p, f.Tip.Height, f.Author)
		})
		tips = append(tips, f.Tip.Link)
	}
	v, _, err := d.Next(context.Background(), h.Head, author.Change{Tree: ours, Prev: before, Merged: tips})
	if err != nil {
		d.t.Fatal(err)
	}
	for _, f := range h.Forks { // all of each is held
		for height := f.Ancestor.Height + 1; height < f.Tip.Height; height++ {
			between, err := d.At(context.Background(), f.Tip, height)
			if err != nil {
				d.t.Fatal(err)
			}
			tips = append(tips, between.Link)
		}
	}
	d.checkVersion(h.Head, v, append(tips, carried...)...)
	return v
}

// Two authors commit on the same version. Both see the fork and the same head, whoever has made more versions; once one of them
// has recorded the merge, it is gone for everybody, the one who meets the bucket then included.
func TestForkIsSeenByBothAndGoneOnceMerged(t *testing.T) {
	for _, more := range []int{0, 1, 3} {
		t.Run(fmt.Sprintf("%d versions more", more), func(t *testing.T) {
			w := newWorld(t)
			ann, bob := w.desk(1), w.desk(2)
			base := shared(ann, bob)
			a := ann.commit(base, "from-ann", "A")
			b := bob.commit(base, "from-bob", "B")
			for i := range more {
				b = bob.commit(b, fmt.Sprintf("more-%d", i), "B")
			}
			head, tip := a, b
			if b.Head().Compare(a.Head()) > 0 {
				head, tip = b, a
			}
			for name, d := range map[string]*desk{"ann": ann, "bob": bob, "ann again": ann.restart()} {
				h := d.find(base.Bucket)
				if h.Head.Link != head.Link || len(h.Forks) != 1 || len(h.Ignored) != 0 {
					t.Fatalf("%s got head %d and %d forks, %v; want %d and 1", name, h.Head.Height, len(h.Forks), h.Ignored, head.Height)
				}
				f := h.Forks[0]
				if f.Tip.Link != tip.Link || f.Ancestor.Link != base.Link || f.Author != *tip.Author {
					t.Errorf("%s got fork %s from %s by %s", name, f.Tip.Link, f.Ancestor.Link, f.Author)
				}
			}
			seen := ann.find(base.Bucket)
			merged := ann.merge(seen)
			if files := ann.read(merged); len(files) != 3+more {
				t.Errorf("the merged tree has %v", files)
			}
			for name, d := range map[string]*desk{"ann": ann, "bob": bob, "bob again": bob.restart(), "a new desk of ann": w.desk(1)} {
				if h := d.find(base.Bucket); h.Head.Link != merged.Link || len(h.Forks) != 0 {
					t.Errorf("%s got head %d and %d forks, want %d and none", name, h.Head.Height, len(h.Forks), merged.Height)
				}
			}
			// The next version keeps what was merged, for who has not seen the merging one.
			v, _, err := bob.Next(t.Context(), merged, author.Change{Name: "renamed"})
			if err != nil {
				t.Fatal(err)
			}
			bob.checkVersion(merged, v, tip.Link)
			w.announce(base.Bucket, tip.Link, 50) // a peer that lags behind
			for _, d := range []*desk{ann, bob, w.desk(1)} {
				if h := d.find(base.Bucket); h.Head.Link != v.Link || len(h.Forks) != 0 {
					t.Errorf("after the next version: got head %d and %d forks", h.Head.Height, len(h.Forks))
				}
			}
		})
	}
}

// What goes on from a fork after it was merged is a fork again, and its ancestor is the version that was merged.
func TestForkThatGoesOnIsMergedFromWhereItWas(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.desk(1), w.desk(2)
	base := shared(ann, bob)
	b := bob.commit(base, "from-bob", "B")
	ann.commit(ann.commit(ann.commit(base, "1", "A"), "2", "A"), "3", "A")
	merged := ann.merge(ann.find(base.Bucket))
	b2 := bob.commit(b, "more-from-bob", "B") // bob has not looked
	for name, d := range map[string]*desk{"ann": ann, "bob": bob, "new": w.desk(1)} {
		h := d.find(base.Bucket)
		if h.Head.Link != merged.Link || len(h.Forks) != 1 || h.Forks[0].Tip.Link != b2.Link || h.Forks[0].Ancestor.Link != b.Link {
			t.Errorf("%s got head %d, forks %v; want %d and one from what was merged", name, h.Head.Height, h.Forks, merged.Height)
		}
	}
	last := bob.merge(bob.find(base.Bucket), b.Link)
	if files := bob.read(last); len(files) != 6 {
		t.Errorf("got %v", files)
	}
	w.announce(base.Bucket, b.Link, 50) // a peer that lags behind
	for name, d := range map[string]*desk{"ann": ann, "bob": bob, "new": w.desk(1)} {
		if h := d.find(base.Bucket); h.Head.Link != last.Link || len(h.Forks) != 0 {
			t.Errorf("%s got head %d and %d forks", name, h.Head.Height, len(h.Forks))
		}
	}
}

// A fork of two authors was merged, its tip is announced no more, but what is below it still is.
func TestVersionBelowAMergedTipIsNoFork(t *testing.T) {
	w := newWorld(t)
	ann, bob, cat := w.desk(1), w.desk(2), w.desk(3)
	base := shared(ann, bob, cat)
	below := ann.commit(base, "a", "A")
	tip := bob.commit(bob.find(base.Bucket).Head, "b", "B")
	v := base
	for _, name := range []string{"c1", "c2", "c3"} {
		v = cat.commit(v, name, "C")
	}
	merged := cat.merge(cat.find(base.Bucket))
	v, _, err := bob.Next(t.Context(), bob.find(base.Bucket).Head, author.Change{Name: "renamed"})
	if err != nil {
		t.Fatal(err)
	}
	bob.checkVersion(merged, v, below.Link, tip.Link)
	for name, d := range map[string]*desk{"ann": ann, "bob": bob, "cat": cat, "new": w.desk(1)} {
		if h := d.find(base.Bucket); h.Head.Link != v.Link || len(h.Forks) != 0 {
			t.Errorf("%s got head %d and forks %v, want %d and none", name, h.Head.Height, h.Forks, v.Height)
		}
	}
}

// The head goes over to another branch; forks that were known are seen from there.
func TestForksAreSeenFromTheNewHead(t *testing.T) {
	w := newWorld(t)
	ann, bob, cat := w.desk(1), w.desk(2), w.desk(3)
	base := shared(ann, bob, cat)
	a := ann.commit(ann.commit(base, "a1", "A"), "a2", "A")
	b := bob.commit(base, "b1", "B")
	c := cat.commit(base, "c1", "C")
	h := ann.find(base.Bucket)
	if h.Head.Link != a.Link || len(h.Forks) != 2 {
		t.Fatalf("got head %d and %d forks, want 2 forks", h.Head.Height, len(h.Forks))
	}
	b = bob.commit(bob.commit(b, "b2", "B"), "b3", "B") // the fork grows and wins
	for name, d := range map[string]*desk{"ann": ann, "bob": bob, "cat": cat, "new": w.desk(1)} {
		h := d.find(base.Bucket)
		if h.Head.Link != b.Link || len(h.Forks) != 2 || h.Forks[0].Tip.Link != a.Link || h.Forks[1].Tip.Link != c.Link {
			t.Errorf("%s got head %s and forks %v", name, h.Head.Link, h.Forks)
			continue
		}
		for _, f := range h.Forks {
			if f.Ancestor.Link != base.Link {
				t.Errorf("%s: the fork of %s begins at height %d, want %d", name, f.Author, f.Ancestor.Height, base.Height)
			}
		}
	}
	merged := cat.merge(cat.find(base.Bucket))
	for name, d := range map[string]*desk{"ann": ann, "bob": bob, "cat": cat, "new": w.desk(1)} {
		if h := d.find(base.Bucket); h.Head.Link != merged.Link || len(h.Forks) != 0 {
			t.Errorf("%s got head %s and %d forks", name, h.Head.Link, len(h.Forks))
		}
	}
}

// Two authors merge the same fork: both merges are tips then, and the merged one needs no merging any more.
func TestTwoMergesLeaveOneFork(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.desk(1), w.desk(2)
	base := shared(ann, bob)
	ann.commit(base, "a", "A")
	bob.commit(base, "b", "B")
	seen, seenByBob := ann.find(base.Bucket), bob.find(base.Bucket)
	ann.merge(seen)
	bob.merge(seenByBob)
	for name, d := range map[string]*desk{"ann": ann, "bob": bob, "new": w.desk(1)} {
		if h := d.find(base.Bucket); len(h.Forks) != 1 || h.Forks[0].Tip.Height != base.Height+2 {
			t.Errorf("%s got %v, want the other merge", name, h.Forks)
		}
	}
	ann.merge(ann.find(base.Bucket), seen.Forks[0].Tip.Link)
	if h := bob.find(base.Bucket); len(h.Forks) != 0 || len(bob.read(h.Head)) != 3 {
		t.Errorf("got %d forks, files %v", len(h.Forks), bob.read(h.Head))
	}
}

func TestOnlyKnownForksAreRecordedAsMerged(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.desk(1), w.desk(2)
	base := shared(ann, bob)
	b := bob.commit(base, "b", "B")
	for _, l := range []bucket.Link{b.Link, base.Link, bucket.ManifestLink(nil), bucket.RawLink(nil)} {
		if _, _, err := ann.Next(t.Context(), base, author.Change{Merged: []bucket.Link{l}}); !errors.Is(err, author.ErrNotFork) {
			t.Errorf("merged %s: got %v, want ErrNotFork", l, err)
		}
	}
}
