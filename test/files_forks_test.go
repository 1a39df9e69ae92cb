package test_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"headwater/bucket"
	"headwater/test/natstest"
)

// owners are two peers that own a bucket, each with a directory of it, and what each one's watch says.
type owners struct {
	t       *testing.T
	url, id string
	bobs    *natstest.Proxy // between the second and the server
	peers   [2]*cliPeer
	dirs    [2]string
	events  [2]*lockedBuffer
}

func newOwners(t *testing.T) *owners {
	t.Helper()
	url := natstest.Start(t).URL()
	o := &owners{t: t, url: url, bobs: natstest.StartProxy(t, url, 0)}
	o.peers[0] = startPeerOn(t, url, filepath.Join(t.TempDir(), "alice"))
	o.peers[1] = startPeerOn(t, o.bobs.URL(), filepath.Join(t.TempDir(), "bob"))
	for i := range o.dirs {
		o.dirs[i] = newTarget(t)
	}
	src := sourceTree(t, 21, 40)
	writeTree(t, src, "notes.txt", []byte("at first\n"), 0o644)
	o.id = o.peers[0].makes("create", "photos").BucketID
	o.peers[0].run("commit", "photos", src)
	shared := o.peers[0].makes("share", "photos", o.peers[1].id)
	for i, p := range o.peers {
		p.checksOut("photos", o.dirs[i])
		p.awaitComplete(shared)
	}
	return o
}

// watch begins to watch the events of both peers, and returns once both see some.
func (o *owners) watch() {
	o.t.Helper()
	for i, p := range o.peers {
		cmd := p.command(context.Background(), "watch", "photos", "--json")
		cmd.Args = append(cmd.Args, "--nats", o.url) // it would miss what is told while it has no connection itself
		o.events[i] = new(lockedBuffer)
		cmd.Stdout, cmd.Stderr = o.events[i], o.events[i]
		if err := cmd.Start(); err != nil {
			o.t.Fatal(err)
		}
		o.t.Cleanup(func() {
			_ = cmd.Process.Signal(os.Interrupt)
			_ = cmd.Wait()
		})
	}
	// Nothing says when they have begun to watch: make versions until they are seen.
	await(o.t, "both to watch", func() (bool, any) {
		o.peers[0].awaitComplete(o.peers[0].makes("publish", "photos"))
		return o.sees(0, "applied") && o.sees(1, "applied"), nil
	}, o.peers[:]...)
	for i, p := range o.peers {
		p.checksOut("photos", o.dirs[i])
	}
}

func (o *owners) sees(i int, kind string) bool {
	for line := range strings.Lines(o.events[i].String()) {
		var e eventJSON
		if json.Unmarshal([]byte(line), &e) == nil && e.Kind == kind && e.BucketID == o.id {
			return true
		}
	}
	return false
}

// fork has both owners write the next version, neither knowing of the other's: the second one is away from the broker meanwhile.
// It returns which of them made the head.
func (o *owners) fork() (winner int) {
	o.t.Helper()
	writeTree(o.t, o.dirs[1], "large", markedBytes(newRand(1), 12<<20), 0o644)
	writeTree(o.t, o.dirs[1], "notes.txt", []byte("by bob\n"), 0o644)
	writeTree(o.t, o.dirs[0], "notes.txt", []byte("by alice\n"), 0o644)
	writeTree(o.t, o.dirs[0], "d00/only alice's", nil, 0o600)
	o.bobs.Cut()
	second := o.peers[1].makes("commit", "photos", o.dirs[1], "--no-wait")
	first := o.peers[0].makes("commit", "photos", o.dirs[0])
	o.bobs.Mend()
	if first.Height != second.Height || first.Link == second.Link {
		o.t.Fatalf("got versions %+v and %+v, want a fork", first, second)
	}
	return o.winner(first, second)
}

func (o *owners) winner(first, second versionJSON) int {
	o.t.Helper()
	links := make([]bucket.Link, 2)
	for i, v := range []versionJSON{first, second} {
		var err error
		if links[i], err = bucket.ParseLink(v.Link); err != nil {
			o.t.Fatal(err)
		}
	}
	a, b := links[0].Hash(), links[1].Hash()
	if bytes.Compare(a[:], b[:]) > 0 {
		return 0
	}
	return 1
}

