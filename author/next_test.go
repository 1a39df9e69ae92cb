package author_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"headwater/author"
	"headwater/blobstore"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/tree"

	"github.com/google/go-cmp/cmp"
)

func TestVersionsOfOneAuthorAreFoundAndReadByAnother(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.desk(1), w.desk(2)
	v := ann.create()
	if v.Height != 0 || len(v.Shares) != 1 || !v.OpsLog.IsZero() || v.Published() {
		t.Errorf("the genesis is %+v", v.Manifest)
	}
	v, _ = ann.next(v, author.Change{Share: map[bucket.PublicKey]bucket.Role{bob.me.PublicKey(): bucket.Owner}})
	secrets := map[bucket.Secret]bool{}
	for _, name := range []string{"a.txt", "dir/b.txt", "dir/deep/c.txt", "z"} {
		v = ann.commit(v, name, "in "+name)
		secret, err := ann.Open(v)
		if err != nil || secrets[secret] {
			t.Errorf("version %d has a secret that was there before, or none: %v", v.Height, err)
		}
		secrets[secret] = true
	}
	h := bob.find(v.Bucket)
	if h.Head.Link != v.Link || len(h.Forks)+len(h.Ignored) != 0 {
		t.Fatalf("bob got %+v, want head %s", h, v.Link)
	}
	want := map[string]string{
		"a.txt": "in a.txt", "dir/b.txt": "in dir/b.txt", "dir/deep/c.txt": "in dir/deep/c.txt", "z": "in z",
	}
	if diff := cmp.Diff(want, bob.read(h.Head)); diff != "" {
		t.Errorf("what bob reads (-want +got):\n%s", diff)
	}
	v = bob.commit(h.Head, "from-bob", "hello")
	if h := ann.find(v.Bucket); h.Head.Link != v.Link || len(h.Forks) != 0 {
		t.Errorf("ann got head %s, want bob's %s", h.Head.Link, v.Link)
	}
}

// What stays the same keeps its blobs; only directories on the way to a change are new.
func TestUnchangedFilesKeepTheirBlobs(t *testing.T) {
	w := newWorld(t)
	d := w.desk(1)
	v := d.commit(d.commit(d.create(), "same/dir/a", "A"), "other/b", "B")
	secret, _ := d.Open(v)
	before := load(t, d, v, secret)
	next, written := d.next(v, author.Change{Tree: d.with(before, "other/c", "C"), Prev: before})
	secret, _ = d.Open(next)
	after := load(t, d, next, secret)
	for _, p := range []string{"same/dir/a", "other/b"} {
		if before.Files[p].Link != after.Files[p].Link || before.Files[p].Secret != after.Files[p].Secret {
			t.Errorf("%s is another blob", p)
		}
	}
	if before.Dirs["same"].Blob != after.Dirs["same"].Blob || before.Dirs["other"].Blob == after.Dirs["other"].Blob {
		t.Error("the directory same is new, or the directory other is not")
	}
	if written.Nodes != 2 || written.Ops != 1 || written.Pins != len(d.pinsOf(next)) {
		t.Errorf("got %+v, want 2 nodes and 1 operation", written)
	}
	if diff := cmp.Diff(after, written.Tree); diff != "" {
		t.Errorf("the tree that Next tells (-loaded +told):\n%s", diff)
	}
	again, written := d.next(next, author.Change{Name: "renamed"})
	if again.Name != "renamed" || !again.OpsLog.IsZero() || written.Nodes != 1 {
		t.Errorf("a version with the same tree: %+v, %+v", again.Manifest, written)
	}
}

func TestOperationLogTellsWhatChanged(t *testing.T) {
	w := newWorld(t)
	d := w.desk(1)
	v := d.commit(d.commit(d.create(), "a", "A"), "dir/b", "B")
	secret, _ := d.Open(v)
	before := load(t, d, v, secret)
	after := d.with(before, "new/c", "C")
	delete(after.Files, "a")
	after = d.with(after, "dir/b", "B2")
	v, _ = d.next(v, author.Change{Tree: after, Prev: before})
	secret, _ = d.Open(v)
	blob, err := blobstore.ReadAll(t.Context(), &w.blobs, v.OpsLog.Hash(), tree.MaxOpsLogSize)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := tree.Open(secret, blob)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tree.DecodeOpsLog(plain)
	if err != nil {
		t.Fatal(err)
	}
	id := func(i uint64) tree.OpID { return tree.OpID{Peer: d.me.PublicKey(), Timestamp: 3<<32 | i} }
	want := tree.OpsLog{
		{ID: id(0), Kind: tree.OpRemove, Path: "a"},
		{ID: id(1), Kind: tree.OpAdd, Path: "dir/b", Content: after.Files["dir/b"].Link},
		{ID: id(2), Kind: tree.OpMkdir, Path: "new", IsDir: true},
		{ID: id(3), Kind: tree.OpAdd, Path: "new/c", Content: after.Files["new/c"].Link},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("operations (-want +got):\n%s", diff)
	}
}

