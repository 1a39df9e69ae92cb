package jetstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"headwater/bucket"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

// Bounds of what is read of one bucket's announcements at a time: anybody can be an announcer. None that is kept has more
// than [bucket.MaxMessageSize] bytes, so together they have 64 MiB at most.
const (
	maxHeads     = 1024
	maxHeadsRead = 64 << 20 // bytes, with what is left out
)

// Announced is an announcement as it stands in the stream: the newest of its peer.
type Announced struct {
	Peer        bucket.PublicKey
	Sequence    uint64
	At          time.Time
	ContentType string
	Body        []byte
}

// Heads returns the announcements of a bucket that stand in the stream, without reading what they say, in the order of their
// arrival, 1,024 at most and as far as 64 MiB reach. What is beyond is left out, and logged: a peer hears of it from its durable all
// the same. Left out are also subjects that name no peer, and what is larger than [bucket.MaxMessageSize]. [ErrNotFound] if the
// stream is missing.
func (c *Client) Heads(ctx context.Context, b bucket.ID) ([]Announced, error) {
	heads := heads{at: map[bucket.PublicKey]int{}}
	err := c.scanHeads(ctx, b, &heads)
	if errors.Is(err, errEnough) {
		c.log.Info("more announcements than are read at once", "bucket", b, "limit", maxHeads)
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the heads of bucket %s: %w", b, err)
	}
	return heads.all, nil
}

// HeadsSince returns when the stream of announcements was made: another time is another stream, which has heard nothing of what
// the first was told. [ErrNotFound] if there is none.
func (c *Client) HeadsSince(ctx context.Context) (time.Time, error) {
	info, err := c.streamInfo(ctx, c.at(c.names.HeadsStream()))
	if err != nil {
		return time.Time{}, fmt.Errorf("age of the stream of announcements: %w", noJetStream(err))
	}
	return info.Created, nil
}

// scanHeads takes what comes until there is no more, or enough.
func (c *Client) scanHeads(ctx context.Context, b bucket.ID, heads *heads) error {
	read := 0
	for m, err := range c.scan(ctx, c.at(c.names.HeadsStream()), c.names.HeadsOf(b)) {
		if err != nil {
			return err
		}
		if read += m.Size(); read > maxHeadsRead {
			return errEnough
		}
		_, peer, ok := c.names.ParseHead(lastHeader(m.Header, natsjs.SubjectHeader))
		if !ok {
			continue
		}
		if err := heads.take(peer, m); err != nil {
			return err
		}
	}
	return nil
}

// errEnough: there are more announcements than are kept.
var errEnough = errors.New("enough announcements")

// heads collects announcements, one of each peer.
type heads struct {
	all []Announced
	at  map[bucket.PublicKey]int // index in all
}

// take keeps an announcement, in place of an older one of its peer.
func (h *heads) take(peer bucket.PublicKey, m *nats.Msg) error {
	if len(m.Data) > bucket.MaxMessageSize {
		return nil
	}
	a := Announced{Peer: peer, Sequence: sequenceOf(m), At: timeOf(m), ContentType: m.Header.Get(contentType), Body: m.Data}
	i, known := h.at[peer]
	switch {
	case !known && len(h.all) == maxHeads:
		return errEnough
	case !known:
		h.at[peer] = len(h.all)
		h.all = append(h.all, a)
	default: // a stream that keeps more than the newest, or one announced meanwhile
		h.all[i] = a
	}
	return nil
}

// Buckets lists the buckets that have an announcement in the stream, in no order. [ErrNotFound] if the stream is missing.
func (c *Client) Buckets(ctx context.Context) ([]bucket.ID, error) {
	counts, err := c.bucketCounts(ctx, c.names.HeadsStream(), c.names.AllHeads(), func(s string) (bucket.ID, bool) {
		id, _, ok := c.names.ParseHead(s)
		return id, ok
	})
	if err != nil {
		return nil, fmt.Errorf("list the announced buckets: %w", err)
	}
	return slices.Collect(maps.Keys(counts)), nil
}