// checkMerged demands that nobody has a fork any more, and that both get the same tree.
func (o *owners) checkMerged(args ...string) {
	o.t.Helper()
	var heads []string
	for i, p := range o.peers {
		if again := p.makes("merge", "photos"); !again.Unchanged || len(again.Forks)+len(again.Merged) > 0 {
			o.t.Errorf("got %+v of another merge, want nothing to do", again)
		}
		out := p.checksOut(append([]string{"photos", o.dirs[i]}, args...)...)
		if len(out.Forks) > 0 {
			o.t.Errorf("got forks %+v after the merge, want none", out.Forks)
		}
		heads = append(heads, out.Link)
		p.awaitComplete(versionJSON{BucketID: o.id, Link: out.Link, Height: out.Height})
		if again := p.makes("commit", "photos", o.dirs[i]); !again.Unchanged || len(again.Forks) > 0 {
			o.t.Errorf("got %+v of a commit after the merge, want nothing to do, and no fork", again)
		}
	}
	if heads[0] != heads[1] {
		o.t.Errorf("got heads %q, want one", heads)
	}
	checkSame(o.t, o.dirs[0], o.dirs[1])
}

func TestFilesForks_AreNamedToEverybodyAndMergedByEither(t *testing.T) {
	t.Parallel()
	for _, merger := range []string{"winner", "loser"} {
		t.Run("merged by the "+merger, func(t *testing.T) {
			t.Parallel()
			o := newOwners(t)
			o.watch()
			w := o.fork()
			l := 1 - w
			winner, loser := o.peers[w], o.peers[l]
			for i, p := range o.peers {
				await(t, "the fork in status and watch", func() (bool, any) {
					s := p.status()[o.id]
					return s.Forks == 1 && o.sees(i, "forked"), s
				}, o.peers[:]...)
				lines := decodedLines[logJSON](t, p.run("log", "photos", "--json"))
				if lines[0].Height != lines[1].Height || !lines[0].Head || lines[1].Head || *lines[0].Author != winner.id || *lines[1].Author != loser.id {
					t.Errorf("got log %+v, want both versions of the fork, the head first", lines[:2])
				}
				if drawn := p.run("log", "photos"); !strings.Contains(drawn, "| *  ") || !strings.Contains(drawn, "|/\n") {
					t.Errorf("got log %s\nwant the fork drawn", drawn)
				}
			}

			// The loser cannot go on as if nothing had happened; the winner can, and is told of the fork.
			loser.failsSaying(1, "Bring both together with 'headwater merge "+o.id+"', then commit again", "commit", "photos", o.dirs[l])
			writeTree(t, o.dirs[w], "later", []byte("later"), 0o644)
			if said := winner.try("commit", "photos", o.dirs[w]); said.code != 0 || !strings.Contains(said.stderr, "Bring them together with: headwater merge "+o.id) {
				t.Errorf("got %v of a commit on the head, want it done, and a warning that says how to go on", said)
			}
			files := []string{"d00/only alice's", "large", "later"}

			by := map[string]*cliPeer{"winner": winner, "loser": loser}[merger]
			made := by.makes("merge", "photos")
			if len(made.Merged) != 1 || made.Author != by.id || len(made.Conflicts) != 1 {
				t.Errorf("got %+v of a merge, want one branch merged, and one file in conflict", made)
			}
			o.checkMerged()
			texts := []string{readTree(t, o.dirs[0], "notes.txt")}
			for _, c := range made.Conflicts {
				if !strings.HasPrefix(c, "notes.conflict-") || !strings.Contains(c, loser.id[:8]) {
					t.Errorf("got the loser's file kept as %q, want its author in the name", c)
				}
				texts = append(texts, readTree(t, o.dirs[0], c))
			}
			for i, author := range []string{"alice", "bob"} {
				if i == w && !strings.HasPrefix(texts[0], "by "+author) || i != w && !strings.HasPrefix(texts[len(texts)-1], "by "+author) {
					t.Errorf("got notes %q, want the winner's first, and the loser's beside it", texts)
				}
			}
			for _, name := range files {
				if _, err := os.Stat(filepath.Join(o.dirs[0], name)); err != nil {
					t.Errorf("after the merge: %v; want what either side added", err)
				}
			}
		})
	}
}

