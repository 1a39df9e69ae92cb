package jetstream

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"headwater/blobstore"
	"headwater/bucket"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// putWorkers is how many small objects are put at once: enough to fill the pipe to a server near by, and as many chunks in
// memory.
const putWorkers = 32

// cleanupLimit bounds the tidying after a put that failed, which goes on when its context has ended.
const cleanupLimit = 2 * time.Second

// PutObject stores the size bytes of r as the object h, once: if the store describes an object of that hash and size
// already, nothing is sent (and of more than one chunk, r is not even read; with one chunk, the described digest must be
// right too). Any number of writers may put the same object at once; one of them wins, and the others tidy up. An object
// becomes visible only when all its bytes are stored and hash to h; after a crash at most chunks without a description are
// left, which nobody sees. If the client has a [Config.Writer], putting again after an interruption goes on where it stopped:
// r is read from its beginning, and only what the store lacks is sent.
//
// On return the object is as durable as the store is configured to make it. Errors: a [*bucket.Refusal] of class
// [bucket.HashMismatch] if the bytes are others or not so many; [ErrNotFound] if the store does not exist; those of r; and
// [ErrNotPermitted], [ErrUnreachable], [ErrTimeout] and others, after which putting again is safe.
func (c *Client) PutObject(ctx context.Context, store string, h bucket.Hash, size int64, r io.Reader) error {
	return c.putStream(ctx, store, h, size, r, false)
}

// PutAbsent is [Client.PutObject] of an object that the store was found not to have a moment ago: it is not looked for again. If
// it is there all the same, chunks are sent for nothing.
func (c *Client) PutAbsent(ctx context.Context, store string, h bucket.Hash, size int64, r io.Reader) error {
	return c.putStream(ctx, store, h, size, r, true)
}

func (c *Client) putStream(ctx context.Context, store string, h bucket.Hash, size int64, r io.Reader, absent bool) error {
	s, err := ParseStore(store)
	p := c.newPut(s, h)
	p.absent = absent
	switch {
	case err != nil:
	case size < 0:
		err = errors.New("the size is negative")
	case size <= int64(p.chunk):
		err = p.single(ctx, size, r)
	default:
		err = p.chunked(ctx, uint64(size), r)
	}
	if err != nil {
		return fmt.Errorf("put object %s into %s: %w", h, store, err)
	}
	return nil
}

