package test

import (
	"errors"
	"io"
	"slices"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
	"headwater/logstore"
)

// checkSettled waits until the broker holds nothing for the peer any more, and fails if anything that the log, the stores or the
// broker then hold breaks a promise.
func (p *peer) checkSettled() {
	p.tb.Helper()
	for _, kind := range []consumer.Kind{consumer.KindHeads, consumer.KindPins} {
		waitUntil(p.tb, "nothing waits in the durable of "+string(kind), func() bool {
			d := p.env.durableState(kind, p)
			return d.NumPending == 0 && d.NumAckPending == 0
		})
	}
	for j, err := range p.log.Jobs(p.tb.Context()) {
		if err != nil {
			p.tb.Fatal(err)
		}
		p.tb.Errorf("the job of version %s at height %d of bucket %s is not done", j.Link, j.Height, j.Bucket)
	}
	for b, err := range p.log.Buckets(p.tb.Context(), bucket.ID{}) {
		if err != nil {
			p.tb.Fatal(err)
		}
		p.checkBucket(b)
	}
}

// checkBucket checks one bucket: an unbroken verified chain from its genesis, the heads that follow from it, and every pin
// of the complete head.
func (p *peer) checkBucket(b logstore.Bucket) {
	p.tb.Helper()
	entries := p.entries(b.ID)
	if n := uint64(len(entries)); n != b.Versions {
		p.tb.Errorf("bucket %s: the log has %d versions and says %d", b.ID, n, b.Versions)
	}
	if len(entries) == 0 {
		return
	}
	if head := entries[0].Head(); b.Known != head {
		p.tb.Errorf("bucket %s: the known head is %v, the newest version %v", b.ID, b.Known, head)
	}
	versions := map[bucket.Link]*bucket.Version{}
	for _, e := range slices.Backward(entries) {
		v := p.version(e.Link)
		prev, ok := versions[v.Previous]
		if !ok && !v.Previous.IsZero() {
			p.tb.Fatalf("bucket %s: version %s at height %d hangs in the air", b.ID, e.Link, e.Height)
		}
		if err := (bucket.Rules{}).Succeed(b.ID, prev, v); err != nil || e.Height != v.Height || e.Previous != v.Previous {
			p.tb.Errorf("bucket %s: got entry %v of a version of height %d (%v)", b.ID, e, v.Height, err)
		}
		versions[e.Link] = v
		if e.Head() == b.Complete {
			p.checkPins(v)
		}
	}
}

// entries returns the log of a bucket, newest first.
func (p *peer) entries(id bucket.ID) (entries []logstore.Entry) {
	p.tb.Helper()
	for e, err := range p.log.Walk(p.tb.Context(), id, bucket.Head{}) {
		if err != nil {
			p.tb.Fatal(err)
		}
		entries = append(entries, e)
	}
	return entries
}

// version reads a manifest out of the peer's own store.
func (p *peer) version(link bucket.Link) *bucket.Version {
	p.tb.Helper()
	b, err := blobstore.ReadAll(p.tb.Context(), p.manifests, link.Hash(), bucket.MaxManifestSize)
	if err != nil {
		p.tb.Fatal(err)
	}
	v, err := bucket.Open(link, b)
	if err != nil {
		p.tb.Fatal(err)
	}
	return v
}

// checkPins reads every blob that a version needs to its end, which verifies it.
func (p *peer) checkPins(v *bucket.Version) {
	p.tb.Helper()
	list, err := blobstore.ReadAll(p.tb.Context(), p.blobs, v.Pins.Hash(), bucket.MaxPinsSize)
	if err != nil {
		p.tb.Fatalf("pins list of version %s: %v", v.Link, err)
	}
	pins, err := bucket.ParsePins(list)
	if err != nil {
		p.tb.Fatal(err)
	}
	for _, h := range pins {
		r, err := p.blobs.Get(p.tb.Context(), h)
		if errors.Is(err, blobstore.ErrNotFound) {
			r, err = p.manifests.Get(p.tb.Context(), h)
		}
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			err = errors.Join(err, r.Close())
		}
		if err != nil {
			p.tb.Errorf("pin %s of the complete version %s: %v", h, v.Link, err)
		}
	}
}

// checkLog fails unless the log of the chain's bucket is exactly the versions given, whatever their order.
func (p *peer) checkLog(want []*bucket.Version) {
	p.tb.Helper()
	has := map[bucket.Link]bool{}
	for _, e := range p.entries(want[0].Bucket) {
		has[e.Link] = true
	}
	for _, v := range want {
		if !has[v.Link] {
			p.tb.Errorf("the log lacks version %s at height %d", v.Link, v.Height)
		}
		delete(has, v.Link)
	}
	for link := range has {
		p.tb.Errorf("the log has version %s, which nobody announced", link)
	}
}
