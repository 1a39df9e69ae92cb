package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"headwater/author"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/jetstream"
	"headwater/test/natstest"
)

// newTestBus is the bus of a server of its own, whose manifests are in the usual store and in that of blobs.
func newTestBus(t *testing.T) *bus {
	t.Helper()
	c, err := jetstream.Dial(t.Context(), jetstream.Config{URL: natstest.Start(t).URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	if _, err := c.Ensure(t.Context(), jetstream.EnsureConfig{Peer: buckettest.Identity(t, 1).PublicKey()}); err != nil {
		t.Fatal(err)
	}
	n := c.Names()
	return newBus(c, storeNames{manifests: []string{n.ManifestStore(), n.BlobStore()}, blobs: []string{n.BlobStore()}})
}

func TestManyManifestsComeFromAllStores(t *testing.T) {
	b := newTestBus(t)
	var hashes []bucket.Hash
	for i, store := range []int{0, 0, 1, 1} {
		octets := []byte{byte(i)}
		if i == 1 { // in both
			if err := b.c.PutObjects(t.Context(), b.stores.manifests[1], small(octets)); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.c.PutObjects(t.Context(), b.stores.manifests[store], small(octets)); err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, bucket.Sum(octets))
	}
	absent := append([]bucket.Hash{bucket.Sum([]byte("absent"))}, hashes...)
	enough := errors.New("enough")
	for name, tt := range map[string]struct {
		hashes []bucket.Hash
		stores []string
		limit  int // objects that are taken
		want   error
		failed bool
	}{
		"none":                             {},
		"all there":                        {hashes: hashes, limit: 4},
		"one absent":                       {hashes: absent, limit: 4},
		"another store first":              {hashes: hashes, stores: b.stores.manifests[1:], limit: 4},
		"a store that does not exist":      {hashes: hashes, stores: []string{"nowhere"}, limit: 4},
		"one that may be in that store":    {hashes: absent, stores: []string{"nowhere"}, limit: 4, failed: true},
		"a receiver who has enough of it":  {hashes: hashes, limit: 2, want: enough, failed: true},
		"a receiver who wants none at all": {hashes: hashes[3:], limit: 0, want: enough, failed: true},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[bucket.Hash]int{}
			err := b.GetMany(t.Context(), tt.hashes, tt.stores, func(h bucket.Hash, octets []byte) error {
				if len(got) == tt.limit {
					return enough
				}
				if got[h]++; bucket.Sum(octets) != h || got[h] > 1 {
					t.Errorf("got %s %d times, with octets of hash %s", h, got[h], bucket.Sum(octets))
				}
				return nil
			})
			if (err != nil) != tt.failed || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v (failed: %v)", err, tt.want, tt.failed)
			}
			if len(got) != tt.limit {
				t.Errorf("got %d objects, want %d", len(got), tt.limit)
			}
		})
	}
}

func small(octets []byte) []jetstream.Small {
	return []jetstream.Small{{Hash: bucket.Sum(octets), Bytes: octets}}
}

// asked counts what an author asks the bus for.
type asked struct {
	*bus
	heads, singles, batches int
}

func (a *asked) Heads(ctx context.Context, id bucket.ID) ([]bucket.Announcement, error) {
	a.heads++
	return a.bus.Heads(ctx, id)
}

func (a *asked) Manifest(ctx context.Context, link bucket.Link, stores []string) ([]byte, error) {
	a.singles++
	return a.bus.Manifest(ctx, link, stores)
}

func (a *asked) GetMany(ctx context.Context, hashes []bucket.Hash, stores []string, take func(bucket.Hash, []byte) error) error {
	a.batches++
	return a.bus.GetMany(ctx, hashes, stores, take)
}

func (a *asked) author(t *testing.T, n byte) *author.Author {
	t.Helper()
	state, err := author.OpenState(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	au, err := author.New(author.Config{
		Identity: buckettest.Identity(t, n), Bus: a, Manifests: a, Blobs: a, Writer: a, State: state,
	})
	if err != nil {
		t.Fatal(err)
	}
	return au
}

// What authors announce and put leads others to all of it with one request, over a real server.
func TestFirstContactOverAServerTakesOneRequest(t *testing.T) {
	a := &asked{bus: newTestBus(t)}
	writer := a.author(t, 1)
	v, err := writer.Create(t.Context(), "bucket")
	if err != nil {
		t.Fatal(err)
	}
	for v.Height < bucket.PackVersions+20 {
		if v, _, err = writer.Next(t.Context(), v, author.Change{}); err != nil {
			t.Fatal(err)
		}
	}
	if a.singles != 0 || a.batches != 1 || a.heads > 1 {
		t.Errorf("making %d versions took %d looks, %d manifests and %d batches, want at most 1, none, and 1 for a pack", v.Height,
			a.heads, a.singles, a.batches)
	}
	*a = asked{bus: a.bus}
	reader := a.author(t, 2)
	for range 2 {
		h, err := reader.Heads(t.Context(), v.Bucket)
		if err != nil || h.Head.Link != v.Link {
			t.Fatalf("got %v, %v, want version %d", h.Head, err, v.Height)
		}
	}
	if a.singles != 0 || a.batches != 1 || a.heads != 2 {
		t.Errorf("finding the head twice took %d looks, %d manifests and %d batches, want 2, none and 1", a.heads, a.singles, a.batches)
	}
}

func TestCountTellsFilesAndVersions(t *testing.T) {
	for name, tt := range map[string]struct {
		of   int
		tell func(*count)
		want string
	}{
		"files":           {0, func(c *count) { c.set(3, 2048) }, "work 3 files, 2.0 KiB"},
		"files of a few":  {12, func(c *count) { c.set(3, 2048) }, "work 3 of 12 files (25 %), 2.0 KiB"},
		"versions":        {0, func(c *count) { c.versions(3, 12) }, "work 3 of 12 versions (25 %)"},
		"any at all":      {0, func(c *count) { c.versions(1<<63, 1<<63+2) }, "work 9223372036854775808 of 9223372036854775810 versions (100 %)"},
		"not all at once": {0, func(c *count) { c.versions(3, 12); c.versions(4, 12) }, "work 3 of 12 versions (25 %)"},
	} {
		t.Run(name, func(t *testing.T) {
			var shown bytes.Buffer
			c := &count{w: &shown, what: "work", of: tt.of}
			tt.tell(c)
			if got := strings.Trim(shown.String(), "\r\x1b[K"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	var shown bytes.Buffer
	c := newCount(&shown, "work", 0)
	c.versions(1, 2)
	c.end()
	if shown.Len() > 0 {
		t.Errorf("got %q where there is no terminal", shown.String())
	}
}