func readTree(tb testing.TB, dir, path string) string {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
	if err != nil {
		tb.Error(err)
	}
	return string(b)
}

func TestFilesForks_CommitsAtTheSameTimeLoseNothing(t *testing.T) {
	t.Parallel()
	o := newOwners(t)
	forks := 0
	const rounds = 3
	for round := range rounds {
		var g errgroup.Group
		for i := range o.peers {
			writeTree(t, o.dirs[i], fmt.Sprintf("round %d/by %d", round, i), fmt.Appendf(nil, "%d %d", round, i), 0o644)
			writeTree(t, o.dirs[i], "same", fmt.Appendf(nil, "%d", round), 0o644)
			g.Go(func() error {
				cmd := o.peers[i].command(t.Context(), "commit", "photos", o.dirs[i])
				if out, err := cmd.CombinedOutput(); err != nil {
					return fmt.Errorf("commit by %d: %w: %s", i, err, out)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if made := o.peers[round%2].makes("merge", "photos"); len(made.Merged) > 0 {
			forks++
		}
		o.checkMerged()
	}
	t.Logf("%d forks in %d rounds", forks, rounds)
	for round := range rounds {
		for i := range o.peers {
			if got, want := readTree(t, o.dirs[0], fmt.Sprintf("round %d/by %d", round, i)), fmt.Sprintf("%d %d", round, i); got != want {
				t.Errorf("got %q of round %d by %d, want %q", got, round, i, want)
			}
		}
	}
	if got := filesWith(t, o.dirs[0], "conflict-"); len(got) > 0 {
		t.Errorf("got copies %q, want none where both wrote the same", got)
	}
}

func TestFilesForks_CommitFromBehindKeepsTheChangesOfOthers(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t).URL()
	alice, _ := newDesk(t, url)
	bob, bobID := newDesk(t, url)
	mine, theirs := newTarget(t), newTarget(t)
	for _, p := range []string{"kept", "gone", "bob's to delete", "alice's to change", "both"} {
		writeTree(t, mine, p, []byte("first"), 0o644)
	}
	alice.run("create", "photos")
	alice.run("commit", "photos", mine)
	alice.run("share", "photos", bobID)
	bob.checksOut("photos", theirs)

	writeTree(t, mine, "new/alice", []byte("a"), 0o644)
	writeTree(t, mine, "alice's to change", []byte("second"), 0o644)
	writeTree(t, mine, "both", []byte("by alice"), 0o644)
	remove(t, mine, "gone")
	if made := alice.makes("commit", "photos", mine); made.Behind {
		t.Error("a version that shares the bucket has no changes of files to be behind of")
	}
	writeTree(t, theirs, "new/bob", []byte("b"), 0o644)
	writeTree(t, theirs, "both", []byte("by bob"), 0o644)
	remove(t, theirs, "bob's to delete")
	made := bob.makes("commit", "photos", theirs)
	if made.Added != 2 || made.Modified != 0 || made.Removed != 1 || len(made.Conflicts) != 1 || len(made.Forks) != 0 {
		t.Errorf("got %+v of a commit from behind, want what bob changed, and one file in conflict", made)
	}
	alice.checksOut("photos", mine)
	bob.checksOut("photos", theirs)
	checkSame(t, mine, theirs)
	want := append([]string{"alice's to change", "both", "kept", "new", "new/alice", "new/bob"}, made.Conflicts...)
	slices.Sort(want)
	var got []string
	for p := range snapshot(t, mine) {
		got = append(got, p)
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for p, want := range map[string]string{"both": "by alice", made.Conflicts[0]: "by bob", "alice's to change": "second", "kept": "first"} {
		if got := readTree(t, mine, p); got != want {
			t.Errorf("got %q in %s, want %q", got, p, want)
		}
	}

	if !made.Behind {
		t.Error("the commit from behind does not say that it is one")
	}

	// With --force the version is what the directory is.
	writeTree(t, mine, "late", nil, 0o644)
	alice.run("commit", "photos", mine)
	bob.run("commit", "photos", theirs, "--force")
	alice.checksOut("photos", mine)
	checkSame(t, mine, theirs)
}

func remove(tb testing.TB, dir, path string) {
	tb.Helper()
	if err := os.Remove(filepath.Join(dir, path)); err != nil {
		tb.Fatal(err)
	}
}
