package jetstream_test

import (
	"errors"
	"fmt"
	"testing"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/test/natstest"
)

func smallObjects(seed byte, n, size int) (objects []blobstore.Small, hashes []bucket.Hash) {
	all := noise(seed, n*size)
	for i := range n {
		b := all[i*size : (i+1)*size]
		objects = append(objects, blobstore.Small{Hash: bucket.Sum(b), Data: b})
		hashes = append(hashes, bucket.Sum(b))
	}
	return objects, hashes
}

// take counts what comes, once each.
func taker(t *testing.T) (got map[bucket.Hash]int, take func(bucket.Hash, []byte) error) {
	got = map[bucket.Hash]int{}
	return got, func(h bucket.Hash, b []byte) error {
		if bucket.Sum(b) != h {
			t.Errorf("got other bytes for %s", h)
		}
		got[h]++
		return nil
	}
}

func TestManyObjectsComeOnceEachWhateverTheServersLimits(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	store := c.Names().ManifestStore()
	for name, shape := range map[string]struct{ n, size int }{
		"more than one answer may have": {2500, 100},
		"more bytes than one answer":    {300, 100 << 10},
		"one":                           {1, 10},
	} {
		t.Run(name, func(t *testing.T) {
			objects, hashes := smallObjects(byte(shape.n), shape.n, shape.size)
			noErr(t, "put", c.PutObjects(within(t), store, objects))
			asked := append([]bucket.Hash{bucket.Sum([]byte("absent"))}, hashes...)
			got, take := taker(t)
			noErr(t, "get many", c.Objects().GetMany(within(t), store, asked, take))
			if len(got) != shape.n {
				t.Errorf("got %d objects, want %d", len(got), shape.n)
			}
			for h, n := range got {
				if n != 1 {
					t.Errorf("got %s %d times", h, n)
				}
			}
		})
	}
}

func TestWhatCannotBeHadWithOthersIsLeftOut(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	store := c.Names().ManifestStore()
	good, hashes := smallObjects(1, 3, 50)
	large, _ := smallObjects(2, 1, 600<<10)
	noErr(t, "put", c.PutObjects(within(t), store, append(good, large...)))
	_, js := plain(t, s.URL())
	forged := bucket.Sum([]byte("forged"))
	if _, err := js.Publish(within(t), fmt.Sprintf("$O.%s.C.%s", store, forged), []byte("something else")); err != nil {
		t.Fatal(err)
	}
	got, take := taker(t)
	noErr(t, "get many", c.Objects().GetMany(within(t), store, append(hashes, large[0].Hash, forged), take))
	if len(got) != len(hashes) {
		t.Errorf("got %d objects, want the %d small ones", len(got), len(hashes))
	}
	got, take = taker(t)
	noErr(t, "get absent ones", c.Objects().GetMany(within(t), store, []bucket.Hash{bucket.Sum([]byte("absent"))}, take))
	if len(got) != 0 {
		t.Errorf("got %d objects, want none", len(got))
	}
}

func TestGettingManyEndsWithTheReceiversError(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	objects, hashes := smallObjects(1, 10, 50)
	noErr(t, "put", c.PutObjects(within(t), c.Names().ManifestStore(), objects))
	enough := errors.New("enough")
	err := c.Objects().GetMany(within(t), c.Names().ManifestStore(), hashes, func(bucket.Hash, []byte) error { return enough })
	wantErr(t, "get many", err, enough)
	if err := c.Objects().GetMany(within(t), "no-such-store", hashes, nil); err == nil {
		t.Error("got nothing said about a store that does not exist")
	}
}
