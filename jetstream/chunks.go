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

// putWindow is how many octets of an object may be sent before the first of them is acknowledged. Servers refuse what they
// cannot keep up with; the clients' own way of sending, without a window of octets, runs into that.
const putWindow = 16 << 20

// chunked puts an object of several chunks.
//
// The first chunk is stored under the hash only where none stands there, which makes it a lock: nobody else who obeys it
// writes under the hash as long as one of our chunks is there. Where one stands there already, from a writer who is at work
// or has died, a fresh token is used instead.
func (p *put) chunked(ctx context.Context, size uint64, r io.Reader) error {
	same := func(d *described) bool { return d.ok && d.meta.Size == size }
	seen, err := p.look(ctx, false)
	if err != nil || same(seen) {
		return err
	}
	hashes := newHashes(r)
	first := make([]byte, chunkSize)
	if _, err := io.ReadFull(hashes, first); err != nil {
		return short(err)
	}
	if done, err := p.lock(ctx, first, same); err != nil || done {
		return err
	}
	up, err := p.startUpload()
	if err != nil {
		return err
	}
	defer up.close()
	if err = up.send(ctx, hashes, size-chunkSize); err == nil {
		err = hashes.check(p.ob.hash)
	}
	if err != nil {
		p.abandon(ctx, up)
		return err
	}
	meta := p.describe(size, hashes.digest())
	meta.Chunks = (size + chunkSize - 1) / chunkSize
	if err := p.publishMeta(ctx, meta, seen.seq, same); err != nil {
		return err // whether the meta is stored is not known: the chunks have to stay
	}
	return nil
}

// lock stores the first chunk, under the hash or a token of its own. done says that the object appeared meanwhile.
func (p *put) lock(ctx context.Context, first []byte, same func(*described) bool) (done bool, err error) {
	err = p.chunkOnce(ctx, first)
	if !sequenceTaken(err) {
		p.mine = err == nil
		return false, err
	}
	d, err := p.look(ctx, true)
	if err != nil || same(d) {
		return err == nil, err
	}
	p.ownToken()
	return false, p.chunkOnce(ctx, first)
}

// abandon removes what was sent. A chunk that may still be on its way to the stream keeps the others there: it would arrive
// behind the purge, and stand between the chunks of the next one who writes under the hash.
func (p *put) abandon(ctx context.Context, up *upload) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	if up.settle(ctx) {
		p.purge(ctx, up.last)
	}
}

// upload sends chunks and counts their acknowledgements. Not safe for concurrent use.
type upload struct {
	p       *put
	sub     *nats.Subscription
	inbox   string
	sent    int
	waiting int    // sent, and not answered
	last    uint64 // sequence of the last chunk acknowledged; they must rise, or the chunks are out of order
}

func (p *put) startUpload() (*upload, error) {
	inbox := p.c.nc.NewInbox()
	sub, err := p.c.nc.SubscribeSync(inbox + ".*")
	if err != nil {
		return nil, p.c.callError(context.Background(), context.Background(), err)
	}
	return &upload{p: p, sub: sub, inbox: inbox}, nil
}

func (u *upload) close() { _ = u.sub.Unsubscribe() }

// send reads size octets from r, sends them in chunks, and returns when all are acknowledged.
func (u *upload) send(ctx context.Context, r io.Reader, size uint64) error {
	subject := u.p.ob.store.chunks(u.p.token)
	guard, done := u.p.c.calls.add(ctx, func(s string) bool { return s == subject })
	defer done()
	buf := make([]byte, chunkSize)
	for size > 0 {
		chunk := buf[:min(size, chunkSize)]
		if _, err := io.ReadFull(r, chunk); err != nil {
			return short(err)
		}
		size -= uint64(len(chunk))
		for u.waiting*chunkSize >= putWindow {
			if err := u.await(ctx, guard); err != nil {
				return err
			}
		}
		// The client copies what it is given: buf is free again.
		m := &nats.Msg{Subject: subject, Reply: u.inbox + "." + strconv.Itoa(u.sent), Data: chunk}
		if err := u.p.c.publish(m); err != nil {
			return err
		}
		u.sent++
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
			err = u.p.c.whyNobody(parent, u.p.ob.in.api, u.p.ob.in.stream)
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

// settle waits until every chunk is answered, be it by a refusal, and says whether that came to pass.
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

// short says what an early end of the octets is.
func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return bucket.Refuse(bucket.HashMismatch, bucket.Link{}, "there are fewer octets than announced")
	}
	return err
}

// hashes computes, while octets are read, the hash that names them and the digest that NATS clients check.
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
		return bucket.Refuse(bucket.HashMismatch, bucket.Link{}, "the octets hash to something else")
	}
	return nil
}

func (h *hashes) digest() string { return digestText(h.sha.Sum(nil)) }
