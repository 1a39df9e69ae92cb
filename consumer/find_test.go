package consumer_test

import (
	"fmt"
	"testing"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
)

// completed runs a peer that has all of a chain of five versions.
func completed(t *testing.T) (*world, *buckettest.Chain) {
	w := newWorld(t)
	w.run(w.config())
	chain, _ := pinned(t, w, 5)
	w.announce(chain.ID, chain.Head().Link, 1, "")
	w.wait(consumer.EventComplete)
	return w, chain
}

// Whoever announces by hand tells no height: the peer's own manifests say it, and nothing is fetched.
func TestOnce_AVersionIsFoundByItsLinkAlone(t *testing.T) {
	w, chain := completed(t)
	fetched := func() (n int) {
		for _, v := range chain.Versions {
			n += w.fetches(v.Link.Hash())
		}
		return n
	}
	before := fetched()
	for i, v := range chain.Versions {
		for _, told := range []string{"", fmt.Sprintf(`,"height":%d`, v.Height)} {
			w.announce(chain.ID, v.Link, byte(2+i), told)
			if e := w.wait(consumer.EventDuplicate); e.Link != v.Link || e.Height != v.Height {
				t.Errorf("got a duplicate of %s at height %d, want %s at %d", e.Link, e.Height, v.Link, v.Height)
			}
		}
	}
	if n := fetched(); n != before {
		t.Errorf("%d manifests were fetched for duplicates", n-before)
	}
	w.announce(chain.ID, chain.Versions[2].Link, 9, `,"height":3`)
	if e := w.wait(consumer.EventRejected); e.Class != string(bucket.HeightGap) {
		t.Errorf("a wrong height is %q, want %s", e.Class, bucket.HeightGap)
	}
}

// A manifest that was lost comes back when its version is announced; the log is as it was.
func TestNothingAcknowledgedIsLost_AnAnnouncementBringsALostManifestBack(t *testing.T) {
	w, chain := completed(t)
	lost := chain.Versions[2]
	if err := w.kept.Delete(t.Context(), lost.Link.Hash()); err != nil {
		t.Fatal(err)
	}
	w.announce(chain.ID, lost.Link, 2, "")
	w.wait(consumer.EventDuplicate)
	if _, err := blobstore.ReadAll(t.Context(), w.kept, lost.Link.Hash(), bucket.MaxManifestSize); err != nil {
		t.Errorf("the manifest is not back: %v", err)
	}
	if b, err := w.log.Bucket(t.Context(), chain.ID); err != nil || b.Versions != 5 || b.Known != chain.Head().Head() {
		t.Errorf("got %+v, %v, want the log as it was", b, err)
	}
	checkPrefix(t, w.log, chain)
}

// A version from before our share is in the log like any other: that it was announced says nothing about our share now.
func TestNotShared_NotOfAVersionThatIsLogged(t *testing.T) {
	w := newWorld(t)
	c, _ := w.run(w.config())
	chain := buckettest.New(t, buckettest.Identity(t, 1)).Grow(t, 2)
	chain.Add(t, func(m *bucket.Manifest) {
		m.Shares = append(m.Shares, bucket.Share{Identity: w.me.PublicKey(), Role: bucket.Mirror})
	})
	w.putChain(chain)
	w.announce(chain.ID, chain.Head().Link, 1, "")
	w.wait(consumer.EventComplete)
	old := chain.Versions[1].Link
	if err := w.kept.Delete(t.Context(), old.Hash()); err != nil {
		t.Fatal(err)
	}
	w.announce(chain.ID, old, 2, "")
	w.wait(consumer.EventDuplicate)
	waitState(t, c, chain.ID, consumer.StateInSync)
}
