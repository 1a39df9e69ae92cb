package jetstream_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/jetstream"
	"headwater/test/natstest"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

// getMany reads objects, and demands that just those that are there come, once each.
func getMany(t *testing.T, c *jetstream.Client, store string, asked, there []bucket.Hash) {
	t.Helper()
	got, take := taker(t)
	noErr(t, "get many", c.Objects().GetMany(within(t), store, asked, take))
	for _, h := range there {
		if got[h] != 1 {
			t.Errorf("got object %s %d times, want once", h, got[h])
		}
	}
	if len(got) != len(there) {
		t.Errorf("got %d objects, want %d", len(got), len(there))
	}
}

func TestManyAskedForTwiceComeOnce(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	objects, hashes := smallObjects(1, 1500, 50)
	noErr(t, "put", c.PutObjects(within(t), blobs, objects))
	getMany(t, c, blobs, append(hashes, hashes...), hashes)
	getMany(t, c, blobs, nil, nil)
}

func TestMoreAbsentObjectsThanOneAnswerHasCostARoundTripForEachThousand(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	_, absent := smallObjects(1, 2500, 50)
	if n := sent(c, func() { getMany(t, c, blobs, absent, nil) }); n != 3 {
		t.Errorf("got %d messages sent, want 3", n)
	}
	objects, hashes := smallObjects(2, 1, 50)
	noErr(t, "put", c.PutObjects(within(t), blobs, objects))
	getMany(t, c, blobs, append(absent, hashes...), hashes)
}

func TestManyAreReadFromOtherDomains(t *testing.T) {
	hub := natstest.StartWith(t, natstest.Config{Domain: "hub", AcceptLeafs: true})
	leaf := natstest.StartWith(t, natstest.Config{Domain: "leaf", LeafOf: hub})
	objects, hashes := smallObjects(1, 1200, 1000)
	noErr(t, "put", ensured(t, hub.URL(), peer(1)).PutObjects(within(t), blobs, objects))
	c := dial(t, leaf.URL())
	eventually(t, "the leaf node has joined", func() bool {
		_, err := c.Absent(t.Context(), "hub/"+blobs, hashes[:1])
		return err == nil
	})
	if n := sent(c, func() { getMany(t, c, "hub/"+blobs, hashes, hashes) }); n != 2 {
		t.Errorf("got %d messages sent, want 2", n)
	}
	// The leaf has no such store, and nobody is in the third domain.
	for store, want := range map[string]error{blobs: jetstream.ErrNotFound, "nowhere/" + blobs: jetstream.ErrTimeout} {
		err := c.Objects().GetMany(within(t), store, hashes, func(bucket.Hash, []byte) error { return nil })
		wantErr(t, store, err, want)
	}
}

func TestManyAreReadFromStoresThatThePlainProgramMade(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	natstest.NewCLI(t, s.URL()).Run("object", "add", "plain")
	_, js := plain(t, s.URL())
	theirs, err := js.ObjectStore(within(t), "plain")
	noErr(t, "object store", err)
	objects, hashes := smallObjects(1, 20, 1000)
	noErr(t, "put", c.PutObjects(within(t), "plain", objects[:10]))
	for _, o := range objects[10:] {
		_, err := theirs.PutBytes(within(t), o.Hash.String(), o.Data)
		noErr(t, "library's put", err)
	}
	getMany(t, c, "plain", hashes, hashes[:10])
	for _, h := range hashes[10:] {
		r, _, err := c.Objects().Get(within(t), "plain", h, false)
		noErr(t, "get what the library put", err)
		noErr(t, "close", r.Close())
	}
}

func TestManyAreReadThroughTheLeaderWhereNoDirectGetsAreAllowed(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	_, js := plain(t, s.URL())
	objects, hashes := smallObjects(1, 300, 1000)
	large, _ := smallObjects(2, 1, 600<<10)
	noErr(t, "put", c.PutObjects(within(t), blobs, append(objects, large...)))
	allowDirect(t, js, false)
	asked := append([]bucket.Hash{bucket.Sum([]byte("absent")), large[0].Hash}, hashes...)
	n := sent(c, func() { getMany(t, c, blobs, asked, hashes) })
	if want := uint64(2 + len(asked)); n != want {
		t.Errorf("got %d messages sent, want %d: one for all, the question why nobody answers, one for each", n, want)
	}
	n = sent(c, func() { getMany(t, c, blobs, asked, hashes) })
	if want := uint64(len(asked)); n != want {
		t.Errorf("got %d messages sent the second time, want %d", n, want)
	}
	if n := sent(c, func() { _, err := get(t, c, hashes[0], false); noErr(t, "get", err) }); n != 1 {
		t.Errorf("got %d messages sent for a single object, want 1", n)
	}
	allowDirect(t, js, true)
	getMany(t, c, blobs, asked, hashes)
}

// allowDirect reports whether the store of blobs answers direct gets.
func allowDirect(t *testing.T, js natsjs.JetStream, allow bool) {
	t.Helper()
	st, err := js.Stream(within(t), "OBJ_"+blobs)
	noErr(t, "stream", err)
	cfg := st.CachedInfo().Config
	cfg.AllowDirect = allow
	_, err = js.UpdateStream(within(t), cfg)
	noErr(t, "update", err)
}

