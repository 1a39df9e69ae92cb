package consumer

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/logstore"
)

// A batch of versions is what is verified, kept and appended in one go: the most that an interrupted catch-up does twice, and
// the most of a stretch that is held in memory.
const (
	batchVersions = 1024
	batchSize     = 8 << 20 // octets of manifests
)

// stretch is the missing part of a chain: from the version after the anchor up to the announced head. It was fetched newest
// first, and every octet hashed; nothing of it is verified yet.
type stretch struct {
	id      bucket.ID
	head    *bucket.Version
	anchor  *bucket.Version // newest version of the chain that the log has; nil where the stretch begins with a genesis
	genesis bucket.Link     // of the announced chain, where anchor is nil
	// diverged says that the stretch begins with a genesis although the bucket has another one.
	diverged bool

	near   map[bucket.Link]*bucket.Version // in memory: fetched ahead of the walk by hints, or in the window
	links  []bucket.Link                   // newest first
	window []*bucket.Version               // the oldest part, newest first; what came before it is staged
	size   int                             // octets in window
	stage  *stage
	ended  bool
}

// catchUp finds the missing stretch below head in a single walk, which looks into the log before each fetch, and fetches each
// version once. What hints lead to is fetched ahead of it, many at a time. The stretch is to be given up with end, also where
// an error comes with it.
func (c *Consumer) catchUp(
	ctx context.Context, mine logstore.Bucket, head *bucket.Version, a bucket.Announcement, stores []string,
) (*stretch, error) {
	s := &stretch{id: head.Bucket, head: head}
	var err error
	if s.stage, err = c.stage.open(s.id); err != nil {
		return s, err
	}
	if err := c.fetchAhead(ctx, s, mine, a, stores); err != nil {
		return s, err
	}
	if err := bucket.CheckStep(s.id, nil, head); head.Height == 0 && err != nil {
		return s, err
	}
	for v := head; ; {
		if err := s.add(ctx, v); err != nil {
			return s, err
		}
		c.board.fetched(s.id, len(s.links))
		if v.Height == 0 {
			s.genesis, s.diverged = v.Link, !mine.Known.IsZero()
			return s, nil
		}
		if v.Previous.IsZero() {
			return s, bucket.CheckStep(s.id, nil, v)
		}
		prev, inLog, err := c.previous(ctx, s, v, stores)
		if err != nil {
			return s, err
		}
		if err := bucket.CheckStep(s.id, prev, v); err != nil {
			return s, err
		}
		if inLog {
			s.anchor = prev
			return s, nil
		}
		if uint64(len(s.links)) >= c.MaxVersions {
			return s, bucket.Refuse(bucket.TooLong, head.Link, "more than %d versions are missing below it", c.MaxVersions)
		}
		v = prev
	}
}

// previous returns the predecessor of v, and whether the log has it. It is fetched where it is not at hand.
func (c *Consumer) previous(
	ctx context.Context, s *stretch, v *bucket.Version, stores []string,
) (prev *bucket.Version, inLog bool, err error) {
	switch _, err := c.Log.Entry(ctx, s.id, v.Previous); {
	case err == nil:
		// The manifest of a logged version is ours; where its blob was lost, a store may still have it.
		prev, err = c.fetchManifest(ctx, stores, v.Previous)
		return prev, true, err
	case !errors.Is(err, logstore.ErrNotFound):
		return nil, false, err
	}
	if prev := s.near[v.Previous]; prev != nil {
		return prev, false, nil
	}
	if prev, err = s.stage.get(ctx, v.Previous); !isMissing(err) {
		return prev, false, err
	}
	prev, err = c.fetchManifest(ctx, stores, v.Previous)
	return prev, false, err
}

// isMissing says that a local blob store does not have a blob, or has it no more.
func isMissing(err error) bool {
	return errors.Is(err, blobstore.ErrNotFound) || errors.Is(err, blobstore.ErrCorrupt)
}

// add takes one more version at the old end, and stages what no longer fits into memory.
func (s *stretch) add(ctx context.Context, v *bucket.Version) error {
	s.links = append(s.links, v.Link)
	if s.near[v.Link] != nil {
		return nil // its room was found when it was fetched
	}
	if len(s.window) >= batchVersions || s.size+len(v.Encoded()) > batchSize {
		if err := s.stage.put(ctx, s.window); err != nil {
			return fmt.Errorf("stage %d versions of bucket %s: %w", len(s.window), s.id, err)
		}
		for _, w := range s.window {
			delete(s.near, w.Link)
		}
		s.window, s.size = nil, 0
	}
	s.hold(v)
	s.window = append(s.window, v)
	s.size += len(v.Encoded())
	return nil
}

// hold keeps a version in memory.
func (s *stretch) hold(v *bucket.Version) {
	if s.near == nil {
		s.near = map[bucket.Link]*bucket.Version{}
	}
	s.near[v.Link] = v
}

// batches yields the stretch oldest first, a batch at a time. It may be gone through more than once. An error ends it.
func (s *stretch) batches(ctx context.Context) iter.Seq2[[]*bucket.Version, error] {
	return func(yield func([]*bucket.Version, error) bool) {
		var batch []*bucket.Version
		size := 0
		for i := len(s.links) - 1; i >= 0; i-- {
			v, err := s.load(ctx, i)
			if err != nil {
				yield(nil, err)
				return
			}
			if len(batch) == batchVersions || (len(batch) > 0 && size+len(v.Encoded()) > batchSize) {
				if !yield(batch, nil) {
					return
				}
				batch, size = nil, 0
			}
			batch, size = append(batch, v), size+len(v.Encoded())
		}
		yield(batch, nil) // a stretch has one version at least
	}
}

// load returns the version that links[i] names, from memory or from the stage.
func (s *stretch) load(ctx context.Context, i int) (*bucket.Version, error) {
	if v := s.near[s.links[i]]; v != nil {
		return v, nil
	}
	v, err := s.stage.get(ctx, s.links[i])
	if err != nil {
		return nil, fmt.Errorf("read staged version %s: %w", s.links[i], err)
	}
	return v, nil
}

// end gives the stretch up and returns err. What was staged is kept where err is one that another try may do without: it is
// not fetched again then.
func (s *stretch) end(err error) error {
	if s.stage == nil || s.ended {
		return err
	}
	s.ended = true
	keep := err != nil && bucket.ClassOf(err) == ""
	return errors.Join(err, s.stage.close(keep))
}
