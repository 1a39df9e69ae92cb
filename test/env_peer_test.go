package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/logstore"
)

// peerConfig says how a peer differs from a plain one.
type peerConfig struct {
	url       string // empty: the env's
	prefix    string // empty: the usual one
	consumers int    // that share the log and the durables; 0: 1
	sources   int    // of each kind, for each consumer; 0: 1
	ensure    jetstream.EnsureConfig
	change    func(*consumer.Config) // nil: none
}

// peer is a peer in this process, put together as the program does, with a directory of its own. It can be stopped and
// started again.
type peer struct {
	tb     testing.TB
	env    *env
	cfg    peerConfig
	id     bucket.Identity
	dir    string
	events record // of all its lives

	// What a running peer has.
	log       *logstore.Badger
	manifests *blobstore.Disk
	blobs     *blobstore.Disk
	working   []*worker
}

// worker is a consumer with its connection.
type worker struct {
	client   *jetstream.Client
	sources  []*jetstream.Source
	consumer *consumer.Consumer
	from     consumer.Sources
	cancel   context.CancelFunc
	ended    chan error
}

// newPeer returns a peer that is not running, whose identity is that of the seed.
func (e *env) newPeer(seed byte, cfg peerConfig) *peer {
	e.tb.Helper()
	if cfg.url == "" {
		cfg.url = e.url
	}
	p := &peer{tb: e.tb, env: e, cfg: cfg, id: buckettest.Identity(e.tb, seed), dir: e.tb.TempDir()}
	p.cfg.ensure.Peer = p.key()
	e.tb.Cleanup(p.stop)
	return p
}

// startPeer is newPeer, running.
func (e *env) startPeer(seed byte, cfg peerConfig) *peer {
	e.tb.Helper()
	p := e.newPeer(seed, cfg)
	p.start()
	return p
}

func (p *peer) key() bucket.PublicKey  { return p.id.PublicKey() }
func (p *peer) names() jetstream.Names { return jetstream.Names{Prefix: p.cfg.prefix} }

// start opens the stores, makes what the broker lacks, and begins to consume.
func (p *peer) start() {
	p.tb.Helper()
	p.open()
	p.run()
}

// open makes a peer ready to run.
func (p *peer) open() {
	p.tb.Helper()
	p.openStores()
	for i := range max(p.cfg.consumers, 1) {
		p.working = append(p.working, p.newWorker(i))
	}
}

func (p *peer) openStores() {
	p.tb.Helper()
	var err error
	if p.log, err = logstore.OpenBadger(logstore.Config{Dir: filepath.Join(p.dir, "log")}); err != nil {
		p.tb.Fatal(err)
	}
	if p.manifests, err = blobstore.OpenDisk(blobstore.Config{Dir: filepath.Join(p.dir, "manifests")}); err != nil {
		p.tb.Fatal(err)
	}
	if p.blobs, err = blobstore.OpenDisk(blobstore.Config{Dir: filepath.Join(p.dir, "blobs")}); err != nil {
		p.tb.Fatal(err)
	}
}

// newWorker connects, and makes a consumer that does not run yet.
func (p *peer) newWorker(i int) *worker {
	p.tb.Helper()
	ctx := p.env.ctx()
	w := &worker{ended: make(chan error, 1)}
	var err error
	w.client, err = jetstream.Dial(ctx, jetstream.Config{URL: p.cfg.url, Prefix: p.cfg.prefix, Wait: true, Logger: p.logger()})
	if err != nil {
		p.tb.Fatal(err)
	}
	p.env.insist("ensure", func(ctx context.Context) error {
		_, err := w.client.Ensure(ctx, p.cfg.ensure)
		return err
	})
	cfg := p.config(w.client)
	cfg.StageDir = filepath.Join(p.dir, fmt.Sprintf("stage%d", i))
	for range max(p.cfg.sources, 1) {
		w.from.Announcements = append(w.from.Announcements, p.source(w, consumer.KindHeads))
		w.from.PinJobs = append(w.from.PinJobs, p.source(w, consumer.KindPins))
	}
	if w.consumer, err = consumer.New(cfg); err != nil {
		p.tb.Fatal(err)
	}
	return w
}

