package author

import (
	"context"
	"fmt"
	"slices"

	"headwater/bucket"
)

// announce tells everybody about a version of ours. Its hints are remembered for the next one.
func (a *Author) announce(ctx context.Context, v *bucket.Version) error {
	hints, err := a.Hints(ctx, v)
	if err != nil {
		a.Logger.Debug("announced with few hints", "bucket", v.Bucket, "link", v.Link, "err", err)
	}
	n := bucket.Announcement{Link: v.Link, Height: &v.Height, Bucket: v.Bucket, Peer: a.me, Hints: hints}
	a.heard.add(n)
	_, err = a.Bus.Announce(ctx, n)
	return err
}

// announced tells everybody about a version that was just made. It stays made where that fails.
func (a *Author) announced(ctx context.Context, v *bucket.Version) error {
	if err := a.announce(ctx, v); err != nil {
		return fmt.Errorf("version %s of bucket %s is made, but %w: %w; the next command on the bucket announces it", v.Link,
			v.Bucket, ErrNotAnnounced, err)
	}
	return nil
}

// announceOwn announces the greatest tip of ours that nobody announces: the process that made it died before it could, or
// the broker has lost it. It does not take the place of a greater head that is announced in our name.
func (a *Author) announceOwn(ctx context.Context, s *survey, heads Heads, announced []bucket.Announcement) {
	tips := []*bucket.Version{heads.Head}
	for _, f := range heads.Forks {
		tips = append(tips, f.Tip)
	}
	for _, v := range tips { // the greatest first
		if !v.Signed() || *v.Author != a.me {
			continue
		}
		if slices.ContainsFunc(announced, func(n bucket.Announcement) bool {
			return n.Link == v.Link || (n.Peer == a.me && s.height(n.Link).Compare(v.Head()) > 0)
		}) {
			return
		}
		if err := a.announce(ctx, v); err != nil {
			a.Logger.Warn("version of ours not announced", "bucket", s.id, "link", v.Link, "err", err)
			return
		}
		a.Logger.Info("version of ours announced again", "bucket", s.id, "link", v.Link)
		return
	}
}

// height returns an announced head with the height that was found for it, zero where it was not verified.
func (s *survey) height(link bucket.Link) bucket.Head {
	for _, c := range s.candidates {
		if c.link == link && c.err == nil {
			return c.v.Head()
		}
	}
	if t, ok := s.tips[link]; ok && t.Kind != tipRefused {
		return bucket.Head{Link: link, Height: t.Height}
	}
	if s.trusted != nil && s.trusted.link == link {
		return s.trusted.v.Head()
	}
	return bucket.Head{}
}
