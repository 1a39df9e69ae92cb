package jetstream_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/iotest"

	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/test/natstest"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

const (
	chunk     = 512 << 10
	bigChunks = 60 // of the object that is put here; more than may be on their way at once
)

// asWriter makes a client put objects under a peer's name.
func asWriter(p bucket.PublicKey) func(*jetstream.Config) {
	return func(c *jetstream.Config) { c.Writer = p }
}

// putBig puts b, and calls at when n bytes of it have been read.
func putBig(t *testing.T, c *jetstream.Client, b []byte, n int, at func()) error {
	t.Helper()
	r := io.MultiReader(bytes.NewReader(b[:n]), call(at), bytes.NewReader(b[n:]))
	return c.PutObject(within(t), blobs, bucket.Sum(b), int64(len(b)), r)
}

// call is a reader of nothing that calls a function when it is read.
type call func()

func (f call) Read([]byte) (int, error) {
	f()
	return 0, io.EOF
}

// stored counts what stands under each token of an object's chunks.
func stored(t *testing.T, s *natstest.Server, h bucket.Hash) map[string]uint64 {
	t.Helper()
	counts := map[string]uint64{}
	for subject, n := range storeInfo(t, s, blobs, natsjs.WithSubjectFilter(chunkSubject("*"))).Subjects {
		if bytes.HasPrefix([]byte(subject), []byte(chunkSubject(h.String()))) {
			counts[subject] = n
		}
	}
	return counts
}

// halfPut puts half of b over a connection that breaks, and returns when the server has taken what arrived.
func halfPut(t *testing.T, s *natstest.Server, b []byte) (arrived uint64) {
	t.Helper()
	proxy := natstest.StartProxy(t, s.URL(), 0)
	err := putBig(t, dial(t, proxy.URL(), asWriter(peer(1))), b, len(b)*3/4, proxy.Stop)
	wantErr(t, "put", err, jetstream.ErrUnreachable)
	eventually(t, "what arrived is stored", func() bool {
		before := arrived
		arrived = lastSeq(t, s, blobs)
		return arrived > 0 && arrived == before
	})
	if arrived >= bigChunks {
		t.Fatalf("%d chunks of %d arrived: the test shows nothing", arrived, bigChunks)
	}
	return arrived
}

func TestAnInterruptedPutGoesOnWhereItStopped(t *testing.T) {
	s := natstest.Start(t)
	ensured(t, s.URL(), peer(1))
	b := noise(1, bigChunks*chunk-1000)
	arrived := halfPut(t, s, b)
	proxy := natstest.StartProxy(t, s.URL(), 0)
	c := dial(t, proxy.URL(), asWriter(peer(1)))
	put(t, c, b)
	if n := lastSeq(t, s, blobs); n != bigChunks+1 {
		t.Errorf("%d messages were stored, want %d chunks and a description", n, bigChunks)
	}
	up, _ := proxy.Bytes()
	if left := int64(bigChunks-arrived) * chunk; up > left+left/10+64<<10 {
		t.Errorf("%d bytes were sent for the %d that were absent", up, left)
	}
	wantObject(t, c, b)
	wantPlain(t, s, b)
}

// writersSubject is where a writer's chunks of an object stand.
func writersSubject(h bucket.Hash, writer bucket.PublicKey) string {
	return chunkSubject(h.String() + "-" + base64.RawURLEncoding.EncodeToString(writer[:]))
}

// wantPlain demands that any NATS client reads the object.
func wantPlain(t *testing.T, s *natstest.Server, b []byte) {
	t.Helper()
	_, js := plain(t, s.URL())
	theirs, err := js.ObjectStore(within(t), blobs)
	noErr(t, "object store", err)
	if got, err := theirs.GetBytes(within(t), bucket.Sum(b).String()); err != nil || !bytes.Equal(got, b) {
		t.Errorf("read by the library: %d bytes, %v", len(got), err)
	}
}

// A process that is asked to stop ends its put by the context, and the next one goes on.
func TestACancelledPutGoesOnWhereItStopped(t *testing.T) {
	s := natstest.Start(t)
	ensured(t, s.URL(), peer(1))
	b := noise(2, bigChunks*chunk)
	for range 3 {
		ctx, cancel := context.WithCancel(within(t))
		r := io.MultiReader(bytes.NewReader(b[:len(b)/2]), call(cancel), bytes.NewReader(b[len(b)/2:]))
		err := dial(t, s.URL(), asWriter(peer(1))).PutObject(ctx, blobs, bucket.Sum(b), int64(len(b)), r)
		wantErr(t, "put", err, context.Canceled)
	}
	c := dial(t, s.URL(), asWriter(peer(1)))
	put(t, c, b)
	if n := lastSeq(t, s, blobs); n != bigChunks+1 {
		t.Errorf("%d messages were stored, want %d chunks and a description", n, bigChunks)
	}
	wantObject(t, c, b)
}

