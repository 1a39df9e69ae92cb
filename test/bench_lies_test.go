package test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/test/natstest"
)

// What lying hints cost: the time until the announced head is in the log, against the same without any hints, and with honest
// ones. Whatever they say, the head is reached.

const (
	lieVersions = 1_000
	lieRuns     = 5 // of which the fastest counts: what else the machine does only adds
)

func BenchmarkRatioLyingHints(b *testing.B) {
	for range b.N {
		benchLies(b)
	}
}

func benchLies(b *testing.B) {
	l := newListener(b)
	tellings := []telling{
		{"honest hints", func(*tale) {}},
		{"no hints", func(t *tale) { t.hints = bucket.Hints{} }},
	}
	tellings = append(tellings, lies()...)
	best := make([]hearing, len(tellings))
	for run := range lieRuns {
		for i, tell := range tellings {
			if h := l.hear(tell); run == 0 || h.took < best[i].took {
				best[i] = h
			}
		}
	}
	l.peer.stop()
	honest, none, worst := best[0], best[1], slices.MaxFunc(best[2:], func(a, b hearing) int { return int(a.took - b.took) })
	lines := []string{fmt.Sprintf("%-36s %8s %10s %8s %9s %9s %9s", "", "ms", "lost ms", "lost", "requests", "asked for", "KiB")}
	for _, h := range best {
		lost := h.took - none.took
		lines = append(lines, fmt.Sprintf("%-36s %8.0f %+10.0f %+7.0f%% %9d %9d %9d", h.telling, milli(h.took), milli(lost),
			100*lost.Seconds()/none.took.Seconds(), h.requests, h.objects, h.size>>10))
	}
	b.ReportMetric(worst.took.Seconds()/none.took.Seconds(), "worst/none")
	b.ReportMetric(none.took.Seconds()/honest.took.Seconds(), "none/honest")
	b.ReportMetric(milli(none.took), "none-ms")
	// Not through b.Logf, which cuts a benchmark's log after ten lines.
	fmt.Printf("\nhints that lie, %d versions: the worst, %s, takes %.2f times as long as no hints, which take %.1f times as long as honest ones.\n"+
		"The fastest of %d runs each; lost is against no hints:\n%s\n", lieVersions, worst.telling, worst.took.Seconds()/none.took.Seconds(),
		none.took.Seconds()/honest.took.Seconds(), lieRuns, strings.Join(lines, "\n"))
}

func milli(d time.Duration) float64 { return 1e3 * d.Seconds() }

// tale is a chain that is announced, and the hints that go with it: honest ones, until a telling changes them.
type tale struct {
	tb    testing.TB
	me    bucket.PublicKey // who listens
	chain *buckettest.Chain
	hints bucket.Hints
	packs map[bucket.Hash][]byte // stored
	more  []*bucket.Version      // stored too
	// elsewhere are hashes of what is in the second store and not in the first.
	elsewhere map[bucket.Hash]bool
}

// pack adds a pack, and returns its reference.
func (t *tale) pack(p bucket.Pack, last bucket.Link) bucket.PackRef {
	t.tb.Helper()
	b, err := p.Encode()
	if err != nil {
		t.tb.Fatal(err)
	}
	return t.object(p.Level, b, last)
}

// object adds bytes as a pack, whatever they are.
func (t *tale) object(level int, b []byte, last bucket.Link) bucket.PackRef {
	t.packs[bucket.Sum(b)] = b
	return bucket.PackRef{Level: level, Hash: bucket.Sum(b), Last: last}
}

// tell replaces the hints by those of other versions.
func (t *tale) tell(versions []*bucket.Version) {
	h, packs := buckettest.Hints(t.tb, versions)
	t.more = append(t.more, versions...)
	t.hints = bucket.Hints{Manifest: t.hints.Manifest, Recent: h.Recent, Packs: h.Packs}
	for hash, b := range packs {
		t.packs[hash] = b
	}
}

// nested returns packs of packs, up to the highest level, that lead to the same reference again and again.
func (t *tale) nested(ref bucket.PackRef) []bucket.PackRef {
	refs := slices.Repeat([]bucket.PackRef{ref}, bucket.PackFanOut)
	for level := 1; level <= bucket.MaxPackLevel; level++ {
		refs = slices.Repeat([]bucket.PackRef{t.pack(bucket.Pack{Level: level, Packs: refs}, ref.Last)}, bucket.PackFanOut)
	}
	return refs
}

// telling is a named change of a tale.
type telling struct {
	name string
	do   func(*tale)
}

// nowhere is a link to nothing.
func nowhere(i int) bucket.Link { return bucket.ManifestLink(fmt.Append(nil, "nothing", i)) }

