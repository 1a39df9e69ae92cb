package jetstream_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/test/natstest"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

const blobs = "headwater-blobs"

// sizes around every border: empty, one chunk, two, one window of chunks, several.
var sizes = []int{0, 1, 1000, 128 << 10, 512<<10 - 1, 512 << 10, 512<<10 + 1, 2 << 20, 5<<20 + 17}

func put(tb testing.TB, c *jetstream.Client, b []byte) bucket.Hash {
	tb.Helper()
	h := bucket.Sum(b)
	noErr(tb, "put", c.PutObject(within(tb), blobs, h, int64(len(b)), bytes.NewReader(b)))
	return h
}

func get(tb testing.TB, c *jetstream.Client, h bucket.Hash, fresh bool) ([]byte, error) {
	tb.Helper()
	r, size, err := c.Objects().Get(within(tb), blobs, h, fresh)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err == nil && int64(len(b)) != size {
		tb.Errorf("size: got %d, read %d", size, len(b))
	}
	return b, err
}

// wantObject reads the object in both ways.
func wantObject(tb testing.TB, c *jetstream.Client, b []byte) {
	tb.Helper()
	for _, fresh := range []bool{false, true} {
		got, err := get(tb, c, bucket.Sum(b), fresh)
		if err != nil || !bytes.Equal(got, b) {
			tb.Fatalf("get %d bytes (fresh %v): got %d, equal %v, %v", len(b), fresh, len(got), bytes.Equal(got, b), err)
		}
	}
}

func TestObjectsAreReadByEveryClientAndWrittenByAny(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	_, js := plain(t, s.URL())
	theirs, err := js.ObjectStore(within(t), blobs)
	noErr(t, "object store", err)
	for i, size := range sizes {
		ours := noise(byte(i), size)
		h := put(t, c, ours)
		wantObject(t, c, ours)
		got, err := theirs.GetBytes(within(t), h.String())
		if err != nil || !bytes.Equal(got, ours) {
			t.Errorf("%d bytes read by the library: got %d, %v", size, len(got), err)
		}
		b := noise(byte(100+i), size)
		_, err = theirs.Put(within(t), natsjs.ObjectMeta{Name: bucket.Sum(b).String()}, bytes.NewReader(b))
		noErr(t, "library's put", err)
		wantObject(t, c, b)
	}
	// Readers that give little at a time make small and uneven chunks.
	b := noise(77, 300_000)
	_, err = theirs.Put(within(t), natsjs.ObjectMeta{Name: bucket.Sum(b).String()}, iotest.HalfReader(bytes.NewReader(b)))
	noErr(t, "library's put", err)
	wantObject(t, c, b)
}

// TestWhatIsThereAllTheSameIsPutOnce: also if its writer believes that it is not there, and whoever put it.
func TestWhatIsThereAllTheSameIsPutOnce(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	_, js := plain(t, s.URL())
	theirs, err := js.ObjectStore(within(t), blobs)
	noErr(t, "object store", err)
	for _, size := range []int{1000, 1 << 20} {
		ours, their := noise(1, size), noise(2, size)
		put(t, c, ours)
		_, err = theirs.PutBytes(within(t), bucket.Sum(their).String(), their)
		noErr(t, "library's put", err)
		before := storeInfo(t, s, blobs).Msgs
		for _, b := range [][]byte{ours, their} {
			noErr(t, "put", c.PutAbsent(within(t), blobs, bucket.Sum(b), int64(size), bytes.NewReader(b)))
			wantObject(t, c, b)
		}
		if after := storeInfo(t, s, blobs).Msgs; size > 512<<10 && after != before {
			t.Errorf("%d bytes: %d messages are left behind", size, after-before)
		}
	}
}

