package jetstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"headwater/bucket"
	"headwater/consumer"

	"github.com/nats-io/nats.go"
)

// windowBytes is how many bytes of an object are asked for at a time. A reader holds one window while the next one is
// under way.
const windowBytes = 4 << 20

// windowChunks bounds the chunks of a window when they are small.
const windowChunks = 1024

// Objects reads object stores. Safe for concurrent use; the readers it returns are not.
type Objects struct{ c *Client }

var _ consumer.Objects = (*Objects)(nil)

// Objects returns the object stores of all domains that the client can reach.
func (c *Client) Objects() *Objects { return &Objects{c} }

// object is one object in one store.
type object struct {
	store  Store
	in     place
	hash   bucket.Hash
	leader bool
}

// Get opens an object: see [consumer.Objects]. An object of one chunk that was written by Headwater takes one round trip,
// any other one more. A larger one is read in windows, the next while the current one is used; the reader fails if the
// server sends nothing for the request limit, and when ctx ends. Close it in any case.
//
// An invalid store name, or a store that the server says does not exist, is [consumer.ErrNotFound], like an object that is
// deleted, a link, or badly described. A domain that nobody answers for is another error.
func (o *Objects) Get(ctx context.Context, store string, h bucket.Hash, fresh bool) (io.ReadCloser, int64, error) {
	s, err := ParseStore(store)
	if err != nil {
		return nil, 0, fmt.Errorf("get object %s: %w: %w", h, consumer.ErrNotFound, err)
	}
	ob := object{store: s, in: o.c.storeAt(s), hash: h, leader: fresh}
	r, size, err := o.open(ctx, ob)
	if errors.Is(err, errAbsent) || errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w: %w", consumer.ErrNotFound, err)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("get object %s from %s: %w", h, store, err)
	}
	return r, size, nil
}

// open asks for the chunk first unless somebody else's objects were lately found there, then for the meta.
func (o *Objects) open(ctx context.Context, ob object) (io.ReadCloser, int64, error) {
	if !o.c.foreign.is(ob.in) {
		m, err := o.c.get(ctx, ob.in, getRequest{LastFor: ob.store.chunks(ob.hash.String())}, ob.leader)
		if err == nil && bucket.Sum(m.Data) == ob.hash {
			return whole(m.Data)
		}
		if err != nil && !errors.Is(err, errAbsent) {
			return nil, 0, err
		}
	}
	meta, _, err := o.c.meta(ctx, ob)
	if err != nil {
		return nil, 0, err
	}
	o.c.foreign.know(ob.in, meta.Chunks > 0 && !strings.HasPrefix(meta.Token, ob.hash.String()))
	switch meta.Chunks {
	case 0:
		return whole(nil)
	case 1:
		return o.openSingle(ctx, ob, meta)
	}
	return o.c.openChunks(ctx, ob, meta)
}

// openSingle reads the only chunk.
func (o *Objects) openSingle(ctx context.Context, ob object, meta objectMeta) (io.ReadCloser, int64, error) {
	m, err := o.c.get(ctx, ob.in, getRequest{LastFor: ob.store.chunks(meta.Token)}, ob.leader)
	if errors.Is(err, errAbsent) {
		return nil, 0, fmt.Errorf("%w: its only chunk is missing", err)
	}
	if err != nil {
		return nil, 0, err
	}
	if uint64(len(m.Data)) != meta.Size {
		return nil, 0, fmt.Errorf("%w: its chunk has %d bytes, its description says %d", errAbsent, len(m.Data), meta.Size)
	}
	return whole(m.Data)
}

func whole(b []byte) (io.ReadCloser, int64, error) {
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
}