func lies() []telling {
	return []telling{
		{"links to nothing", func(t *tale) {
			t.hints.Packs, t.hints.Recent = nil, nil
			for i := range bucket.MaxRecent {
				t.hints.Recent = append(t.hints.Recent, nowhere(i))
			}
		}},
		{"packs that are nowhere", func(t *tale) {
			for i := range t.hints.Packs {
				t.hints.Packs[i].Hash = nowhere(i).Hash()
			}
		}},
		{"another bucket's stretch", func(t *tale) {
			t.tell(buckettest.New(t.tb, t.chain.Owner, t.me).Grow(t.tb, lieVersions).Versions)
		}},
		{"another genesis", func(t *tale) { t.tell(t.stranger(lieVersions)) }},
		{"another genesis, ten times as long", func(t *tale) { t.tell(t.stranger(10 * lieVersions)) }},
		{"a truncated pack", func(t *tale) {
			p := t.hints.Packs[1]
			t.hints.Packs[1] = t.object(0, t.packs[p.Hash][:len(t.packs[p.Hash])-10], p.Last)
		}},
		{"an oversized pack", func(t *tale) {
			p := t.hints.Packs[0]
			t.hints.Packs[0] = t.object(0, append(slices.Clone(t.packs[p.Hash]), make([]byte, bucket.MaxPackSize)...), p.Last)
		}},
		{"a pack that is named again and again", func(t *tale) { t.hints.Packs = t.nested(t.hints.Packs[0]) }},
		{"packs of packs without end", func(t *tale) {
			t.hints.Packs = t.nested(bucket.PackRef{Hash: nowhere(0).Hash(), Last: nowhere(0)})
		}},
		{"the wrong order", func(t *tale) {
			slices.Reverse(t.hints.Packs)
			slices.Reverse(t.hints.Recent)
		}},
		{"a manifest that is another", func(t *tale) { t.hints.Manifest = t.chain.Versions[3].Encoded() }},
		{"a stretch that the first store lacks", func(t *tale) {
			for _, p := range t.hints.Packs[2:4] {
				t.elsewhere[p.Hash] = true
			}
			for _, v := range t.chain.Versions[2*bucket.PackVersions : 4*bucket.PackVersions] {
				t.elsewhere[v.Link.Hash()] = true
			}
		}},
	}
}

// stranger makes a chain of the bucket that another owner began.
func (t *tale) stranger(n int) []*bucket.Version {
	t.tb.Helper()
	other := buckettest.New(t.tb, buckettest.Identity(t.tb, 9), t.me)
	other.ID = t.chain.ID
	return other.Grow(t.tb, n).Versions
}

// listener is a running peer that asks two stores, and counts what it asks for.
type listener struct {
	env    *env
	second string
	peer   *peer
	events <-chan consumer.Event
	meter  *meter
}

func newListener(tb testing.TB) *listener {
	tb.Helper()
	e := newEnv(tb, natstest.Start(tb).URL(), 1)
	l := &listener{env: e, second: e.makeStore("second"), meter: new(meter)}
	l.peer = e.newPeer(200, peerConfig{change: func(c *consumer.Config) {
		c.ManifestStores = append(c.ManifestStores, l.second)
		l.meter.Objects = c.Objects
		c.Objects = l.meter
	}})
	l.events = each(l.peer)
	l.peer.start()
	return l
}

// hearing is what one telling cost the listener.
type hearing struct {
	telling           string
	took              time.Duration
	requests, objects int64 // sent, and asked for in them
	size              int64 // of objects that came
}

// hear tells the peer of a chain that it does not know.
func (l *listener) hear(what telling) hearing {
	e := l.env
	e.tb.Helper()
	t := &tale{tb: e.tb, me: l.peer.key(), elsewhere: map[bucket.Hash]bool{}}
	t.chain = buckettest.New(e.tb, buckettest.Identity(e.tb, 1), t.me).Grow(e.tb, lieVersions)
	t.hints, t.packs = buckettest.Hints(e.tb, t.chain.Versions)
	what.do(t)
	l.store(t)
	head := t.chain.Head()
	l.meter.reset()
	start := time.Now()
	e.insist("announce", func(ctx context.Context) error {
		_, err := e.client.Announce(ctx, bucket.Announcement{
			Bucket: head.Bucket, Peer: t.chain.Owner.PublicKey(), Link: head.Link, Height: &head.Height, Hints: t.hints,
		})
		return err
	})
	await(e.tb, l.events, consumer.EventApplied, head)
	h := hearing{what.name, time.Since(start), l.meter.requests.Load(), l.meter.objects.Load(), l.meter.size.Load()}
	if known := l.peer.bucket(head.Bucket); known.Known != head.Head() || known.Versions != lieVersions {
		e.tb.Errorf("%s: got %d versions up to %v, want %d up to %v", what.name, known.Versions, known.Known, lieVersions, head.Head())
	}
	l.peer.waitComplete(head)
	return h
}

// store puts each object of a tale into the store that the tale wants it in.
func (l *listener) store(t *tale) {
	l.env.tb.Helper()
	l.env.putVersions()
	objects := map[string][]blobstore.Small{}
	add := func(h bucket.Hash, b []byte) {
		store := l.env.names.ManifestStore()
		if t.elsewhere[h] {
			store = l.second
		}
		objects[store] = append(objects[store], blobstore.Small{Hash: h, Data: b})
	}
	for _, v := range append(t.more, t.chain.Versions...) {
		add(v.Link.Hash(), v.Encoded())
	}
	for h, b := range t.packs {
		add(h, b)
	}
	for store, o := range objects {
		l.env.put(store, o...)
	}
}

// meter counts what is asked of object stores. Safe for concurrent use.
type meter struct {
	consumer.Objects
	requests, objects, size atomic.Int64
}

func (m *meter) reset() {
	for _, n := range []*atomic.Int64{&m.requests, &m.objects, &m.size} {
		n.Store(0)
	}
}

// Get implements [consumer.Objects].
func (m *meter) Get(ctx context.Context, store string, h bucket.Hash, fresh bool) (io.ReadCloser, int64, error) {
	m.requests.Add(1)
	m.objects.Add(1)
	r, size, err := m.Objects.Get(ctx, store, h, fresh)
	m.size.Add(max(size, 0))
	return r, size, err
}

// GetMany implements [consumer.Objects].
func (m *meter) GetMany(ctx context.Context, store string, hashes []bucket.Hash, take func(bucket.Hash, []byte) error) error {
	m.requests.Add(1)
	m.objects.Add(int64(len(hashes)))
	return m.Objects.GetMany(ctx, store, hashes, func(h bucket.Hash, b []byte) error {
		m.size.Add(int64(len(b)))
		return take(h, b)
	})
}
