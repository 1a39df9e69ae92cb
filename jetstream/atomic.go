package jetstream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"headwater/blobstore"
	"headwater/bucket"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"
)

// # Many objects in one step
//
// A server that syncs each message before it acknowledges it does so one after the other, and a small object is two
// messages. If the stream allows atomic batches (servers from 2.12 on), many objects are stored in one, which is synced
// as a whole: all of them become visible at once, or none. A batch costs the server as much as some ten messages whatever
// it holds, so few objects go one by one.

// What one batch holds. Servers take 1,000 messages, and keep all of them in memory until they are stored.
const (
	batchLeast   = 6 // objects; fewer are faster one by one
	batchObjects = 256
	batchBytes   = 4 << 20
	batchesAhead = 2 // under way at once: one is sent while the other is synced
)

// Headers of a message that belongs to a batch.
const (
	batchIDHeader       = "Nats-Batch-Id"
	batchSequenceHeader = "Nats-Batch-Sequence"
	batchCommitHeader   = "Nats-Batch-Commit"
)

// errNoBatch: the server did not take a batch as one.
var errNoBatch = errors.New("the server takes no batches")

// takesBatches reports whether the stream behind a store allows batches. The server is asked now and then.
func (c *Client) takesBatches(ctx context.Context, s Store) bool {
	in := c.storeAt(s)
	if takes, known := c.atomics.known(in); known {
		return takes
	}
	info, err := c.streamInfo(ctx, in)
	if err != nil {
		if errors.Is(err, ErrNotPermitted) {
			c.atomics.know(in, false)
		}
		return false // putting one by one says what is wrong
	}
	c.atomics.know(in, info.Config.AllowAtomicPublish)
	return info.Config.AllowAtomicPublish
}

// putBatches puts objects in batches, if the store takes them, and returns those that have yet to be put one by one:
// large ones, those of a batch that failed, and all if they are few. It fails only if the bytes of an object do not match
// its hash.
func (c *Client) putBatches(ctx context.Context, store string, objects []blobstore.Small) (rest []blobstore.Small, err error) {
	s, err := ParseStore(store)
	if err != nil || len(objects) < batchLeast || !c.takesBatches(ctx, s) {
		return objects, nil // putting them one by one reports a name that is none
	}
	batches, rest := batchesOf(objects, c.chunkSize())
	failed := make([]bool, len(batches))
	g, all := errgroup.WithContext(ctx)
	g.SetLimit(batchesAhead)
	for i, b := range batches {
		g.Go(func() error {
			err := c.putBatch(all, s, b)
			if bucket.ClassOf(err) == bucket.HashMismatch {
				return err
			}
			failed[i] = err != nil
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, b := range batches {
		if failed[i] {
			rest = append(rest, b...)
		}
	}
	return rest, nil
}

// batchesOf divides objects into batches and the rest, which goes one by one: what is larger than a chunk, comes twice, or is
// left over in a batch of too few.
func batchesOf(objects []blobstore.Small, chunk int) (batches [][]blobstore.Small, rest []blobstore.Small) {
	seen := make(map[bucket.Hash]bool, len(objects))
	var b []blobstore.Small
	size := 0
	flush := func() {
		if len(b) < batchLeast {
			rest = append(rest, b...)
		} else {
			batches = append(batches, b)
		}
		b, size = nil, 0
	}
	for _, o := range objects {
		switch {
		case seen[o.Hash]: // a subject stands in a batch only once
			rest = append(rest, o)
			continue
		case len(o.Data) > chunk:
			rest = append(rest, o)
			continue
		case len(b) == batchObjects, size+len(o.Data) > batchBytes:
			flush()
		}
		seen[o.Hash] = true
		b = append(b, o)
		size += len(o.Data)
	}
	flush()
	return batches, rest
}

// putBatch puts objects of at most one chunk each, which the store does not have, all or none. If the store has one of
// them, or the batch fails for another reason, either none is stored or the answer was lost.
func (c *Client) putBatch(ctx context.Context, s Store, objects []blobstore.Small) error {
	var msgs []*nats.Msg
	for _, o := range objects {
		p := c.newPut(s, o.Hash)
		made, err := p.messages(o.Data)
		if err != nil {
			return fmt.Errorf("put object %s into %s: %w", o.Hash, s, err)
		}
		msgs = append(msgs, made...)
	}
	err := c.publishBatch(ctx, msgs)
	if err != nil && !sequenceTaken(err) && !errors.Is(err, ErrUnreachable) && ctx.Err() == nil {
		c.log.Debug("a batch of objects was not stored; objects are put one by one for a while", "store", s.String(), "error", err)
		c.atomics.know(c.storeAt(s), false)
	}
	return err
}

// messages makes those of an object of at most one chunk that the store does not have.
func (p *put) messages(body []byte) ([]*nats.Msg, error) {
	meta, err := p.describeWhole(body)
	if err != nil {
		return nil, err
	}
	var msgs []*nats.Msg
	if len(body) > 0 {
		msgs = append(msgs, expectSequence(&nats.Msg{Subject: p.ob.store.chunks(p.token), Data: body}, 0))
	}
	description, err := json.Marshal(meta)
	if err != nil {
		return nil, err
	}
	return append(msgs, p.metaMessage(description, 0)), nil
}

// publishBatch sends messages as one batch, and returns when it is stored.
func (c *Client) publishBatch(ctx context.Context, msgs []*nats.Msg) error {
	id := strings.ToLower(rand.Text())
	last := len(msgs) - 1
	for i, m := range msgs {
		m.Header[batchIDHeader] = []string{id}
		m.Header[batchSequenceHeader] = []string{strconv.Itoa(i + 1)}
		if i == last {
			break
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		// What goes wrong with one of them is told in the answer to the last.
		if err := c.publish(m); err != nil {
			return err
		}
	}
	msgs[last].Header[batchCommitHeader] = []string{"1"}
	answer, err := c.request(ctx, msgs[last])
	if err != nil {
		return err
	}
	ack, err := readAck(answer.Data)
	if err == nil && (ack.Batch != id || ack.Count != len(msgs)) {
		err = errNoBatch
	}
	return err
}
