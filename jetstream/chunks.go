package jetstream

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"

	"headwater/bucket"

	"github.com/nats-io/nats.go"
	"github.com/zeebo/blake3"
)

// putWindow is how many bytes of an object may be sent before the first of them is acknowledged. Servers refuse what they
// cannot keep up with; the clients' own way of sending, without a window of bytes, runs into that.
const putWindow = 16 << 20

// chunked puts an object of several chunks.
//
// The first chunk is stored under the token only if none stands there. If the token is the hash, that makes the chunk a lock:
// nobody else who obeys it writes under the hash as long as one of our chunks is there. If one stands there already, from a
// writer who is at work or has died, a fresh token is used instead. If the token is the writer's own, what stands there is
// the beginning of the object: see resume.go.
func (p *put) chunked(ctx context.Context, size uint64, r io.Reader) error {
	same := func(d *described) bool { return d.ok && d.meta.Size == size }
	seen, err := p.look(ctx, false)
	if err != nil || same(seen) {
		return err
	}
	defer p.claim()()
	hashes := newHashes(r)
	first := make([]byte, p.chunk)
	if _, err := io.ReadFull(hashes, first); err != nil {
		return short(err)
	}
	begun, done, err := p.begin(ctx, marked(&nats.Msg{Data: first}, hashes.mark(0)), size, same)
	if err != nil || done {
		return err
	}
	if err := p.rest(ctx, begun, hashes, size); err != nil {
		return err
	}
	meta := p.describe(size, hashes.digest())
	return p.publishMeta(ctx, meta, seen.seq, same) // if this fails, it may be stored all the same: the chunks have to stay
}

// begin stores the first chunk, under the token or one of its own, or finds what stands there. done says that the object
// appeared meanwhile.
func (p *put) begin(
	ctx context.Context, first *nats.Msg, size uint64, same func(*described) bool,
) (b beginning, done bool, err error) {
	b = beginning{chunks: 1, mark: first.Header.Get(chunkHeader)}
	if err = p.firstChunk(ctx, first); !sequenceTaken(err) {
		p.mine = err == nil
		return b, false, err
	}
	d, err := p.look(ctx, true)
	if err != nil || same(d) {
		return b, err == nil, err
	}
	if p.resumes && (!d.ok || d.meta.Token != p.token) {
		found, ok, err := p.found(ctx, size)
		if ok || err != nil && !errors.Is(err, ErrNotPermitted) {
			return found, false, err
		}
		p.purge(ctx, 0)
		if err := p.firstChunk(ctx, first); !sequenceTaken(err) {
			b.count = true
			return b, false, err
		}
	}
	p.ownToken()
	return b, false, p.firstChunk(ctx, first)
}

// firstChunk stores the first chunk under the token, unless one stands there.
func (p *put) firstChunk(ctx context.Context, m *nats.Msg) error {
	m.Subject = p.ob.store.chunks(p.token)
	_, err := p.c.store(ctx, p.ob.in, expectSequence(m, 0))
	return err
}

// rest stores the chunks behind the beginning, and makes sure that all of them together are the object.
func (p *put) rest(ctx context.Context, begun beginning, hashes *hashes, size uint64) error {
	up, err := p.startUpload(begun)
	if err != nil {
		return err
	}
	defer up.close()
	sent := min(size, begun.chunks*uint64(p.chunk))
	if err = begun.pass(hashes, int64(sent)-int64(p.chunk)); err == nil {
		err = up.send(ctx, hashes, size-sent)
	}
	if err == nil {
		err = hashes.check(p.ob.hash)
	}
	if err == nil && begun.count {
		err = p.counted(ctx, p.chunksOf(size))
	}
	if err != nil {
		p.abandon(ctx, up, err)
	}
	return err
}

// abandon removes what was sent, unless that is the beginning of what will be put again. A chunk that may still be on its way
// to the stream keeps the others there: it would arrive behind the purge, and stand between the chunks of the next one who
// writes under the token.
func (p *put) abandon(ctx context.Context, up *upload, err error) {
	goOn := p.resumes && interrupted(ctx, err)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	if !up.settle(ctx) || goOn {
		return
	}
	// If somebody else uses the writer's name, against the rule, what is visible stays.
	if d, err := p.look(ctx, true); err == nil && (!d.ok || d.meta.Token != p.token) {
		p.purge(ctx, up.last)
	}
}

