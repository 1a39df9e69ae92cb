package jetstream

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// # Uploads that go on where they stopped
//
// A writer who says who they are ([Config.Writer]) stores the chunks of a large object under a token of their own, which is
// the same whenever they put that object. What an interrupted upload has left there is the beginning of the object: chunks
// are sent in order, and a refused one ends the upload. Each is marked with its number and the hash of all bytes up to its
// end. Putting the object again reads the bytes of that beginning only to hash them, compares the mark of the last chunk, and
// sends the rest. Before the description is published the chunks are counted: one that arrived late, from a connection that
// had died, would stand between the others.

// chunkHeader marks the chunks of an object.
const chunkHeader = "Headwater-Chunk"

// errOtherChunks: what stands under the writer's token is not the beginning of the object, or more than that. It is removed;
// putting again begins anew.
var errOtherChunks = errors.New("chunks of an earlier upload were in the way")

// claim gives the put its writer's token, unless another put uses it or there is no writer. Call release when it is over.
func (p *put) claim() (release func()) {
	c := p.c
	if c.writer.IsZero() {
		return func() {}
	}
	token := p.ob.hash.String() + "-" + base64.RawURLEncoding.EncodeToString(c.writer[:])
	key := p.ob.store.String() + "/" + token
	if _, taken := c.puts.LoadOrStore(key, true); taken {
		return func() {}
	}
	p.token, p.mine, p.resumes = token, true, true
	return func() { c.puts.Delete(key) }
}

// mark marks chunk n of an object, which was the last to be read.
func (h *hashes) mark(n uint64) string { return fmt.Sprintf("%d-%x", n, h.name.Sum(nil)) }

// marked gives a chunk its mark.
func marked(m *nats.Msg, mark string) *nats.Msg {
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	m.Header[chunkHeader] = []string{mark}
	return m
}

// beginning is what stands in the store of an object.
type beginning struct {
	chunks uint64
	seq    uint64 // of the last of them; 0 if it was stored just now
	mark   string // of the last of them
	count  bool   // chunks have stood there before: those of the whole have to be counted
}

// found returns what an earlier upload has left; ok is false if that is not the beginning of an object of so many bytes.
func (p *put) found(ctx context.Context, size uint64) (b beginning, ok bool, err error) {
	count, err := p.countChunks(ctx)
	if err != nil {
		return b, false, err
	}
	m, err := p.c.get(ctx, p.ob.in, getRequest{LastFor: p.ob.store.chunks(p.token)}, true)
	if errors.Is(err, errAbsent) {
		return b, false, nil
	}
	if err != nil {
		return b, false, err
	}
	mark := lastHeader(m.Header, chunkHeader)
	n, _, _ := strings.Cut(mark, "-")
	ok = count > 0 && count <= p.chunksOf(size) && n == strconv.FormatUint(count-1, 10)
	return beginning{chunks: count, seq: sequenceOf(m), mark: mark, count: true}, ok, nil
}

// countChunks counts what stands under the token.
func (p *put) countChunks(ctx context.Context) (uint64, error) {
	subject := p.ob.store.chunks(p.token)
	counts, err := p.c.subjectCounts(ctx, p.ob.in, subject)
	return counts[subject], noJetStream(err)
}

// pass reads the bytes of the beginning that are behind its first chunk, which is read already.
func (b beginning) pass(h *hashes, bytes int64) error {
	if _, err := io.CopyN(io.Discard, h, bytes); err != nil {
		return short(err)
	}
	if b.mark != h.mark(b.chunks-1) {
		return errOtherChunks
	}
	return nil
}

// counted makes sure that the chunks of an object which was not put in one go are as many as they should be.
func (p *put) counted(ctx context.Context, want uint64) error {
	got, err := p.countChunks(ctx)
	if err == nil && got != want {
		err = fmt.Errorf("%w: %d chunks stand in the store, want %d", errOtherChunks, got, want)
	}
	return err
}

// interrupted reports whether an upload that ended with err is one to go on with.
func interrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, ErrUnreachable) || errors.Is(err, ErrTimeout)
}
