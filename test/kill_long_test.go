package test_test

import (
	"math/rand/v2"
	"testing"

	"headwater/consumer"
)

// TestPrefix_KilledAgainAndAgainInALongCatchUp: of a new bucket with more versions than memory holds, each life keeps what it has
// verified. In the end there is one unbroken chain, and no life has cost more than what was on its way to it.
func TestPrefix_KilledAgainAndAgainInALongCatchUp(t *testing.T) {
	const versions, kills = 40_000, 8
	p := newLong(t, versions, 1)[0]
	r := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	lost := 0
	for n := range uint64(kills) {
		// Versions that are fetched count once, and once more when they are in the log: so far has this life to come.
		goal := 2*versions*n/kills + r.Uint64N(2*versions/kills)
		p.start()
		s := p.waitState(t, pollInterval, func(s consumer.Status) bool { return s.CatchUp.Fetched+s.Versions >= goal || s.Versions == versions })
		p.kill()
		if s.Versions == versions {
			break
		}
		lost++
	}
	p.start()
	s := p.waitState(t, pollInterval, func(s consumer.Status) bool { return s.Complete != nil && s.Complete.Height == versions-1 })
	if s.Versions != versions || s.Known.Link != p.history.announce.Link || s.Forks != 0 {
		t.Errorf("got %+v, want %d versions up to %s", s, versions, p.history.announce.Link)
	}
	chain := p.versions(p.history.id)
	if len(chain) != versions {
		t.Fatalf("the log lists %d versions, want %d", len(chain), versions)
	}
	for i, v := range chain[:versions-1] {
		if v.Previous == nil || *v.Previous != chain[i+1].Link || v.Height != chain[i+1].Height+1 {
			t.Fatalf("version %d is not followed by the one before it: %+v, %+v", i, v, chain[i+1])
		}
	}
	_, received := p.proxy.Bytes()
	t.Logf("%d times killed; %.2f times the bytes of the packs were received", lost, float64(received)/float64(p.history.size))
	if lost < kills/2 {
		t.Errorf("the peer was killed %d times before it was done, want half of %d at least", lost, kills)
	}
	// A window that was asked for, and up to a batch that was not kept, for each life.
	if limit := p.history.size + int64(lost+1)*(13<<20); received > limit {
		t.Errorf("%d bytes were received, want %d at most", received, limit)
	}
}