func TestPuttingTwiceSendsNothing(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	for _, size := range []int{0, 1000, 1 << 20} {
		b := noise(1, size)
		h := put(t, c, b)
		before := lastSeq(t, s, blobs)
		put(t, c, b)
		noErr(t, "put small ones", c.PutObjects(within(t), blobs, []blobstore.Small{{Hash: h, Data: b}}))
		if after := lastSeq(t, s, blobs); after != before {
			t.Errorf("%d bytes: putting again stored %d messages", size, after-before)
		}
	}
	// A large object that is there is not even read.
	b := noise(1, 1<<20)
	noErr(t, "put", c.PutObject(within(t), blobs, bucket.Sum(b), int64(len(b)), iotest.ErrReader(errors.New("read"))))
	// Nor is one that the plain client has put.
	_, js := plain(t, s.URL())
	theirs, err := js.ObjectStore(within(t), blobs)
	noErr(t, "object store", err)
	b = noise(2, 5000)
	_, err = theirs.PutBytes(within(t), bucket.Sum(b).String(), b)
	noErr(t, "library's put", err)
	before := lastSeq(t, s, blobs)
	put(t, c, b)
	if after := lastSeq(t, s, blobs); after != before {
		t.Errorf("putting theirs again stored %d messages", after-before)
	}
}

func storeInfo(tb testing.TB, s *natstest.Server, store string, opts ...natsjs.StreamInfoOpt) natsjs.StreamState {
	tb.Helper()
	_, js := plain(tb, s.URL())
	st, err := js.Stream(within(tb), "OBJ_"+store)
	noErr(tb, "stream", err)
	info, err := st.Info(within(tb), opts...)
	noErr(tb, "info", err)
	return info.State
}

func lastSeq(tb testing.TB, s *natstest.Server, store string) uint64 {
	tb.Helper()
	return storeInfo(tb, s, store).LastSeq
}

func TestManyWritersOfOneObjectLeaveOne(t *testing.T) {
	s := natstest.Start(t)
	ensured(t, s.URL(), peer(1))
	clients := make([]*jetstream.Client, 6)
	for i := range clients {
		clients[i] = dial(t, s.URL())
	}
	for _, size := range []int{0, 1000, 3 << 20} {
		b := noise(3, size)
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() {
				if err := c.PutObject(t.Context(), blobs, bucket.Sum(b), int64(size), bytes.NewReader(b)); err != nil {
					t.Errorf("put: %v", err)
				}
			})
		}
		wg.Wait()
		wantObject(t, clients[0], b)
		subjects := storeInfo(t, s, blobs, natsjs.WithSubjectFilter(chunkSubject("*"))).Subjects
		mine := 0
		for subject := range subjects {
			if strings.HasPrefix(subject, chunkSubject(bucket.Sum(b).String())) {
				mine++
			}
		}
		if size > 0 && mine != 1 {
			t.Errorf("%d bytes: chunks stand under %d tokens, want 1: %v", size, mine, subjects)
		}
	}
}

func TestWhatDoesNotHashToItsNameNeverBecomesVisible(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	for _, size := range []int{10, 1 << 20} {
		b := noise(4, size)
		wrong := bytes.Clone(b)
		wrong[size-1] ^= 1
		for name, r := range map[string]io.Reader{
			"other bytes": bytes.NewReader(wrong), "fewer": bytes.NewReader(b[:size-1]), "more": bytes.NewReader(append(bytes.Clone(b), 0)),
		} {
			err := c.PutObject(within(t), blobs, bucket.Sum(b), int64(size), r)
			if bucket.ClassOf(err) != bucket.HashMismatch {
				t.Errorf("%d bytes, %s: got %v, want a hash mismatch", size, name, err)
			}
		}
		failed := errors.New("disk on fire")
		err := c.PutObject(within(t), blobs, bucket.Sum(b), int64(size), io.MultiReader(bytes.NewReader(b[:size/2]), iotest.ErrReader(failed)))
		wantErr(t, "put", err, failed)
		_, err = get(t, c, bucket.Sum(b), true)
		wantErr(t, "get", err, consumer.ErrNotFound)
	}
	if n := storeInfo(t, s, blobs).Msgs; n != 0 {
		t.Errorf("%d messages are left, want none", n)
	}
	// And what failed can be put.
	b := noise(4, 1<<20)
	put(t, c, b)
	wantObject(t, c, b)
}

