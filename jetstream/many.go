package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"headwater/bucket"
	"headwater/consumer"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

// maxMany is the most objects that one request asks for. Servers answer with 1,024 messages at most, and refuse a request
// whose answer would have more.
const maxMany = 1000

// maxManyOctets is the most octets that one request is answered with. The server stops there, and says so.
const maxManyOctets = 16 << 20

// GetMany reads objects of one chunk each that were written by Headwater, as many as the store has, with one round trip for
// each 1,000: see [consumer.Objects]. What is read that way is hashed here, since the answers are told apart by their hashes
// alone. Servers before 2.11 cannot do it, which is an error like any other: each object can still be read by itself.
func (o *Objects) GetMany(ctx context.Context, store string, hashes []bucket.Hash, take func(bucket.Hash, []byte) error) error {
	s, err := ParseStore(store)
	if err != nil {
		return fmt.Errorf("get %d objects: %w: %w", len(hashes), consumer.ErrNotFound, err)
	}
	b, err := o.c.openBatch(ctx, o.c.storeAt(s))
	if err != nil {
		return fmt.Errorf("get %d objects from %s: %w", len(hashes), store, err)
	}
	defer b.close()
	for len(hashes) > 0 {
		part := hashes[:min(len(hashes), maxMany)]
		left, err := b.many(s, part, take)
		if err != nil {
			return fmt.Errorf("get %d objects from %s: %w", len(part), store, err)
		}
		hashes = append(left, hashes[len(part):]...)
	}
	return nil
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
			continue // the first chunk of a larger object, or somebody else's octets
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
