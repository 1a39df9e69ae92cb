package peer_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/bucket"
	"headwater/peer"
	"headwater/test/natstest"
)

// files writes some files into a directory.
func files(t *testing.T, dir string, content map[string]string) {
	t.Helper()
	for name, text := range content {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// read returns the files of a directory.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	content := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		content[filepath.ToSlash(name)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func must[A any](t *testing.T) func(a A, err error) A {
	return func(a A, err error) A {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
}

// A bucket lives without any broker.
func TestLocalFirst_AWholeBucketWithoutABroker(t *testing.T) {
	cfg, _ := config(t, "")
	s, ctx := use(t, cfg), t.Context()
	made := must[*peer.Made](t)
	b := made(s.Create(ctx, "photos", peer.Upload{})).BucketID
	src, out := t.TempDir(), t.TempDir()
	files(t, src, map[string]string{"a": "one", "sub/b": "two"})
	m := made(s.Commit(ctx, b, src, peer.CommitOptions{}))
	if m.Height != 1 || m.Added != 2 || m.Announced || m.Waiting == "" {
		t.Errorf("got %+v, want version 1 with two files, not announced yet", m)
	}
	if m = made(s.Commit(ctx, b, src, peer.CommitOptions{})); !m.Unchanged || m.Height != 1 {
		t.Errorf("got %+v of an unchanged directory", m)
	}
	files(t, src, map[string]string{"a": "three"})
	made(s.Commit(ctx, b, src, peer.CommitOptions{Upload: peer.Upload{NoWait: true}}))
	if c, err := s.Checkout(ctx, b, out, peer.CheckoutOptions{}); err != nil || c.Written != 2 {
		t.Errorf("got %+v, %v, want both files written", c, err)
	}
	if d := cmp.Diff(read(t, src), read(t, out)); d != "" {
		t.Errorf("checked out (-want +got):\n%s", d)
	}
	var text bytes.Buffer
	if err := s.Read(ctx, b, "a", "1", &text); err != nil || text.String() != "one" {
		t.Errorf("got %q, %v of the version before", text.String(), err)
	}
	if err := s.Read(ctx, b, "none", "", &text); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
	if err := s.Read(ctx, b, "sub", "", &text); !errors.Is(err, peer.ErrUsage) {
		t.Errorf("got %v of a directory, want ErrUsage", err)
	}
	if all, err := s.List(ctx, b, "/sub/", "", true); err != nil || len(all) != 1 || all[0].Path != "sub/b" {
		t.Errorf("got %+v, %v", all, err)
	}
	if changes, err := s.Diff(ctx, b, "", ""); err != nil || len(changes) != 1 || changes[0].Path != "a" {
		t.Errorf("got %+v, %v, want a modified", changes, err)
	}
	if id, err := s.Find(ctx, "photos"); err != nil || id != b {
		t.Errorf("got %s, %v by the bucket's name", id, err)
	}
	if _, err := s.Find(ctx, "films"); !errors.Is(err, peer.ErrNoBucket) {
		t.Errorf("got %v, want ErrNoBucket", err)
	}
	if _, err := s.Checkout(ctx, b, out, peer.CheckoutOptions{At: "77"}); !errors.Is(err, peer.ErrNoVersion) {
		t.Errorf("got %v, want ErrNoVersion", err)
	}
	if m := made(s.Merge(ctx, b, peer.Upload{})); !m.Unchanged {
		t.Errorf("got %+v, want nothing to merge", m)
	}
	if status, err := s.Status(ctx, b); err != nil || len(status.Buckets) != 1 || status.Buckets[0].State != "offline" {
		t.Errorf("got %+v, %v, want the bucket offline", status, err)
	}
	if _, err := s.Announce(ctx, b, bucket.Link{}); !errors.Is(err, peer.ErrOffline) {
		t.Errorf("got %v, want ErrOffline", err)
	}
}

// What a session began with one holder it ends with another.
func TestLocalFirst_ASessionOutlivesItsHolder(t *testing.T) {
	cfg, _ := config(t, "")
	holder := open(t, cfg)
	s, ctx := use(t, cfg), t.Context()
	m, err := s.Create(ctx, "photos", peer.Upload{})
	if err != nil {
		t.Fatal(err)
	}
	src := t.TempDir()
	for i, end := range []func(){
		func() {},
		func() { closes(t, holder.Session) }, // the session holds the directory itself from now on
		func() { // and gives it up for a running peer
			cfg.Role = peer.RoleRun
			holder = open(t, cfg)
		},
		func() { closes(t, holder.Session) },
	} {
		end()
		files(t, src, map[string]string{"a": string(rune('a' + i))})
		if c, err := s.Commit(ctx, m.BucketID, src, peer.CommitOptions{}); err != nil || c.Height != uint64(1+i) {
			t.Errorf("%d: got %+v, %v", i, c, err)
		}
	}
}

// Two peers, with a broker between them: what one makes the other has, and forks are merged.
// forked makes a bucket of two owners who both wrote at once, neither hearing of the other, and announced it.
func forked(t *testing.T) (id bucket.ID, a, b *peer.Session, bobConfig peer.Config) {
	t.Helper()
	url := natstest.Start(t).URL()
	aliceConfig, _ := config(t, url)
	bobConfig, bob := config(t, url)
	a, b = use(t, aliceConfig), use(t, bobConfig)
	ctx := t.Context()
	made := must[*peer.Made](t)
	id = made(a.Create(ctx, "photos", peer.Upload{})).BucketID
	src, other := t.TempDir(), t.TempDir()
	files(t, src, map[string]string{"a": "one"})
	made(a.Commit(ctx, id, src, peer.CommitOptions{}))
	if m := made(a.Share(ctx, id, bob.PublicKey(), bucket.Owner, peer.Upload{})); !m.Announced {
		t.Errorf("got %+v, want it announced", m)
	}
	if c, err := b.Checkout(ctx, id, other, peer.CheckoutOptions{}); err != nil || c.Height != 2 {
		t.Fatalf("got %+v, %v, want version 2 at the other peer", c, err)
	}
	closes(t, a)
	closes(t, b)
	aliceConfig.NATS.URL, bobConfig.NATS.URL = "nats://127.0.0.1:1", "nats://127.0.0.1:1"
	a, b = use(t, aliceConfig), use(t, bobConfig)
	files(t, src, map[string]string{"a": "alice", "only-a": "1"})
	files(t, other, map[string]string{"a": "bob", "only-b": "2"})
	made(a.Commit(ctx, id, src, peer.CommitOptions{}))
	made(b.Commit(ctx, id, other, peer.CommitOptions{}))
	closes(t, a)
	closes(t, b)
	aliceConfig.NATS.URL, bobConfig.NATS.URL = url, url
	a, b = use(t, aliceConfig), use(t, bobConfig)
	for _, s := range []*peer.Session{a, b} { // the next command tells of what was made
		if _, err := s.Announce(ctx, id, bucket.Link{}); err != nil {
			t.Fatal(err)
		}
	}
	return id, a, b, bobConfig
}

func TestForksAreNamed_AndMergedBetweenTwoPeers(t *testing.T) {
	id, a, b, _ := forked(t)
	made, ctx := must[*peer.Made](t), t.Context()
	merged := made(a.Merge(ctx, id, peer.Upload{}))
	if merged.Unchanged || len(merged.Merged) != 1 || len(merged.Conflicts) != 1 || merged.Height != 4 {
		t.Errorf("got %+v, want one branch merged, with one conflict", merged)
	}
	if m := made(b.Merge(ctx, id, peer.Upload{})); !m.Unchanged || m.Link != merged.Link {
		t.Errorf("got %+v at the other peer, want nothing left to merge", m)
	}
	if _, err := b.Checkout(ctx, id, t.TempDir(), peer.CheckoutOptions{}); err != nil {
		t.Error(err)
	}
}

// What only manifests say is fetched again, or found in the log, if they were lost here.
func TestLocalFirst_LostManifestsTakeNothingAway(t *testing.T) {
	id, a, b, bobConfig := forked(t)
	ctx := t.Context()
	log, err := a.Log(ctx, id, bucket.Head{}, 10)
	if err != nil || len(log.Versions) < 4 {
		t.Fatalf("got %+v, %v, want the versions of both", log, err)
	}
	shared := log.Versions[len(log.Versions)-3].Link
	closes(t, b)
	if err := os.RemoveAll(filepath.Join(bobConfig.Dir, "manifests")); err != nil {
		t.Fatal(err)
	}
	b = use(t, bobConfig)
	var text strings.Builder
	if err := b.Read(ctx, id, "a", shared.String(), &text); err != nil || text.String() != "one" {
		t.Errorf("got %q, %v, want the file as it was", text.String(), err)
	}
	merged := must[*peer.Made](t)(b.Merge(ctx, id, peer.Upload{}))
	if merged.Unchanged || len(merged.Merged) != 1 || merged.Height != 4 {
		t.Errorf("got %+v, want one branch merged", merged)
	}
}

func TestDirectoryOfANewerProgramIsRefused(t *testing.T) {
	cfg, _ := config(t, "")
	if err := os.WriteFile(filepath.Join(cfg.Dir, "format"), []byte("99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Open(context.Background(), cfg); !errors.Is(err, peer.ErrFormat) {
		t.Errorf("got %v, want ErrFormat", err)
	}
}