// PutObjects puts many objects: in batches if the store takes them, else several at a time. The first error ends it; it
// does not say which objects are stored by then, and putting all again is safe. Errors are those of [Client.PutObject].
func (c *Client) PutObjects(ctx context.Context, store string, objects []blobstore.Small) error {
	objects, err := c.putBatches(ctx, store, objects)
	if err != nil {
		return err
	}
	g, all := errgroup.WithContext(ctx)
	g.SetLimit(putWorkers)
	for _, o := range objects {
		if all.Err() != nil {
			break
		}
		g.Go(func() error { // mostly it is not there: find out by trying
			return c.PutAbsent(all, store, o.Hash, int64(len(o.Data)), bytes.NewReader(o.Data))
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// put is the putting of one object.
type put struct {
	c       *Client
	ob      object
	chunk   int    // bytes of a chunk, but of the last
	token   string // under which the chunks are written
	mine    bool   // nobody else writes under the token
	resumes bool   // the token is the writer's: a later put of theirs finds what stands there
	absent  bool   // the store was found not to have it
}

func (c *Client) newPut(s Store, h bucket.Hash) *put {
	return &put{c: c, ob: object{store: s, in: c.storeAt(s), hash: h}, chunk: c.chunkSize(), token: h.String()}
}

// chunksOf returns how many chunks so many bytes are.
func (p *put) chunksOf(size uint64) uint64 { return (size + uint64(p.chunk) - 1) / uint64(p.chunk) }

// described is a description that stands in the store: of our object, or of something else in its place.
type described struct {
	meta objectMeta
	ok   bool   // it is the usable description of some object of this name
	seq  uint64 // of its message; 0 if there is none
}

// look reads the description that stands in the store: before anything is put, any replica's is good enough.
func (p *put) look(ctx context.Context, leader bool) (*described, error) {
	if p.absent && !leader {
		return &described{}, nil
	}
	ob := p.ob
	ob.leader = leader
	meta, m, err := p.c.meta(ctx, ob)
	if err != nil && !errors.Is(err, errAbsent) {
		return nil, err
	}
	if m == nil {
		return &described{}, nil
	}
	return &described{meta: meta, ok: err == nil, seq: sequenceOf(m)}, nil
}

// single puts an object of at most one chunk.
func (p *put) single(ctx context.Context, size int64, r io.Reader) error {
	seen, err := p.look(ctx, false)
	if err != nil {
		return err
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return short(err)
	}
	if err := atEnd(r); err != nil {
		return err
	}
	meta, err := p.describeWhole(body)
	if err != nil {
		return err
	}
	same := func(d *described) bool { return d.ok && d.meta.Size == meta.Size && d.meta.Digest == meta.Digest }
	if same(seen) {
		return nil
	}
	if len(body) > 0 {
		done, err := p.onlyChunk(ctx, body, same)
		if err != nil || done {
			return err
		}
	}
	return p.publishMeta(ctx, meta, seen.seq, same)
}

func atEnd(r io.Reader) error {
	if n, err := io.ReadFull(r, make([]byte, 1)); n > 0 {
		return bucket.Refuse(bucket.HashMismatch, bucket.Link{}, "there are more bytes than announced")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// onlyChunk stores the only chunk. If one stands under the hash already, the object may be complete (done), or this
// chunk the right one; else the chunk goes under a token of its own.
func (p *put) onlyChunk(ctx context.Context, body []byte, same func(*described) bool) (done bool, err error) {
	err = p.firstChunk(ctx, &nats.Msg{Data: body})
	if !sequenceTaken(err) {
		return false, err
	}
	d, err := p.look(ctx, true)
	if err != nil || same(d) {
		return err == nil, err
	}
	m, err := p.c.get(ctx, p.ob.in, getRequest{LastFor: p.ob.store.chunks(p.token)}, true)
	if err == nil && bytes.Equal(m.Data, body) {
		return false, nil
	}
	if err != nil && !errors.Is(err, errAbsent) {
		return false, err
	}
	p.ownToken()
	return false, p.firstChunk(ctx, &nats.Msg{Data: body})
}

// metaMessage is a description, to be stored in place of the one at seq.
func (p *put) metaMessage(description []byte, seq uint64) *nats.Msg {
	m := expectSequence(&nats.Msg{Subject: p.ob.store.meta(p.ob.hash.String()), Data: description}, seq)
	m.Header[natsjs.MsgRollup] = []string{natsjs.MsgRollupSubject}
	return m
}

// ownToken makes up a token that nobody else uses: somebody else's chunks stand under the hash.
func (p *put) ownToken() {
	p.token = p.ob.hash.String() + "-" + strings.ToLower(rand.Text())
	p.mine, p.resumes = true, false
}

func (p *put) describe(size uint64, digest string) objectMeta {
	return objectMeta{Name: p.ob.hash.String(), Options: objectOptions{ChunkSize: uint32(p.chunk)}, Store: p.ob.store.Name,
		Token: p.token, Size: size, Chunks: p.chunksOf(size), Digest: digest}
}

// describeWhole describes an object of at most one chunk, whose bytes must be those that the hash names.
func (p *put) describeWhole(body []byte) (objectMeta, error) {
	if bucket.Sum(body) != p.ob.hash {
		return objectMeta{}, bucket.Refuse(bucket.HashMismatch, bucket.Link{}, "the bytes hash to something else")
	}
	sum := sha256.Sum256(body)
	return p.describe(uint64(len(body)), digestText(sum[:])), nil
}

// publishMeta makes the object visible, in place of the description at seq. If another one was faster, and is of the
// same object, the chunks written here are removed.
func (p *put) publishMeta(ctx context.Context, meta objectMeta, seq uint64, same func(*described) bool) error {
	meta.Token = p.token
	body, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	return backoff.Retry(func() error {
		_, err := p.c.store(ctx, p.ob.in, p.metaMessage(body, seq))
		if !sequenceTaken(err) {
			return backoff.Permanent(err)
		}
		d, lookErr := p.look(ctx, true)
		if lookErr != nil {
			return backoff.Permanent(lookErr)
		}
		if same(d) {
			if p.mine && d.meta.Token != p.token {
				p.purge(ctx, 0)
			}
			return nil
		}
		seq = d.seq // of a deleted or damaged one, to be replaced, or of one that is being stored
		return err
	}, backoff.WithContext(metaPolicy(), ctx))
}

// metaPolicy is how often, and for how long, a description is published against others who do the same.
func metaPolicy() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(backoff.WithInitialInterval(2*time.Millisecond),
		backoff.WithMaxInterval(200*time.Millisecond), backoff.WithMaxElapsedTime(2*time.Second))
}

// purge removes the chunks under the token, up to a sequence, or all if that is 0. Failing leaves bytes that nobody
// sees.
func (p *put) purge(ctx context.Context, upTo uint64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	req := map[string]any{"filter": p.ob.store.chunks(p.token)}
	if upTo > 0 {
		req["seq"] = upTo + 1
	}
	if err := p.c.apiCall(ctx, p.ob.in.api, "STREAM.PURGE."+p.ob.in.stream, req, nil); err != nil {
		p.c.log.Debug("chunks of a put that failed are left behind", "object", p.ob.hash, "error", err)
	}
}
