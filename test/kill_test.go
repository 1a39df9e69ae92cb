package test_test

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/jetstream"
	"headwater/logstore"
	"headwater/test/natstest"
)

// The size of what is caught up with, and how often the peer is killed on the way.
const (
	killVersions = 3000
	killPins     = 5 // of each version; the newest has all
	killPinSize  = 4 << 10
	killShared   = 3 // versions with the same pins list
	killMirrors  = 8 // of one bucket, each of which catches up once

	killBatch = 1024 // versions that an interrupted catch-up may fetch twice
	killSlack = 64   // what is under way when it is interrupted

	// killLease is how long the server waits before it delivers to the next process what the killed one held. The usual
	// half minute would make the test slow.
	killLease = time.Second
)

// kills is how often the peer is killed: HEADWATER_TEST_SCALE=full does it thoroughly.
func kills() int {
	if os.Getenv("HEADWATER_TEST_SCALE") == "full" {
		return 200
	}
	return 25
}

// A peer that is killed at any moment of a catch-up goes on where it stopped. Each life is a fresh peer, on a directory of its
// own, which is killed and started again until it has everything; then all that it holds is looked at.
func TestNothingAcknowledgedIsLost_KilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	k := newKilling(t)
	whole := k.live(func(l *life) { l.start(); l.awaitInSync() })
	t.Logf("a catch-up takes %s", whole.Round(time.Millisecond))
	within := whole
	for left := kills(); left > 0; {
		k.live(func(l *life) {
			for ; left > 0 && !l.inSync; left-- {
				l.killAfter(rand.N(within))
				// A process that goes on has less to do than the first. Keep it to one kill of three that comes too late.
				if l.heard.done() || l.inSync {
					within = within * 9 / 10
				} else {
					within = min(within*21/20, whole)
				}
			}
			l.start()
			l.awaitInSync()
		})
	}
	for _, phase := range slices.Sorted(maps.Keys(k.phases)) {
		t.Logf("killed %3d times: %s", k.phases[phase], phase)
	}
	t.Logf("%d lives; manifests fetched twice: %.0f per kill", k.lives, float64(k.surplus)/float64(kills()))
}

// killing is what the lives have in common.
type killing struct {
	t      *testing.T
	url    string
	client *jetstream.Client
	cli    *natstest.CLI
	heard  *heard

	chain   *buckettest.Chain
	pins    bucket.Pins       // of its newest version
	mirrors []bucket.Identity // of the bucket that have not lived yet

	lives   int
	phases  map[string]int
	surplus int // manifests fetched more than once
}