// What was sent from a damaged file does not become part of the object.
func TestTheBeginningOfOtherBytesIsNotGoneOnWith(t *testing.T) {
	s := natstest.Start(t)
	ensured(t, s.URL(), peer(1))
	b := noise(3, bigChunks*chunk)
	damaged := bytes.Clone(b)
	damaged[chunk+5] ^= 1
	ctx, cancel := context.WithCancel(within(t))
	r := io.MultiReader(bytes.NewReader(damaged[:len(b)/2]), call(cancel), bytes.NewReader(damaged[len(b)/2:]))
	err := dial(t, s.URL(), asWriter(peer(1))).PutObject(ctx, blobs, bucket.Sum(b), int64(len(b)), r)
	wantErr(t, "put the damaged one", err, context.Canceled)

	c := dial(t, s.URL(), asWriter(peer(1)))
	if err := c.PutObject(within(t), blobs, bucket.Sum(b), int64(len(b)), bytes.NewReader(b)); err == nil {
		t.Error("put: got no error, want one that says that putting again begins anew")
	}
	put(t, c, b)
	wantObject(t, c, b)
}

func TestWhatStandsUnderTheWritersTokenIsNoObstacle(t *testing.T) {
	b := noise(4, 10*chunk)
	h := bucket.Sum(b)
	subject := writersSubject(h, peer(1))
	for name, header := range map[string]nats.Header{
		"no mark": nil, "nonsense": {"Headwater-Chunk": {"x"}}, "a gap": {"Headwater-Chunk": {"7-00"}},
		"the number of another": {"Headwater-Chunk": {"1-00"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := natstest.Start(t)
			ensured(t, s.URL(), peer(1))
			c := dial(t, s.URL(), asWriter(peer(1)))
			rawPut(t, s, subject, header, []byte("garbage"))
			put(t, c, b)
			wantObject(t, c, b)
			wantPlain(t, s, b)
			if n := stored(t, s, h); len(n) != 1 || n[subject] != 10 {
				t.Errorf("chunks stand under %v", n)
			}
		})
	}
}

// A chunk that arrives late, from a connection that has died, may not get between the others.
func TestAChunkThatArrivesLateIsNoticed(t *testing.T) {
	s := natstest.Start(t)
	ensured(t, s.URL(), peer(1))
	b := noise(5, bigChunks*chunk)
	halfPut(t, s, b)
	c := dial(t, s.URL(), asWriter(peer(1)))
	subject := writersSubject(bucket.Sum(b), peer(1))
	err := putBig(t, c, b, len(b)*7/8, func() { rawPut(t, s, subject, nil, b[:chunk]) })
	if err == nil || errors.Is(err, jetstream.ErrUnreachable) {
		t.Errorf("put: got error %v, want one about the late chunk", err)
	}
	_, err = get(t, c, bucket.Sum(b), true)
	wantErr(t, "get", err, consumer.ErrNotFound)
	put(t, c, b)
	wantObject(t, c, b)
}

func TestWritersWithNamesLeaveOneObject(t *testing.T) {
	s := natstest.Start(t)
	ensured(t, s.URL(), peer(1))
	b := noise(6, 3<<20)
	one := dial(t, s.URL(), asWriter(peer(1)))
	var wg sync.WaitGroup
	for _, c := range []*jetstream.Client{one, one, one, dial(t, s.URL(), asWriter(peer(2))), dial(t, s.URL())} {
		wg.Go(func() {
			if err := c.PutObject(t.Context(), blobs, bucket.Sum(b), int64(len(b)), bytes.NewReader(b)); err != nil {
				t.Errorf("put: %v", err)
			}
		})
	}
	wg.Wait()
	wantObject(t, one, b)
	if n := stored(t, s, bucket.Sum(b)); len(n) != 1 {
		t.Errorf("chunks stand under %v, want one token", n)
	}
}

// What can never become the object is removed, though its writer could go on.
func TestWrongBytesOfAWriterWithANameAreRemoved(t *testing.T) {
	s := natstest.Start(t)
	ensured(t, s.URL(), peer(1))
	c := dial(t, s.URL(), asWriter(peer(1)))
	b := noise(7, 1<<20)
	wrong := bytes.Clone(b)
	wrong[len(b)-1] ^= 1
	err := c.PutObject(within(t), blobs, bucket.Sum(b), int64(len(b)), bytes.NewReader(wrong))
	if bucket.ClassOf(err) != bucket.HashMismatch {
		t.Errorf("got error %v, want a hash mismatch", err)
	}
	failed := errors.New("disk on fire")
	err = c.PutObject(within(t), blobs, bucket.Sum(b), int64(len(b)), io.MultiReader(bytes.NewReader(b[:len(b)/2]), iotest.ErrReader(failed)))
	wantErr(t, "put", err, failed)
	if n := storeInfo(t, s, blobs).Msgs; n != 0 {
		t.Errorf("%d messages are left, want none", n)
	}
}
