package test_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"headwater/test/natstest"
)

// What a peer holds is its owner's to use: with the broker away it is read, and new versions of it are made; they are
// announced when the broker is back.

// shore is a broker that goes away and comes back, and two owners of a bucket that both hold.
type shore struct {
	t      *testing.T
	broker *natstest.Server
	alice  *cliPeer
	bob    *cliPeer
	id     string
	src    string // what the bucket holds
}

func newShore(t *testing.T) *shore {
	t.Helper()
	s := &shore{t: t, broker: natstest.Start(t), src: sourceTree(t, 41, 40)}
	s.alice = startPeerOn(t, s.broker.URL(), filepath.Join(t.TempDir(), "alice"))
	s.bob = startPeerOn(t, s.broker.URL(), filepath.Join(t.TempDir(), "bob"))
	s.id = s.alice.made("create", "photos").BucketID
	if first := s.alice.made("commit", "photos", s.src); !first.Announced {
		t.Errorf("got %+v of a commit, want it announced", first)
	}
	shared := s.alice.made("share", "photos", s.bob.id)
	for _, p := range []*cliPeer{s.alice, s.bob} {
		p.awaitComplete(shared.versionJSON)
	}
	return s
}

// awaitBoth waits until a version is known, complete and announced, as both peers tell, and nothing is left to do.
func (s *shore) awaitBoth(m madeJSON, peers ...*cliPeer) {
	s.t.Helper()
	for _, p := range peers {
		took := p.awaitStanding("version in sync", s.id, secondsLimit, func(b standingJSON) bool {
			return b.State == "in_sync" && b.Complete != nil && *b.Complete == m.head()
		})
		s.t.Logf("version %d was in sync %s later", m.Height, took.Round(time.Millisecond))
	}
}

// checkOffline does everything that needs no broker. It returns the newest version that it made.
func (s *shore) checkOffline(h headwater) madeJSON {
	t := s.t
	t.Helper()
	before := h.standing(s.id)
	if before.State != "offline" {
		t.Errorf("got state %q without a broker, want offline", before.State)
	}
	if before.Announced == nil || *before.Announced != *before.Known {
		t.Errorf("got %+v as announced, want the known head, %+v", before.Announced, before.Known)
	}
	versions := h.chainOf(s.id)
	if len(versions) != int(before.Known.Height)+1 || versions[0] != *before.Known {
		t.Errorf("got the log %+v, want all versions up to %+v", versions, before.Known)
	}
	h.checkReads("photos", s.src)

	writeTree(t, s.src, "by alice.txt", []byte("made offline\n"), 0o644)
	commit := h.madeOffline("commit", "photos", s.src)
	if commit.Added != 1 || commit.Height != before.Known.Height+1 {
		t.Errorf("got %+v of a commit, want one file added in the next version", commit)
	}
	carol := newIdentity(t)
	share := h.madeOffline("share", "photos", carol.PublicKey().String())
	if share.Height != commit.Height+1 {
		t.Errorf("got %+v of share, want the next version", share)
	}
	after := h.standing(s.id)
	if after.State != "offline" || *after.Known != share.head() || *after.Complete != share.head() || *after.Announced != *before.Announced {
		t.Errorf("got %+v, want the last version known and complete, and not announced", after)
	}
	if got := h.chainOf(s.id)[:2]; !slices.Equal(got, []headJSON{share.head(), commit.head()}) {
		t.Errorf("got %+v as the newest versions, want both that were made", got)
	}
	h.checkReads("photos", s.src)
	return share
}

func TestLocalFirst_BrokerStoppedWhileThePeerRuns(t *testing.T) {
	t.Parallel()
	s := newShore(t)
	// What run was told about the broker need not be told again.
	h := s.alice.without("--nats")
	s.broker.Stop()
	h.awaitStanding("offline", s.id, secondsLimit, func(b standingJSON) bool { return b.State == "offline" })
	made := s.checkOffline(h)
	s.broker.Restart()
	s.awaitBoth(made, s.alice, s.bob)
	if got := s.alice.standing(s.id); got.Announced == nil || *got.Announced != made.head() {
		t.Errorf("got %+v as announced, want %+v", got.Announced, made.head())
	}
	s.bob.checkReads("photos", s.src)
}

func TestLocalFirst_BrokerStoppedWhileNoPeerRuns(t *testing.T) {
	t.Parallel()
	s := newShore(t)
	s.alice.stop()
	s.broker.Stop()
	for name, h := range map[string]headwater{"with its URL": s.alice.headwater, "without": s.alice.without("--nats")} {
		if got := h.standing(s.id); got.State != "offline" && got.State != "not_running" {
			t.Errorf("got state %q %s, want offline or not_running", got.State, name)
		}
	}
	made := s.checkOffline(s.alice.headwater)
	s.broker.Restart()
	again := launchPeer(t, s.alice.headwater)
	again.awaitReady()
	s.awaitBoth(made, again, s.bob)
	s.bob.checkReads("photos", s.src)
}

