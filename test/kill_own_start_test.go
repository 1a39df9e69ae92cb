package test_test

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

// Commands that are killed while they open a directory, one after another, cost nothing that was there: neither what is complete
// nor what is still to be announced.
func TestNothingAcknowledgedIsLost_StartsKilledInARow(t *testing.T) {
	t.Parallel()
	s := newShore(t)
	s.alice.stop()
	s.broker.Stop()
	h := s.alice.headwater
	writeTree(t, s.src, "offline", []byte("made without a broker"), 0o644)
	made := h.madeOffline("commit", "photos", s.src)
	start := time.Now()
	before := h.standing(s.id)
	whole := time.Since(start)
	for range max(30, kills()) {
		h.killedAfter(rand.N(whole), "status", "--json")
	}
	after := h.standing(s.id)
	if after.Complete == nil || *after.Complete != *before.Complete || after.Announced == nil || *after.Announced != *before.Announced {
		t.Errorf("got %+v complete and %+v announced after starts were killed, want %+v and %+v as before",
			after.Complete, after.Announced, before.Complete, before.Announced)
	}
	if damaged, _ := filepath.Glob(filepath.Join(h.args[1], "log.damaged*")); len(damaged) > 0 {
		t.Errorf("got %q: a log that was set aside, though nothing was wrong with it", damaged)
	}
	s.broker.Restart()
	again := launchPeer(t, h)
	again.awaitReady()
	s.awaitBoth(made, again, s.bob)
}

// A broker that is killed with what it has not synced is natstest's to show; here it only comes and goes, again and again, while
// versions are made.
func TestNothingAcknowledgedIsLost_BrokerComesAndGoes(t *testing.T) {
	t.Parallel()
	s := newShore(t)
	var last madeJSON
	for i := range 6 {
		restarted := make(chan struct{})
		go func() {
			defer close(restarted)
			<-time.After(rand.N(300 * time.Millisecond))
			s.broker.Stop()
			<-time.After(rand.N(300 * time.Millisecond))
			s.broker.Restart()
		}()
		writeTree(t, s.src, "while it comes and goes", markedBytes(newRand(uint64(i)), 3<<20), 0o644)
		last = s.alice.made("commit", "photos", s.src)
		<-restarted
	}
	s.awaitBoth(last, s.alice, s.bob)
	s.bob.checkReads("photos", s.src)
	if l := append(s.alice.letters(), s.bob.letters()...); len(l) > 0 {
		t.Errorf("got dead letters %+v, want none", l)
	}
}
