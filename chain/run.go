package chain

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sort"

	"headwater/bucket"
)

// A batch of versions is what is verified, handed on and written in one go.
const (
	batchVersions = 1024
	batchBytes    = 8 << 20
)

// run is a contiguous piece of a chain. One that goes up grows at its newest end and is verified as far as its file goes; one
// that goes down grows at its oldest end and is not verified. What it got last is in memory, the rest in its file. It is
// used by the bucket's one worker.
type run struct {
	kept       *kept
	up         bool
	first, end uint64 // heights: from first up to, and without, end
	made       bool   // by this catch-up

	mem   []*bucket.Version // ascending if the run goes up, else descending
	bytes int               // of those

	file *runFile // nil as long as all is in memory
}

func (r *run) count() uint64 { return r.end - r.first }

// add takes one more version at the end that grows.
func (r *run) add(v *bucket.Version) {
	switch {
	case r.count() == 0:
		r.first, r.end = v.Height, v.Height+1
	case r.up:
		r.end++
	default:
		r.first--
	}
	r.mem = append(r.mem, v)
	r.bytes += len(v.Encoded())
}

// forget drops the first n versions in memory: they are elsewhere by now.
func (r *run) forget(n int) {
	for _, v := range r.mem[:n] {
		r.bytes -= len(v.Encoded())
	}
	r.mem = slices.Clip(slices.Delete(r.mem, 0, n))
}

func (r *run) at(height uint64) *bucket.Version {
	i := height - (r.end - uint64(len(r.mem)))
	if !r.up {
		i = r.first + uint64(len(r.mem)) - 1 - height
	}
	if height < r.first || height >= r.end || i >= uint64(len(r.mem)) {
		return nil
	}
	return r.mem[i]
}

func (r *run) link(height uint64) (bucket.Link, error) {
	if v := r.at(height); v != nil {
		return v.Link, nil
	}
	return r.file.link(height)
}

// before returns the link of the version before the oldest one, which is no genesis.
func (r *run) before() (bucket.Link, error) {
	if v := r.at(r.first); v != nil {
		return v.Previous, nil
	}
	return r.file.before()
}

func (r *run) has(link bucket.Link, height uint64) (bool, error) {
	if height < r.first || height >= r.end {
		return false, nil
	}
	l, err := r.link(height)
	return l == link, err
}

func (r *run) version(height uint64) (*bucket.Version, error) {
	if v := r.at(height); v != nil {
		return v, nil
	}
	versions, first, err := r.file.versions(height)
	if err != nil {
		return nil, err
	}
	return versions[height-first], nil
}

// batches yields the versions of heights from up to to, oldest first. An error ends it.
func (r *run) batches(ctx context.Context, from, to uint64) iter.Seq2[[]*bucket.Version, error] {
	return func(yield func([]*bucket.Version, error) bool) {
		for from < to {
			batch, err := r.batch(from, to)
			if err == nil {
				err = ctx.Err()
			}
			if !yield(batch, err) || err != nil {
				return
			}
			from += uint64(len(batch))
		}
	}
}

// batch returns versions from a height on: as many as a block of the file has, or as make a batch in memory.
func (r *run) batch(from, to uint64) ([]*bucket.Version, error) {
	if r.at(from) == nil {
		versions, first, err := r.file.versions(from)
		if err != nil {
			return nil, err
		}
		return versions[from-first : min(to-first, uint64(len(versions)))], nil
	}
	var batch []*bucket.Version
	for size := 0; from < to && len(batch) < batchVersions && size < batchBytes; from++ {
		v := r.at(from)
		if v == nil {
			break // a run that goes down has its newest versions in the file
		}
		batch, size = append(batch, v), size+len(v.Encoded())
	}
	return batch, nil
}

// flush writes what is in memory into the file. A run that goes up must be verified before.
func (r *run) flush() error {
	for len(r.mem) > 0 {
		n, size := 0, 0
		for n < len(r.mem) && n < batchVersions && size < batchBytes {
			size += len(r.mem[n].Encoded())
			n++
		}
		if r.file == nil {
			f, err := r.kept.create()
			if err != nil {
				return err
			}
			r.file = f
		}
		block := slices.Clone(r.mem[:n])
		if !r.up {
			slices.Reverse(block)
		}
		if err := r.file.put(block); err != nil {
			return err
		}
		r.forget(n)
	}
	return nil
}

// cut leaves only the versions below a height, in a run that goes up.
func (r *run) cut(height uint64) error {
	for len(r.mem) > 0 && r.end > height {
		last := r.mem[len(r.mem)-1]
		r.mem, r.bytes, r.end = r.mem[:len(r.mem)-1], r.bytes-len(last.Encoded()), r.end-1
	}
	if r.end <= height || r.file == nil {
		return nil
	}
	kept, err := r.file.cut(height)
	if err != nil {
		return fmt.Errorf("cut a run: %w", err)
	}
	r.end = height - uint64(len(kept))
	for _, v := range kept {
		r.add(v)
	}
	return r.flush()
}

// firstNotIn returns the first height, of those between from and to, whose version is not in the log; to if all are. If the
// log has a version, it has all below it.
func (r *run) firstNotIn(from, to uint64, logged func(bucket.Head) (bool, error)) (uint64, error) {
	var failed error
	n := sort.Search(int(to-from), func(i int) bool {
		link, err := r.link(from + uint64(i))
		known := false
		if err == nil {
			known, err = logged(bucket.Head{Link: link, Height: from + uint64(i)})
		}
		if err != nil {
			failed = err
		}
		return !known
	})
	return from + uint64(n), failed
}
