// Package localtest tests holders of a peer's directory. [Run] is the suite that every [local.Holder] passes, in the same process
// and behind a socket: what it checks is what the comments of the contract promise. [Memory] is a small holder for tests.
package localtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"go.uber.org/goleak"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/peer/local"
)

// Fixture is what the suite has to know of a holder.
type Fixture struct {
	// Identity is that of the peer: versions are signed with it.
	Identity bucket.Identity
	// Offline says that no broker answers: what needs one is local.ErrOffline. Otherwise versions are announced.
	Offline bool
	// Event makes the peer emit at least one event. Nil: the suite does not look for events.
	Event func()
}

// Opener opens a holder of an empty directory for a test and has it closed by t.Cleanup.
type Opener func(t *testing.T) (local.Holder, Fixture)

// world is one holder under test.
type world struct {
	local.Holder
	Fixture
}

// Run runs the suite, each case on a holder of its own, and checks that no goroutine is left behind.
func Run(t *testing.T, open Opener) {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	cases := []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"PutAndGet", putAndGet}, {"Add", add}, {"NotHeld", notHeld}, {"WrongBytes", wrongBytes},
		{"HeldIsNotRead", heldIsNotRead}, {"FailingSource", failingSource}, {"CancelPut", cancelPut}, {"CancelledBefore", cancelledBefore},
		{"CloseEarly", closeEarly}, {"ReadToTheSize", readToTheSize}, {"Concurrent", concurrent}, {"Manifest", manifest},
		{"Find", find}, {"Look", look}, {"Ancestor", ancestor}, {"Carried", carried}, {"Log", logPages},
		{"Keep", keep}, {"KeepStale", keepStale}, {"KeepMissing", keepMissing}, {"KeepRefused", keepRefused},
		{"Await", await}, {"Announce", announce}, {"Status", status}, {"Watch", watch},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h, fx := open(t)
			c.test(t, &world{h, fx})
		})
	}
	if err := goleak.Find(leaks); err != nil {
		t.Error(err)
	}
}

// Bytes returns n bytes that look random and differ by seed.
func Bytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	key := [32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)}
	rand.NewChaCha8(key).Read(b)
	return b
}

// put puts a blob.
func (w *world) put(t testing.TB, b []byte) bucket.Hash {
	t.Helper()
	h := bucket.Sum(b)
	wantErr(t, "put", w.Put(t.Context(), h, int64(len(b)), bytes.NewReader(b)), nil)
	return h
}

// wantHeld checks that a blob is there with its bytes.
func (w *world) wantHeld(t testing.TB, b []byte) {
	t.Helper()
	h := bucket.Sum(b)
	has, err := w.Has(t.Context(), h)
	if wantErr(t, "has", err, nil); !has {
		t.Fatalf("blob of %d bytes: not held", len(b))
	}
	got, err := blobstore.ReadAll(t.Context(), w, h, int64(len(b)))
	if wantErr(t, "get", err, nil); !bytes.Equal(got, b) {
		t.Fatalf("blob of %d bytes: got other bytes", len(b))
	}
}

// wantAbsent checks that a blob is not held.
func (w *world) wantAbsent(t testing.TB, h bucket.Hash) {
	t.Helper()
	if has, err := w.Has(t.Context(), h); err != nil || has {
		t.Fatalf("has: got %v, %v, want it absent", has, err)
	}
}

// chain returns a chain of the peer's own, without versions.
func (w *world) chain(t testing.TB) *buckettest.Chain { return buckettest.New(t, w.Identity) }

// keep adds a version to a chain, with pins that are all held, and keeps it.
func (w *world) keep(t testing.TB, c *buckettest.Chain, edit func(*bucket.Manifest)) *bucket.Version {
	t.Helper()
	v := w.draft(t, c, edit, w.put(t, Bytes(uint64(len(c.Versions)), 300)))
	wantErr(t, "keep", w.Keep(t.Context(), v.Encoded()), nil)
	return v
}

// draft adds a version to a chain, and puts all that it needs but the pins themselves.
func (w *world) draft(t testing.TB, c *buckettest.Chain, edit func(*bucket.Manifest), pins ...bucket.Hash) *bucket.Version {
	t.Helper()
	withPins, list := buckettest.WithPins(pins)
	w.put(t, list)
	return c.Add(t, func(m *bucket.Manifest) {
		withPins(m)
		if edit != nil {
			edit(m)
		}
	})
}

// wantErr checks for a sentinel; nil wants success.
func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got error %v, want %v", what, err, want)
	}
}

// wantNowhere checks for want; without a broker nobody can tell, so that local.ErrOffline is right too.
func (w *world) wantNowhere(t testing.TB, what string, err, want error) {
	t.Helper()
	if w.Offline && errors.Is(err, local.ErrOffline) {
		return
	}
	wantErr(t, what, err, want)
}

// endless is a reader of zeros that calls a function before the first byte behind a limit.
type endless struct {
	left int
	then func()
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left -= len(p); e.left < 0 && e.then != nil {
		e.then()
		e.then = nil
	}
	clear(p)
	return len(p), nil
}

// unread fails the test if it is read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("a blob that is held was read again")
	return 0, io.EOF
}

// cancelled returns a context that has ended.
func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