// rawPut writes messages of an object store as a broken or hostile writer would.
func rawPut(tb testing.TB, s *natstest.Server, subject string, header nats.Header, body []byte) {
	tb.Helper()
	nc, _ := plain(tb, s.URL())
	m := &nats.Msg{Subject: subject, Header: header, Data: body}
	_, err := nc.RequestMsgWithContext(within(tb), m)
	noErr(tb, "publish", err)
}

func chunkSubject(token string) string { return "$O." + blobs + ".C." + token }
func metaSubject(h bucket.Hash) string {
	return "$O." + blobs + ".M." + base64.URLEncoding.EncodeToString([]byte(h.String()))
}

// What is written fits in the messages that the server takes.
func TestAServerOfSmallMessagesHoldsLargeObjects(t *testing.T) {
	s := natstest.StartWith(t, natstest.Config{MaxPayload: 64 << 10})
	c := ensured(t, s.URL(), peer(1))
	small, _ := smallObjects(1, 10, 64<<10)
	noErr(t, "put", c.PutObjects(within(t), blobs, small))
	for _, o := range small {
		wantObject(t, c, o.Data)
	}
	b := noise(1, 1<<20)
	put(t, c, b)
	wantObject(t, c, b)
}

func TestChunksOfADeadWriterAreNoObstacle(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	for name, orphan := range map[string]func(b []byte) []byte{
		"the right chunk": func(b []byte) []byte { return b[:min(len(b), 512<<10)] },
		"garbage":         func([]byte) []byte { return []byte("garbage") },
	} {
		for _, size := range []int{2000, 1 << 20} {
			b := noise(byte(len(name)), size)
			h := bucket.Sum(b)
			rawPut(t, s, chunkSubject(h.String()), nil, orphan(b))
			put(t, c, b)
			wantObject(t, c, b)
			_, js := plain(t, s.URL())
			theirs, err := js.ObjectStore(within(t), blobs)
			noErr(t, "object store", err)
			if got, err := theirs.GetBytes(within(t), h.String()); err != nil || !bytes.Equal(got, b) {
				t.Errorf("%s, %d bytes: read by the library: %d bytes, %v", name, size, len(got), err)
			}
		}
	}
}

func TestDeletedObjectsAreGoneAndCanBePutAgain(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	_, js := plain(t, s.URL())
	theirs, err := js.ObjectStore(within(t), blobs)
	noErr(t, "object store", err)
	for _, size := range []int{1000, 1 << 20} {
		b := noise(5, size)
		h := put(t, c, b)
		noErr(t, "delete", theirs.Delete(within(t), h.String()))
		for _, fresh := range []bool{false, true} {
			_, err = get(t, c, h, fresh)
			wantErr(t, "get", err, consumer.ErrNotFound)
		}
		put(t, c, b)
		wantObject(t, c, b)
	}
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	h := bucket.Sum([]byte("absent"))
	_, js := plain(t, s.URL())
	theirs, err := js.ObjectStore(within(t), blobs)
	noErr(t, "object store", err)
	info, err := theirs.PutString(within(t), "target", "x")
	noErr(t, "put", err)
	linked := bucket.Sum([]byte("linked"))
	_, err = theirs.AddLink(within(t), linked.String(), info)
	noErr(t, "link", err)
	for _, fresh := range []bool{false, true} {
		for name, at := range map[string]struct {
			store string
			h     bucket.Hash
		}{
			"absent": {blobs, h}, "no such store": {"nowhere", h}, "no store name": {"a.b>", h}, "link": {blobs, linked},
		} {
			_, _, err := c.Objects().Get(within(t), at.store, at.h, fresh)
			if !errors.Is(err, consumer.ErrNotFound) {
				t.Errorf("%s (fresh %v): got %v, want not found", name, fresh, err)
			}
		}
		// Nobody answers for the domain: that is not the same.
		_, _, err := c.Objects().Get(within(t), "elsewhere/"+blobs, h, fresh)
		if err == nil || errors.Is(err, consumer.ErrNotFound) {
			t.Errorf("unknown domain (fresh %v): got %v, want another error", fresh, err)
		}
	}
	err = c.PutObjects(within(t), "nowhere", []blobstore.Small{{Hash: h, Data: []byte("absent")}})
	wantErr(t, "put into no store", err, jetstream.ErrNotFound)
	err = c.PutObject(within(t), "nowhere", bucket.Sum(noise(1, 1<<20)), 1<<20, bytes.NewReader(noise(1, 1<<20)))
	wantErr(t, "put into no store", err, jetstream.ErrNotFound)
}