// upload sends chunks and counts their acknowledgements. Not safe for concurrent use.
type upload struct {
	p       *put
	sub     *nats.Subscription
	inbox   string
	next    uint64 // number of the chunk to be sent
	waiting int    // sent, and not answered
	last    uint64 // sequence of the last chunk acknowledged; they must rise, or the chunks are out of order
}

func (p *put) startUpload(begun beginning) (*upload, error) {
	inbox := p.c.nc.NewInbox()
	sub, err := p.c.nc.SubscribeSync(inbox + ".*")
	if err != nil {
		return nil, p.c.callError(context.Background(), context.Background(), err)
	}
	return &upload{p: p, sub: sub, inbox: inbox, next: begun.chunks, last: begun.seq}, nil
}

func (u *upload) close() { _ = u.sub.Unsubscribe() }

// send reads size bytes from r, sends them in chunks, and returns when all are acknowledged.
func (u *upload) send(ctx context.Context, r *hashes, size uint64) error {
	subject := u.p.ob.store.chunks(u.p.token)
	guard, done := u.p.c.calls.add(ctx, subject, false)
	defer done()
	buf := make([]byte, u.p.chunk)
	for size > 0 {
		chunk := buf[:min(size, uint64(len(buf)))]
		if _, err := io.ReadFull(r, chunk); err != nil {
			return short(err)
		}
		size -= uint64(len(chunk))
		for u.waiting*len(buf) >= putWindow {
			if err := u.await(ctx, guard); err != nil {
				return err
			}
		}
		// The client copies what it is given: buf is free again.
		m := &nats.Msg{Subject: subject, Reply: u.inbox + "." + strconv.FormatUint(u.next, 10), Data: chunk}
		if err := u.p.c.publish(marked(m, r.mark(u.next))); err != nil {
			return err
		}
		u.next++
		u.waiting++
	}
	for u.waiting > 0 {
		if err := u.await(ctx, guard); err != nil {
			return err
		}
	}
	return atEnd(r)
}

// await takes one acknowledgement.
func (u *upload) await(parent, guard context.Context) error {
	ctx, cancel := context.WithTimeoutCause(guard, u.p.c.limit, fmt.Errorf("%w: waited %s", ErrTimeout, u.p.c.limit))
	defer cancel()
	m, err := u.sub.NextMsgWithContext(ctx)
	if err != nil {
		return u.p.c.silence(u.p.c.callError(parent, ctx, err), u.p.ob.store.chunks(u.p.token))
	}
	u.waiting--
	if status, err := statusOf(m); status != 0 {
		if errors.Is(err, errNoResponders) {
			err = u.p.c.whyNobody(parent, u.p.ob.in)
		}
		return err
	}
	ack, err := readAck(m.Data)
	if err != nil {
		return err
	}
	if ack.Seq <= u.last {
		return fmt.Errorf("the stream stored chunks out of order: %d after %d", ack.Seq, u.last)
	}
	u.last = ack.Seq
	return nil
}

// settle waits until every chunk is answered, even by a refusal, and reports whether that happened.
func (u *upload) settle(ctx context.Context) bool {
	for u.waiting > 0 {
		m, err := u.sub.NextMsgWithContext(ctx)
		if err != nil {
			return false
		}
		u.waiting--
		if ack, err := readAck(m.Data); err == nil {
			u.last = max(u.last, ack.Seq)
		}
	}
	return true
}

// short turns an early end of the bytes into a refusal.
func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return bucket.Refuse(bucket.HashMismatch, bucket.Link{}, "there are fewer bytes than announced")
	}
	return err
}

// hashes computes, while bytes are read, the hash that names them and the digest that NATS clients check.
type hashes struct {
	io.Reader
	name interface{ Sum([]byte) []byte }
	sha  interface{ Sum([]byte) []byte }
}

func newHashes(r io.Reader) *hashes {
	name, sha := blake3.New(), sha256.New()
	return &hashes{io.TeeReader(r, io.MultiWriter(name, sha)), name, sha}
}

func (h *hashes) check(want bucket.Hash) error {
	if bucket.Hash(h.name.Sum(nil)) != want {
		return bucket.Refuse(bucket.HashMismatch, bucket.Link{}, "the bytes hash to something else")
	}
	return nil
}

func (h *hashes) digest() string { return digestText(h.sha.Sum(nil)) }
