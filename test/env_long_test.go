package test_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/test/natstest"
)

// history is a chain too long to hold in memory, as a broker has it: packs, and the announcement of its head.
type history struct {
	id       bucket.ID
	versions int
	size     int64 // of packs
	announce bucket.Announcement
	some     []*bucket.Version // the oldest of them
}

// putHistory makes n versions that are shared with peers and puts the packs that an author makes of them. Of the
// manifests themselves only the newest are put: nobody who has the packs needs the others.
func putHistory(tb testing.TB, c *jetstream.Client, n int, mirrors ...bucket.PublicKey) (h history) {
	tb.Helper()
	owner := buckettest.Identity(tb, 1)
	chain := buckettest.New(tb, owner, mirrors...)
	var objects []blobstore.Small
	put := func(store string) {
		if err := c.PutObjects(tb.Context(), store, objects); err != nil {
			tb.Fatal(err)
		}
		objects = nil
	}
	objects = append(objects, blobstore.Small{Hash: bucket.Sum(nil)}) // the pins list of versions without pins
	put(c.Names().BlobStore())
	packer := buckettest.Packer{Put: func(hash bucket.Hash, pack []byte) {
		h.size += int64(len(pack))
		if objects = append(objects, blobstore.Small{Hash: hash, Data: pack}); len(objects) >= 64 {
			put(c.Names().ManifestStore())
		}
	}}
	for i := range n {
		v := chain.Grow(tb, 1).Head()
		if i < n-1 {
			packer.Add(tb, v)
		}
		if i >= n-bucket.MaxRecent {
			objects = append(objects, blobstore.Small{Hash: v.Link.Hash(), Data: v.Encoded()})
		}
		if len(h.some) < 20_000 {
			h.some = append(h.some, v)
		}
		chain.Drop()
	}
	head := chain.Head()
	put(c.Names().ManifestStore())
	h.id, h.versions = chain.ID, n
	h.announce = bucket.Announcement{
		Bucket: chain.ID, Peer: owner.PublicKey(), Link: head.Link, Height: &head.Height, Hints: packer.Hints(head),
	}
	return h
}

// longPeer is a peer that catches up with a history, in a process of its own, over a connection whose bytes are counted.
type longPeer struct {
	*cliPeer // while it runs

	tb      testing.TB
	dir     string
	key     bucket.PublicKey
	history history
	proxy   *natstest.Proxy
	client  *jetstream.Client
}

func (p *longPeer) start() { p.cliPeer = startPeerOn(p.tb, p.proxy.URL(), p.dir) }

// state asks the peer how it stands with the history.
func (p *longPeer) state(tb testing.TB) (s consumer.Status) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Second)
	defer cancel()
	request, err := json.Marshal(map[string]bucket.ID{"bucket_id": p.history.id})
	if err != nil {
		tb.Fatal(err)
	}
	answer, err := p.client.Ask(ctx, p.key, "status", request)
	var none *jetstream.ServiceError
	if errors.As(err, &none) {
		return s // it has not heard of the bucket
	}
	var all struct{ Buckets []consumer.Status }
	if err == nil {
		err = json.Unmarshal(answer, &all)
	}
	if err != nil || len(all.Buckets) != 1 {
		tb.Fatalf("status: %v, %s", err, answer)
	}
	return all.Buckets[0]
}

// waitState looks every so often until the state is as wanted, and returns it.
func (p *longPeer) waitState(tb testing.TB, every time.Duration, want func(consumer.Status) bool) (s consumer.Status) {
	tb.Helper()
	tick := time.NewTicker(every)
	defer tick.Stop()
	limit := time.After(20 * time.Minute)
	for s = p.state(tb); !want(s); s = p.state(tb) {
		if s.State == consumer.StateBlocked {
			tb.Fatalf("the peer gave up: %s; its log:\n%s", s.LastError, p.log.tail())
		}
		select {
		case <-tick.C:
		case <-p.exited:
			tb.Fatalf("the peer ended: %v; its log:\n%s", p.process.ProcessState, p.log.tail())
		case <-limit:
			tb.Fatalf("the peer does not get there: %+v", s)
		}
	}
	return s
}

// newLong makes a history, and peers that it is shared with and that do not run.
func newLong(tb testing.TB, n, peers int) []*longPeer {
	tb.Helper()
	server := natstest.Start(tb)
	client, err := jetstream.Dial(tb.Context(), jetstream.Config{URL: server.URL()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = client.Close(context.Background()) })
	if _, err := client.Ensure(tb.Context(), jetstream.EnsureConfig{Replicas: 1}); err != nil {
		tb.Fatal(err)
	}
	var all []*longPeer
	var keys []bucket.PublicKey
	for range peers {
		p := &longPeer{tb: tb, client: client, proxy: natstest.StartProxy(tb, server.URL(), 0), dir: filepath.Join(tb.TempDir(), "peer")}
		id := decoded[statusJSON](tb, newHeadwater(tb, "--dir", p.dir).run("init", "--json")).PeerID
		if p.key, err = bucket.ParsePublicKey(id); err != nil {
			tb.Fatal(err)
		}
		all, keys = append(all, p), append(keys, p.key)
	}
	h := putHistory(tb, client, n, keys...)
	if _, err := client.Announce(tb.Context(), h.announce); err != nil {
		tb.Fatal(err)
	}
	for _, p := range all {
		p.history = h
	}
	return all
}
