package test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/test/natstest"

	"github.com/zeebo/blake3"
)

// scaleVariable names the environment variable that makes the tests of content as large as promised if it is "full".
const scaleVariable = "HEADWATER_TEST_SCALE"

// largeSize is the size in bytes of the one large blob.
func largeSize() int64 {
	if os.Getenv(scaleVariable) == "full" {
		return 1 << 30
	}
	return 48 << 20
}

// quickly has a peer try again soon, and give up only after so many failures.
func quickly(retries int) func(*consumer.Config) {
	return func(c *consumer.Config) {
		c.RetryMin, c.RetryMax, c.RetryLimit = 20*time.Millisecond, 200*time.Millisecond, retries
	}
}

func TestContentBeforeVisible_ThousandsOfBlobsAndALargeOne(t *testing.T) {
	e := newEnv(t, natstest.Start(t).URL(), 1)
	p := e.newPeer(200, peerConfig{change: quickly(1 << 30)})
	chain := buckettest.New(t, buckettest.Identity(t, 1), p.key())
	small := e.newBlobs(10_000, 4<<10)
	large, size := e.putLarge()
	list := e.addVersion(chain, append(small, blobstore.Small{Hash: large}))[len(small)+1]
	e.putVersions(chain.Versions...)
	last, most := small[0], small[1:]
	e.put(e.names.BlobStore(), append(most, list)...)
	p.start()

	// The complete head moves last: one blob is missing, all others are held.
	before := time.Now()
	e.announce(chain.Head(), 1)
	needed := uint64(len(small) + 1)
	waitUntil(t, "all blobs but one are held", func() bool { return checkVisible(t, p, chain, needed) == needed-1 })
	if c := p.bucket(chain.ID).Complete; !c.IsZero() {
		t.Errorf("got complete head %v while a blob is missing, want none", c)
	}
	e.put(e.names.BlobStore(), last)
	waitUntil(t, "the version is complete", func() bool {
		return checkVisible(t, p, chain, needed) == needed && !p.bucket(chain.ID).Complete.IsZero()
	})
	t.Logf("%d blobs of 4 KiB and one of %d MiB: %v", len(small), size>>20, time.Since(before).Round(time.Millisecond))
	pins := p.bucket(chain.ID).Pins
	if want := uint64(size) + uint64(len(small))*4<<10; pins.Needed != needed || pins.Bytes != want {
		t.Errorf("got %d pins of %d bytes, want %d of %d", pins.Needed, pins.Bytes, needed, want)
	}
	p.checkSettled()
}

// checkVisible returns how many pins a peer says it holds, and fails if it shows the version before it holds all.
func checkVisible(t *testing.T, p *peer, c *buckettest.Chain, needed uint64) uint64 {
	t.Helper()
	s := p.status(c.ID)
	if s.Complete != nil && (s.Pins.Held != needed || s.Pins.Needed != needed) {
		t.Fatalf("complete with %d of %d pins held, want all %d", s.Pins.Held, s.Pins.Needed, needed)
	}
	return s.Pins.Held
}

// putLarge stores the large blob without holding it in memory, and returns its hash and size.
func (e *env) putLarge() (bucket.Hash, int64) {
	e.tb.Helper()
	source := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{1}), largeSize()) }
	h := blake3.New()
	if _, err := io.Copy(h, source()); err != nil {
		e.tb.Fatal(err)
	}
	hash := bucket.Hash(h.Sum(nil))
	if err := e.client.PutObject(e.tb.Context(), e.names.BlobStore(), hash, largeSize(), source()); err != nil {
		e.tb.Fatal(err)
	}
	return hash, largeSize()
}

func TestContentBeforeVisible_WrongBytesInOneStoreArePassedOver(t *testing.T) {
	e := newEnv(t, natstest.Start(t).URL(), 1)
	first := e.makeStore("first")
	p := e.startPeer(200, peerConfig{change: func(c *consumer.Config) {
		quickly(10)(c)
		c.BlobStores = append([]string{first}, c.BlobStores...)
	}})
	chain := buckettest.New(t, buckettest.Identity(t, 1), p.key())
	blobs := e.addVersion(chain, e.newBlobs(20, 1<<10))
	for i, b := range blobs { // the list is among them
		if i%4 == 0 {
			e.putWrong(first, b.Hash, "these are not the bytes you are looking for")
		}
	}
	e.put(e.names.BlobStore(), blobs...)
	e.putVersions(chain.Versions...)
	e.announce(chain.Head(), 1)
	p.waitComplete(chain.Head())
	p.checkSettled()
	if got := p.outcomes(consumer.KindPins); got[consumer.ClassApplied] != 1 || total(got) != 1 {
		t.Errorf("got outcomes %v of the job, want it applied at once", got)
	}
}

