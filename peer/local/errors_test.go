package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/peer/local"
	"headwater/peer/local/localtest"
)

// failing is a holder whose calls fail.
type failing struct {
	localtest.Memory
	err error
}

func (f *failing) Has(context.Context, bucket.Hash) (bool, error)                  { return false, f.err }
func (f *failing) Put(context.Context, bucket.Hash, int64, io.Reader) error        { return f.err }
func (f *failing) Watch(context.Context, func(), func([]byte)) error               { return f.err }
func (f *failing) Manifest(context.Context, bucket.Link) ([]byte, error)           { return nil, f.err }
func (f *failing) Look(context.Context, bucket.ID, bool) (v local.View, err error) { return v, f.err }

func TestErrorsStayThemselvesAcrossTheSocket(t *testing.T) {
	h := &failing{}
	c := dial(t, serve(t, h, nil))
	link := bucket.ManifestLink([]byte("v"))
	refusal := &bucket.Refusal{Class: bucket.HeightGap, Link: link, Reason: "2 follows on 0"}
	wrapped := []error{errors.New("no sentinel"), refusal, fmt.Errorf("version: %w", refusal), errors.Join(local.ErrStale, io.ErrUnexpectedEOF)}
	for _, s := range local.Sentinels() {
		wrapped = append(wrapped, s, fmt.Errorf("what was done: %w: and why", s))
	}
	for _, h.err = range wrapped {
		_, hasErr := c.Has(t.Context(), bucket.Hash{})
		_, manifestErr := c.Manifest(t.Context(), link)
		_, lookErr := c.Look(t.Context(), bucket.ID{}, false)
		small := c.Put(t.Context(), bucket.Hash{}, 1, strings.NewReader("a"))
		large := c.Put(t.Context(), bucket.Hash{}, 1<<20, bytes.NewReader(make([]byte, 1<<20)))
		watch := c.Watch(t.Context(), nil, func([]byte) {})
		for _, got := range []error{hasErr, manifestErr, lookErr, small, large, watch} {
			wantSame(t, got, h.err)
		}
	}
}

// wantSame checks that an error has the text, the sentinels and the refusal of another one.
func wantSame(t *testing.T, got, want error) {
	t.Helper()
	if got == nil || got.Error() != want.Error() {
		t.Fatalf("got error %v, want %v", got, want)
	}
	for _, s := range local.Sentinels() {
		if errors.Is(got, s) != errors.Is(want, s) {
			t.Errorf("%v is %v: got %v, want %v", got, s, errors.Is(got, s), errors.Is(want, s))
		}
	}
	g, gotRefusal := errors.AsType[*bucket.Refusal](got)
	w, wantRefusal := errors.AsType[*bucket.Refusal](want)
	if gotRefusal != wantRefusal || gotRefusal && *g != *w {
		t.Errorf("refusal: got %v, want %v", g, w)
	}
}

func TestLongErrorsAreCut(t *testing.T) {
	got, err := local.AcrossTheWire(fmt.Errorf("%s: %w", strings.Repeat("é", 1<<20), local.ErrStale))
	if err != nil || len(got.Error()) > 64<<10 || !errors.Is(got, local.ErrStale) {
		t.Fatalf("got %d bytes, %v", len(got.Error()), err)
	}
}

func TestHungErrorSaysWhoAndWhatToDo(t *testing.T) {
	err := fmt.Errorf("dial: %w", &local.HungError{Dir: "/d", Timeout: time.Second, PID: 42, Since: time.Now()})
	if !errors.Is(err, local.ErrHung) || !strings.Contains(err.Error(), "process 42") || !strings.Contains(err.Error(), "end it") {
		t.Fatalf("got %v", err)
	}
}

// torn is a holder whose blobs cannot be read to their end.
type torn struct {
	localtest.Memory
	size int64
	err  error
}

func (h *torn) Get(_ context.Context, hash bucket.Hash) (*blobstore.Blob, error) {
	r := io.MultiReader(io.LimitReader(zeros{}, h.size/2), iotest.ErrReader(h.err))
	return blobstore.NewBlob(hash, h.size, io.NopCloser(r)), nil
}

// The reason comes, also where most of the blob has come before it.
func TestABlobThatEndsEarlySaysWhy(t *testing.T) {
	h := &torn{err: fmt.Errorf("der Sektor ist für immer zerstört\n: %w", blobstore.ErrCorrupt)}
	c := dial(t, serve(t, h, nil))
	for _, h.size = range []int64{1000, 10 << 20} {
		_, err := blobstore.ReadAll(t.Context(), c, bucket.Hash{}, h.size)
		if !errors.Is(err, blobstore.ErrCorrupt) || !strings.Contains(err.Error(), "für immer zerstört\n") {
			t.Errorf("%d bytes: got %v, want %v", h.size, err, h.err)
		}
	}
}
