package jetstream_test

import (
	"slices"
	"testing"

	"headwater/bucket"
	"headwater/jetstream"
	"headwater/test/natstest"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

func wantAbsent(t *testing.T, c *jetstream.Client, store string, asked, want []bucket.Hash) {
	t.Helper()
	got, err := c.Absent(within(t), store, asked)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("absent of %d: got %d, want %d, error %v", len(asked), len(got), len(want), err)
	}
}

func TestAbsentOfManyTakesOneRoundTripForEachThousand(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	objects, there := smallObjects(1, 3000, 100)
	noErr(t, "put", c.PutObjects(within(t), blobs, objects))
	_, absent := smallObjects(2, 22_000, 10)
	asked := slices.Concat(absent[:10_000], there, absent[10_000:])
	if n := sent(c, func() { wantAbsent(t, c, blobs, asked, absent) }); n != 25 {
		t.Errorf("got %d messages sent for 25,000 objects, want 25", n)
	}
	wantAbsent(t, c, blobs, slices.Concat(absent[:2], there[:2], absent[:2]), absent[:2])
	wantAbsent(t, c, blobs, nil, nil)
}

func TestAbsentIsWhatCannotBeRead(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	_, js := plain(t, s.URL())
	theirs, err := js.ObjectStore(within(t), blobs)
	noErr(t, "object store", err)
	deleted, linked, torn, empty := noise(1, 300_000), noise(2, 100), noise(3, 100), []byte{}
	large, foreign := put(t, c, noise(4, 300_000)), noise(5, 200_000)
	put(t, c, deleted)
	put(t, c, empty)
	noErr(t, "delete", theirs.Delete(within(t), bucket.Sum(deleted).String()))
	_, err = theirs.PutBytes(within(t), bucket.Sum(foreign).String(), foreign)
	noErr(t, "library's put", err)
	info, err := theirs.GetInfo(within(t), bucket.Sum(foreign).String())
	noErr(t, "library's info", err)
	_, err = theirs.AddLink(within(t), bucket.Sum(linked).String(), info)
	noErr(t, "library's link", err)
	// A put that died between chunk and description.
	_, err = js.Publish(within(t), "$O."+blobs+".C."+bucket.Sum(torn).String(), torn)
	noErr(t, "publish", err)

	want := []bucket.Hash{bucket.Sum(deleted), bucket.Sum(linked), bucket.Sum(torn)}
	asked := append([]bucket.Hash{large, bucket.Sum(foreign), bucket.Sum(empty)}, want...)
	wantAbsent(t, c, blobs, asked, want)
	for store, want := range map[string]error{"no-such-store": jetstream.ErrNotFound, "a b": jetstream.ErrNotFound,
		"nowhere/" + blobs: jetstream.ErrTimeout} {
		_, err := c.Absent(within(t), store, asked)
		wantErr(t, store, err, want)
	}
}

// Where batched gets do not work, objects are asked for one by one.
func TestAbsentIsAskedOneByOneIfOnlyThatWorks(t *testing.T) {
	s := natstest.StartWith(t, natstest.Config{Users: []natstest.User{
		{Name: "all", Password: "all"},
		{Name: "some", Password: "some", Publish: []string{"$JS.API.DIRECT.GET.OBJ_" + blobs + ".>"}},
		{Name: "none", Password: "none", Publish: []string{}},
	}})
	all := ensured(t, userURL(s, "all"), peer(1))
	objects, there := smallObjects(1, 50, 100)
	noErr(t, "put", all.PutObjects(within(t), blobs, objects))
	_, absent := smallObjects(2, 50, 100)
	asked := slices.Concat(there, absent)
	wantAbsent(t, dial(t, userURL(s, "some")), blobs, asked, absent)
	_, err := dial(t, userURL(s, "none")).Absent(within(t), blobs, asked)
	wantErr(t, "absent", err, jetstream.ErrNotPermitted)

	_, js := plain(t, userURL(s, "all"))
	allowDirect(t, js, false)
	wantAbsent(t, all, blobs, asked, absent)
}

func TestAbsentAtAnOldServer(t *testing.T) {
	c := ensured(t, natstest.StartOld(t).URL(), peer(1))
	objects, there := smallObjects(1, 100, 100)
	noErr(t, "put", c.PutObjects(within(t), blobs, objects))
	_, absent := smallObjects(2, 100, 100)
	wantAbsent(t, c, blobs, slices.Concat(there, absent), absent)
}

// What a replica that lags answers is that more is absent, never less.
func TestAbsentAtAStaleReplicaLeavesNothingOut(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	_, js := plain(t, s.URL())
	objects, there := smallObjects(1, 200, 1000)
	noErr(t, "put what the replica lacks", c.PutObjects(within(t), blobs, objects[:100]))
	_, err := js.CreateStream(within(t), natsjs.StreamConfig{Name: "STALE", AllowDirect: true, MirrorDirect: true,
		Discard: natsjs.DiscardNew, Mirror: &natsjs.StreamSource{Name: "OBJ_" + blobs, OptStartSeq: lastSeq(t, s, blobs) + 1}})
	noErr(t, "create", err)
	noErr(t, "put what it has", c.PutObjects(within(t), blobs, objects[100:]))
	_, absent := smallObjects(2, 50, 100)
	lacking := 0
	eventually(t, "the replica has answered many times", func() bool {
		got, err := c.Absent(within(t), blobs, slices.Concat(there, absent))
		noErr(t, "absent", err)
		if len(got) < len(absent) || !slices.Equal(got[len(got)-len(absent):], absent) {
			t.Fatalf("got %d absent: some that are not there are left out", len(got))
		}
		if len(got) > len(absent) {
			lacking++
		}
		return lacking == 10
	})
	noErr(t, "put all again", c.PutObjects(within(t), blobs, objects))
}
