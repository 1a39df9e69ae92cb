package test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/jetstream"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

// patience bounds whatever a test waits for: far beyond what it takes on an idle machine.
const patience = 90 * time.Second

// env is a broker, with a client that plays everybody who announces and stores.
type env struct {
	tb     testing.TB
	url    string
	client *jetstream.Client
	names  jetstream.Names
	nc     *nats.Conn // as other programs have
	js     natsjs.JetStream
	blobs  uint64 // made so far: each is another one
}

// dialEnv connects to a broker that need not hold anything yet.
func dialEnv(tb testing.TB, url string) *env {
	tb.Helper()
	e := &env{tb: tb, url: url, client: dial(tb, jetstream.Config{URL: url})}
	e.names = e.client.Names()
	var err error
	if e.nc, err = nats.Connect(url); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(e.nc.Close)
	if e.js, err = natsjs.New(e.nc); err != nil {
		tb.Fatal(err)
	}
	return e
}

// newEnv connects to a broker and makes all streams and stores, each with so many replicas.
func newEnv(tb testing.TB, url string, replicas int) *env {
	tb.Helper()
	e := dialEnv(tb, url)
	e.ensure(replicas)
	return e
}

func (e *env) ensure(replicas int) {
	e.tb.Helper()
	if _, err := e.client.Ensure(e.ctx(), jetstream.EnsureConfig{Replicas: replicas}); err != nil {
		e.tb.Fatal(err)
	}
}

// dial connects a client that is closed when the test ends.
func dial(tb testing.TB, cfg jetstream.Config) *jetstream.Client {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	c, err := jetstream.Dial(ctx, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { closeClient(tb, c) })
	return c
}

func closeClient(tb testing.TB, c *jetstream.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		tb.Errorf("close client: %v", err)
	}
}

// ctx returns a context that ends after patience.
func (e *env) ctx() context.Context {
	ctx, cancel := context.WithTimeout(e.tb.Context(), patience)
	e.tb.Cleanup(cancel)
	return ctx
}

// waitUntil polls until holds returns true: often at first, then every 40 ms, since looking takes time too.
func waitUntil(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	waitFor(tb, what, func() error {
		if holds() {
			return nil
		}
		return errNotYet
	})
}

var errNotYet = errors.New("not yet")

// waitFor is waitUntil for a condition that can say why it does not hold.
func waitFor(tb testing.TB, what string, look func() error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	const first, last = time.Millisecond, 40 * time.Millisecond
	interval := first
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		err := look()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatalf("waited %s until %s: %v", patience, what, err)
		}
		interval = min(interval*5/4, last)
		tick.Reset(interval)
	}
}

// insist repeats a request until it works: a broker may refuse it, or not answer, while its leaders change.
func (e *env) insist(what string, do func(ctx context.Context) error) {
	e.tb.Helper()
	const try = 10 * time.Second
	waitFor(e.tb, "the broker does it: "+what, func() error {
		ctx, cancel := context.WithTimeout(e.tb.Context(), try)
		defer cancel()
		return do(ctx)
	})
}

// newBlob makes bytes that no other blob of the test has.
func (e *env) newBlob(size int) blobstore.Small {
	e.blobs++
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], e.blobs)
	b := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(b)
	return blobstore.Small{Hash: bucket.Sum(b), Data: b}
}

func (e *env) newBlobs(n, size int) []blobstore.Small {
	blobs := make([]blobstore.Small, n)
	for i := range blobs {
		blobs[i] = e.newBlob(size)
	}
	return blobs
}

// put stores objects.
func (e *env) put(store string, objects ...blobstore.Small) {
	e.tb.Helper()
	for part := range slices.Chunk(objects, 500) {
		e.insist("put objects", func(ctx context.Context) error { return e.client.PutObjects(ctx, store, part) })
	}
}

// putVersions stores manifests, and the empty pins list that versions without pins have.
func (e *env) putVersions(versions ...*bucket.Version) {
	e.tb.Helper()
	e.put(e.names.BlobStore(), blobstore.Small{Hash: bucket.Sum(nil)})
	objects := make([]blobstore.Small, len(versions))
	for i, v := range versions {
		objects[i] = blobstore.Small{Hash: v.Link.Hash(), Data: v.Encoded()}
	}
	e.put(e.names.ManifestStore(), objects...)
}

