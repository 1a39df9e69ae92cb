package peer_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"headwater/blobstore"
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
	var manifests, all []blobstore.Small
	for _, v := range versions {
		manifests = append(manifests, blobstore.Small{Hash: v.Link.Hash(), Data: v.Encoded()})
	}
	for _, blob := range append(blobs, nil) {
		all = append(all, blobstore.Small{Hash: bucket.Sum(blob), Data: blob})
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

// Versions were heard of, and what they hold was not downloaded.
func TestLocalFirst_WhatIsNotHeldSaysWhichVersionAndWhatToDo(t *testing.T) {
	server := natstest.Start(t)
	aliceConfig, alice := config(t, server.URL())
	bobConfig, _ := config(t, server.URL())
	bob, ctx := use(t, bobConfig), t.Context()
	made := must[*peer.Made](t)
	src, theirs := t.TempDir(), t.TempDir()
	id := made(bob.Create(ctx, "photos", peer.Upload{})).BucketID
	files(t, src, map[string]string{"a": "bob"})
	made(bob.Commit(ctx, id, src, peer.CommitOptions{}))
	held := made(bob.Share(ctx, id, alice.PublicKey(), bucket.Owner, peer.Upload{}))
	a := use(t, aliceConfig)
	if _, err := a.Checkout(ctx, id, theirs, peer.CheckoutOptions{}); err != nil {
		t.Fatal(err)
	}
	files(t, theirs, map[string]string{"a": "alice"})
	lacks := made(a.Commit(ctx, id, theirs, peer.CommitOptions{}))
	if n := tips(t, bob, id); n != 0 { // bob has heard of it
		t.Fatalf("got %d branches", n)
	}
	server.Stop()
	read := func(at string) error { return bob.Read(ctx, id, "a", at, io.Discard) }
	for what, err := range map[string]error{
		"read":   read(""),
		"list":   second(bob.List(ctx, id, "", "", true)),
		"commit": second(bob.Commit(ctx, id, src, peer.CommitOptions{})),
		"diff":   second(bob.Diff(ctx, id, "", "")),
	} {
		if !errors.Is(err, peer.ErrOffline) || !strings.Contains(err.Error(), lacks.Link.String()) || !strings.Contains(err.Error(), "--at "+held.Link.String()) {
			t.Errorf("%s: got %v, want it offline, with the version that is lacking and the one that is held", what, err)
		}
	}
	if err := read(held.Link.String()); err != nil {
		t.Errorf("got %v of the version that is held", err)
	}
}

func second[A any](_ A, err error) error { return err }
