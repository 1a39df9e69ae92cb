package jetstream_test

import (
	"bytes"
	"fmt"
	"testing"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/jetstream"
	"headwater/test/natstest"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

// batching is a server whose store of blobs takes batches, or takes none, and the stream behind that.
func batching(t *testing.T, takes bool) (*jetstream.Client, natsjs.JetStream, natsjs.Stream) {
	t.Helper()
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	_, js := plain(t, s.URL())
	if !takes {
		noBatches(t, js)
	}
	stream, err := js.Stream(within(t), "OBJ_"+blobs)
	noErr(t, "stream", err)
	return c, js, stream
}

// noBatches makes the store of blobs one that takes none.
func noBatches(t *testing.T, js natsjs.JetStream) {
	t.Helper()
	stream, err := js.Stream(within(t), "OBJ_"+blobs)
	noErr(t, "stream", err)
	cfg := stream.CachedInfo().Config
	cfg.AllowAtomicPublish = false
	_, err = js.UpdateStream(within(t), cfg)
	noErr(t, "allow no batches", err)
}

// checkHeld demands that a store has the objects, for the library too, and each of them once.
func checkHeld(t *testing.T, js natsjs.JetStream, stream natsjs.Stream, want []blobstore.Small) {
	t.Helper()
	theirs, err := js.ObjectStore(within(t), blobs)
	noErr(t, "object store", err)
	messages := map[bucket.Hash]uint64{}
	for _, o := range want {
		got, err := theirs.GetBytes(within(t), o.Hash.String())
		if err != nil || !bytes.Equal(got, o.Data) {
			t.Errorf("object %s: got %d bytes, %v, want %d", o.Hash, len(got), err, len(o.Data))
		}
		messages[o.Hash] = 1 + min(uint64(len(o.Data)), 1)
	}
	var sum uint64
	for _, n := range messages {
		sum += n
	}
	info, err := stream.Info(within(t))
	noErr(t, "info", err)
	if info.State.Msgs != sum {
		t.Errorf("got %d messages in the stream, want %d", info.State.Msgs, sum)
	}
}

func TestManyObjectsAreStoredWhetherBatchesAreTakenOrNot(t *testing.T) {
	for _, takes := range []bool{true, false} {
		t.Run(fmt.Sprintf("taken %v", takes), func(t *testing.T) {
			c, js, stream := batching(t, takes)
			all := append(smalls(600), blobstore.Small{Hash: bucket.Sum(nil)})
			n := sent(c, func() { noErr(t, "put", c.PutObjects(within(t), blobs, all)) })
			if want := uint64(2*600 + 1 + 1); n != want {
				t.Errorf("got %d messages sent, want %d: two for each object, and the question what the stream takes", n, want)
			}
			checkHeld(t, js, stream, all)
			noErr(t, "put again", c.PutObjects(within(t), blobs, all))
			checkHeld(t, js, stream, all)
		})
	}
}

func TestObjectsThatAreThereDoNotKeepOthersOut(t *testing.T) {
	c, js, stream := batching(t, true)
	all := smalls(40)
	noErr(t, "put one", c.PutObjects(within(t), blobs, all[7:8]))
	noErr(t, "put all, one of them twice", c.PutObjects(within(t), blobs, append(all, all[3])))
	checkHeld(t, js, stream, all)
}

func TestAStreamMayCeaseToTakeBatches(t *testing.T) {
	c, js, stream := batching(t, true)
	all := smalls(60)
	noErr(t, "put", c.PutObjects(within(t), blobs, all[:20]))
	noBatches(t, js)
	noErr(t, "put more", c.PutObjects(within(t), blobs, all[20:40]))
	if n := sent(c, func() { noErr(t, "put the rest", c.PutObjects(within(t), blobs, all[40:])) }); n != 40 {
		t.Errorf("got %d messages sent, want 40: no batch is tried again", n)
	}
	checkHeld(t, js, stream, all)
}

func TestWrongBytesLeaveNothingOfABatch(t *testing.T) {
	c, js, stream := batching(t, true)
	all := smalls(20)
	all[19].Hash = bucket.Sum([]byte("others"))
	if err := c.PutObjects(within(t), blobs, all); bucket.ClassOf(err) != bucket.HashMismatch {
		t.Errorf("got %v, want a refusal of class hash_mismatch", err)
	}
	checkHeld(t, js, stream, nil)
}

// noError is noErr for goroutines, which cannot end the test.
func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
