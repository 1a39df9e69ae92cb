package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"headwater/bucket"
	"headwater/consumer"

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
	n := len(hashes)
	left, err := o.c.batched(ctx, s, distinct(hashes), take)
	if err == nil {
		err = o.c.singly(ctx, s, left, take)
	}
	if err != nil {
		return fmt.Errorf("get %d objects from %s: %w", n, store, err)
	}
	return nil
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
	ctx context.Context, s Store, hashes []bucket.Hash, take func(bucket.Hash, []byte) error,
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
	taking := func(h bucket.Hash, octets []byte) error {
		refused = take(h, octets)
		return refused
	}
	for len(hashes) > 0 {
		part := hashes[:min(len(hashes), maxMany)]
		left, err := b.many(s, part, taking)
		switch {
		case refused != nil:
			return nil, refused
		case errors.Is(err, errNoResponders):
			return hashes, c.directOff(ctx, in)
		case errors.Is(err, errBad), errors.Is(err, ErrNotPermitted) && c.maySingly(ctx, s, hashes[0]):
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
func (c *Client) maySingly(ctx context.Context, s Store, h bucket.Hash) bool {
	_, err := c.get(ctx, c.storeAt(s), getRequest{LastFor: s.chunks(h.String())}, false)
	return !errors.Is(err, ErrNotPermitted)
}

// singly reads objects by a get for each.
func (c *Client) singly(ctx context.Context, s Store, hashes []bucket.Hash, take func(bucket.Hash, []byte) error) error {
	in := c.storeAt(s)
	var taking sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(singlesAhead)
	for _, h := range hashes {
		g.Go(func() error {
			m, err := c.get(ctx, in, getRequest{LastFor: s.chunks(h.String())}, false)
			if errors.Is(err, errAbsent) {
				return nil
			}
			if err != nil || bucket.Sum(m.Data) != h {
				return err
			}
			taking.Lock()
			defer taking.Unlock()
			if ctx.Err() != nil {
				return ctx.Err() // nothing is taken after an error
			}
			return take(h, m.Data)
		})
	}
	return g.Wait()
}

// many sends one request, and hands on what comes. Where the server stopped before the end, it returns what is left to ask
// for.
func (b *batch) many(s Store, hashes []bucket.Hash, take func(bucket.Hash, []byte) error) (left []bucket.Hash, err error) {
	wanted := make(map[bucket.Hash]bool, len(hashes))
	req := getRequest{MaxBytes: maxManyOctets}
	for _, h := range hashes {
		wanted[h] = true
		req.Multi = append(req.Multi, s.chunks(h.String()))
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
			return keys(wanted, hashes), nil
		case status == statusEnd:
			return nil, nil
		case status != 0:
			return nil, err
		}
		subject := lastHeader(m.Header, natsjs.SubjectHeader)
		h, err := bucket.ParseHash(subject[strings.LastIndexByte(subject, '.')+1:])
		if err != nil || !wanted[h] {
			return nil, fmt.Errorf("stream %s answers with %.80q, which was not asked for", b.in.stream, subject)
		}
		delete(wanted, h) // asked for once: what the store holds under it will not change
		if bucket.Sum(m.Data) != h {
			continue // a chunk of a larger object, or somebody else's octets
		}
		if err := take(h, m.Data); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("more messages than were asked for")
}

// keys returns those hashes that are still wanted, in their order.
func keys(wanted map[bucket.Hash]bool, hashes []bucket.Hash) (left []bucket.Hash) {
	for _, h := range hashes {
		if wanted[h] {
			left = append(left, h)
		}
	}
	return left
}
