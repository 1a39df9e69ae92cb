package author_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"

	"headwater/author"
	"headwater/blobstore"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/tree"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errDead    = errors.New("the process is dead")
	errMissing = errors.New("no such object")
)

// world plays the ports: what is announced, manifests and blobs. It is not the broker; how that behaves is tested elsewhere.
type world struct {
	t     testing.TB
	blobs blobstore.Memory

	mu        sync.Mutex
	heads     map[bucket.ID]map[bucket.PublicKey]bucket.Announcement // one per subject
	manifests map[bucket.Hash][]byte
	fetched   map[bucket.Hash]int // one by one
	batched   map[bucket.Hash]int // that came with others
	batches   int
	looks     int                    // at what is announced
	elsewhere map[bucket.Hash][]byte // in a second store
	failing   bool                   // no batch is answered
	breaks    int                    // batches that break off after their first object
	steps     []string               // what was done to the world, in order
}

func newWorld(t testing.TB) *world {
	return &world{
		t: t, heads: map[bucket.ID]map[bucket.PublicKey]bucket.Announcement{}, manifests: map[bucket.Hash][]byte{},
		fetched: map[bucket.Hash]int{}, batched: map[bucket.Hash]int{}, elsewhere: map[bucket.Hash][]byte{},
	}
}

// desk is one process of one author: the world, and how many more steps it lives.
type desk struct {
	*world
	*author.Author
	me    bucket.Identity
	dir   string
	state *author.State
	log   bytes.Buffer

	life    int // steps it lives; negative: for ever
	offline bool
}

// desk begins a process of the n-th identity with a directory of its own.
func (w *world) desk(n byte) *desk {
	return w.deskIn(n, w.t.(interface{ TempDir() string }).TempDir(), nil)
}

func (w *world) deskIn(n byte, dir string, edit func(*author.Config)) *desk {
	w.t.Helper()
	d := &desk{world: w, me: buckettest.Identity(w.t, n), dir: dir, life: -1}
	var err error
	if d.state, err = author.OpenState(dir); err != nil {
		w.t.Fatal(err)
	}
	cfg := author.Config{
		Identity: d.me, Bus: d, Manifests: d, Blobs: &w.blobs, Writer: d, State: d.state,
		SpoolDir: w.t.(interface{ TempDir() string }).TempDir(), Logger: slog.New(slog.NewTextHandler(&d.log, nil)),
	}
	if edit != nil {
		edit(&cfg)
	}
	if d.Author, err = author.New(cfg); err != nil {
		w.t.Fatal(err)
	}
	return d
}

// restart is the same author in a new process.
func (d *desk) restart() *desk { return d.deskIn(d.me.Seed()[0], d.dir, nil) }

// step does something to the world, where the process is still alive.
func (d *desk) step(what string, do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.life == 0 {
		return errDead
	}
	d.life--
	d.steps = append(d.steps, what)
	return do()
}

func (d *desk) Heads(ctx context.Context, id bucket.ID) ([]bucket.Announcement, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.looks++
	return slices.Collect(maps.Values(d.heads[id])), nil
}

func (d *desk) Announce(_ context.Context, a bucket.Announcement) (bool, error) {
	return false, d.step("announce", func() error {
		if d.offline {
			return errors.New("no answer")
		}
		if _, ok := d.manifests[a.Link.Hash()]; !ok {
			d.t.Errorf("%s is announced before its manifest is there", a.Link)
		}
		_, head, err := d.state.Known(a.Bucket)
		if err != nil || head.Height < *a.Height {
			d.t.Errorf("%s is announced while the state is at %v, %v", a.Link, head, err)
		}
		d.tell(a)
		return nil
	})
}

// tell puts an announcement on its subject. The caller holds the lock.
func (w *world) tell(a bucket.Announcement) {
	if w.heads[a.Bucket] == nil {
		w.heads[a.Bucket] = map[bucket.PublicKey]bucket.Announcement{}
	}
	w.heads[a.Bucket][a.Peer] = a
}

