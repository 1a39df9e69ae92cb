package author

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"headwater/bucket"
)

// window is what one request has brought.
type window struct {
	octets  int // of its versions that the walk has not come to
	touched int // the step at which it came to one last
}

// find is a version that was fetched before the walk came to it.
type find struct {
	v  *bucket.Version
	in *window
}

// take returns a version that is held, and holds it no more.
func (t *trail) take(link bucket.Link) *bucket.Version {
	f, ok := t.held[link]
	if !ok {
		return nil
	}
	delete(t.held, link)
	f.in.octets -= len(f.v.Encoded())
	f.in.touched = t.clock
	return f.v
}

// holds is how many octets of versions are held. Windows are given up that have led nowhere for long.
func (t *trail) holds() (octets int) {
	t.open = slices.DeleteFunc(t.open, func(w *window) bool {
		idle := w.octets > 0 && t.clock-w.touched > idleSteps
		if idle {
			maps.DeleteFunc(t.held, func(_ bucket.Link, f find) bool { return f.in == w })
			t.lost += w.octets
		}
		return idle || w.octets == 0
	})
	for _, w := range t.open {
		octets += w.octets
	}
	return octets
}

// errTooMuch ends a request whose objects are far larger than they should be.
var errTooMuch = errors.New("more octets than a window holds")

// parcel is an object on its way through the workers that open it.
type parcel struct {
	level  int
	octets []byte
}

// fetch asks for objects, opens them on all processors as they come, and holds the versions in them. came says whether there
// were any. The error is that of ctx.
func (t *trail) fetch(ctx context.Context, choices []choice, stores []string, r request) (came bool, err error) {
	hashes, levels := make([]bucket.Hash, len(choices)), make(map[bucket.Hash]int, len(choices))
	for i, c := range choices {
		hashes[i], levels[c.hash] = c.hash, c.level
	}
	o := &opening{t: t, r: r, w: &window{touched: t.clock}}
	arrived := make(chan parcel)
	var workers errgroup.Group
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() error {
			for p := range arrived {
				o.unpack(p)
			}
			return nil
		})
	}
	arrivals, received := map[bucket.Hash]bool{}, 0
	err = t.Manifests.GetMany(ctx, hashes, stores, func(h bucket.Hash, octets []byte) error {
		if received += len(octets); received > 2*windowOctets {
			return errTooMuch
		}
		arrivals[h] = true
		arrived <- parcel{levels[h], octets}
		return ctx.Err()
	})
	close(arrived)
	_ = workers.Wait() // none fails
	t.open = append(t.open, o.w)
	for _, h := range hashes {
		if t.asked[h]++; err == nil || arrivals[h] || errors.Is(err, errTooMuch) {
			t.asked[h] = tries
		}
	}
	if err != nil {
		t.Logger.Debug("what hints name does not come", "bucket", t.id, "objects", len(hashes), "came", len(arrivals), "err", err)
		if len(arrivals) == 0 {
			t.fails++
		}
	}
	return len(arrivals) > 0, ctx.Err()
}

// opening is the taking apart of what a request brings. Safe for concurrent use.
type opening struct {
	t *trail
	r request

	mu sync.Mutex // guards w, and all of t that unpack changes
	w  *window
}

// unpack holds the versions of an object. What is none, and what belongs to another bucket, is lost.
func (o *opening) unpack(p parcel) {
	manifests := [][]byte{p.octets}
	if p.level != single {
		pack, err := bucket.DecodePack(p.octets)
		if err != nil || pack.Level != p.level {
			o.lose(len(p.octets))
			return
		}
		if pack.Level > 0 {
			o.keepIndex(p.octets, pack.Packs)
			return
		}
		manifests = pack.Manifests
	}
	for _, m := range manifests {
		v, err := o.t.opener.Open(bucket.ManifestLink(m), m)
		if err != nil || v.Bucket != o.t.id {
			o.lose(len(m))
			continue
		}
		if o.r.judge {
			_ = v.VerifySignature() // the verdict is remembered for the walk
		}
		o.keep(v)
	}
}

func (o *opening) lose(octets int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.t.lost += octets
}

// keepIndex keeps what a pack of packs refers to. One that names a version twice is a lie that may be without end.
func (o *opening) keepIndex(octets []byte, refs []bucket.PackRef) {
	last := map[bucket.Link]bool{}
	for _, r := range refs {
		last[r.Last] = true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.t.lost += len(octets) // it is small, and their number has to be bounded, too
	if len(last) == len(refs) {
		o.t.index[bucket.Sum(octets)] = refs
	}
}

func (o *opening) keep(v *bucket.Version) {
	o.mu.Lock()
	defer o.mu.Unlock()
	size := len(v.Encoded())
	_, twice := o.t.held[v.Link]
	if twice || o.w.octets+size > windowOctets {
		o.t.lost += size
		return
	}
	o.t.held[v.Link] = find{v, o.w}
	o.w.octets += size
	if o.r.told != nil {
		o.r.told(len(o.t.held))
	}
}
