package blobstore

import (
	"context"
	"sync"
)

// calls counts the calls under way, so that Close can wait for them.
type calls struct {
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

// begin is followed by end, unless it returns why the call must not begin.
func (c *calls) begin(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c.wg.Add(1)
	return nil
}

func (c *calls) end() { c.wg.Done() }

// close refuses new calls and waits for the others.
func (c *calls) close() error {
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.mu.Unlock()
	if closed {
		return ErrClosed
	}
	c.wg.Wait()
	return nil
}
