package test

import (
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/test/natstest"

	"github.com/nats-io/nats.go"
)

func TestBrokerIsNotTrusted_AnnouncedBeforeTheObjectCanBeRead(t *testing.T) {
	e := newEnv(t, natstest.Start(t).URL(), 1)
	p := e.startPeer(200, peerConfig{change: quickly(1 << 30)})
	asked := e.listenForGets(e.names.ManifestStore())
	const within = 100 * time.Millisecond
	for try := 1; ; try++ {
		chain := buckettest.New(t, buckettest.Identity(t, 1), p.key()).Grow(t, 1)
		delivered := e.durableState(consumer.KindHeads, p).Delivered.Consumer
		e.announce(chain.Head(), 1)
		first := asked.wait(t, chain.Head().Link.Hash())
		e.putVersions(chain.Versions...)
		took := time.Since(first)
		p.waitComplete(chain.Head())
		p.checkSettled()
		got := e.durableState(consumer.KindHeads, p).Delivered.Consumer - delivered
		checkNoneRejected(t, p)
		if took > within && try < 10 {
			continue // the machine is busy: the object came too late to say anything about deliveries
		}
		if got != 1 {
			t.Errorf("got %d deliveries of the announcement, want 1: its object came %v after it was first asked for", got, took)
		}
		return
	}
}

func TestBrokerIsNotTrusted_AnnouncedLongBeforeTheObjectCanBeRead(t *testing.T) {
	e := newEnv(t, natstest.Start(t).URL(), 1)
	p := e.startPeer(200, peerConfig{change: quickly(1 << 30)})
	chain := buckettest.New(t, buckettest.Identity(t, 1), p.key()).Grow(t, 5)
	// One object of the chain after the other becomes readable, the head first, each after the announcement was given back.
	retried := func() int { return len(p.events.of(consumer.EventRetrying)) }
	e.announce(chain.Head(), 1)
	for _, v := range slices.Backward(chain.Versions) {
		before := retried()
		waitUntil(t, "the announcement is retried", func() bool { return retried() > before })
		e.putVersions(v)
	}
	p.waitComplete(chain.Head())
	p.checkSettled()
	checkNoneRejected(t, p)
}

func checkNoneRejected(t *testing.T, p *peer) {
	t.Helper()
	got := p.outcomes(consumer.KindHeads)
	if total(got) != got[consumer.ClassApplied]+got[consumer.ClassRetry] || len(p.env.letters(p)) > 0 {
		t.Errorf("got outcomes %v and dead letters %q, want applied and retried ones, and no letters", got, letterTexts(p.env.letters(p)))
	}
}

// objectGets hears which objects are asked for.
type objectGets struct {
	mu   sync.Mutex
	seen map[string]time.Time // by subject
	name func(bucket.Hash) string
}

// listenForGets hears the direct gets of chunks by hash from a store.
func (e *env) listenForGets(store string) *objectGets {
	e.tb.Helper()
	prefix := "$JS.API.DIRECT.GET.OBJ_" + store + "."
	g := &objectGets{seen: map[string]time.Time{}, name: func(h bucket.Hash) string {
		return prefix + "$O." + store + ".C." + h.String()
	}}
	_, err := e.nc.Subscribe(prefix+">", func(m *nats.Msg) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if _, seen := g.seen[m.Subject]; !seen {
			g.seen[m.Subject] = time.Now()
		}
	})
	if err == nil {
		err = e.nc.FlushWithContext(e.ctx())
	}
	if err != nil {
		e.tb.Fatal(err)
	}
	return g
}

// wait returns when an object was asked for first.
func (g *objectGets) wait(t *testing.T, h bucket.Hash) (at time.Time) {
	t.Helper()
	waitUntil(t, "object "+h.String()+" is asked for", func() (asked bool) {
		g.mu.Lock()
		defer g.mu.Unlock()
		at, asked = g.seen[g.name(h)]
		return asked
	})
	return at
}

