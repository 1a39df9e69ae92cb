package peer_test

import (
	"context"
	"testing"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/jetstream"
	"headwater/peer"
	"headwater/test/natstest"
)

// bus is a broker as somebody else writes to it.
type bus struct {
	*testing.T
	*jetstream.Client
}

// dial reaches a broker, with all that peers need, until the test ends.
func dial(t *testing.T, url string) bus {
	t.Helper()
	c, err := jetstream.Dial(t.Context(), jetstream.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if _, err := c.Ensure(t.Context(), jetstream.EnsureConfig{}); err != nil {
		t.Fatal(err)
	}
	return bus{t, c}
}

// put puts blobs, the empty pins list, and manifests.
func (b bus) put(versions []*bucket.Version, blobs ...[]byte) {
	b.Helper()
	var manifests, all []jetstream.Small
	for _, v := range versions {
		manifests = append(manifests, jetstream.Small{Hash: v.Link.Hash(), Bytes: v.Encoded()})
	}
	for _, blob := range append(blobs, nil) {
		all = append(all, jetstream.Small{Hash: bucket.Sum(blob), Bytes: blob})
	}
	err := b.PutObjects(b.Context(), b.Names().ManifestStore(), manifests)
	if err == nil {
		err = b.PutObjects(b.Context(), b.Names().BlobStore(), all)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// announce announces a version, and other heads beside it.
func (b bus) announce(v *bucket.Version, heads ...bucket.Link) {
	b.Helper()
	a := bucket.Announcement{Link: v.Link, Height: &v.Height, Bucket: v.Bucket, Peer: buckettest.Identity(b.T, 77).PublicKey(), Heads: heads}
	if _, err := b.Announce(b.Context(), a); err != nil {
		b.Fatal(err)
	}
}

// tips returns how many branches are named beside the head.
func tips(t *testing.T, s *peer.Session, id bucket.ID) int {
	t.Helper()
	v, err := s.Holder().Look(t.Context(), id, true)
	if err != nil || len(v.Ignored) > 0 {
		t.Fatalf("look: %v, ignored %+v", err, v.Ignored)
	}
	return len(v.Tips)
}

// No peer runs, and the branch has no announcement of its own.
func TestForksAreNamed_CommandsSeeABranchThatOnlyHeadsNames(t *testing.T) {
	broker := dial(t, natstest.Start(t).URL())
	cfg, me := config(t, broker.URL())
	c := buckettest.New(t, me).Grow(t, 3)
	branch := c.Fork(1).Grow(t, 1)
	broker.put(append(c.Versions, branch.Head()))
	broker.announce(c.Head(), branch.Head().Link)
	if n := tips(t, use(t, cfg), c.Head().Bucket); n != 1 {
		t.Errorf("got %d branches, want the one that stands in heads", n)
	}
}

// A call asks 1000 versions above a branch for a merge; the one that has merged it stands above these.
func TestForksAreNamed_AMergeFarAboveItsBranchIsFoundInTheEnd(t *testing.T) {
	broker := dial(t, natstest.Start(t).URL())
	cfg, me := config(t, broker.URL())
	c := buckettest.New(t, me).Grow(t, 2)
	branch := c.Fork(0).Grow(t, 1)
	c.Grow(t, 1010)
	edit, list := buckettest.WithPins(bucket.Pins{branch.Head().Link.Hash()})
	c.Add(t, edit)
	c.Grow(t, 2)
	broker.put(append(c.Versions, branch.Head()), list)
	broker.announce(c.Head(), branch.Head().Link)
	s := use(t, cfg)
	if n := tips(t, s, c.Head().Bucket); n != 1 {
		t.Errorf("got %d branches at the first look, want one that is not known to be merged yet", n)
	}
	if n := tips(t, s, c.Head().Bucket); n != 0 {
		t.Errorf("got %d branches at the second look, want none", n)
	}
}
