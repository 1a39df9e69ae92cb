package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"headwater/bucket"
)

// answer does one call. An error means that the connection is of no further use.
func (c *serverConn) answer(ctx context.Context, f frame) error {
	var q request
	err := decode(f.payload, &q)
	if f.t != frameRequest {
		err = fmt.Errorf("%w: data without a request", errFrame)
	}
	c.free(f)
	if err != nil {
		c.sendError(ctx, err)
		return err
	}
	call, cancel := context.WithCancel(ctx)
	defer cancel()
	body := &requestBody{ctx: call, conn: c, left: q.Size, ready: q.inline()}
	if err := c.do(call, &q, body); err != nil {
		c.sendError(ctx, err)
	}
	return body.drain()
}

// sendError answers a call with why it failed. A call that ended because the holder ends is ErrLost.
func (c *serverConn) sendError(ctx context.Context, err error) {
	if errors.Is(context.Cause(ctx), ErrLost) && errors.Is(err, context.Canceled) {
		err = ErrLost
	}
	c.sendJSON(frameError, toWire(err))
}

// reply answers with v, unless the call failed.
func (c *serverConn) reply(v any, err error) error {
	if err == nil {
		c.sendJSON(frameAnswer, v)
	}
	return err
}

// do makes one call of the holder and answers it; an error is not answered yet.
func (c *serverConn) do(ctx context.Context, q *request, body *requestBody) error {
	switch q.Call {
	case callGet:
		return c.get(ctx, q)
	case callPut:
		return c.reply(nil, c.holder.Put(ctx, q.Hash, q.Size, body))
	case callAdd:
		h, err := c.holder.Add(ctx, q.Size, body)
		return c.reply(h, err)
	case callManifest:
		b, err := c.holder.Manifest(ctx, q.Link)
		return c.replyBytes(ctx, b, err)
	case callCarried:
		pins, err := c.holder.Carried(ctx, q.Bucket, q.Links)
		return c.replyBytes(ctx, pins.Encode(), err)
	case callKeep:
		return c.keep(ctx, q, body)
	case callAwait:
		return c.await(ctx, q)
	case callWatch:
		return c.watch(ctx)
	case callTakeover:
		return c.takeover()
	}
	v, err := c.plain(ctx, q)
	return c.reply(v, err)
}

// plain makes the calls whose answer is one value.
func (c *serverConn) plain(ctx context.Context, q *request) (any, error) {
	switch q.Call {
	case callHas:
		return c.holder.Has(ctx, q.Hash)
	case callFind:
		return c.holder.Find(ctx, q.Name)
	case callLook:
		return c.holder.Look(ctx, q.Bucket, q.Bus)
	case callAncestor:
		if q.Query == nil {
			return nil, fmt.Errorf("%w: a query is missing", errFrame)
		}
		return c.holder.Ancestor(ctx, *q.Query)
	case callLog:
		return c.holder.Log(ctx, q.Bucket, q.Before, q.Limit)
	case callAnnounce:
		return c.holder.Announce(ctx, q.Bucket, q.Link)
	case callStatus:
		return c.holder.Status(ctx, q.Bucket, q.After, q.Limit)
	}
	return nil, fmt.Errorf("%w: it has no call %.40q", ErrRefused, q.Call)
}

func (c *serverConn) keep(ctx context.Context, q *request, body *requestBody) error {
	if q.Size > bucket.MaxManifestSize {
		return bucket.Refuse(bucket.TooLarge, bucket.Link{}, "a manifest of %d bytes; the limit is %d", q.Size, bucket.MaxManifestSize)
	}
	manifest, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	return c.reply(nil, c.holder.Keep(ctx, manifest))
}

func (c *serverConn) takeover() error {
	if c.yield == nil {
		return fmt.Errorf("%w: process %d (%s) does not give the directory up", ErrRefused, c.info.PID, c.info.Role)
	}
	c.yield()
	return c.reply(nil, nil)
}

func (c *serverConn) await(ctx context.Context, q *request) error {
	var report func(UploadProgress)
	if q.Report {
		report = func(p UploadProgress) { c.sendJSON(frameEvent, p) }
	}
	return c.reply(nil, c.holder.Await(ctx, q.Bucket, q.Link, report))
}

func (c *serverConn) watch(ctx context.Context) error {
	err := c.holder.Watch(ctx, func() { c.send(frameReady, nil) }, func(event []byte) {
		if len(event) <= frameEvent.limit() {
			c.send(frameEvent, event)
		}
	})
	if err == nil {
		err = errors.New("the watch ended")
	}
	return err
}

// get answers with a blob.
func (c *serverConn) get(ctx context.Context, q *request) error {
	blob, err := c.holder.Get(ctx, q.Hash)
	if err != nil {
		return err
	}
	defer blob.Close()
	return c.replyBody(ctx, blob.Size(), blob)
}

// replyBytes answers with a body, unless the call failed.
func (c *serverConn) replyBytes(ctx context.Context, b []byte, err error) error {
	if err != nil {
		return err
	}
	return c.replyBody(ctx, int64(len(b)), bytes.NewReader(b))
}

// replyBody answers with the size bytes of r. The first piece goes with the answer; each is read into the frame that it is sent in.
func (c *serverConn) replyBody(ctx context.Context, size int64, r io.Reader) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out, err = appendJSON(c.out[:0], frameAnswer, sized{size})
	for left := size; err == nil && c.broken == nil; {
		n := min(left, chunkSize)
		if c.out, err = appendPiece(c.out, r, int(n)); err != nil {
			break
		}
		c.flush()
		if left -= n; left == 0 {
			break
		}
		c.out, err = c.out[:0], context.Cause(ctx)
	}
	return err
}

// appendPiece appends a frame with the next n bytes of r, all or nothing.
func appendPiece(b []byte, r io.Reader, n int) ([]byte, error) {
	if n == 0 {
		return b, nil
	}
	begin := len(b)
	b = grow(b, headerSize+n)
	putHeader(b[begin:], frameData, n)
	if _, err := io.ReadFull(r, b[begin+headerSize:]); err != nil {
		return b[:begin], err
	}
	return b, nil
}
