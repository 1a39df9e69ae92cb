package test

import (
	"context"
	"errors"
	"testing"

	"headwater/bucket/buckettest"
	"headwater/test/natstest"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

// Half of the direct gets are answered by a replica that has none of the older objects, and says so: batched or single.
// It is played by a mirror that begins late, and answers in place of its origin.
func TestStaleReplicaCostsFreshGetsAndNothingElse(t *testing.T) {
	e := newEnv(t, natstest.Start(t).URL(), 1)
	p := e.startPeer(200, peerConfig{})
	chain := e.grow(buckettest.New(t, buckettest.Identity(t, 1), p.key()), 300, 1)
	announce := e.prepareHinted(chain.Versions)
	stores := []string{e.names.ManifestStore(), e.names.BlobStore()}
	for _, store := range stores {
		e.addStaleMirror(store)
	}
	announce()
	p.waitComplete(chain.Head())

	// And link by link.
	far := e.startPeer(201, peerConfig{})
	plain := e.grow(buckettest.New(t, buckettest.Identity(t, 1), far.key()), 50, 1)
	for _, store := range stores {
		e.addStaleMirror(store)
	}
	e.announce(plain.Head(), 1)
	far.waitComplete(plain.Head())
	for _, p := range []*peer{p, far} {
		p.checkSettled()
	}
	p.checkLog(chain.Versions)
	far.checkLog(plain.Versions)
	if l := append(e.letters(p), e.letters(far)...); len(l) > 0 {
		t.Errorf("got dead letters %q, want none", letterTexts(l))
	}
}

// addStaleMirror puts beside a store a mirror that lacks all of its objects but one, and waits until it answers in the store's
// place. There is at most one for each store: one that was added before is made anew.
func (e *env) addStaleMirror(store string) {
	e.tb.Helper()
	name, origin := "STALE_"+store, "OBJ_"+store
	if err := e.js.DeleteStream(e.ctx(), name); err != nil && !errors.Is(err, natsjs.ErrStreamNotFound) {
		e.tb.Fatal(err)
	}
	cfg := natsjs.StreamConfig{Name: name, AllowDirect: true, MirrorDirect: true, Discard: natsjs.DiscardNew,
		Mirror: &natsjs.StreamSource{Name: origin, OptStartSeq: e.streamState(origin).LastSeq + 1}}
	if _, err := e.js.CreateStream(e.ctx(), cfg); err != nil {
		e.tb.Fatal(err)
	}
	newest := e.newBlob(100)
	e.put(store, newest)
	waitUntil(e.tb, "the mirror has what is newest", func() bool { return e.streamState(name).Msgs == 2 })
	s, err := e.js.Stream(e.ctx(), origin)
	if err != nil {
		e.tb.Fatal(err)
	}
	first := e.streamState(origin).FirstSeq
	waitFor(e.tb, "the mirror answers in its origin's place", func() error {
		ctx, cancel := context.WithCancel(e.ctx())
		defer cancel()
		if _, err := s.GetMsg(ctx, first); errors.Is(err, natsjs.ErrMsgNotFound) {
			return nil
		}
		return errNotYet
	})
}
