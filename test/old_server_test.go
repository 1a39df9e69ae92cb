package test

import (
	"context"
	"slices"
	"testing"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/test/natstest"

	"github.com/nats-io/nats.go"
)

// A server of the 2.10 line knows no batched gets, which came with 2.11, and no atomic batches, which came with 2.12.

func TestOldServerTakesAllThatEnsureMakes(t *testing.T) {
	e := dialEnv(t, natstest.StartOld(t).URL())
	cfg := jetstream.EnsureConfig{Peer: buckettest.Identity(t, 200).PublicKey()}
	for _, cfg.BindOnly = range []bool{false, true} {
		if d, err := e.client.Ensure(e.ctx(), cfg); err != nil || len(d) > 0 {
			t.Errorf("ensure (bind only: %v): got %v, %v, want no difference", cfg.BindOnly, d, err)
		}
	}
}

func TestOldServerHintsLeadToTheHeadAndItsPins(t *testing.T) {
	for _, oneWay := range []time.Duration{0, 20 * time.Millisecond} {
		t.Run(oneWay.String()+" away", func(t *testing.T) {
			url := natstest.StartOld(t).URL()
			e := newEnv(t, url, 1)
			p := e.startPeer(200, peerConfig{url: natstest.StartProxy(t, url, oneWay).URL()})
			chain := buckettest.New(t, buckettest.Identity(t, 1), p.key()).Grow(t, 700)
			e.putVersions(chain.Versions...)
			e.grow(chain, 1, 40)
			waitUntil(t, "the peer waits for deliveries", func() bool { return e.durableState(consumer.KindHeads, p).NumWaiting > 0 })
			asked := e.countGets(e.names.ManifestStore(), chain)
			announce := e.prepareHinted(chain.Versions)
			start := time.Now()
			announce()
			waitUntil(t, "the head is logged", func() bool { return p.bucket(chain.ID).Known == chain.Head().Head() })
			took := time.Since(start)
			p.waitComplete(chain.Head())
			p.checkSettled()
			p.checkLog(chain.Versions)
			checkNoneRejected(t, p)
			// Versions in no pack are asked for one by one; without hints all would be.
			if n := asked(); n >= bucket.PackVersions {
				t.Errorf("got %d of %d manifests asked for by themselves, want fewer than a pack has", n, len(chain.Versions))
			}
			t.Logf("%d versions took %v, %d of them asked for by themselves", len(chain.Versions), took.Round(time.Millisecond), asked())
		})
	}
}

// countGets counts the single gets of a chain's manifests from now on.
func (e *env) countGets(store string, c *buckettest.Chain) (asked func() int) {
	e.tb.Helper()
	gets := e.listenForGets(store)
	return func() (n int) {
		gets.mu.Lock()
		defer gets.mu.Unlock()
		for _, v := range c.Versions {
			if _, ok := gets.seen[gets.name(v.Link.Hash())]; ok {
				n++
			}
		}
		return n
	}
}

func TestOldServerVersionsWithoutHintsAreWalked(t *testing.T) {
	e := newEnv(t, natstest.StartOld(t).URL(), 1)
	p := e.startPeer(200, peerConfig{})
	chain := e.grow(buckettest.New(t, buckettest.Identity(t, 1), p.key()), 50, 2)
	e.announce(chain.Head(), 1)
	p.waitComplete(chain.Head())
	p.checkSettled()
	p.checkLog(chain.Versions)
	checkNoneRejected(t, p)
}

// getMany reads objects, and fails if one of them does not come, or comes twice.
func (e *env) getMany(c *jetstream.Client, store string, objects []blobstore.Small) {
	e.tb.Helper()
	hashes := []bucket.Hash{bucket.Sum([]byte("absent"))}
	for _, o := range objects {
		hashes = append(hashes, o.Hash)
	}
	got := map[bucket.Hash]int{}
	err := c.Objects().GetMany(e.ctx(), store, append(hashes, hashes[:10]...), func(h bucket.Hash, _ []byte) error {
		got[h]++
		return nil
	})
	if err != nil || len(got) != len(objects) || slices.ContainsFunc(objects, func(o blobstore.Small) bool { return got[o.Hash] != 1 }) {
		e.tb.Errorf("got %d of %d objects from %s, %v, want each once", len(got), len(objects), store, err)
	}
}