func (d *desk) Manifest(ctx context.Context, link bucket.Link, _ []string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fetched[link.Hash()]++
	b, ok := d.manifests[link.Hash()]
	if !ok {
		b, ok = d.elsewhere[link.Hash()]
	}
	if !ok {
		return nil, fmt.Errorf("manifest %s: %w", link, errMissing)
	}
	return b, ctx.Err()
}

func (d *desk) GetMany(
	ctx context.Context, hashes []bucket.Hash, _ []string, take func(bucket.Hash, []byte) error,
) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.batches++
	if d.failing {
		return errors.New("no answer")
	}
	for _, h := range hashes {
		for _, store := range []map[bucket.Hash][]byte{d.manifests, d.elsewhere} {
			b, ok := store[h]
			if !ok || bucket.Sum(b) != h {
				continue
			}
			d.batched[h]++
			if err := take(h, b); err != nil {
				return err
			}
			if d.breaks > 0 {
				d.breaks--
				return errors.New("the connection is gone")
			}
			break
		}
	}
	return ctx.Err()
}

func (d *desk) PutManifest(_ context.Context, b []byte) error {
	return d.step("manifest", func() error {
		d.checkWhole(b)
		d.manifests[bucket.Sum(b)] = b
		return nil
	})
}

func (d *desk) PutPack(_ context.Context, b []byte) error {
	return d.step("pack", func() error {
		d.manifests[bucket.Sum(b)] = b
		return nil
	})
}

// checkWhole demands that every blob of a version is there before its manifest. The caller holds the lock.
func (w *world) checkWhole(b []byte) {
	w.t.Helper()
	v, err := bucket.Open(bucket.ManifestLink(b), b)
	if err != nil {
		w.t.Error(err)
		return
	}
	list, err := blobstore.ReadAll(context.Background(), &w.blobs, v.Pins.Hash(), bucket.MaxPinsSize)
	if err != nil {
		w.t.Errorf("pins list of %s: %v", v.Link, err)
		return
	}
	pins, err := bucket.ParsePins(list)
	if err != nil {
		w.t.Error(err)
	}
	for _, h := range pins {
		held, err := w.blobs.Has(context.Background(), h)
		if _, manifest := w.manifests[h]; err != nil || !held && !manifest {
			w.t.Errorf("version %d needs %s, which is not there: %v", v.Height, h, err)
		}
	}
}

func (d *desk) Put(ctx context.Context, h bucket.Hash, size int64, r io.Reader) error {
	return d.step("blob", func() error {
		n, err := d.blobs.Put(ctx, h, r)
		if err == nil && n != size {
			err = fmt.Errorf("put %d octets, want %d", n, size)
		}
		return err
	})
}

// find is Heads of the author. (The desk's own Heads is the port.)
func (d *desk) find(id bucket.ID, hints ...bucket.Head) author.Heads {
	d.t.Helper()
	h, err := d.Author.Heads(context.Background(), id, hints...)
	if err != nil {
		d.t.Fatalf("Heads: %v", err)
	}
	return h
}

func (d *desk) create() *bucket.Version {
	d.t.Helper()
	v, err := d.Create(context.Background(), "notes")
	if err != nil {
		d.t.Fatal(err)
	}
	d.checkVersion(nil, v)
	return v
}

// next makes a version that every receiver accepts.
func (d *desk) next(prev *bucket.Version, c author.Change) (*bucket.Version, author.Written) {
	d.t.Helper()
	v, w, err := d.Next(context.Background(), prev, c)
	if err != nil {
		d.t.Fatal(err)
	}
	d.checkVersion(prev, v, c.Merged...)
	return v, w
}

