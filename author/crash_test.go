package author_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"headwater/author"
	"headwater/bucket"
	"headwater/bucket/buckettest"

	"github.com/google/go-cmp/cmp"
)

// A process dies before each of the steps of a version. Others see the whole of it or nothing, and the next command goes on.
func TestDeathBetweenAnyTwoStepsLeavesNothingHalf(t *testing.T) {
	steps := 0
	for life := 0; ; life++ {
		w := newWorld(t)
		ann, bob := w.desk(1), w.desk(2)
		base := shared(ann, bob)
		secret, _ := ann.Open(base)
		before := load(t, ann, base, secret)
		after := ann.with(ann.with(before, "dir/one", "1"), "dir/two", "2")
		begun := len(w.steps)
		ann.life = life
		v, _, err := ann.Next(t.Context(), base, author.Change{Tree: after, Prev: before})
		if err == nil {
			steps = life
			break
		}
		died := fmt.Sprintf("dead after %d steps", life)
		if !errors.Is(err, errDead) || errors.Is(err, author.ErrNotAnnounced) != (v != nil) {
			t.Fatalf("%s: got %v, %v", died, v, err)
		}
		if h := bob.find(base.Bucket); h.Head.Link != base.Link || len(h.Forks)+len(h.Ignored) != 0 {
			t.Errorf("%s: bob got %+v, want nothing new", died, h)
		}
		done := w.steps[begun:]
		ann = ann.restart()
		h := ann.find(base.Bucket)
		want := base.Link
		if slices.Contains(done, "manifest") {
			want = v.Link // which the command has told to nobody
		}
		if h.Head.Link != want || len(h.Forks) != 0 {
			t.Errorf("%s: the next command got head %s, want %s", died, h.Head.Link, want)
		}
		if h := bob.find(base.Bucket); h.Head.Link != want {
			t.Errorf("%s: bob got %s after that command, want %s", died, h.Head.Link, want)
		}
		last := ann.commit(h.Head, "last", "L")
		if h := bob.find(base.Bucket); h.Head.Link != last.Link || len(h.Forks) != 0 {
			t.Errorf("%s: bob got %s and %d forks in the end", died, h.Head.Link, len(h.Forks))
		}
	}
	if steps < 6 {
		t.Errorf("a version took %d steps; the test has not tried what it is for", steps)
	}
}

