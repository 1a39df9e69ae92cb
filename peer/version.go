package peer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"headwater/bucket"
	"headwater/peer/local"
)

// Made is what a command that makes a version says of it. Its JSON is what scripts rely on.
type Made struct {
	BucketID  bucket.ID        `json:"bucket_id"`
	Name      string           `json:"name"`
	Link      bucket.Link      `json:"link"`
	Height    uint64           `json:"height"`
	Author    bucket.PublicKey `json:"author"`
	Published bool             `json:"published"`
	Announced bool             `json:"announced"`         // the object stores have all of it, and the bus was told
	Waiting   string           `json:"waiting,omitempty"` // why it is not announced yet
	Unchanged bool             `json:"unchanged"`         // there was nothing to do, and this version was there before

	Added      int             `json:"added"` // files
	Modified   int             `json:"modified"`
	Removed    int             `json:"removed"`
	Objects    int             `json:"objects"` // put
	Bytes      int64           `json:"bytes"`   // of those
	Skipped    []Skipped       `json:"skipped,omitempty"`
	Conflicts  []string        `json:"conflicts,omitempty"`
	Collisions [][]string      `json:"collisions,omitempty"`
	Forks      []Fork          `json:"forks,omitempty"` // that are not merged
	Ignored    []local.Ignored `json:"ignored,omitempty"`
	Merged     []bucket.Link   `json:"merged,omitempty"`
	Behind     bool            `json:"behind,omitempty"` // the directory does not have all that the head before had
}

// Skipped is a path that was left out, and why.
type Skipped struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

func (m *Made) of(v *bucket.Version) {
	m.BucketID, m.Name, m.Link, m.Height = v.Bucket, v.Name, v.Link, v.Height
	m.Author, m.Published = authorOf(v), v.Published()
}

// Upload is how to wait for the announcement of a version, if at all, and who is told how it goes.
type Upload struct {
	NoWait   bool
	Progress func(local.UploadProgress) // one call at a time; nil: nobody is told
}

// NotWaitedFor is why a version that was made with [Upload.NoWait] is not announced yet.
const NotWaitedFor = "not waited for"

// Create makes an empty bucket, owned by this peer. On return it is durable here; see [Made] for whether it is announced.
func (s *Session) Create(ctx context.Context, name string, u Upload) (*Made, error) {
	if name == "" {
		return nil, fmt.Errorf("%w: a bucket needs a name", ErrUsage)
	}
	d := s.newDraft(nil)
	v, err := d.genesis(ctx, name)
	if err == nil {
		err = s.holder.Keep(ctx, v.Encoded())
	}
	if err != nil {
		return nil, fmt.Errorf("create bucket %q: %w", name, err)
	}
	m := &Made{}
	m.of(v)
	return m, s.announce(ctx, v, m, u)
}

// Share lets a peer hold a bucket from the next version on, which this makes.
func (s *Session) Share(ctx context.Context, id bucket.ID, with bucket.PublicKey, role bucket.Role, u Upload) (*Made, error) {
	return s.change(ctx, id, change{share: map[bucket.PublicKey]bucket.Role{with: role}}, u)
}

// Unshare takes a bucket from a peer from the next version on, which this makes. What the peer could read it may have kept;
// with rotate, every file and directory is encrypted anew. [ErrNoShare], [ErrNoOwner].
func (s *Session) Unshare(ctx context.Context, id bucket.ID, from bucket.PublicKey, rotate bool, u Upload) (*Made, error) {
	return s.change(ctx, id, change{unshare: []bucket.PublicKey{from}, rotate: rotate}, u)
}

// Publish lets mirrors read what a bucket holds now, by a new version that holds its own secret in clear.
func (s *Session) Publish(ctx context.Context, id bucket.ID, u Upload) (*Made, error) {
	return s.change(ctx, id, change{publish: true}, u)
}

// change makes a version that holds what the head holds, and differs in something else.
func (s *Session) change(ctx context.Context, id bucket.ID, c change, u Upload) (*Made, error) {
	m := &Made{}
	v, err := s.again(ctx, id, func(view *view) (*bucket.Version, error) {
		m.Forks, m.Ignored = view.forks(), view.ignored
		return s.make(ctx, view.head, c, m, nil)
	})
	if err != nil {
		return nil, err
	}
	return m, s.announce(ctx, v, m, u)
}

// tries is how often a version is made anew because another one became the newest meanwhile, and maxPause the longest pause
// before that: each time somebody else got on.
const (
	tries    = 50
	maxPause = 50 * time.Millisecond
)

// again looks at a bucket and calls f, and once more each time that f made a version which was not the next one any more.
func (s *Session) again(ctx context.Context, id bucket.ID, f func(*view) (*bucket.Version, error)) (*bucket.Version, error) {
	for try := 1; ; try++ {
		view, err := s.look(ctx, id, true)
		if err != nil {
			return nil, err
		}
		if view.unshared != nil {
			return nil, notShared(view.unshared, s.ID())
		}
		v, err := f(view)
		if !errors.Is(err, ErrStale) || try == tries {
			return v, err
		}
		s.log.Debug("another version came first; made anew on that", "bucket", id, "try", try)
		if !pause(ctx, rand.N(maxPause)) {
			return nil, ctx.Err()
		}
	}
}

// make makes the version after prev and keeps it, and fills in what is said of it. before, if not nil, is called with the
// version before anybody can have it.
func (s *Session) make(
	ctx context.Context, prev *bucket.Version, c change, m *Made, before func(*bucket.Version) error,
) (*bucket.Version, error) {
	d := s.newDraft(prev)
	v, err := d.next(ctx, c)
	if err == nil && before != nil {
		err = before(v)
	}
	if err == nil {
		err = s.holder.Keep(ctx, v.Encoded())
	}
	if err != nil {
		return nil, fmt.Errorf("next version of bucket %s: %w", prev.Bucket, err)
	}
	m.of(v)
	m.Objects += int(d.w.blobs.Load()) + 1 // and the manifest
	m.Bytes += d.w.bytes.Load()
	for _, t := range c.merged {
		m.Merged = append(m.Merged, t.Link)
	}
	return v, nil
}

// announce waits until a version that was made is announced. That it cannot be at this moment is no error: it is made, and
// goes out as soon as the broker answers.
func (s *Session) announce(ctx context.Context, v *bucket.Version, m *Made, u Upload) error {
	switch {
	case m.Unchanged && authorOf(v) != s.ID(): // it stands announced
		m.Announced = true
		return nil
	case u.NoWait:
		m.Waiting = NotWaitedFor
		return nil
	}
	err := s.holder.Await(ctx, v.Bucket, v.Link, u.Progress)
	switch {
	case err == nil:
		m.Announced = true
	case ctx.Err() != nil:
		return fmt.Errorf("version %d of bucket %s is made, but not yet announced: %w", v.Height, v.Bucket, ctx.Err())
	default:
		m.Waiting = err.Error()
	}
	return nil
}