func TestOnlyWhoMayWritesAVersion(t *testing.T) {
	w := newWorld(t)
	ann, mirror, stranger := w.desk(1), w.desk(2), w.desk(3)
	v, _ := ann.next(ann.create(), author.Change{
		Publish: true, Share: map[bucket.PublicKey]bucket.Role{mirror.me.PublicKey(): bucket.Mirror},
	})
	for name, d := range map[string]*desk{"mirror": mirror, "stranger": stranger} {
		h := d.find(v.Bucket)
		steps := len(w.steps)
		if _, _, err := d.Next(t.Context(), h.Head, author.Change{}); !errors.Is(err, author.ErrNotOwner) {
			t.Errorf("%s: got %v, want ErrNotOwner", name, err)
		}
		if len(w.steps) != steps {
			t.Errorf("%s put something: %v", name, w.steps[steps:])
		}
	}
	ann2 := w.desk(1) // the same owner, who never looked
	if _, _, err := ann2.Next(t.Context(), v, author.Change{}); !errors.Is(err, author.ErrNoBucket) {
		t.Errorf("on a version that nobody verified: got %v, want ErrNoBucket", err)
	}
}

func TestSharesBecomeWhatIsAskedForOrAreRefused(t *testing.T) {
	w := newWorld(t)
	ann, bob, cat := w.desk(1), w.desk(2), w.desk(3)
	a, b, c := ann.me.PublicKey(), bob.me.PublicKey(), cat.me.PublicKey()
	v, _ := ann.next(ann.create(), author.Change{Share: map[bucket.PublicKey]bucket.Role{b: bucket.Mirror}})
	refused := func(what string, change author.Change, want error) {
		t.Helper()
		if _, _, err := ann.Next(t.Context(), v, change); err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", what, err, want)
		}
	}
	refused("last owner", author.Change{Unshare: []bucket.PublicKey{a}}, author.ErrNoOwner)
	refused("last owner becomes a mirror", author.Change{Share: map[bucket.PublicKey]bucket.Role{a: bucket.Mirror}}, author.ErrNoOwner)
	refused("who has none", author.Change{Unshare: []bucket.PublicKey{c}}, author.ErrNoShare)
	refused("both", author.Change{Unshare: []bucket.PublicKey{b}, Share: map[bucket.PublicKey]bucket.Role{b: bucket.Owner}}, nil)
	refused("no role", author.Change{Share: map[bucket.PublicKey]bucket.Role{c: 9}}, nil)
	refused("no key", author.Change{Share: map[bucket.PublicKey]bucket.Role{{}: bucket.Mirror}}, nil)
	mirror, _ := v.Share(b)
	if mirror.Role != bucket.Mirror || mirror.Secret != nil {
		t.Errorf("the mirror's share is %+v", mirror)
	}

	v, _ = ann.next(v, author.Change{Share: map[bucket.PublicKey]bucket.Role{b: bucket.Owner, c: bucket.Mirror}})
	bob.find(v.Bucket)
	if _, err := bob.Open(v); err != nil {
		t.Errorf("a mirror that became an owner: %v", err)
	}
	last, _ := ann.next(v, author.Change{Unshare: []bucket.PublicKey{a}}) // oneself, while another owner stays
	if _, err := ann.Open(last); !errors.Is(err, author.ErrNotShared) {
		t.Errorf("got %v, want ErrNotShared", err)
	}
	if h := bob.find(v.Bucket); h.Head.Link != last.Link {
		t.Errorf("bob got %s, want the version in which ann left", h.Head.Link)
	}
	if _, _, err := ann.Next(t.Context(), last, author.Change{}); !errors.Is(err, author.ErrNotOwner) {
		t.Errorf("got %v, want ErrNotOwner", err)
	}
	bob.next(last, author.Change{Share: map[bucket.PublicKey]bucket.Role{a: bucket.Owner}})
	if h := ann.find(v.Bucket); len(ann.read(h.Head)) != 0 {
		t.Errorf("ann reads %v", ann.read(h.Head))
	}
}