func TestStepsOfAVersionAreInOrder(t *testing.T) {
	w := newWorld(t)
	d := w.desk(1)
	v := d.create()
	begun := len(w.steps)
	d.commit(v, "dir/a", "A")
	want := []string{"blob", "blob", "blob", "blob", "blob", "manifest", "announce"} // file, dir, root, log, pins list
	if diff := cmp.Diff(want, w.steps[begun:]); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// Create, too, is announced by the next command where it could not be at once.
func TestWhatWasNotAnnouncedIsByTheNextCommand(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.desk(1), w.desk(2)
	ann.offline = true
	v, err := ann.Create(t.Context(), "notes")
	if v == nil || !errors.Is(err, author.ErrNotAnnounced) {
		t.Fatalf("got %v, %v; want a version and ErrNotAnnounced", v, err)
	}
	if h := ann.find(v.Bucket); h.Head.Link != v.Link {
		t.Errorf("got %s, want what was made, though it still cannot be announced", h.Head.Link)
	}
	if _, err := bob.Author.Heads(t.Context(), v.Bucket); !errors.Is(err, author.ErrNoBucket) {
		t.Errorf("got %v, want ErrNoBucket", err)
	}
	ann = ann.restart()
	ann.find(v.Bucket)
	if h := bob.find(v.Bucket); h.Head.Link != v.Link {
		t.Errorf("got %s, want %s", h.Head.Link, v.Link)
	}
	steps := len(w.steps)
	ann.find(v.Bucket)
	if len(w.steps) != steps {
		t.Error("what is announced already was announced again")
	}
}

// A tip of ours that lost against another head before it was announced is announced as the fork that it is.
func TestForkOfOursThatNobodyHeardOfIsAnnounced(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.desk(1), w.desk(2)
	base := shared(ann, bob)
	ann.offline = true
	secret, _ := ann.Open(base)
	a, _, err := ann.Next(t.Context(), base, author.Change{Tree: ann.with(load(t, ann, base, secret), "a", "A")})
	if !errors.Is(err, author.ErrNotAnnounced) {
		t.Fatal(err)
	}
	b := bob.commit(bob.commit(base, "b1", "B"), "b2", "B")
	ann.offline = false
	w.announce(base.Bucket, base.Link, 1)
	if h := ann.find(base.Bucket); h.Head.Link != b.Link || len(h.Forks) != 1 {
		t.Fatalf("got %+v", h)
	}
	if h := bob.find(base.Bucket); len(h.Forks) != 1 || h.Forks[0].Tip.Link != a.Link {
		t.Errorf("bob got forks %v, want ann's", h.Forks)
	}
}

func TestStateIsForItsOwnerOnlyAndSaysWhatToDoWhenDamaged(t *testing.T) {
	w := newWorld(t)
	d := w.desk(1)
	v := d.create()
	path := filepath.Join(d.dir, "buckets", v.Bucket.String()+".json")
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(files) != 2 {
		t.Errorf("got files %v, %v; want the state and its lock", files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", f.Name(), info.Mode(), err)
		}
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"cut":             whole[:len(whole)/2],
		"empty":           {},
		"another version": []byte(`{"v":2}`),
		"another bucket":  nil,
		"endless":         make([]byte, 5<<20),
	} {
		if content == nil {
			other := d.create()
			if content, err = os.ReadFile(filepath.Join(d.dir, "buckets", other.Bucket.String()+".json")); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := d.Author.Heads(t.Context(), v.Bucket)
		if !errors.Is(err, author.ErrState) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want ErrState and the file's name", name, err)
		}
		if _, _, err := d.state.Known(v.Bucket); !errors.Is(err, author.ErrState) {
			t.Errorf("%s: Known: got %v, want ErrState", name, err)
		}
	}
	// A temporary file that a dead process left is in nobody's way.
	if err := errors.Join(os.WriteFile(path, whole, 0o600), os.WriteFile(path+".tmp", []byte("half"), 0o600)); err != nil {
		t.Fatal(err)
	}
	d.commit(d.find(v.Bucket).Head, "a", "A")
}

// Commands of one author run at the same time: each ends with its own version or with ErrStale, and the chain has no fork.
func TestCommandsAtTheSameTimeMakeOneChain(t *testing.T) {
	w := newWorld(t)
	d := w.desk(1)
	id := d.create().Bucket
	var mu sync.Mutex
	made := 0
	var wg sync.WaitGroup
	for n := range 4 {
		one := d.restart()
		wg.Go(func() {
			for i := range 5 {
				h, err := one.Author.Heads(t.Context(), id)
				if err != nil {
					t.Error(err)
					return
				}
				_, _, err = one.Next(t.Context(), h.Head, author.Change{Name: fmt.Sprintf("%d-%d", n, i)})
				if err != nil && !errors.Is(err, author.ErrStale) {
					t.Error(err)
				}
				if err == nil {
					mu.Lock()
					made++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if h := d.find(id); h.Head.Height != uint64(made) || len(h.Forks) != 0 || made == 0 {
		t.Errorf("got height %d and %d forks, want %d and none", h.Head.Height, len(h.Forks), made)
	}
}

// Unsigned versions are followed only where the rules allow them.
func TestRulesAreThoseOfTheConfiguration(t *testing.T) {
	w := newWorld(t)
	c := buckettest.New(t, buckettest.Identity(t, 100))
	m := bucket.Manifest{
		Bucket: c.ID, Name: "old", Entry: bucket.RawLink([]byte("e")), Pins: bucket.RawLink(nil),
		Shares: []bucket.Share{{Identity: c.Owner.PublicKey(), Role: bucket.Owner, Secret: new(bucket.SecretShare)}},
	}
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	w.manifests[bucket.Sum(b)] = b
	w.announce(c.ID, bucket.ManifestLink(b), 100)
	dir := t.TempDir()
	strict := w.deskIn(1, dir, nil)
	if _, err := strict.Author.Heads(t.Context(), c.ID); bucket.ClassOf(err) != bucket.Unsigned {
		t.Errorf("got %v, want a refusal of class unsigned", err)
	}
	lax := w.deskIn(1, dir, func(cfg *author.Config) { cfg.Rules.AllowUnsigned = true })
	if h := lax.find(c.ID); h.Head.Height != 0 || h.Head.Signed() {
		t.Errorf("got %+v", h.Head)
	}
}
