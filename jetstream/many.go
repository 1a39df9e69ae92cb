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

// maxManyBytes is the most bytes that one request is answered with. The server stops there, and says so.
const maxManyBytes = 16 << 20

// singlesAhead is how many single gets are under way at once if there are no batched ones: the answers are at most as many
// messages in memory, and on a line of 100 ms they are 320 objects a second.
const singlesAhead = 32

// GetMany reads objects of one chunk each that were written by Headwater, as many as the store has: see [consumer.Objects].
// What is read that way is hashed here, since the answers are told apart by their hashes alone. It takes one round trip for
// each 1,000 objects or 16 MiB, and one for each 32 objects if the server is older than 2.11, the stream allows no direct
// gets, or the user is permitted gets of single subjects only.
func (o *Objects) GetMany(ctx context.Context, store string, hashes []bucket.Hash, take func(bucket.Hash, []byte) error) error {
	s, err := ParseStore(store)
	if err != nil {
		return fmt.Errorf("get %d objects: %w: %w", len(hashes), consumer.ErrNotFound, err)
	}
	chunks := question{
		c: o.c, in: o.c.storeAt(s),
		subject: func(h bucket.Hash) string { return s.chunks(h.String()) },
		take: func(h bucket.Hash, m *nats.Msg) error {
			if bucket.Sum(m.Data) != h {
				return nil // a chunk of a larger object, or somebody else's bytes
			}
			return take(h, m.Data)
		},
	}
	if err := chunks.ask(ctx, hashes); err != nil {
		return fmt.Errorf("get %d objects from %s: %w", len(hashes), store, err)
	}
	return nil
}

// Absent returns those of the hashes that a store has no usable description of, in their order, once each: that of a deleted
// object is not usable, nor is a link. It takes as many round trips as [Objects.GetMany], and memory in proportion to the hashes.
//
// Any replica may answer. One that lags knows less than the leader, and so names an object that is there: putting that again
// changes nothing. It does not leave out one that is not there: a description is stored after the chunks that it names, in
// the same stream, and a replica and a server that lost what it had not synced lose the end of the stream first. What can
// make a description outlive its chunks is somebody who purges them or whose description is a lie, as with any object:
// what is read is hashed. An object deleted a moment ago counts as there to a replica that has not heard of it.
//
// Errors: [ErrNotFound] if the store does not exist, [ErrNotPermitted], [ErrUnreachable], [ErrTimeout].
func (c *Client) Absent(ctx context.Context, store string, hashes []bucket.Hash) ([]bucket.Hash, error) {
	s, err := ParseStore(store)
	if err != nil {
		return nil, fmt.Errorf("ask for %d objects: %w: %w", len(hashes), ErrNotFound, err)
	}
	there := make(map[bucket.Hash]bool, len(hashes))
	descriptions := question{
		c: c, in: c.storeAt(s),
		subject: func(h bucket.Hash) string { return s.meta(h.String()) },
		take: func(h bucket.Hash, m *nats.Msg) error {
			_, err := readMeta(m, h)
			there[h] = err == nil
			return nil
		},
	}
	if err := descriptions.ask(ctx, hashes); err != nil {
		return nil, fmt.Errorf("ask store %s for %d objects: %w", store, len(hashes), err)
	}
	return slices.DeleteFunc(distinct(hashes), func(h bucket.Hash) bool { return there[h] }), nil
}

// question asks a stream for the last message of each of many subjects.
type question struct {
	c       *Client
	in      place
	subject func(bucket.Hash) string
	take    func(bucket.Hash, *nats.Msg) error // called one at a time; its error ends the asking
}

// ask asks for each hash once, and hands on what is there.
func (q question) ask(ctx context.Context, hashes []bucket.Hash) error {
	left, err := q.batched(ctx, distinct(hashes))
	if err != nil {
		return err
	}
	return q.singly(ctx, left)
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

// batched asks as far as it can with batched gets, and returns what has to be asked for singly: nothing, or, if those do not
// work here, what it has not asked for.
func (q question) batched(ctx context.Context, hashes []bucket.Hash) (left []bucket.Hash, err error) {
	c := q.c
	if c.singles.is(q.in) || c.leaders.is(q.in) {
		return hashes, nil
	}
	b, err := c.openBatch(ctx, q.in)
	if err != nil {
		return nil, err
	}
	defer b.close()
	var refused error
	taking := q
	taking.take = func(h bucket.Hash, m *nats.Msg) error {
		refused = q.take(h, m)
		return refused
	}
	for len(hashes) > 0 {
		part := hashes[:min(len(hashes), maxMany)]
		left, err := taking.request(b, part)
		switch {
		case refused != nil:
			return nil, refused
		case errors.Is(err, errNoResponders):
			return hashes, c.directOff(ctx, q.in)
		case errors.Is(err, errBad), errors.Is(err, ErrNotPermitted) && q.maySingly(ctx, hashes[0]):
			c.singles.know(q.in, true)
			return hashes, nil
		case err != nil:
			return nil, err
		}
		hashes = append(left, hashes[len(part):]...)
	}
	return nil, nil
}

// maySingly reports whether the server lets this user ask for one by itself.
func (q question) maySingly(ctx context.Context, h bucket.Hash) bool {
	_, err := q.c.get(ctx, q.in, getRequest{LastFor: q.subject(h)}, false)
	return !errors.Is(err, ErrNotPermitted)
}

// singly asks by a get for each.
func (q question) singly(ctx context.Context, hashes []bucket.Hash) error {
	var taking sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(singlesAhead)
	for _, h := range hashes {
		g.Go(func() error {
			m, err := q.c.get(ctx, q.in, getRequest{LastFor: q.subject(h)}, false)
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

// request sends one request, and hands on what comes. If the server stopped before the end, it returns what is left to ask
// for.
func (q question) request(b *batch, hashes []bucket.Hash) (left []bucket.Hash, err error) {
	wanted := make(map[string]bucket.Hash, len(hashes))
	req := getRequest{MaxBytes: maxManyBytes}
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
		case status == statusAbsent:
			return nil, nil
		case status == statusEnd && m.Header.Get(numPendingHeader) != "0" && came > 0:
			return unanswered(wanted, req.Multi), nil
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
		delete(wanted, subject) // it is asked for once
		if err := q.take(h, m); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("more messages than were asked for")
}

// unanswered returns the hashes of the subjects that are still wanted, in their order.
func unanswered(wanted map[string]bucket.Hash, subjects []string) (left []bucket.Hash) {
	for _, s := range subjects {
		if h, ok := wanted[s]; ok {
			left = append(left, h)
		}
	}
	return left
}