func TestContentBeforeVisible_MissingBlobIsADeadLetterUntilItIsThereAndAnnouncedAgain(t *testing.T) {
	for _, c := range []struct {
		name  string
		wrong bool // the store has an object of that name, with other bytes
		class string
	}{
		{"missing", false, string(consumer.ClassExhausted)},
		{"wrong in every store", true, string(bucket.HashMismatch)},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t, natstest.Start(t).URL(), 1)
			p := e.startPeer(200, peerConfig{change: quickly(3)})
			chain := buckettest.New(t, buckettest.Identity(t, 1), p.key())
			blobs := e.addVersion(chain, e.newBlobs(20, 1<<10))
			missing := blobs[0]
			e.put(e.names.BlobStore(), blobs[1:]...)
			if c.wrong {
				e.putWrong(e.names.BlobStore(), missing.Hash, "something else")
			}
			e.putVersions(chain.Versions...)
			e.announce(chain.Head(), 1)

			waitUntil(t, "the job is set aside", func() bool { return len(e.letters(p)) > 0 })
			checkLetter(t, e.letters(p), c.class, missing.Hash)
			waitUntil(t, "the bucket is blocked", func() bool { return p.status(chain.ID).State == consumer.StateBlocked })
			if b := p.bucket(chain.ID); !b.Complete.IsZero() || b.Known != chain.Head().Head() {
				t.Errorf("got known head %v and complete head %v, want the announced one and none", b.Known, b.Complete)
			}
			e.put(e.names.BlobStore(), missing)
			e.announce(chain.Head(), 1)
			p.waitComplete(chain.Head())
			p.checkSettled()
			if s := p.status(chain.ID); s.State != consumer.StateInSync || s.LastError != "" {
				t.Errorf("got state %q with last error %q, want %q without", s.State, s.LastError, consumer.StateInSync)
			}
		})
	}
}

// checkLetter fails unless there is one letter, of that class, whose reason names the blob.
func checkLetter(t *testing.T, letters []jetstream.Letter, class string, h bucket.Hash) {
	t.Helper()
	link := bucket.NewLink(bucket.CodecRaw, h).String()
	if len(letters) != 1 || letters[0].Class != class || letters[0].Kind != consumer.KindPins {
		t.Fatalf("got dead letters %q, want one of a pin job of class %s", letterTexts(letters), class)
	}
	if !strings.Contains(letters[0].Reason, link) {
		t.Errorf("got reason %q, want it to name %s", letters[0].Reason, link)
	}
}

// A blob that two versions need is fetched once, and held for both.
func TestContentBeforeVisible_NewerVersionCompletesOverAnUnfinishedOne(t *testing.T) {
	e := newEnv(t, natstest.Start(t).URL(), 1)
	p := e.startPeer(200, peerConfig{change: quickly(1 << 30)})
	chain := buckettest.New(t, buckettest.Identity(t, 1), p.key())
	blobs := e.addVersion(chain, e.newBlobs(5, 1<<10))
	e.put(e.names.BlobStore(), blobs[1:]...) // the first blob never comes
	e.putVersions(chain.Versions...)
	e.announce(chain.Head(), 1)
	waitUntil(t, "the job of the first version is retried", func() bool { return len(p.events.of(consumer.EventRetrying)) > 0 })

	more := e.addVersion(chain, append(e.newBlobs(5, 1<<10), blobs[1]))
	e.put(e.names.BlobStore(), more...)
	e.putVersions(chain.Versions...)
	e.announce(chain.Head(), 1)
	p.waitComplete(chain.Head())
	p.checkSettled()
	if held, err := p.blobs.Has(t.Context(), blobs[0].Hash); held || err != nil {
		t.Errorf("the blob that never came is held (%v)", err)
	}
	if b, err := blobstore.ReadAll(t.Context(), p.blobs, blobs[1].Hash, 1<<20); !bytes.Equal(b, blobs[1].Data) {
		t.Errorf("the blob of both versions: %v", err)
	}
}