func TestManyAreReadOneByOneWhereOnlyThatIsPermitted(t *testing.T) {
	s := natstest.StartWith(t, natstest.Config{Users: []natstest.User{
		{Name: "all", Password: "all"},
		{Name: "some", Password: "some", Publish: []string{"$JS.API.DIRECT.GET.OBJ_" + blobs + ".>"}},
		{Name: "none", Password: "none", Publish: []string{}},
	}})
	objects, hashes := smallObjects(1, 100, 1000)
	noErr(t, "put", ensured(t, userURL(s, "all"), peer(1)).PutObjects(within(t), blobs, objects))
	c := dial(t, userURL(s, "some"))
	getMany(t, c, blobs, hashes, hashes)
	if n := sent(c, func() { getMany(t, c, blobs, hashes, hashes) }); n != 100 {
		t.Errorf("got %d messages sent the second time, want 100: one for each", n)
	}
	c = dial(t, userURL(s, "none"))
	n := sent(c, func() {
		err := c.Objects().GetMany(within(t), blobs, hashes, func(bucket.Hash, []byte) error { return nil })
		wantErr(t, "get many", err, jetstream.ErrNotPermitted)
	})
	if n != 2 {
		t.Errorf("got %d messages sent by who is permitted nothing, want 2", n)
	}
}

// A replica that lags answers as if what it lacks were not there, and nothing in its answers tells. It is played by a mirror
// that begins late and answers in place of its origin, as half of the requests have it.
func TestWhatAStaleReplicaLacksIsLeftOutAndFoundFresh(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	_, js := plain(t, s.URL())
	objects, hashes := smallObjects(1, 200, 1000)
	noErr(t, "put what the replica lacks", c.PutObjects(within(t), blobs, objects[:100]))
	stale := natsjs.StreamConfig{Name: "STALE", AllowDirect: true, MirrorDirect: true, Discard: natsjs.DiscardNew,
		Mirror: &natsjs.StreamSource{Name: "OBJ_" + blobs, OptStartSeq: lastSeq(t, s, blobs) + 1}}
	_, err := js.CreateStream(within(t), stale)
	noErr(t, "create", err)
	noErr(t, "put what it has", c.PutObjects(within(t), blobs, objects[100:]))

	lacking := 0
	eventually(t, "the replica has answered many times", func() bool {
		got, take := taker(t)
		noErr(t, "get many", c.Objects().GetMany(within(t), blobs, hashes, take))
		for _, h := range hashes {
			if got[h] > 1 {
				t.Errorf("got object %s %d times", h, got[h])
			}
		}
		switch len(got) {
		case 200:
		case 100:
			lacking++
		default:
			t.Fatalf("got %d objects, want 200, or the 100 that the replica has", len(got))
		}
		return lacking == 10
	})
	for _, o := range objects {
		if _, err := get(t, c, o.Hash, true); err != nil {
			t.Fatalf("fresh get: %v", err)
		}
	}
}

// What is acknowledged is on two nodes of three. Asking the third for all of it at once leaves out what it has not heard of,
// and finds that in fresh gets.
func TestManyFromEachNodeOfAClusterRightAfterTheyWerePut(t *testing.T) {
	cl := natstest.StartCluster(t, 3)
	c := dial(t, cl.URL())
	_, err := c.Ensure(within(t), jetstream.EnsureConfig{Peer: peer(1), Replicas: 3})
	noErr(t, "ensure", err)
	var near []*jetstream.Client
	for _, n := range cl.Nodes() {
		near = append(near, dial(t, n.URL()))
	}
	missed := 0
	for round := range byte(10) {
		objects, hashes := smallObjects(round, 100, 1000)
		noErr(t, "put", c.PutObjects(within(t), blobs, objects))
		for _, c := range near {
			got, take := taker(t)
			noErr(t, "get many", c.Objects().GetMany(within(t), blobs, hashes, take))
			for _, h := range hashes {
				if got[h] == 1 {
					continue
				}
				missed++
				_, err := get(t, c, h, true)
				noErr(t, "fresh get", err)
			}
		}
	}
	t.Logf("%d of 3000 were asked for too early", missed)
}

func TestManyFromAServerThatStallsEndInAnErrorInTime(t *testing.T) {
	s := natstest.Start(t)
	objects, hashes := smallObjects(1, 200, 100<<10)
	noErr(t, "put", ensured(t, s.URL(), peer(1)).PutObjects(within(t), blobs, objects))
	enough := errors.New("waited long enough")
	for name, after := range map[string]int64{"at once": 0, "in the midst of the answers": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			p := newStall(t, s.URL())
			defer p.resume()
			const quiet = 300 * time.Millisecond
			c := dial(t, p.url(), func(c *jetstream.Config) { c.RequestLimit = quiet })
			getMany(t, c, blobs, hashes[:3], hashes[:3])

			p.stallAfter(after)
			got, take := taker(t)
			wantErr(t, "get many", c.Objects().GetMany(within(t), blobs, hashes, take), jetstream.ErrTimeout)
			if want := int(after / (100 << 10)); len(got) > want || len(got) < want-1 {
				t.Errorf("got %d objects before the server stalled, want about %d", len(got), want)
			}
			// Whoever waits less than the client ends it by the context.
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(quiet/10, func() { cancel(enough) })
			err := c.Objects().GetMany(ctx, blobs, hashes, take)
			wantErr(t, "get many", err, enough)
		})
	}
}
