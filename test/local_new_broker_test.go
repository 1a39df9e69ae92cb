package test_test

import (
	"path/filepath"
	"strings"
	"testing"

	"headwater/test/natstest"
)

// An empty broker gets everything again from those who hold it, so that a new peer needs nobody else.

func TestCarriedAgain_NewBrokerGetsEverything(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]func(alice headwater, src string) headJSON{
		"by a new version": func(alice headwater, src string) headJSON {
			writeTree(t, src, "later", []byte("later\n"), 0o644)
			return alice.made("commit", "photos", src).head()
		},
		"by announcing": func(alice headwater, _ string) headJSON {
			return alice.made("announce", "photos").head()
		},
		"by its peer": func(alice headwater, src string) headJSON {
			p := launchPeer(t, alice)
			p.awaitReady()
			defer p.stop()
			m := p.made("commit", "photos", src) // unchanged; it waits for what is owed
			if !m.Unchanged || !m.Announced {
				t.Errorf("got %+v of a commit of nothing new, want it unchanged and announced", m)
			}
			return m.head()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src, first, second := sourceTree(t, 43, 40), natstest.Start(t), natstest.Start(t)
			alice := newHeadwater(t, "--dir", filepath.Join(t.TempDir(), "alice"), "--nats", first.URL())
			bob := newHeadwater(t, "--dir", filepath.Join(t.TempDir(), "bob"))
			alice.made("create", "photos")
			for _, more := range []string{"one", "two", "three"} {
				writeTree(t, src, more, []byte(more), 0o644)
				alice.made("commit", "photos", src)
			}
			id := alice.made("share", "photos", strings.TrimSpace(bob.run("init"))).BucketID

			head := again(alice.with("--nats", second.URL()), src)
			first.Stop()
			p := launchPeer(t, bob, "--nats", second.URL())
			p.awaitReady()
			p.awaitStanding("all of it", id, secondsLimit, func(b standingJSON) bool {
				return b.State == "in_sync" && b.Complete != nil && *b.Complete == head
			})
			p.checkReads("photos", src)
		})
	}
}

// A peer whose broker lost everything while it was away does not say "announced" before it has told the new one.
func TestCarriedAgain_BrokerThatLostEverythingIsNoticed(t *testing.T) {
	t.Parallel()
	s := newShore(t)
	s.alice.stop()
	s.bob.stop()
	second := natstest.Start(t)
	alice := launchPeer(t, s.alice.with("--nats", second.URL()))
	alice.awaitReady()
	if m := alice.made("commit", "photos", s.src); !m.Unchanged || !m.Announced {
		t.Errorf("got %+v of a commit of nothing new, want it unchanged and announced", m)
	}
	carol := launchPeer(t, newHeadwater(t, "--dir", filepath.Join(t.TempDir(), "carol"), "--nats", second.URL()))
	carol.awaitReady()
	shared := alice.made("share", "photos", carol.id)
	s.awaitBoth(shared, carol)
	carol.checkReads("photos", s.src)
}

// A peer that makes a version on a merge, without having the branch that was merged, does not undo the merge.
func TestForks_MergedBranchStaysMerged(t *testing.T) {
	t.Parallel()
	s := newShore(t)
	alice, bob := s.alice.headwater, s.bob.headwater
	s.alice.stop()
	s.bob.stop()
	other := newTarget(t)
	bob.checksOut("photos", other)
	s.broker.Stop()
	for _, name := range []string{"one", "two"} {
		writeTree(t, s.src, name, []byte(name), 0o644)
		alice.madeOffline("commit", "photos", s.src)
	}
	writeTree(t, other, "bobs", []byte("bob\n"), 0o644)
	branch := bob.madeOffline("commit", "photos", other)
	s.broker.Restart()
	alice.run("announce", "photos")
	bob.run("announce", "photos")
	if merged := bob.made("merge", "photos"); len(merged.Merged) != 1 {
		t.Fatalf("got %+v of a merge, want one branch merged", merged)
	}
	target := newTarget(t)
	alice.checksOut("photos", target)
	remove(t, target, "bobs")
	head := alice.made("commit", "photos", target)

	p := launchPeer(t, alice)
	p.awaitReady()
	p.awaitStanding("in sync", s.id, secondsLimit, func(b standingJSON) bool { return b.State == "in_sync" && b.Forks == 0 })
	if again := p.made("merge", "photos"); !again.Unchanged || again.head() != head.head() {
		t.Errorf("got %+v of a merge of what was merged, want nothing to do", again)
	}
	// The branch that was merged can still be read where it is held.
	bob.run("ls", "photos", "--at", branch.Link)
}