// grow adds n versions to a chain, each of which needs so many new blobs of 1 KiB, and stores all of it.
func (e *env) grow(c *buckettest.Chain, n, pins int) *buckettest.Chain {
	e.tb.Helper()
	for range n {
		e.put(e.names.BlobStore(), e.addVersion(c, e.newBlobs(pins, 1<<10))...)
	}
	e.putVersions(c.Versions[len(c.Versions)-n:]...)
	return c
}

// addVersion adds a version that needs the blobs, and returns them with the pins list. Nothing is stored.
func (e *env) addVersion(c *buckettest.Chain, blobs []blobstore.Small) []blobstore.Small {
	e.tb.Helper()
	pins := make(bucket.Pins, len(blobs))
	for i, b := range blobs {
		pins[i] = b.Hash
	}
	edit, list := buckettest.WithPins(pins)
	c.Add(e.tb, edit)
	return append(slices.Clone(blobs), blobstore.Small{Hash: bucket.Sum(list), Data: list})
}

// putWrong stores an object under a hash that is not its own, as only a plain client can.
func (e *env) putWrong(store string, h bucket.Hash, body string) {
	e.tb.Helper()
	s, err := e.js.ObjectStore(e.ctx(), store)
	if err == nil {
		_, err = s.PutBytes(e.ctx(), h.String(), []byte(body))
	}
	if err != nil {
		e.tb.Fatal(err)
	}
}

// makeStore makes one more object store.
func (e *env) makeStore(name string) string {
	e.tb.Helper()
	if _, err := e.js.CreateObjectStore(e.ctx(), natsjs.ObjectStoreConfig{Bucket: name}); err != nil {
		e.tb.Fatal(err)
	}
	return name
}

// announce announces a head as a plain client does: without an id, so that the broker drops no repetition.
func (e *env) announce(v *bucket.Version, announcer byte, stores ...string) {
	e.tb.Helper()
	e.announceOn(e.names, v, announcer, stores...)
}

func (e *env) announceOn(names jetstream.Names, v *bucket.Version, announcer byte, stores ...string) {
	e.tb.Helper()
	body := announcementBody(e.tb, v, stores...)
	subject := names.Head(v.Bucket, buckettest.Identity(e.tb, announcer).PublicKey())
	e.insist("announce", func(ctx context.Context) error {
		_, err := e.js.Publish(ctx, subject, body)
		return err
	})
}

func announcementBody(tb testing.TB, v *bucket.Version, stores ...string) []byte {
	tb.Helper()
	b, err := bucket.Announcement{Link: v.Link, Stores: stores}.EncodeJSON()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// streamState returns how a stream stands.
func (e *env) streamState(name string) natsjs.StreamState {
	e.tb.Helper()
	var state natsjs.StreamState
	e.insist("look at stream "+name, func(ctx context.Context) error {
		s, err := e.js.Stream(ctx, name)
		if err == nil {
			state = s.CachedInfo().State
		}
		return err
	})
	return state
}

// durableState returns how a peer's durable stands.
func (e *env) durableState(kind consumer.Kind, p *peer) *natsjs.ConsumerInfo {
	e.tb.Helper()
	var info *natsjs.ConsumerInfo
	e.insist("look at a durable", func(ctx context.Context) error {
		d, err := e.js.Consumer(ctx, p.names().StreamOf(kind), p.names().Durable(kind, p.key()))
		if err == nil {
			info = d.CachedInfo()
		}
		return err
	})
	return info
}

// letters returns the dead letters of a peer.
func (e *env) letters(p *peer) (all []jetstream.Letter) {
	e.tb.Helper()
	for l, err := range e.client.Letters(e.ctx(), jetstream.LetterFilter{Owner: p.key()}) {
		if err != nil {
			e.tb.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

// text of a letter, for failures.
func letterTexts(letters []jetstream.Letter) (texts []string) {
	for _, l := range letters {
		texts = append(texts, fmt.Sprintf("%s %s: %s", l.Kind, l.Class, l.Reason))
	}
	return texts
}