func TestBrokerIsNotTrusted_WrongManifestsInOneStoreArePassedOver(t *testing.T) {
	e := newEnv(t, natstest.Start(t).URL(), 1)
	first, named := e.makeStore("first"), e.makeStore("named")
	p := e.startPeer(200, peerConfig{change: func(c *consumer.Config) {
		quickly(10)(c)
		c.ManifestStores = append([]string{first, "none"}, c.ManifestStores...)
	}})
	chain := buckettest.New(t, buckettest.Identity(t, 1), p.key()).Grow(t, 30)
	e.put(e.names.BlobStore(), blobstore.Small{Hash: bucket.Sum(nil)})
	// Each version is right in one store of three; the other two have something else, or nothing.
	stores := []string{named, first, e.names.ManifestStore()}
	for i, v := range chain.Versions {
		e.put(stores[i%3], blobstore.Small{Hash: v.Link.Hash(), Data: v.Encoded()})
		if i%2 == 0 {
			e.putWrong(stores[(i+1)%3], v.Link.Hash(), string(chain.Versions[(i+1)%30].Encoded()))
		}
	}
	e.announce(chain.Head(), 1, named)
	p.waitComplete(chain.Head())
	p.checkSettled()
	p.checkLog(chain.Versions)
	checkNoneRejected(t, p)
}

func TestBrokerIsNotTrusted_WrongEverywhereIsSetAsideUntilAnnouncedAgain(t *testing.T) {
	e := newEnv(t, natstest.Start(t).URL(), 1)
	p := e.startPeer(200, peerConfig{change: quickly(3)})
	chain := buckettest.New(t, buckettest.Identity(t, 1), p.key()).Grow(t, 10)
	wrong := chain.Versions[4]
	e.putVersions(append(slices.Clone(chain.Versions[:4]), chain.Versions[5:]...)...)
	e.putWrong(e.names.ManifestStore(), wrong.Link.Hash(), "something else")
	e.announce(chain.Head(), 1)
	waitUntil(t, "the announcement is set aside", func() bool { return len(e.letters(p)) > 0 })
	if l := e.letters(p); len(l) != 1 || l[0].Class != string(bucket.HashMismatch) {
		t.Errorf("got dead letters %q, want one of class %s", letterTexts(l), bucket.HashMismatch)
	}
	if b := p.bucket(chain.ID); !b.Known.IsZero() {
		t.Errorf("got known head %v, want none", b.Known)
	}
	e.putVersions(wrong)
	e.announce(chain.Head(), 1)
	p.waitComplete(chain.Head())
	p.checkSettled()
	p.checkLog(chain.Versions)
}

// The broker comes back as it was some versions ago: with old announcements, old positions of the durables, and without the
// newer objects.
func TestNoRollback_RestoredBrokerChangesNothing(t *testing.T) {
	dir := t.TempDir()
	s := natstest.StartWith(t, natstest.Config{Dir: dir})
	e := newEnv(t, s.URL(), 1)
	p := e.startPeer(200, peerConfig{})
	chain := e.grow(buckettest.New(t, buckettest.Identity(t, 1), p.key()), 10, 1)
	e.announce(chain.Head(), 1) // is in the backup, and was read by then
	p.waitComplete(chain.Head())
	p.checkSettled()
	old := e.grow(chain, 1, 1).Head()
	p.stop()
	e.announce(old, 1) // is in the backup, and was not read by then

	s.Stop()
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	p.start()
	e.grow(chain, 10, 1)
	e.announce(chain.Head(), 2)
	p.waitComplete(chain.Head())
	p.checkSettled()

	s.Stop()
	restore(t, dir, backup)
	s.Restart()
	before := p.bucket(chain.ID)
	duplicates := len(p.events.of(consumer.EventDuplicate))
	waitUntil(t, "the old announcement is found to be known", func() bool {
		return len(p.events.of(consumer.EventDuplicate)) > duplicates
	})
	for _, v := range chain.Versions[:20] {
		e.announce(v, 3)
	}
	p.checkSettled()
	if after := p.bucket(chain.ID); after != before {
		t.Errorf("got %+v after the broker was restored, want %+v", after, before)
	}
	p.checkLog(chain.Versions)

	// What the broker has lost is no obstacle: the peer has it.
	e.grow(chain, 1, 1)
	e.announce(chain.Head(), 2)
	p.waitComplete(chain.Head())
	p.checkSettled()
	p.checkLog(chain.Versions)
}

// restore puts a copy of a directory's contents in its place.
func restore(t *testing.T, dir, backup string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
}
