package test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/test/natstest"
)

// forkTree is a random tree of versions: chains that leave one another at random heights.
type forkTree struct {
	versions []*bucket.Version // each once
	tips     []*bucket.Version // those without a successor
}

// newForkTree grows a tree of so many branches, shared with the peers.
func newForkTree(t *testing.T, r *rand.Rand, branches int, mirrors ...bucket.PublicKey) *forkTree {
	t.Helper()
	all := []*buckettest.Chain{buckettest.New(t, buckettest.Identity(t, 1), mirrors...).Grow(t, 1+r.IntN(6))}
	tree := &forkTree{versions: slices.Clone(all[0].Versions)}
	for len(all) < branches {
		from := all[r.IntN(len(all))]
		at := r.IntN(len(from.Versions))
		branch := from.Fork(at).Grow(t, 1+r.IntN(5))
		all = append(all, branch)
		tree.versions = append(tree.versions, branch.Versions[at+1:]...)
	}
	followed := map[bucket.Link]bool{}
	for _, v := range tree.versions {
		followed[v.Previous] = true
	}
	tree.tips = slices.DeleteFunc(slices.Clone(tree.versions), func(v *bucket.Version) bool { return followed[v.Link] })
	return tree
}

// head is the head that the head rule picks.
func (f *forkTree) head() bucket.Head {
	return slices.MaxFunc(f.tips, func(a, b *bucket.Version) int { return a.Head().Compare(b.Head()) }).Head()
}

// forks is how many branches there are beyond the first.
func (f *forkTree) forks() int { return len(f.tips) - 1 }

// announcements are all tips and some versions below them, in any order.
func (f *forkTree) announcements(r *rand.Rand) []*bucket.Version {
	order := slices.Clone(f.tips)
	for range len(f.versions) / 3 {
		order = append(order, f.versions[r.IntN(len(f.versions))])
	}
	r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

func TestForksAreNamed_AllPeersPickTheSameHead(t *testing.T) {
	e := newEnv(t, natstest.Start(t).URL(), 1)
	// Each peer has announcements of its own, and so an order of its own; the objects they share.
	var peers []*peer
	var keys []bucket.PublicKey
	for i := range 3 {
		p := e.startPeer(byte(200+i), peerConfig{prefix: fmt.Sprintf("system%d", i)})
		peers, keys = append(peers, p), append(keys, p.key())
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	trees := make([]*forkTree, 12)
	for i := range trees {
		trees[i] = newForkTree(t, r, 1+r.IntN(6), keys...)
		e.putVersions(trees[i].versions...)
	}
	for _, p := range peers {
		for i, v := range interleaved(r, trees) {
			// Another announcer each time: a newer announcement of the same one would replace the older.
			e.announceOn(p.names(), v, byte(1+i%250))
		}
	}
	for _, p := range peers {
		for _, tree := range trees {
			p.checkTree(tree)
		}
		p.checkSettled()
	}
}

// interleaved are the announcements of all trees, those of each tree in an order of their own.
func interleaved(r *rand.Rand, trees []*forkTree) (order []*bucket.Version) {
	for _, tree := range trees {
		order = append(order, tree.announcements(r)...)
	}
	r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

// checkTree waits until a peer has a whole tree, and fails unless it has the right head and number of forks, and
// has emitted an event for each fork.
func (p *peer) checkTree(tree *forkTree) {
	p.tb.Helper()
	id := tree.versions[0].Bucket
	waitUntil(p.tb, "all versions of a tree are logged", func() bool {
		return p.bucket(id).Versions == uint64(len(tree.versions)) && p.bucket(id).Complete == tree.head()
	})
	b := p.bucket(id)
	if b.Known != tree.head() || b.Forks != uint64(tree.forks()) {
		p.tb.Errorf("got head %v and %d forks, want %v and %d", b.Known, b.Forks, tree.head(), tree.forks())
	}
	p.checkLog(tree.versions)
	named := slices.DeleteFunc(p.events.of(consumer.EventForked), func(e consumer.Event) bool { return e.BucketID != id })
	if len(named) != tree.forks() {
		p.tb.Errorf("got %d events of forks, want %d", len(named), tree.forks())
	}
	for _, e := range named {
		if e.Ancestor.IsZero() || len(e.Heads) != 2 || len(e.Authors) != 2 || e.Authors[0].IsZero() || e.Authors[1].IsZero() {
			p.tb.Errorf("got event %+v, want the ancestor, both heads and both authors", e)
		}
	}
}
