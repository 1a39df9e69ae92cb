package consumer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sort"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/logstore"
)

// A batch of versions is what is verified, kept and appended in one go: the most that an interrupted catch-up does twice, and
// the most of a stretch that is held in memory.
const (
	batchVersions = 1024
	batchSize     = 8 << 20 // octets of manifests
	// walkSize is how many octets of manifests all walks together hold, about.
	walkSize = 64 << 20
)

// stretch is the missing part of a chain: from the version after the anchor up to the announced head. Its older part may lie
// in the spool, and is verified. What the walk from the head came to is hashed, and not verified yet.
type stretch struct {
	id       bucket.ID
	head     *bucket.Version
	progress *progress
	walks    *quota // of the room for walks, of which the stretch is one until it ends
	leave    func()
	anchor   *bucket.Version // newest version of the chain that the log has; nil where the stretch begins with a genesis
	genesis  bucket.Link     // of the announced chain, where anchor is nil
	// diverged says that the stretch begins with a genesis although the bucket has another one.
	diverged bool

	// The versions of these heights are in the spool: from the first that the log lacks up to where the walk came down.
	from, to uint64
	base     *bucket.Version // the version before the first that was walked: in the log, in the spool, or nil

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
	s := &stretch{
		id: head.Bucket, head: head, progress: c.beginProgress(head.Bucket, mine.Known, head.Head()),
		walks: &c.walks, leave: c.walks.join(),
	}
	var err error
	if s.stage, err = c.stage.open(s.id); err != nil {
		return s, err
	}
	if err := c.dropAppended(ctx, s); err != nil {
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
		if v.Height == 0 {
			s.genesis, s.diverged = v.Link, !mine.Known.IsZero()
			return s, nil
		}
		if v.Previous.IsZero() {
			return s, bucket.CheckStep(s.id, nil, v)
		}
		prev, where, err := c.previous(ctx, s, v, stores)
		if err != nil {
			return s, err
		}
		if err := bucket.CheckStep(s.id, prev, v); err != nil {
			return s, err
		}
		switch where {
		case inLog:
			s.anchor, s.base = prev, prev
			return s, nil
		case inSpool:
			s.base = prev
			return s, c.join(ctx, s, mine, v.Height)
		}
		if uint64(len(s.links)) >= c.MaxVersions {
			return s, bucket.Refuse(bucket.TooLong, head.Link, "more than %d versions are missing below it", c.MaxVersions)
		}
		v = prev
	}
}

// dropAppended empties a spool that the log has all of: its process died before it was removed.
func (c *Consumer) dropAppended(ctx context.Context, s *stretch) error {
	if s.stage.spool.count() == 0 {
		return nil
	}
	all, err := c.logged(ctx, s.id, s.stage.spool.last.Link)
	if err != nil || !all {
		return err
	}
	return s.stage.spool.cut(0)
}

// place is where a version was found.
type place int

const (
	fetched place = iota // in a store, or ahead of the walk; it is still to be verified
	inLog
	inSpool
)

// previous returns the predecessor of v, and where it was. It is fetched where it is not at hand.
func (c *Consumer) previous(
	ctx context.Context, s *stretch, v *bucket.Version, stores []string,
) (prev *bucket.Version, where place, err error) {
	if prev := s.near[v.Previous]; prev != nil {
		return prev, fetched, nil // what is held follows on one that the log does not have, so that it has none of it
	}
	switch _, err := c.Log.Entry(ctx, s.id, v.Previous); {
	case err == nil:
		// The manifest of a logged version is ours; where its blob was lost, a store may still have it.
		prev, err = c.fetchManifest(ctx, stores, v.Previous)
		return prev, inLog, err
	case !errors.Is(err, logstore.ErrNotFound):
		return nil, fetched, err
	}
	if held, err := s.stage.spool.holds(v.Previous, v.Height-1); err != nil {
		return nil, fetched, err
	} else if held {
		prev, err := s.stage.spool.version(v.Height - 1)
		return prev, inSpool, err
	}
	if prev, err = s.stage.get(ctx, v.Previous); isMissing(err) {
		prev, err = c.fetchManifest(ctx, stores, v.Previous)
	}
	if err == nil {
		s.progress.fetched(1)
	}
	return prev, fetched, err
}

// join ends a walk that came down to the spool, which has all versions below height to. An interrupted catch-up may have
// appended some of them.
func (c *Consumer) join(ctx context.Context, s *stretch, mine logstore.Bucket, to uint64) (err error) {
	spool := s.stage.spool
	if s.genesis, err = spool.link(0); err != nil {
		return err
	}
	s.to = to
	// A log that has a version has all below it.
	s.from = uint64(sort.Search(int(to), func(i int) bool {
		link, readErr := spool.link(uint64(i))
		known := false
		if readErr == nil {
			known, readErr = c.logged(ctx, s.id, link)
		}
		err = errors.Join(err, readErr)
		return !known
	}))
	if err != nil {
		return err
	}
	if missing := to - s.from + uint64(len(s.links)); missing > c.MaxVersions {
		return bucket.Refuse(bucket.TooLong, s.head.Link, "%d versions are missing up to it, more than %d", missing, c.MaxVersions)
	}
	if s.from > 0 {
		s.anchor, err = spool.version(s.from - 1)
		return err
	}
	s.diverged = !mine.Known.IsZero()
	return nil
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
	full := len(s.window) >= batchVersions || s.size+len(v.Encoded()) > min(batchSize, s.walks.share(walkSize))
	if full && len(s.window) > 0 {
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

// oldest returns the first version of the stretch.
func (s *stretch) oldest() (bucket.Link, error) {
	if s.from < s.to {
		return s.stage.spool.link(s.from)
	}
	return s.links[len(s.links)-1], nil
}

// batches yields the stretch oldest first, a batch at a time. An error ends it.
func (s *stretch) batches(ctx context.Context) iter.Seq2[[]*bucket.Version, error] {
	return func(yield func([]*bucket.Version, error) bool) {
		for _, part := range []iter.Seq2[[]*bucket.Version, error]{s.stage.spool.batches(ctx, s.from, s.to), s.walked(ctx)} {
			for batch, err := range part {
				if !yield(batch, err) || err != nil {
					return
				}
			}
		}
	}
}

// walked yields what the walk came to, oldest first, a batch at a time. It may be gone through more than once.
func (s *stretch) walked(ctx context.Context) iter.Seq2[[]*bucket.Version, error] {
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
	if s.ended {
		return err
	}
	s.ended = true
	s.leave()
	if s.stage == nil {
		return err
	}
	keep := err != nil
	if len(s.window) > 0 && keep && bucket.ClassOf(err) == "" {
		// What was walked last is kept too, however short the way was: the next try goes on from there.
		err = errors.Join(err, s.stage.put(context.Background(), s.window))
	}
	return errors.Join(err, s.stage.close(keep))
}
