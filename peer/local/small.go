package local

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"sync"

	"headwater/bucket"
	"headwater/durable"
)

// Small blobs that are put at the same time go in one request. The body is, for each, its hash, its length (4 bytes, big endian)
// and its bytes; the answer says for each what became of it: null, or an error.
const (
	smallBlob   = 64 << 10 // bytes of the largest
	maxTogether = 256
	// bytesTogether is the most bytes of the blobs in one request.
	bytesTogether = 4 << 20
	smallHead     = len(bucket.Hash{}) + 4
)

// smallPut is a small blob, and what became of it.
type smallPut struct {
	hash bucket.Hash
	data []byte
	err  error
}

func (c *Client) groupSmall() *durable.Group[*smallPut] {
	return durable.NewGroup(durable.GroupConfig[*smallPut]{
		Commit: c.putTogether, MaxCount: maxTogether, MaxSize: bytesTogether,
		Weigh: func(p *smallPut) (count, size int) { return 1, len(p.data) },
	})
}

// putSmall puts a blob with those of other callers.
func (c *Client) putSmall(ctx context.Context, h bucket.Hash, size int64, r io.Reader) error {
	p := &smallPut{hash: h, data: make([]byte, size)}
	s := &source{r: r, left: size}
	if _, err := io.ReadFull(s, p.data); err != nil {
		return fmt.Errorf("put blob %s: %w", h, err)
	}
	if err := c.small.Do(ctx, p); err != nil {
		return err
	}
	return p.err
}

// putTogether makes one request of a batch.
func (c *Client) putTogether(ctx context.Context, batch []*smallPut) error {
	if len(batch) == 1 {
		p := batch[0]
		return c.send(ctx, http.MethodPut, pathBlobs+"/"+p.hash.String(), int64(len(p.data)), bytes.NewReader(p.data), nil)
	}
	size := len(batch) * smallHead
	for _, p := range batch {
		size += len(p.data)
	}
	body := make([]byte, 0, size)
	for _, p := range batch {
		body = append(body, p.hash[:]...)
		body = binary.BigEndian.AppendUint32(body, uint32(len(p.data)))
		body = append(body, p.data...)
	}
	var answers []*wireError
	if err := c.send(ctx, http.MethodPut, pathBlobs, int64(len(body)), bytes.NewReader(body), &answers); err != nil {
		return err
	}
	if len(answers) != len(batch) {
		return fmt.Errorf("%w: %d answers to %d blobs", errProtocol, len(answers), len(batch))
	}
	for i, a := range answers {
		if a != nil {
			batch[i].err = a.err()
		}
	}
	return nil
}

// parseTogether reads the body of such a request. The blobs are parts of b.
func parseTogether(b []byte) (all []smallPut, err error) {
	for len(b) > 0 {
		if len(b) < smallHead || len(all) == maxTogether {
			return nil, fmt.Errorf("%w: no small blobs", errProtocol)
		}
		p := smallPut{hash: bucket.Hash(b[:smallHead-4])}
		size := binary.BigEndian.Uint32(b[smallHead-4:])
		if b = b[smallHead:]; uint64(size) > uint64(len(b)) {
			return nil, fmt.Errorf("%w: a small blob is cut short", errProtocol)
		}
		p.data, b = b[:size], b[size:]
		all = append(all, p)
	}
	return all, nil
}

// putMany puts small blobs that came together, each by itself: the holder's store makes one write of them.
func (s *server) putMany(w http.ResponseWriter, r *http.Request) error {
	const limit = int64(bytesTogether + maxTogether*smallHead)
	return receive(w, r, func(size int64, body io.Reader) (any, error) {
		if size > limit {
			return nil, fmt.Errorf("%w: %d bytes of small blobs; the limit is %d", errProtocol, size, limit)
		}
		b, err := io.ReadAll(io.LimitReader(body, limit))
		if err != nil {
			return nil, err
		}
		all, err := parseTogether(b)
		if err != nil {
			return nil, err
		}
		answers := make([]*wireError, len(all))
		var puts sync.WaitGroup
		for i, p := range all {
			puts.Go(func() {
				if err := s.holder.Put(r.Context(), p.hash, int64(len(p.data)), bytes.NewReader(p.data)); err != nil {
					answers[i] = new(wire(r.Context(), err))
				}
			})
		}
		puts.Wait()
		return answers, nil
	})
}
