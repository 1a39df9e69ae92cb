package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"headwater/bucket"
	"headwater/consumer"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// maxMany is the most objects that one request asks for. Servers answer with 1,024 messages at most, and refuse a request
// whose answer would have more.
const maxMany = 1000

// maxManyOctets is the most octets that one request is answered with. The server stops there, and says so.
const maxManyOctets = 16 << 20

// singlesAhead is how many single gets are under way at once where there are no batched ones: the answers are at most as many
// messages in memory, and on a line of 100 ms they are 320 objects a second.
const singlesAhead = 32

// GetMany reads objects of one chunk each that were written by Headwater, as many as the store has: see [consumer.Objects].
// What is read that way is hashed here, since the answers are told apart by their hashes alone. It takes one round trip for
// each 1,000 objects or 16 MiB, and one for each 32 objects where the server is older than 2.11, the stream allows no direct
// gets, or the user is permitted gets of single subjects only.
func (o *Objects) GetMany(ctx context.Context, store string, hashes []bucket.Hash, take func(bucket.Hash, []byte) error) error {
	s, err := ParseStore(store)
	if err != nil {
		return fmt.Errorf("get %d objects: %w: %w", len(hashes), consumer.ErrNotFound, err)
	}
	q := query{subject: func(h bucket.Hash) string { return s.chunks(h.String()) }, take: func(h bucket.Hash, m *nats.Msg) error {
		if bucket.Sum(m.Data) != h {
			return nil // a chunk of a larger object, or somebody else's bytes
		}
		return take(h, m.Data)
	}}
	if err := o.c.last(ctx, s, hashes, q); err != nil {
		return fmt.Errorf("get %d objects from %s: %w", len(hashes), store, err)
	}
	return nil
}

// query asks a store for the last message of one subject for each of many hashes. take is called with those that are there, one
// at a time.
type query struct {
	subject func(bucket.Hash) string
	take    func(bucket.Hash, *nats.Msg) error
}

// last carries out a query: in batches if the server can, else one by one.
func (c *Client) last(ctx context.Context, s Store, hashes []bucket.Hash, q query) error {
	left, err := c.batched(ctx, s, distinct(hashes), q)
	if err == nil {
		err = c.singly(ctx, s, left, q)
	}
	return err
}

// Absent returns those of many objects that a store does not describe, in their order: with one round trip for each 1,000 of
// them, as [Objects.GetMany]. A replica that lags may call an object absent that is there; putting it again costs little. What
// is not called absent was described by the stream itself: a description comes after all bytes of its object. A store that does
// not exist is [ErrNotFound]. In memory are 100 bytes for each hash.
func (c *Client) Absent(ctx context.Context, store string, hashes []bucket.Hash) (absent []bucket.Hash, err error) {
	s, err := ParseStore(store)
	if err != nil {
		return nil, fmt.Errorf("look for %d objects: %w", len(hashes), err)
	}
	there := make(map[bucket.Hash]bool, len(hashes))
	q := query{subject: func(h bucket.Hash) string { return s.meta(h.String()) }, take: func(h bucket.Hash, m *nats.Msg) error {
		if _, err := readMeta(m, h); err == nil {
			there[h] = true
		}
		return nil
	}}
	if err := c.last(ctx, s, hashes, q); err != nil {
		return nil, fmt.Errorf("look for %d objects in %s: %w", len(hashes), store, err)
	}
	for _, h := range hashes {
		if !there[h] {
			absent = append(absent, h)
		}
	}
	return absent, nil
}

// distinct returns each hash once.
func distinct(hashes []bucket.Hash) []bucket.Hash {
	seen := make(map[bucket.Hash]bool, len(hashes))
	return slices.DeleteFunc(slices.Clone(hashes), func(h bucket.Hash) bool {
		again := seen[h]
		seen[h] = true
		return again
	})
}

// batched reads what it can with batched gets, and returns what has to be read singly: nothing, or, where those do not work
// here, what it has not asked for.
func (c *Client) batched(
	ctx context.Context, s Store, hashes []bucket.Hash, q query,
) (left []bucket.Hash, err error) {
	in := c.storeAt(s)
	if c.singles.is(in) || c.leaders.is(in) {
		return hashes, nil
	}
	b, err := c.openBatch(ctx, in)
	if err != nil {
		return nil, err
	}
	defer b.close()
	var refused error
	take := q.take
	q.take = func(h bucket.Hash, m *nats.Msg) error {
		refused = take(h, m)
		return refused
	}
	for len(hashes) > 0 {
		part := hashes[:min(len(hashes), maxMany)]
		left, err := b.many(part, q)
		switch {
		case refused != nil:
			return nil, refused
		case errors.Is(err, errNoResponders):
			return hashes, c.directOff(ctx, in)
		case errors.Is(err, errBad), errors.Is(err, ErrNotPermitted) && c.maySingly(ctx, s, q.subject(hashes[0])):
			c.singles.know(in, true)
			return hashes, nil
		case err != nil:
			return nil, err
		}
		hashes = append(left, hashes[len(part):]...)
	}
	return nil, nil
}

// maySingly says whether the server lets this user get an object by itself.
func (c *Client) maySingly(ctx context.Context, s Store, subject string) bool {
	_, err := c.get(ctx, c.storeAt(s), getRequest{LastFor: subject}, false)
	return !errors.Is(err, ErrNotPermitted)
}

// singly reads objects by a get for each.
func (c *Client) singly(ctx context.Context, s Store, hashes []bucket.Hash, q query) error {
	in := c.storeAt(s)
	var taking sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(singlesAhead)
	for _, h := range hashes {
		g.Go(func() error {
			m, err := c.get(ctx, in, getRequest{LastFor: q.subject(h)}, false)
			if errors.Is(err, errAbsent) {
				return nil
			}
			if err != nil {
				return err
			}
			taking.Lock()
			defer taking.Unlock()
			if ctx.Err() != nil {
				return ctx.Err() // nothing is taken after an error
			}
			return q.take(h, m)
		})
	}
	return g.Wait()
}

// many sends one request, and hands on what comes. Where the server stopped before the end, it returns what is left to ask
// for.
func (b *batch) many(hashes []bucket.Hash, q query) (left []bucket.Hash, err error) {
	wanted := make(map[string]bucket.Hash, len(hashes))
	req := getRequest{MaxBytes: maxManyOctets}
	for _, h := range hashes {
		subject := q.subject(h)
		wanted[subject] = h
		req.Multi = append(req.Multi, subject)
	}
	if err := b.send(req); err != nil {
		return nil, err
	}
	for came := 0; came <= len(hashes); came++ {
		m, err := b.next()
		if err != nil {
			return nil, err
		}
		switch status, err := statusOf(m); {
		case m.Subject != b.answers():
			came--
			continue
		case status == statusAbsent:
			return nil, nil
		case status == statusEnd && m.Header.Get(numPendingHeader) != "0" && came > 0:
			return slices.DeleteFunc(slices.Clone(hashes), func(h bucket.Hash) bool { _, left := wanted[q.subject(h)]; return !left }), nil
		case status == statusEnd:
			return nil, nil
		case status != 0:
			return nil, err
		}
		subject := lastHeader(m.Header, natsjs.SubjectHeader)
		h, ok := wanted[subject]
		if !ok {
			return nil, fmt.Errorf("stream %s answers with %.80q, which was not asked for", b.in.stream, subject)
		}
		delete(wanted, subject) // asked for once: what the store holds under it will not change
		if err := q.take(h, m); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("more messages than were asked for")
}