// checkVersion demands that v may follow on prev, and that its pins are what its tree has, entry, operation log, predecessor and
// the merged tips, and nothing else.
func (d *desk) checkVersion(prev, v *bucket.Version, merged ...bucket.Link) {
	d.t.Helper()
	if err := (bucket.Rules{}).Succeed(v.Bucket, prev, v); err != nil {
		d.t.Fatalf("a receiver refuses version %d: %v", v.Height, err)
	}
	want := bucket.Pins{v.Entry.Hash()}
	if prev != nil {
		want = append(want, prev.Link.Hash())
	}
	if !v.OpsLog.IsZero() {
		want = append(want, v.OpsLog.Hash())
	}
	for _, l := range merged {
		want = append(want, l.Hash())
	}
	if secret, err := d.Open(v); err == nil {
		l := load(d.t, d, v, secret)
		for _, f := range l.Files {
			want = append(want, f.Link.Hash())
		}
		for _, f := range l.Dirs {
			want = append(want, f.Blob.Link.Hash())
		}
		if !l.DirsFile.Link.IsZero() {
			want = append(want, l.DirsFile.Link.Hash())
		}
	} else {
		return // we took our own share away
	}
	got := d.pinsOf(v)
	if !bytes.Equal(got.Encode(), want.Encode()) {
		d.t.Errorf("version %d has %d pins, want %d", v.Height, len(got), len(want))
	}
}

func (w *world) pinsOf(v *bucket.Version) bucket.Pins {
	w.t.Helper()
	list, err := blobstore.ReadAll(context.Background(), &w.blobs, v.Pins.Hash(), bucket.MaxPinsSize)
	if err != nil {
		w.t.Fatal(err)
	}
	pins, err := bucket.ParsePins(list)
	if err != nil {
		w.t.Fatal(err)
	}
	return pins
}

func load(t testing.TB, d *desk, v *bucket.Version, secret bucket.Secret) *tree.Listing {
	t.Helper()
	l, err := tree.Load(context.Background(), &d.blobs, v.Entry, secret)
	if err != nil {
		t.Fatalf("tree of version %d: %v", v.Height, err)
	}
	return l
}

// read returns the files of a version and what is in them.
func (d *desk) read(v *bucket.Version) map[string]string {
	d.t.Helper()
	secret, err := d.Open(v)
	if err != nil {
		d.t.Fatal(err)
	}
	files := map[string]string{}
	for p, f := range load(d.t, d, v, secret).Files {
		b, err := tree.ReadFile(context.Background(), &d.blobs, f, 64<<20)
		if err != nil {
			d.t.Fatal(err)
		}
		files[p] = string(b)
	}
	return files
}

// with returns a copy of a tree with one more file.
func (d *desk) with(l *tree.Listing, path, text string) *tree.Listing {
	d.t.Helper()
	src := tree.Source{Size: int64(len(text)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader([]byte(text))), nil
	}}
	f, err := tree.PutFile(context.Background(), d, path, tree.Attributes{Perm: 0o644}, src)
	if err != nil {
		d.t.Fatal(err)
	}
	out := tree.NewListing()
	if l != nil {
		maps.Copy(out.Files, l.Files)
		maps.Copy(out.Dirs, l.Dirs)
	}
	out.Add(path, f)
	return out
}

// commit adds a file to the newest version.
func (d *desk) commit(prev *bucket.Version, path, text string) *bucket.Version {
	d.t.Helper()
	secret, err := d.Open(prev)
	if err != nil {
		d.t.Fatal(err)
	}
	before := load(d.t, d, prev, secret)
	v, _ := d.next(prev, author.Change{Tree: d.with(before, path, text), Prev: before})
	return v
}

// putChain puts the manifests of a chain that was made by hand.
func (w *world) putChain(c *buckettest.Chain) {
	for _, v := range c.Versions {
		w.manifests[v.Link.Hash()] = v.Encoded()
	}
	if _, err := w.blobs.Put(context.Background(), bucket.Sum(nil), bytes.NewReader(nil)); err != nil {
		w.t.Fatal(err)
	}
}

// announce puts a head on the subject of peer n.
func (w *world) announce(id bucket.ID, link bucket.Link, peer byte) {
	w.tell(bucket.Announcement{Link: link, Bucket: id, Peer: buckettest.Identity(w.t, peer).PublicKey()})
}