func TestRemovedOwnerCannotOpenTheNextVersion(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.desk(1), w.desk(2)
	v, _ := ann.next(ann.create(), author.Change{Share: map[bucket.PublicKey]bucket.Role{bob.me.PublicKey(): bucket.Owner}})
	bob.find(v.Bucket)
	if _, err := bob.Open(v); err != nil {
		t.Fatal(err)
	}
	v, _ = ann.next(v, author.Change{Unshare: []bucket.PublicKey{bob.me.PublicKey()}})
	h := bob.find(v.Bucket)
	if h.Head.Link != v.Link {
		t.Fatalf("bob got %s, want %s", h.Head.Link, v.Link)
	}
	_, err := bob.Open(h.Head)
	if !errors.Is(err, author.ErrNotShared) || !strings.Contains(err.Error(), bob.me.PublicKey().String()) ||
		!strings.Contains(err.Error(), "an owner can share the bucket with it") {
		t.Errorf("got %v, want ErrNotShared with our key and what to do", err)
	}
	if _, _, err := bob.Readable(t.Context(), h.Head); !errors.Is(err, author.ErrNotShared) {
		t.Errorf("got %v, want ErrNotShared", err)
	}
}

func TestStrangerIsNotShared(t *testing.T) {
	for _, c := range buckettest.ReadChains(t, "../bucket/testdata/attacks.json") {
		if !slices.Contains(c.Classes, "receiver_not_in_shares") {
			continue
		}
		w := newWorld(t)
		for _, o := range c.Objects {
			w.manifests[o.Link.Hash()] = o.Bytes
		}
		w.announce(c.Bucket, c.Objects[len(c.Objects)-1].Link, 101)
		d := w.desk(99)
		if _, err := d.Open(d.find(c.Bucket).Head); !errors.Is(err, author.ErrNotShared) {
			t.Errorf("got %v, want ErrNotShared", err)
		}
	}
}

func TestMirrorReadsTheNewestPublishedVersion(t *testing.T) {
	w := newWorld(t)
	ann, mirror := w.desk(1), w.desk(2)
	v, _ := ann.next(ann.create(), author.Change{Share: map[bucket.PublicKey]bucket.Role{mirror.me.PublicKey(): bucket.Mirror}})
	v = ann.commit(v, "a", "secret")
	head := mirror.find(v.Bucket).Head
	if _, err := mirror.Open(head); !errors.Is(err, author.ErrNotPublished) {
		t.Errorf("got %v, want ErrNotPublished", err)
	}
	if _, _, err := mirror.Readable(t.Context(), head); !errors.Is(err, author.ErrNotPublished) {
		t.Errorf("got %v, want ErrNotPublished", err)
	}
	published, _ := ann.next(v, author.Change{Publish: true})
	head = mirror.find(v.Bucket).Head
	if got, secret, err := mirror.Readable(t.Context(), head); err != nil || got.Link != published.Link || secret != *published.Public {
		t.Errorf("Readable = %v, %v; want the head", got, err)
	}
	v = ann.commit(ann.commit(published, "b", "private again"), "c", "still")
	head = mirror.find(v.Bucket).Head
	if _, err := mirror.Open(head); head.Link != v.Link || !errors.Is(err, author.ErrNotPublished) {
		t.Errorf("got %v of %s, want ErrNotPublished", err, head.Link)
	}
	got, secret, err := mirror.Readable(t.Context(), head)
	if err != nil || got.Link != published.Link {
		t.Fatalf("Readable = %v, %v; want version %d", got, err, published.Height)
	}
	if files := load(t, mirror, got, secret).Files; len(files) != 1 {
		t.Errorf("the mirror lists %v", files)
	}
	if got, _, err := ann.Readable(t.Context(), v); err != nil || got.Link != v.Link {
		t.Errorf("an owner reads %v, %v, want the head", got, err)
	}
}