func newKilling(t *testing.T) *killing {
	t.Helper()
	s := natstest.Start(t)
	client, err := jetstream.Dial(t.Context(), jetstream.Config{URL: s.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if _, err := client.Ensure(t.Context(), jetstream.EnsureConfig{}); err != nil {
		t.Fatal(err)
	}
	return &killing{
		t: t, url: s.URL(), client: client, cli: natstest.NewCLI(t, s.URL()), heard: listen(t, s.URL()), phases: map[string]int{},
	}
}

// fill makes a bucket, puts all its objects, and announces its head in place of what was announced before.
func (k *killing) fill() {
	k.t.Helper()
	keys := make([]bucket.PublicKey, killMirrors)
	k.mirrors = make([]bucket.Identity, killMirrors)
	for i := range keys {
		k.mirrors[i] = newIdentity(k.t)
		keys[i] = k.mirrors[i].PublicKey()
	}
	k.chain = buckettest.New(k.t, newIdentity(k.t), keys...)
	blobs, manifests := k.grow()
	names := k.client.Names()
	for store, objects := range map[string][]blobstore.Small{names.BlobStore(): blobs, names.ManifestStore(): manifests} {
		if err := k.client.PutObjects(k.t.Context(), store, objects); err != nil {
			k.t.Fatal(err)
		}
	}
	k.cli.Run("stream", "purge", "HEADWATER_HEADS", "-f")
	a := bucket.Announcement{Bucket: k.chain.ID, Peer: k.chain.Owner.PublicKey(), Link: k.chain.Head().Link}
	if _, err := k.client.Announce(k.t.Context(), a); err != nil {
		k.t.Fatal(err)
	}
}

// grow makes all versions of the bucket, and returns the objects that they are.
func (k *killing) grow() (blobs, manifests []blobstore.Small) {
	k.t.Helper()
	put := func(b []byte) bucket.Hash {
		h := bucket.Sum(b)
		blobs = append(blobs, blobstore.Small{Hash: h, Data: b})
		return h
	}
	k.pins = nil
	for i := range killVersions/killShared + killPins {
		b := make([]byte, killPinSize)
		copy(b, fmt.Sprintf("%s %d", k.chain.ID, i))
		k.pins = append(k.pins, put(b))
	}
	for i := range killVersions {
		pins := k.pins
		if i < killVersions-1 {
			pins = k.pins[i/killShared:][:killPins]
		}
		edit, list := buckettest.WithPins(pins)
		if i%killShared == 0 || i == killVersions-1 {
			put(list)
		}
		v := k.chain.Add(k.t, edit)
		manifests = append(manifests, blobstore.Small{Hash: v.Link.Hash(), Data: v.Encoded()})
	}
	return blobs, manifests
}

func newIdentity(tb testing.TB) bucket.Identity {
	tb.Helper()
	seed := make([]byte, bucket.SeedSize)
	crand.Read(seed)
	id, err := bucket.NewIdentity(seed)
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

// life is one peer, in several processes one after another, from an empty directory to a bucket in sync.
type life struct {
	*killing
	headwater
	id     bucket.Identity
	dir    string
	peer   *cliPeer // the newest process
	kills  int
	inSync bool
}

// live runs the life of a peer that has nothing yet, and then checks what it left. It returns how long it took. The peer's
// durables are new too, so that it gets the announcement that stands in the stream.
func (k *killing) live(run func(*life)) time.Duration {
	k.t.Helper()
	if len(k.mirrors) == 0 {
		k.fill()
	}
	l := &life{killing: k, id: k.mirrors[0]}
	k.mirrors = k.mirrors[1:]
	k.lives++
	l.dir = importedDir(k.t, l.id)
	l.headwater = newHeadwater(k.t, "--dir", l.dir, "--nats", k.url)
	if _, err := k.client.Ensure(k.t.Context(), jetstream.EnsureConfig{Peer: l.id.PublicKey(), AckWait: killLease}); err != nil {
		k.t.Fatal(err)
	}
	k.heard.beginLife()
	began := time.Now()
	run(l)
	took := time.Since(began)
	l.checkAnswers()
	l.checkBroker()
	if code := l.peer.stop(); code != 0 {
		k.t.Errorf("got exit %d of a peer that was asked to stop, want 0", code)
	}
	l.checkDisk()
	return took
}

func (l *life) start() {
	l.tb.Helper()
	l.heard.beginProcess()
	l.peer = launchPeer(l.tb, l.headwater)
}

// killAfter starts the peer and kills it at a moment, whatever it does then. If there is time before, it looks at the log.
func (l *life) killAfter(moment time.Duration) {
	l.tb.Helper()
	l.start()
	timer := time.AfterFunc(moment, func() { _ = l.peer.process.Process.Kill() })
	defer timer.Stop()
	line, ready := <-l.peer.ready
	if ready {
		l.peer.noteReady(line)
		l.checkPrefix(false)
		if o := l.try("status", l.chain.ID.String(), "--json"); o.code == 0 {
			l.inSync = l.isInSync(decoded[statusJSON](l.tb, o.stdout).Buckets[0])
		}
	}
	<-l.peer.exited
	if code := l.peer.process.ProcessState.ExitCode(); code != -1 {
		l.tb.Fatalf("the peer ended by itself with exit %d; its log:\n%s", code, l.peer.log.tail())
	}
	l.kills++
	l.phases[l.heard.phase(ready, l.inSync)]++
}

func (l *life) awaitInSync() {
	l.tb.Helper()
	l.peer.awaitReady()
	await(l.tb, "the bucket in sync", func() (bool, any) {
		s := l.peer.status()[l.chain.ID.String()]
		return l.isInSync(s), s
	}, l.peer)
}

// isInSync reports whether the peer has all that was announced. Until the announcement that a killed process held comes again, its
// state is in_sync with less.
func (l *life) isInSync(s bucketJSON) bool {
	return s.State == "in_sync" && s.Known != nil && s.Known.Link == l.chain.Head().Link.String()
}

// checkPrefix demands that the log is unbroken, from the genesis up to where it has come; whole demands that it has come to
// the announced head. Without whole the peer may be killed meanwhile, or not know the bucket yet.
func (l *life) checkPrefix(whole bool) {
	l.tb.Helper()
	o := l.try("log", l.chain.ID.String(), "--json")
	if !whole && (o.code == 3 || o.code == 5) {
		return
	}
	if o.code != 0 {
		l.tb.Fatalf("got %v, want the log", o)
	}
	got := decodedLines[logJSON](l.tb, o.stdout)
	versions := l.chain.Versions
	if len(got) > len(versions) || (whole && len(got) < len(versions)) {
		l.tb.Fatalf("got a log of %d versions, want %d", len(got), len(versions))
	}
	checkLog(l.tb, got, versions[:len(got)]...)
}

// checkAnswers looks at what the peer says at the end.
func (l *life) checkAnswers() {
	l.tb.Helper()
	l.checkPrefix(true)
	head := &headJSON{l.chain.Head().Link.String(), killVersions - 1}
	want := bucketJSON{
		BucketID: l.chain.ID.String(), Name: l.chain.Head().Name, State: "in_sync", Known: head, Complete: head, Announced: head,
	}
	want.Pins.Needed = uint64(len(l.pins))
	want.Pins.BytesNeeded = want.Pins.Needed * killPinSize
	want.Pins.Held, want.Pins.BytesHeld = want.Pins.Needed, want.Pins.BytesNeeded
	if diff := cmp.Diff(want, l.peer.status()[l.chain.ID.String()]); diff != "" {
		l.tb.Errorf("status (-want +got):\n%s", diff)
	}
}

// checkBroker demands that nothing is left to be done, and that nothing was done twice without need.
func (l *life) checkBroker() {
	l.tb.Helper()
	type streamInfo struct{ State struct{ Messages uint64 } }
	type durableInfo struct {
		Pending uint64 `json:"num_pending"`
		Unacked uint64 `json:"num_ack_pending"`
	}
	await(l.tb, "no job left, and no announcement in work", func() (bool, any) {
		jobs := decodedWhole[streamInfo](l.tb, l.cli.Run("stream", "info", "HEADWATER_PINS", "--json"))
		heads := decodedWhole[durableInfo](l.tb, l.cli.Run("consumer", "info", "HEADWATER_HEADS", "heads-"+l.peer.id, "--json"))
		return jobs == streamInfo{} && heads == durableInfo{}, []any{jobs, heads}
	}, l.peer)
	if got := l.peer.letters("--all-peers"); len(got) > 0 {
		l.tb.Errorf("got dead letters %+v, want none", got)
	}
	manifests, blobs := l.heard.fetches(l.tb)
	if limit := killVersions + l.kills*(killBatch+killSlack); manifests < killVersions || manifests > limit {
		l.tb.Errorf("got %d manifests fetched with %d kills, want %d to %d", manifests, l.kills, killVersions, limit)
	}
	needed := len(l.pins) + 1
	if limit := needed + (l.kills+1)*killSlack; blobs < needed || blobs > limit {
		l.tb.Errorf("got %d blobs fetched with %d kills, want %d to %d", blobs, l.kills, needed, limit)
	}
	l.surplus += manifests - killVersions
}

// checkDisk looks into the stores of a stopped peer: every manifest and every pin is there, whole, and no job waits.
func (l *life) checkDisk() {
	l.tb.Helper()
	held := func(name string, hashes iter.Seq[bucket.Hash]) {
		s, err := blobstore.OpenDisk(blobstore.Config{Dir: filepath.Join(l.dir, name)})
		if err != nil {
			l.tb.Fatal(err)
		}
		defer s.Close()
		for h := range hashes {
			if b, err := blobstore.ReadAll(l.tb.Context(), s, h, bucket.MaxManifestSize); err != nil || bucket.Sum(b) != h {
				l.tb.Fatalf("got %d bytes (%v) of %s in %s, want those that it names", len(b), err, h, name)
			}
		}
	}
	held("blobs", slices.Values(l.pins))
	held("manifests", func(yield func(bucket.Hash) bool) {
		for _, v := range l.chain.Versions {
			if !yield(v.Link.Hash()) {
				return
			}
		}
	})
	log, err := logstore.OpenBadger(logstore.Config{Dir: filepath.Join(l.dir, "log")})
	if err != nil {
		l.tb.Fatal(err)
	}
	defer log.Close()
	for job, err := range log.Jobs(l.tb.Context()) {
		l.tb.Errorf("got the job %+v (%v) in the log, want none left", job, err)
	}
}

// heard is what an onlooker on the bus notices of a peer.
type heard struct {
	nc   *nats.Conn
	subs []*nats.Subscription

	mu                sync.Mutex
	life, process     map[string]int // requests for objects, by store
	applied, complete bool           // by this process, as its events tell
}

// listen begins to notice.
func listen(tb testing.TB, url string) *heard {
	tb.Helper()
	h := new(heard)
	var err error
	if h.nc, err = nats.Connect(url); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(h.nc.Close)
	h.beginLife()
	for _, store := range []string{"manifests", "blobs"} {
		// Chunks alone are counted: they are what costs.
		h.subscribe(tb, "$JS.API.DIRECT.GET.OBJ_headwater-"+store+".$O.headwater-"+store+".C.>", func() {
			h.life[store]++
			h.process[store]++
		})
	}
	h.subscribe(tb, "headwater.events.*.*.applied", func() { h.applied = true })
	h.subscribe(tb, "headwater.events.*.*.complete", func() { h.complete = true })
	if err := h.nc.Flush(); err != nil {
		tb.Fatal(err)
	}
	return h
}

func (h *heard) subscribe(tb testing.TB, subject string, note func()) {
	tb.Helper()
	sub, err := h.nc.Subscribe(subject, func(*nats.Msg) {
		h.mu.Lock()
		defer h.mu.Unlock()
		note()
	})
	if err != nil {
		tb.Fatal(err)
	}
	h.subs = append(h.subs, sub)
}

func (h *heard) beginLife() {
	h.beginProcess()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.life = map[string]int{}
}

func (h *heard) beginProcess() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.process, h.applied, h.complete = map[string]int{}, false, false
}

// fetches counts the objects that were asked for in this life.
func (h *heard) fetches(tb testing.TB) (manifests, blobs int) {
	tb.Helper()
	if err := h.nc.Flush(); err != nil {
		tb.Fatal(err)
	}
	await(tb, "all requests to be counted", func() (bool, any) {
		waiting := 0
		for _, s := range h.subs {
			n, _, err := s.Pending()
			if err != nil {
				tb.Fatal(err)
			}
			waiting += n
		}
		return waiting == 0, waiting
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.life["manifests"], h.life["blobs"]
}

// done reports whether the process had everything.
func (h *heard) done() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.complete
}

// phase says in which part of its work the process was when it was killed.
func (h *heard) phase(ready, inSync bool) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !ready:
		return "before it was ready"
	case h.complete || inSync:
		return "with everything done"
	case h.applied:
		return "after the append, before all pins were there"
	case h.process["blobs"] > 0:
		return "while pins were fetched that a killed process had left"
	case h.process["manifests"] > 0:
		return "while manifests were fetched, verified or appended"
	}
	return "while it waited for what a killed process had held"
}
