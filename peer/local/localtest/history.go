package localtest

import (
	"bytes"
	"slices"
	"testing"

	"headwater/bucket"
	"headwater/peer/local"
)

func named(name string) func(*bucket.Manifest) {
	return func(m *bucket.Manifest) { m.Name = name }
}

func find(t *testing.T, w *world) {
	a, b := w.chain(t), w.chain(t)
	w.keep(t, a, named("photos"))
	w.keep(t, b, named("photos"))
	w.keep(t, b, named("letters"))
	for _, c := range []struct {
		name string
		want []bucket.ID
	}{
		{"photos", []bucket.ID{a.ID}}, {"letters", []bucket.ID{b.ID}}, {"nothing", nil},
		{b.ID.String(), []bucket.ID{b.ID}}, {b.ID.String()[:13], []bucket.ID{b.ID}},
	} {
		got, err := w.Find(t.Context(), c.name)
		if wantErr(t, c.name, err, nil); !slices.Equal(got, c.want) {
			t.Fatalf("find %q: got %v, want %v", c.name, got, c.want)
		}
	}
}

func look(t *testing.T, w *world) {
	_, err := w.Look(t.Context(), bucket.NewID(), false)
	w.wantNowhere(t, "look at nothing", err, local.ErrNoBucket)
	_, err = w.Look(t.Context(), bucket.NewID(), true)
	w.wantNowhere(t, "look at nothing on the bus", err, local.ErrNoBucket)
	c := w.chain(t)
	for range 3 {
		v := w.keep(t, c, nil)
		for _, bus := range []bool{false, true} {
			got, err := w.Look(t.Context(), c.ID, bus)
			wantErr(t, "look", err, nil)
			if !bytes.Equal(got.Head, v.Encoded()) || got.Complete != v.Head() || len(got.Tips) != 0 {
				t.Fatalf("look: got %d bytes, complete %v, %d tips, want version %d", len(got.Head), got.Complete, len(got.Tips), v.Height)
			}
			if bus && (got.Offline != "") != w.Offline {
				t.Fatalf("look: got offline %q", got.Offline)
			}
		}
	}
}

func ancestor(t *testing.T, w *world) {
	c := w.chain(t)
	for i := range 5 {
		w.keep(t, c, func(m *bucket.Manifest) {
			if i == 2 {
				m.Public = &bucket.Secret{1}
			}
		})
	}
	of, all := c.Head().Head(), c.Versions
	q := local.AncestorQuery{Bucket: c.ID, Of: of}
	for _, v := range all {
		byHeight, byLink := q, q
		byHeight.Height, byLink.Link = &v.Height, v.Link
		anywhere := byLink
		anywhere.Of = bucket.Head{}
		for _, q := range []local.AncestorQuery{byHeight, byLink, anywhere} {
			got, err := w.Ancestor(t.Context(), q)
			if wantErr(t, "ancestor", err, nil); got != v.Head() {
				t.Fatalf("ancestor: got %v, want %v", got, v.Head())
			}
		}
	}
	published, beyond, elsewhere, unpublished := q, q, q, q
	published.Published = true
	got, err := w.Ancestor(t.Context(), published)
	if wantErr(t, "published", err, nil); got != all[2].Head() {
		t.Fatalf("published: got %v, want %v", got, all[2].Head())
	}
	beyond.Height = new(uint64(5))
	elsewhere.Link = bucket.ManifestLink(nil)
	unpublished.Of, unpublished.Published = all[1].Head(), true
	nowhere := elsewhere
	nowhere.Of = bucket.Head{}
	for _, q := range []local.AncestorQuery{beyond, elsewhere, unpublished, nowhere} {
		_, err := w.Ancestor(t.Context(), q)
		wantErr(t, "ancestor that is not there", err, local.ErrNoVersion)
	}
}

func carried(t *testing.T, w *world) {
	_, err := w.Carried(t.Context(), bucket.NewID(), nil)
	wantErr(t, "carried of no bucket", err, local.ErrNoBucket)
	c := w.chain(t)
	w.keep(t, c, nil)
	pins, err := w.Carried(t.Context(), c.ID, nil)
	if wantErr(t, "carried", err, nil); len(pins) != 0 {
		t.Fatalf("carried of a chain without forks: got %d pins", len(pins))
	}
}

func logPages(t *testing.T, w *world) {
	_, err := w.Log(t.Context(), bucket.NewID(), bucket.Head{}, 0)
	wantErr(t, "log of no bucket", err, local.ErrNoBucket)
	c := w.chain(t)
	for range 7 {
		w.keep(t, c, nil)
	}
	var before bucket.Head
	for next := 6; next >= 0; {
		page, err := w.Log(t.Context(), c.ID, before, 3)
		wantErr(t, "log", err, nil)
		if page.Head != c.Head().Head() || len(page.Versions) != min(3, next+1) || page.More != (next > 2) {
			t.Fatalf("log below %d: got head %v, %d versions, more %v", next, page.Head, len(page.Versions), page.More)
		}
		for _, got := range page.Versions {
			wantEntry(t, got, c.Versions[next], next == 6)
			before = bucket.Head{Link: got.Link, Height: got.Height}
			next--
		}
	}
}

// wantEntry checks how the log tells a version of the peer's own.
func wantEntry(t *testing.T, got local.LogEntry, v *bucket.Version, head bool) {
	t.Helper()
	if got.BucketID != v.Bucket || got.Link != v.Link || got.Height != v.Height || got.Name != v.Name || got.Head != head ||
		!got.Complete || got.Published || got.Author == nil || *got.Author != *v.Author || got.Added.IsZero() {
		t.Fatalf("log: got %+v, want version %d", got, v.Height)
	}
	if (got.Previous == nil) != v.Previous.IsZero() || got.Previous != nil && *got.Previous != v.Previous {
		t.Fatalf("log: got previous %v, want %v", got.Previous, v.Previous)
	}
}