// After a rotation nothing that was known before opens anything of the new version, large files included.
func TestRotationLeavesNoOldSecret(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.desk(1), w.desk(2)
	v, _ := ann.next(ann.create(), author.Change{Share: map[bucket.PublicKey]bucket.Role{bob.me.PublicKey(): bucket.Owner}})
	big := make([]byte, tree.SmallFile+12345)
	rand.Read(big)
	v = ann.commit(ann.commit(ann.commit(v, "big", string(big)), "dir/a", "A"), "dir/sub/b", "B")
	bob.find(v.Bucket)
	secret, err := bob.Open(v)
	if err != nil {
		t.Fatal(err)
	}
	before := load(t, bob, v, secret)
	// A second name of one blob, one that has no attributes, and a directory with permissions of its own.
	twice := &tree.Listing{Files: before.Files, Dirs: before.Dirs}
	twice.Add("again", before.Files["dir/a"])
	plain := before.Files["dir/a"]
	plain.Metadata = nil
	twice.Add("plain", plain)
	folder := twice.Dirs["dir"]
	folder.Perm = 0o700
	twice.Dirs["dir"] = folder
	v, _ = ann.next(v, author.Change{Tree: twice})
	want := ann.read(v)
	if secret, err = bob.Open(v); err != nil {
		t.Fatal(err)
	}
	before = load(t, bob, v, secret)

	next, written := ann.next(v, author.Change{Unshare: []bucket.PublicKey{bob.me.PublicKey()}, Rotate: true})
	if diff := cmp.Diff(want, ann.read(next)); diff != "" {
		t.Fatalf("the rotated tree reads otherwise (-want +got):\n%s", diff)
	}
	if written.Rotated != 5 {
		t.Errorf("got %d files rotated, want 5", written.Rotated)
	}
	if written.Tree.Files["again"].Link != written.Tree.Files["dir/a"].Link || written.Tree.Dirs["dir"].Perm != 0o700 ||
		written.Tree.Files["plain"].Metadata != nil {
		t.Error("two names of one blob have two now, or permissions or metadata are others")
	}
	if next.OpsLog.IsZero() {
		t.Error("no operation tells that the file without attributes is another blob")
	}
	old := []bucket.Secret{secret}
	for _, f := range before.Files {
		old = append(old, f.Secret)
	}
	for _, f := range before.Dirs {
		old = append(old, f.Blob.Secret)
	}
	old = append(old, before.DirsFile.Secret)
	oldPins := w.pinsOf(v)
	for _, h := range w.pinsOf(next) {
		if h == v.Link.Hash() {
			continue
		}
		if slices.Contains(oldPins, h) {
			t.Errorf("blob %s was there before", h)
		}
		blob, err := blobstore.ReadAll(t.Context(), &w.blobs, h, 64<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range old {
			if _, err := tree.Open(s, blob); err == nil {
				t.Errorf("an old secret opens blob %s", h)
			}
		}
	}
}

// Two commands of one author start from the same version: the one that ends last has made nothing.
func TestSecondCommandOfOneAuthorIsStale(t *testing.T) {
	w := newWorld(t)
	one := w.desk(1)
	v := one.create()
	two := one.restart()
	one.commit(v, "a", "A")
	if _, _, err := two.Next(t.Context(), v, author.Change{}); !errors.Is(err, author.ErrStale) {
		t.Errorf("got %v, want ErrStale", err)
	}
	// And at the very end: the other command finishes while this one puts its blobs.
	head := two.find(v.Bucket).Head
	raced := w.deskIn(1, one.dir, func(cfg *author.Config) {
		cfg.Writer = hook{cfg.Writer, func() {
			if h := two.find(v.Bucket); h.Head.Link == head.Link {
				two.next(head, author.Change{Name: "faster"})
			}
		}}
	})
	manifests := len(w.manifests)
	if _, _, err := raced.Next(t.Context(), head, author.Change{Name: "slower"}); !errors.Is(err, author.ErrStale) {
		t.Errorf("got %v, want ErrStale", err)
	}
	if len(w.manifests) != manifests+1 {
		t.Errorf("%d manifests were put, want 1", len(w.manifests)-manifests)
	}
	if h := one.find(v.Bucket); h.Head.Name != "faster" || len(h.Forks) != 0 {
		t.Errorf("got head %q and %d forks", h.Head.Name, len(h.Forks))
	}
}

// hook does something before each put.
type hook struct {
	tree.Writer
	before func()
}

func (h hook) Put(ctx context.Context, hash bucket.Hash, size int64, r io.Reader) error {
	h.before()
	return h.Writer.Put(ctx, hash, size, r)
}

func TestMissingFieldsAreNamed(t *testing.T) {
	w := newWorld(t)
	d := w.desk(1)
	full := author.Config{Identity: d.me, Bus: d, Manifests: d, Blobs: &w.blobs, Writer: d, State: d.state}
	for name, edit := range map[string]func(*author.Config){
		"Identity":  func(c *author.Config) { c.Identity = bucket.Identity{} },
		"Bus":       func(c *author.Config) { c.Bus = nil },
		"Manifests": func(c *author.Config) { c.Manifests = nil },
		"Blobs":     func(c *author.Config) { c.Blobs = nil },
		"Writer":    func(c *author.Config) { c.Writer = nil },
		"State":     func(c *author.Config) { c.State = nil },
		"limits":    func(c *author.Config) { c.MaxHeads = -1 },
	} {
		cfg := full
		edit(&cfg)
		if _, err := author.New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: got %v", name, err)
		}
	}
	if _, err := author.New(full); err != nil {
		t.Error(err)
	}
}

// No secret is ever in what is told to people.
func TestNothingToldHoldsASecret(t *testing.T) {
	w := newWorld(t)
	d := w.desk(1)
	v := d.commit(d.create(), "a", "A")
	w.announce(v.Bucket, bucket.ManifestLink([]byte("nowhere")), 9)
	d.find(v.Bucket)
	secret, _ := d.Open(v)
	if bytes.Contains(d.log.Bytes(), secret[:]) || d.log.Len() == 0 {
		t.Errorf("the log is %q", d.log.String())
	}
}