// meta reads the description of an object and the message that it stands in. A description that is not usable is
// errAbsent, with its message; no description at all is errAbsent without one.
func (c *Client) meta(ctx context.Context, ob object) (objectMeta, *nats.Msg, error) {
	m, err := c.get(ctx, ob.in, getRequest{LastFor: ob.store.meta(ob.hash.String())}, ob.leader)
	if err != nil {
		return objectMeta{}, nil, err
	}
	meta, err := readMeta(m, ob.hash)
	if err != nil {
		return meta, m, fmt.Errorf("%w: %w", errAbsent, err)
	}
	return meta, m, nil
}

// chunkReader reads an object of several chunks.
type chunkReader struct {
	b       *batch
	subject string
	chunks  uint64 // still to come
	left    uint64 // still to come
	window  []*nats.Msg
	rest    []byte // of the chunk that is being read
	seq     uint64 // of the last chunk received
	leader  bool   // ask the leader, chunk by chunk
	err     error
}

func (c *Client) openChunks(ctx context.Context, ob object, meta objectMeta) (io.ReadCloser, int64, error) {
	b, err := c.openBatch(ctx, ob.in)
	if err != nil {
		return nil, 0, err
	}
	r := &chunkReader{b: b, subject: ob.store.chunks(meta.Token), chunks: meta.Chunks, left: meta.Size}
	if err := r.ask(); err != nil {
		b.close()
		return nil, 0, err
	}
	return r, int64(meta.Size), nil
}

// Read returns bytes in their order. Fewer or more of them, or of chunks, than the description says are an error.
func (r *chunkReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 && r.err == nil {
		r.err = r.advance()
	}
	if r.err != nil {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Close ends the reading.
func (r *chunkReader) Close() error {
	r.err, r.rest, r.window = errors.New("read from a closed object"), nil, nil
	r.b.close()
	return nil
}

// advance takes the next chunk.
func (r *chunkReader) advance() error {
	if r.chunks == 0 {
		if r.left != 0 {
			return fmt.Errorf("%w: the chunks of the object are %d bytes short", io.ErrUnexpectedEOF, r.left)
		}
		return io.EOF
	}
	if len(r.window) == 0 {
		if err := r.fill(); err != nil {
			return err
		}
	}
	chunk := r.window[0].Data
	r.window = r.window[1:]
	if uint64(len(chunk)) > r.left {
		return fmt.Errorf("the chunks of the object have more bytes than its description says")
	}
	r.chunks--
	r.left -= uint64(len(chunk))
	r.rest = chunk
	return nil
}

// fill receives the window that was asked for, and asks for the one behind it.
func (r *chunkReader) fill() error {
	if !r.leader {
		msgs, err := r.b.receive()
		switch {
		case err == nil:
			return r.take(msgs)
		case !errors.Is(err, errAbsent) && !errors.Is(err, errNoResponders):
			return fmt.Errorf("read chunks: %w", err)
		}
		// A replica that lags, or a stream that allows no direct gets.
		r.leader = true
	}
	m, err := r.b.c.leaderGet(r.b.parent, r.b.in, getRequest{Seq: r.seq + 1, NextFor: r.subject})
	if errors.Is(err, errAbsent) {
		return fmt.Errorf("%w: %d chunks of the object are missing", io.ErrUnexpectedEOF, r.chunks)
	}
	if err != nil {
		return fmt.Errorf("read chunks: %w", err)
	}
	return r.take([]*nats.Msg{m})
}

func (r *chunkReader) take(msgs []*nats.Msg) error {
	r.window = msgs
	seq := sequenceOf(msgs[len(msgs)-1])
	if seq <= r.seq {
		return fmt.Errorf("read chunks: sequence %d after %d", seq, r.seq)
	}
	r.seq = seq
	if r.leader || uint64(len(msgs)) >= r.chunks {
		return nil
	}
	return r.ask()
}

// ask sends for the next window.
func (r *chunkReader) ask() error {
	left := r.chunks - uint64(len(r.window))
	return r.b.send(getRequest{Seq: r.seq + 1, NextFor: r.subject, Batch: int(min(left, windowChunks)), MaxBytes: windowBytes})
}