func TestLyingDescriptionsAreNotBelieved(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	b := noise(6, 3000)
	for name, meta := range map[string]string{
		"no JSON":            `{`,
		"another name":       `{"name":"x","nuid":"t","size":3000,"chunks":1}`,
		"huge":               `{"name":"%s","nuid":"t","size":18446744073709551615,"chunks":1}`,
		"too many chunks":    `{"name":"%s","nuid":"t","size":3,"chunks":4}`,
		"no chunks":          `{"name":"%s","nuid":"t","size":3,"chunks":0}`,
		"negative":           `{"name":"%s","nuid":"t","size":-3,"chunks":1}`,
		"wildcard token":     `{"name":"%s","nuid":">","size":3000,"chunks":1}`,
		"wrong size":         `{"name":"%s","nuid":"t","size":2999,"chunks":1}`,
		"no such chunk":      `{"name":"%s","nuid":"u","size":3000,"chunks":1}`,
		"chunks of a string": `{"name":"%s","nuid":"t","size":3000,"chunks":"1"}`,
	} {
		h := bucket.Sum([]byte(name))
		rawPut(t, s, chunkSubject("t"), nats.Header{"Nats-Rollup": {"sub"}}, b)
		rawPut(t, s, metaSubject(h), nil, fmt.Appendf(nil, meta, h))
		_, err := get(t, c, h, false)
		if !errors.Is(err, consumer.ErrNotFound) {
			t.Errorf("%s: got %v, want not found", name, err)
		}
	}
	// In several chunks a lie shows while reading, without a claimed size being allocated.
	for name, meta := range map[string]string{
		"short": `{"name":"%s","nuid":"m","size":9007199254740991,"chunks":2}`,
		"long":  `{"name":"%s","nuid":"m","size":4000,"chunks":2}`,
		"few":   `{"name":"%s","nuid":"m","size":6001,"chunks":3}`,
	} {
		h := bucket.Sum([]byte(name))
		rawPut(t, s, chunkSubject("m"), nats.Header{"Nats-Rollup": {"sub"}}, b)
		rawPut(t, s, chunkSubject("m"), nil, b)
		rawPut(t, s, metaSubject(h), nil, fmt.Appendf(nil, meta, h))
		if _, err := get(t, c, h, false); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: got %v, want an error", name, err)
		}
	}
}

// What stands under the hash is anybody's to write; the description leads past it.
func TestAForgedChunkDoesNotHideTheObject(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	_, js := plain(t, s.URL())
	theirs, err := js.ObjectStore(within(t), blobs)
	noErr(t, "object store", err)
	for n := range byte(10) { // before and after the reader has learnt whose store it is
		b := noise(10+n, 3000)
		h := bucket.Sum(b)
		rawPut(t, s, chunkSubject(h.String()), nil, []byte("forged"))
		_, err = theirs.PutBytes(within(t), h.String(), b)
		noErr(t, "library's put", err)
		wantObject(t, c, b)
	}
}

func TestAReaderEndsWithItsContext(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	b := noise(7, 12<<20)
	h := put(t, c, b)
	ctx, cancel := context.WithCancel(t.Context())
	r, _, err := c.Objects().Get(ctx, blobs, h, false)
	noErr(t, "get", err)
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	_, err = io.Copy(io.Discard, r)
	wantErr(t, "read on", err, context.Canceled)
	noErr(t, "close", r.Close())
	if _, err := r.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("read after close: got %v, want an error", err)
	}
}

func TestStoresThatAllowNoDirectGetsAreReadThroughTheirLeader(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	_, js := plain(t, s.URL())
	small, large := noise(8, 2000), noise(9, 1<<20)
	put(t, c, small)
	put(t, c, large)
	st, err := js.Stream(within(t), "OBJ_"+blobs)
	noErr(t, "stream", err)
	cfg := st.CachedInfo().Config
	cfg.AllowDirect = false
	_, err = js.UpdateStream(within(t), cfg)
	noErr(t, "update", err)
	wantObject(t, c, small)
	wantObject(t, c, large)
}