func TestLocalFirst_PeerThatStartsWithoutABroker(t *testing.T) {
	t.Parallel()
	s := newShore(t)
	s.alice.stop()
	s.broker.Stop()
	s.alice = launchPeer(t, s.alice.headwater)
	await(t, "the peer to hold its directory", func() (bool, any) {
		o := s.alice.try("status", s.id, "--json")
		return o.code == 0, o
	}, s.alice)
	made := s.checkOffline(s.alice.without("--nats"))
	s.broker.Restart()
	s.alice.awaitReady()
	s.awaitBoth(made, s.alice, s.bob)
}

// With a broker and no running peer, a command uploads and announces what was made without either.
func TestLocalFirst_TheNextCommandAnnouncesWhatWasMadeOffline(t *testing.T) {
	t.Parallel()
	s := newShore(t)
	s.alice.stop()
	s.broker.Stop()
	s.checkOffline(s.alice.headwater)
	s.broker.Restart()
	writeTree(t, s.src, "later", []byte("online again"), 0o644)
	made := s.alice.made("commit", "photos", s.src)
	if !made.Announced {
		t.Errorf("got %+v of a commit with a broker, want it announced", made)
	}
	s.awaitBoth(made, s.bob)
	s.bob.checkReads("photos", s.src)
}

func TestLocalFirst_ForkThatIsHeldIsMergedWithoutABroker(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{true, false} {
		t.Run(map[bool]string{true: "with a running peer", false: "with commands alone"}[running], func(t *testing.T) {
			t.Parallel()
			s := newShore(t)
			other := newTarget(t)
			s.bob.checksOut("photos", other)
			s.broker.Stop()
			writeTree(t, s.src, "by alice.txt", []byte("alice\n"), 0o644)
			writeTree(t, other, "by bob.txt", []byte("bob\n"), 0o644)
			s.alice.madeOffline("commit", "photos", s.src)
			s.bob.madeOffline("commit", "photos", other)
			s.broker.Restart()
			for _, p := range []*cliPeer{s.alice, s.bob} {
				p.awaitStanding("the fork", s.id, secondsLimit, func(b standingJSON) bool {
					return b.Forks == 1 && b.State == "in_sync"
				})
			}

			h := s.alice.headwater
			if !running {
				s.alice.stop()
			}
			s.broker.Stop()
			merged := h.madeOffline("merge", "photos")
			if len(merged.Merged) != 1 {
				t.Errorf("got %+v of a merge, want one branch merged", merged)
			}
			s.broker.Restart()
			if !running {
				launchPeer(t, h).awaitReady()
			}
			s.awaitBoth(merged, s.bob)
			for _, p := range []headwater{h, s.bob.headwater} {
				if again := p.made("merge", "photos"); !again.Unchanged || len(again.Forks) > 0 {
					t.Errorf("got %+v of another merge, want nothing to do", again)
				}
			}
			s.bob.checksOut("photos", other, "--force")
			for _, name := range []string{"by alice.txt", "by bob.txt"} {
				readTree(t, other, name)
			}
		})
	}
}

func TestLocalFirst_WhatIsHeldIsAskedOfNobody(t *testing.T) {
	t.Parallel()
	s := newShore(t)
	s.bob.stop()
	asked := countRequests(t, s.broker.URL())
	read := func() {
		s.alice.checkReads("photos", s.src)
		s.alice.chainOf(s.id)
		s.alice.run("log", "photos")
	}
	if got := asked.during(read); len(got) > 0 {
		t.Errorf("got requests %v of reading what is held, want none", got)
	}
	// Nor is what was made here.
	writeTree(t, s.src, "more", markedBytes(newRand(42), 6<<20), 0o644)
	made := asked.during(func() {
		s.awaitBoth(s.alice.made("commit", "photos", s.src), s.alice)
	})
	if made["headwater-blobs"] > 8 { // which of many are absent is one question for many, not a read
		t.Errorf("got requests %v of a commit, want no more than ask what is absent", made)
	}
	s.alice.stop()
	if got := asked.during(read); len(got) > 0 {
		t.Errorf("got requests %v of commands that read what is held, want none", got)
	}
}

// A commit that does not wait comes back before anything is uploaded; the running peer uploads and announces it.
func TestLocalFirst_CommitThatDoesNotWait(t *testing.T) {
	t.Parallel()
	s := newShore(t)
	writeTree(t, s.src, "more", markedBytes(newRand(43), 1<<20), 0o644)
	made := s.alice.made("commit", "photos", s.src, "--no-wait")
	if s.alice.chainOf(s.id)[0] != made.head() {
		t.Errorf("got no version %+v in the log, want what was reported", made.head())
	}
	s.awaitBoth(made, s.alice, s.bob)
}