// config is that of the program, with the changes that the test asks for.
func (p *peer) config(c *jetstream.Client) consumer.Config {
	cfg := consumer.Config{
		Peer: p.key(), Log: p.log, Manifests: p.manifests, Blobs: p.blobs,
		Objects: c.Objects(), Jobs: c.Jobs(p.key()), DeadLetters: c.DeadLetters(p.key()), Events: &p.events,
		ManifestStores: []string{p.env.names.ManifestStore()}, BlobStores: []string{p.env.names.BlobStore()},
		Buckets: 64, PinJobsMax: 4, Fetches: 16, Logger: p.logger(),
	}
	if p.cfg.change != nil {
		p.cfg.change(&cfg)
	}
	return cfg
}

func (p *peer) source(w *worker, kind consumer.Kind) consumer.Source {
	p.tb.Helper()
	s, err := w.client.NewSource(jetstream.SourceConfig{Kind: kind, Ensure: p.cfg.ensure})
	if err != nil {
		p.tb.Fatal(err)
	}
	w.sources = append(w.sources, s)
	return s
}

func (p *peer) logger() *slog.Logger {
	if os.Getenv("HEADWATER_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(p.tb.Output(), nil)).With("peer", p.key().String()[:6])
}

// run begins to consume.
func (p *peer) run() {
	for _, w := range p.working {
		ctx, cancel := context.WithCancel(context.Background())
		w.cancel = cancel
		go func() { w.ended <- w.consumer.Run(ctx, w.from) }()
	}
}

// stop ends the peer as the program does: the consumer, what its sources hold, the connection, the stores. Stopping
// a stopped one does nothing.
func (p *peer) stop() {
	if p.log == nil {
		return
	}
	for _, w := range p.working {
		w.stop(p.tb)
	}
	for _, c := range []io.Closer{p.blobs, p.manifests, p.log} {
		if err := c.Close(); err != nil {
			p.tb.Errorf("close a store: %v", err)
		}
	}
	p.working, p.log = nil, nil
}

func (w *worker) stop(tb testing.TB) {
	if w.cancel != nil {
		w.cancel()
		if err := <-w.ended; err != nil {
			tb.Errorf("Run: %v", err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, s := range w.sources {
		if err := s.Close(ctx); err != nil && !errors.Is(err, jetstream.ErrUnreachable) {
			tb.Errorf("close a source: %v", err)
		}
	}
	closeClient(tb, w.client)
}

// bucket returns what the log knows of a bucket, the zero value if that is nothing.
func (p *peer) bucket(id bucket.ID) logstore.Bucket {
	p.tb.Helper()
	b, err := p.log.Bucket(context.Background(), id)
	if err != nil && !errors.Is(err, logstore.ErrNotFound) {
		p.tb.Fatal(err)
	}
	return b
}

// status returns how a bucket stands, the zero value if nothing is known of it.
func (p *peer) status(id bucket.ID) consumer.Status {
	p.tb.Helper()
	s, err := p.working[0].consumer.Status(context.Background(), id)
	if err != nil && !errors.Is(err, logstore.ErrNotFound) {
		p.tb.Fatal(err)
	}
	return s
}

// waitComplete returns when the version is the complete head.
func (p *peer) waitComplete(v *bucket.Version) {
	p.tb.Helper()
	waitUntil(p.tb, "the complete head is the one announced", func() bool { return p.bucket(v.Bucket).Complete == v.Head() })
}

// outcomes sums, over all consumers of this life, how messages of a kind ended.
func (p *peer) outcomes(kind consumer.Kind) map[consumer.Outcome]uint64 {
	sum := map[consumer.Outcome]uint64{}
	for _, w := range p.working {
		for class, n := range w.consumer.Outcomes()[kind] {
			sum[class] += n
		}
	}
	return sum
}

// total is how many outcomes there are.
func total(outcomes map[consumer.Outcome]uint64) (n uint64) {
	for _, k := range outcomes {
		n += k
	}
	return n
}

// record keeps events. Safe for concurrent use.
type record struct {
	mu   sync.Mutex
	list []consumer.Event
}

// Emit implements [consumer.Events].
func (r *record) Emit(e consumer.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, e)
}

// of returns the events of a kind so far.
func (r *record) of(kind consumer.EventKind) []consumer.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.list), func(e consumer.Event) bool { return e.Kind != kind })
}