// countBatches counts the requests for many objects at once, from now on.
func countBatches(tb testing.TB, url, api, store string) (asked func() int) {
	tb.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	sub, err := nc.SubscribeSync(api + ".DIRECT.GET.OBJ_" + store)
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		tb.Fatal(err)
	}
	return func() int {
		tb.Helper()
		err := nc.Flush() // what was answered has come here by then
		n, _, pendingErr := sub.Pending()
		if err != nil || pendingErr != nil {
			tb.Fatal(err, pendingErr)
		}
		return n
	}
}

func TestOldServerManyObjectsArePutAndReadOneByOne(t *testing.T) {
	e := newEnv(t, natstest.StartOld(t).URL(), 1)
	store := e.names.BlobStore()
	objects := append(e.newBlobs(1100, 1<<10), blobstore.Small{Hash: bucket.Sum(nil)})
	e.put(store, objects...)
	e.put(store, objects...)
	if n := e.streamState("OBJ_" + store).Msgs; n != 2*1100+1 {
		t.Errorf("got %d messages in the store, want two for each object with bytes, and one for that without", n)
	}
	asked := countBatches(t, e.url, "$JS.API", store)
	for range 3 {
		e.getMany(e.client, store, objects[:1100])
	}
	if n := asked(); n != 1 {
		t.Errorf("got %d requests for many objects, want 1: then it is known that there are no batched gets", n)
	}
}

// The server that the client is connected to is a new one. What counts is who answers.
func TestOldServerBehindALeafNodeIsToldByItsAnswers(t *testing.T) {
	hub := natstest.StartWith(t, natstest.Config{Domain: "hub", AcceptLeafs: true})
	leaf := newEnv(t, natstest.StartOldLeaf(t, hub, "leaf").URL(), 1)
	e := newEnv(t, hub.URL(), 1)
	store := e.names.BlobStore()
	ours, theirs := e.newBlobs(300, 1<<10), e.newBlobs(300, 1<<10)
	e.put(store, ours...)
	leaf.put(store, theirs...)
	e.insist("the leaf node has joined", func(ctx context.Context) error {
		_, _, err := e.client.Objects().Get(ctx, "leaf/"+store, theirs[0].Hash, false)
		return err
	})
	asked, askedOld := countBatches(t, e.url, "$JS.API", store), countBatches(t, e.url, "$JS.leaf.API", store)
	for range 3 {
		e.getMany(e.client, store, ours)
		e.getMany(e.client, "leaf/"+store, theirs)
	}
	if n, old := asked(), askedOld(); n != 3 || old != 1 {
		t.Errorf("got %d requests for many objects to the new server and %d to the old, want 3 and 1", n, old)
	}
	more := e.newBlobs(50, 1<<10)
	e.put("leaf/"+store, more...)
	leaf.getMany(leaf.client, store, more)
}

// The server is replaced by a newer one, which takes over its address and its streams.
func TestOldServerReplacedByANewerOneIsAskedForManyAgain(t *testing.T) {
	old := natstest.StartOld(t)
	e := newEnv(t, old.URL(), 1)
	store := e.names.BlobStore()
	objects := e.newBlobs(200, 1<<10)
	e.put(store, objects...)
	e.getMany(e.client, store, objects)
	old.Stop()
	natstest.StartWith(t, natstest.Config{Port: old.Port(), Dir: old.Dir()})
	e.insist("the client is connected again", func(ctx context.Context) error {
		_, _, err := e.client.Objects().Get(ctx, store, objects[0].Hash, false)
		return err
	})
	asked := countBatches(t, e.url, "$JS.API", store)
	e.getMany(e.client, store, objects)
	if n := asked(); n != 1 {
		t.Errorf("got %d requests for many objects to the newer server, want 1", n)
	}
}