func TestStoresInOtherDomainsAreRead(t *testing.T) {
	hub := natstest.StartWith(t, natstest.Config{Domain: "hub", AcceptLeafs: true})
	leaf := natstest.StartWith(t, natstest.Config{Domain: "leaf", LeafOf: hub})
	h := ensured(t, hub.URL(), peer(1))
	small, large := noise(8, 2000), noise(9, 1<<20)
	put(t, h, small)
	put(t, h, large)
	c := dial(t, leaf.URL())
	for _, b := range [][]byte{small, large} {
		for _, fresh := range []bool{false, true} {
			var r io.ReadCloser
			eventually(t, "the leaf node has joined", func() (joined bool) {
				var err error
				r, _, err = c.Objects().Get(t.Context(), "hub/"+blobs, bucket.Sum(b), fresh)
				return err == nil
			})
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, b) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			noErr(t, "close", r.Close())
		}
	}
}

func TestFreshReadsSeeWhatWasAcknowledged(t *testing.T) {
	cl := natstest.StartClusterWith(t, 3, natstest.Config{SyncAlways: true})
	c := dial(t, cl.URL())
	_, err := c.Ensure(within(t), jetstream.EnsureConfig{Peer: peer(1), Replicas: 3})
	noErr(t, "ensure", err)
	missed := 0
	for i := range 100 {
		b := noise(byte(i), 500)
		h := put(t, c, b)
		if _, err := get(t, c, h, false); errors.Is(err, consumer.ErrNotFound) {
			missed++ // a replica that lags: that is why there is another way
		} else if err != nil {
			t.Fatalf("get: %v", err)
		}
		if got, err := get(t, c, h, true); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("fresh get of object %d: got %d bytes, %v", i, len(got), err)
		}
	}
	t.Logf("%d of 100 plain reads came too early", missed)
	large := noise(200, 3<<20)
	put(t, c, large)
	if got, err := get(t, c, bucket.Sum(large), true); err != nil || !bytes.Equal(got, large) {
		t.Fatalf("fresh get of a large object: got %d bytes, %v", len(got), err)
	}
}

func TestManySmallObjectsAtOnce(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	objects := make([]blobstore.Small, 500)
	for i := range objects {
		b := fmt.Appendf(nil, "object %d", i)
		objects[i] = blobstore.Small{Hash: bucket.Sum(b), Data: b}
	}
	objects[7].Data = noise(1, 200_000) // not so small
	objects[7].Hash = bucket.Sum(objects[7].Data)
	noErr(t, "put", c.PutObjects(within(t), blobs, objects))
	for _, o := range objects {
		if got, err := get(t, c, o.Hash, false); err != nil || !bytes.Equal(got, o.Data) {
			t.Fatalf("get: %v", err)
		}
	}
	objects[3].Data = []byte("something else")
	if err := c.PutObjects(within(t), blobs, objects); bucket.ClassOf(err) != bucket.HashMismatch {
		t.Errorf("put of wrong bytes: got %v, want a hash mismatch", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, "put with an ended context", c.PutObjects(ctx, blobs, objects[:2]), context.Canceled)
}

// A put that the server cannot take leaves nothing that anybody sees.
func TestAFullStoreLeavesNoBrokenObject(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	_, js := plain(t, s.URL())
	_, err := js.CreateObjectStore(within(t), natsjs.ObjectStoreConfig{Bucket: "tiny", MaxBytes: 1 << 20})
	noErr(t, "create", err)
	b := noise(1, 3<<20)
	if err := c.PutObject(within(t), "tiny", bucket.Sum(b), int64(len(b)), bytes.NewReader(b)); err == nil {
		t.Error("put into a store that is too small: got no error")
	}
	if n := storeInfo(t, s, "tiny").Msgs; n != 0 {
		t.Errorf("%d messages are left, want none", n)
	}
}
