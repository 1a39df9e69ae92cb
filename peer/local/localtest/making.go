package localtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/peer/local"
)

func (w *world) wantHead(t *testing.T, v *bucket.Version) {
	t.Helper()
	got, err := w.Look(t.Context(), v.Bucket, false)
	if wantErr(t, "look", err, nil); !bytes.Equal(got.Head, v.Encoded()) {
		t.Fatalf("head: got %s, want %s", bucket.ManifestLink(got.Head), v.Link)
	}
}

func keep(t *testing.T, w *world) {
	c := w.chain(t)
	for range 3 {
		w.wantHead(t, w.keep(t, c, nil))
	}
	large := w.keep(t, c, func(m *bucket.Manifest) {
		for i := range 3_000 { // more than goes with a request
			seed := make([]byte, bucket.SeedSize)
			seed[1], seed[2] = byte(i), byte(i>>8)+1
			id, err := bucket.NewIdentity(seed)
			wantErr(t, "identity", err, nil)
			m.Shares = append(m.Shares, bucket.Share{Identity: id.PublicKey(), Role: bucket.Mirror})
		}
		slices.SortFunc(m.Shares, func(a, b bucket.Share) int { return a.Identity.Compare(b.Identity) })
	})
	w.wantHead(t, large)
}

func keepStale(t *testing.T, w *world) {
	c := w.chain(t)
	w.keep(t, c, nil)
	rival := c.Fork(0)
	v := w.keep(t, c, nil)
	err := w.Keep(t.Context(), w.draft(t, rival, nil).Encoded())
	wantErr(t, "keep a rival", err, local.ErrStale)
	w.wantHead(t, v)
}

func keepMissing(t *testing.T, w *world) {
	c := w.chain(t)
	w.keep(t, c, nil)
	missing := bucket.Sum([]byte("not here"))
	v := w.draft(t, c, nil, w.put(t, []byte("here")), missing)
	wantErr(t, "keep", w.Keep(t.Context(), v.Encoded()), nil)
	got, err := w.Look(t.Context(), c.ID, false)
	if wantErr(t, "look", err, nil); got.Complete != c.Versions[0].Head() {
		t.Fatalf("complete: got %v, want the genesis", got.Complete)
	}
}

func keepRefused(t *testing.T, w *world) {
	c := w.chain(t)
	genesis := w.keep(t, c, nil)
	stranger := *c
	stranger.Owner = buckettest.Identity(t, 200)
	foreign := w.draft(t, &stranger, nil)
	for _, r := range []struct {
		name     string
		manifest []byte
		class    bucket.Class
		link     bucket.Link
	}{
		{"no manifest", []byte("no manifest"), bucket.Malformed, bucket.ManifestLink([]byte("no manifest"))},
		{"a stranger's", foreign.Encoded(), bucket.AuthorNotInShares, foreign.Link},
	} {
		err := w.Keep(t.Context(), r.manifest)
		refusal, ok := errors.AsType[*bucket.Refusal](err)
		if !ok || refusal.Class != r.class || refusal.Link != r.link || refusal.Reason == "" {
			t.Fatalf("keep %s: got %v, want class %s", r.name, err, r.class)
		}
	}
	w.wantHead(t, genesis)
}

func await(t *testing.T, w *world) {
	v := w.keep(t, w.chain(t), nil)
	for _, quiet := range []bool{false, true} {
		var last local.UploadProgress
		report := func(p local.UploadProgress) {
			if p.Done < last.Done || p.Bytes < last.Bytes || p.Done > p.Objects {
				t.Errorf("progress: got %+v after %+v", p, last)
			}
			last = p
		}
		if quiet {
			report = nil
		}
		wantErr(t, "await", w.Await(t.Context(), v.Bucket, v.Link, report), w.offline())
	}
}

// offline is the error of what needs a broker.
func (w *world) offline() error {
	if w.Offline {
		return local.ErrOffline
	}
	return nil
}

func announce(t *testing.T, w *world) {
	v := w.keep(t, w.chain(t), nil)
	for _, tt := range []struct {
		what string
		id   bucket.ID
		link bucket.Link
		want error
	}{
		{"the head", v.Bucket, bucket.Link{}, w.offline()}, {"a version", v.Bucket, v.Link, w.offline()},
		{"no version", v.Bucket, bucket.ManifestLink(nil), local.ErrNoVersion}, {"no bucket", bucket.NewID(), bucket.Link{}, local.ErrNoBucket},
	} {
		_, err := w.Announce(t.Context(), tt.id, tt.link)
		wantErr(t, "announce "+tt.what, err, tt.want)
	}
}

func status(t *testing.T, w *world) {
	heads := map[bucket.ID]bucket.Head{}
	for range 5 {
		c := w.chain(t)
		heads[c.ID] = w.keep(t, c, nil).Head()
	}
	var after bucket.ID
	seen := 0
	for more := true; more; {
		s, err := w.Status(t.Context(), bucket.ID{}, after, 2)
		wantErr(t, "status", err, nil)
		if s.PeerID != w.Identity.PublicKey() || len(s.Buckets) > 2 {
			t.Fatalf("status: got peer %s and %d buckets", s.PeerID, len(s.Buckets))
		}
		for _, b := range s.Buckets {
			if b.BucketID.String() <= after.String() || b.Known == nil || *b.Known != heads[b.BucketID] {
				t.Fatalf("status behind %s: got %+v", after, b)
			}
			after = b.BucketID
			seen++
		}
		more = s.More
	}
	if seen != len(heads) {
		t.Fatalf("status: got %d buckets, want %d", seen, len(heads))
	}
	for id, head := range heads {
		s, err := w.Status(t.Context(), id, bucket.ID{}, 0)
		wantErr(t, "status", err, nil)
		if len(s.Buckets) != 1 || s.Buckets[0].BucketID != id || *s.Buckets[0].Known != head {
			t.Fatalf("status of %s: got %+v", id, s.Buckets)
		}
	}
}

func watch(t *testing.T, w *world) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := 0
	started := func() {
		if w.Event == nil {
			cancel()
		} else {
			go w.Event()
		}
	}
	err := w.Watch(ctx, started, func(event []byte) {
		if !json.Valid(event) {
			t.Errorf("event: got %q", event)
		}
		events++
		cancel()
	})
	wantErr(t, "watch", err, context.Canceled)
	if w.Event != nil && events == 0 {
		t.Fatal("watch: got no event")
	}
}
