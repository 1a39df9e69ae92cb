//go:build linux

package test_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

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
	octets   int64 // of packs
	announce bucket.Announcement
	verify   float64 // signatures of it that all processors check in a second, doing nothing else
}

// putHistory makes n versions that are shared with peers and puts the packs that an author makes of them. Of the
// manifests themselves, which nobody needs who has the packs, only the newest are put.
func putHistory(b *testing.B, c *jetstream.Client, n int, mirrors ...bucket.PublicKey) (h history) {
	b.Helper()
	owner := buckettest.Identity(b, 1)
	chain := buckettest.New(b, owner, mirrors...)
	var objects []jetstream.Small
	put := func(store string) {
		if err := c.PutObjects(b.Context(), store, objects); err != nil {
			b.Fatal(err)
		}
		objects = nil
	}
	objects = append(objects, jetstream.Small{Hash: bucket.Sum(nil)}) // the pins list of versions without pins
	put(c.Names().BlobStore())
	packer := buckettest.Packer{Put: func(hash bucket.Hash, pack []byte) {
		h.octets += int64(len(pack))
		if objects = append(objects, jetstream.Small{Hash: hash, Bytes: pack}); len(objects) >= 64 {
			put(c.Names().ManifestStore())
		}
	}}
	var some []*bucket.Version
	for i := range n {
		v := chain.Grow(b, 1).Head()
		if i < n-1 {
			packer.Add(b, v)
		}
		if i >= n-bucket.MaxRecent {
			objects = append(objects, jetstream.Small{Hash: v.Link.Hash(), Bytes: v.Encoded()})
		}
		if len(some) < 20_000 {
			some = append(some, v)
		}
		chain.Drop()
	}
	head := chain.Head()
	put(c.Names().ManifestStore())
	h.id, h.versions, h.verify = chain.ID, n, buckettest.VerifyRate(b, some)
	h.announce = bucket.Announcement{
		Bucket: chain.ID, Peer: owner.PublicKey(), Link: head.Link, Height: &head.Height, Hints: packer.Hints(head),
	}
	return h
}

// longPeer is a peer that catches up with a history, in a process of its own, over a connection whose octets are counted.
type longPeer struct {
	*cliPeer // while it runs

	tb      testing.TB
	dir     string
	key     bucket.PublicKey
	history history
	proxy   *natstest.Proxy
	client  *jetstream.Client
	peak    int64 // of all its processes
}

func (p *longPeer) start() { p.cliPeer = startPeerOn(p.tb, p.proxy.URL(), p.dir) }

// end notes how much memory the process took, and ends it.
func (p *longPeer) end(b *testing.B, end func()) {
	b.Helper()
	p.peak = max(p.peak, p.cliPeer.peak())
	end()
}

// state asks the peer how it stands with the history.
func (p *longPeer) state(b *testing.B) (s consumer.Status) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
	defer cancel()
	request, err := json.Marshal(map[string]bucket.ID{"bucket_id": p.history.id})
	if err != nil {
		b.Fatal(err)
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
		b.Fatalf("status: %v, %s", err, answer)
	}
	return all.Buckets[0]
}

// waitState looks four times a second until the state is as wanted, and returns it.
func (p *longPeer) waitState(b *testing.B, want func(consumer.Status) bool) (s consumer.Status) {
	b.Helper()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Minute)
	for s = p.state(b); !want(s); s = p.state(b) {
		if s.State == consumer.StateBlocked {
			b.Fatalf("the peer gave up: %s; its log:\n%s", s.LastError, p.log.tail())
		}
		select {
		case <-tick.C:
		case <-p.exited:
			b.Fatalf("the peer ended: %v; its log:\n%s", p.process.ProcessState, p.log.tail())
		case <-limit:
			b.Fatalf("the peer does not get there: %+v", s)
		}
	}
	return s
}

// A history of a million versions: resident memory of the whole peer, which is the real program, with its log and its
// stores; the rate, beside that of a tenth of the history; and what is fetched twice where the peer is killed in the middle.
func BenchmarkRatioLongHistory(b *testing.B) {
	for range b.N {
		tenth := newLong(b, 100_000, 1)[0].catchUp(b, false)
		peers := newLong(b, 1_000_000, 2)
		whole := peers[0].catchUp(b, false)
		b.ReportMetric(whole/tenth, "rate/rate-of-100000")
		b.ReportMetric(float64(peers[0].peak)/(256<<20), "peak/256MiB")
		peers[1].catchUp(b, true)
		b.ReportMetric(float64(peers[1].peak)/(256<<20), "killed-peak/256MiB")
	}
}

// newLong makes a history, and peers that it is shared with and that do not run.
func newLong(b *testing.B, n, peers int) []*longPeer {
	b.Helper()
	server := natstest.Start(b)
	client, err := jetstream.Dial(b.Context(), jetstream.Config{URL: server.URL()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = client.Close(context.Background()) })
	if _, err := client.Ensure(b.Context(), jetstream.EnsureConfig{Replicas: 1}); err != nil {
		b.Fatal(err)
	}
	var all []*longPeer
	var keys []bucket.PublicKey
	for range peers {
		p := &longPeer{tb: b, client: client, proxy: natstest.StartProxy(b, server.URL(), 0), dir: filepath.Join(b.TempDir(), "peer")}
		id := decoded[statusJSON](b, newHeadwater(b, "--dir", p.dir).run("init", "--json")).PeerID
		if p.key, err = bucket.ParsePublicKey(id); err != nil {
			b.Fatal(err)
		}
		all, keys = append(all, p), append(keys, p.key)
	}
	h := putHistory(b, client, n, keys...)
	if _, err := client.Announce(b.Context(), h.announce); err != nil {
		b.Fatal(err)
	}
	for _, p := range all {
		p.history = h
	}
	return all
}

// catchUp starts the peer, has it killed in the middle where that is wanted, and returns how many versions a second it took.
func (p *longPeer) catchUp(b *testing.B, kill bool) float64 {
	b.Helper()
	n := uint64(p.history.versions)
	start := time.Now()
	p.start()
	what := fmt.Sprintf("%d versions", n)
	if kill {
		s := p.waitState(b, func(s consumer.Status) bool { return s.CatchUp.Fetched >= n/2 })
		p.end(b, p.kill)
		p.start()
		what = fmt.Sprintf("%d versions, killed after %d", n, s.CatchUp.Fetched)
	}
	p.waitState(b, func(s consumer.Status) bool { return s.Known != nil && s.Known.Height+1 == n })
	took := time.Since(start)
	_, received := p.proxy.Octets()
	p.end(b, func() { p.stop() })
	rate := float64(n) / took.Seconds()
	fmt.Printf("%s in %.1f s: %.0f versions/s, %.2f of the rate at which crypto/ed25519 only checks the signatures (%.0f/s on %d cores); "+
		"peak %d MiB resident; %.2f times the octets of the packs received\n", what, took.Seconds(), rate, rate/p.history.verify,
		p.history.verify, runtime.GOMAXPROCS(0), p.peak>>20, float64(received)/float64(p.history.octets))
	return rate
}
