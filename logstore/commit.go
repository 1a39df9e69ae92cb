package logstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// row is one change: a key with its new value, or without one where it is removed.
type row struct{ key, value []byte }

// size is what Badger counts for the row in a transaction, and a little more.
func (r row) size() int { return len(r.key) + len(r.value) + 16 }

// write is rows that become durable together.
type write struct {
	rows []row
	size int
	lead chan struct{} // closed when this write's goroutine shall commit what waits
	done chan error
}

// newWrite returns a write of rows.
func newWrite(rows []row) *write {
	w := &write{rows: rows, lead: make(chan struct{}), done: make(chan error, 1)}
	for _, r := range rows {
		w.size += r.size()
	}
	return w
}

// committer lets many goroutines share synced transactions. There is no goroutine of its own: the first writer to come leads,
// which means that it commits what has gathered by then, its own write first, and hands the lead to the first of those that
// came meanwhile.
//
// It also keeps the job rows whose only change is that they were published: they ride with the next transaction.
type committer struct {
	db       *badger.DB
	guard    func() error // refuses where too little disk is left
	release  func()       // gives memory of tables back
	maxRows  int
	maxSize  int
	written  int // since release was called; the leader's
	snapshot snapshot

	mu       sync.Mutex
	busy     bool     // somebody leads, or was asked to
	queue    []*write // what waits, in the order it came
	buffered buffer
}

// buffer is rows that are newer than those in the database, by their keys. It is never changed, only replaced, so that a
// reader can take it before the snapshot that it goes with.
type buffer map[string]*[]byte

// commit makes rows durable, all or none, after everything that waits already. Where ctx ends before a transaction with the
// rows was begun they are withdrawn and nothing is written; later than that, the outcome is waited for.
func (c *committer) commit(ctx context.Context, rows []row) error {
	w := newWrite(rows)
	c.mu.Lock()
	c.queue = append(c.queue, w)
	if !c.busy {
		c.busy = true
		close(w.lead)
	}
	c.mu.Unlock()
	select {
	case <-w.lead:
		return c.commitWaiting(w)
	case err := <-w.done:
		return err
	case <-ctx.Done():
	}
	if c.withdraw(w) {
		return ctx.Err()
	}
	select {
	case <-w.lead:
		return c.commitWaiting(w)
	case err := <-w.done:
		return err
	}
}

// withdraw takes w out of the queue, unless it is being written or was asked to lead.
func (c *committer) withdraw(w *write) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-w.lead:
		return false
	default:
	}
	i := slices.Index(c.queue, w)
	if i < 0 {
		return false
	}
	c.queue = slices.Delete(c.queue, i, i+1)
	return true
}

// commitWaiting commits own, which heads the queue, with as much of what waits as fits, and hands the lead on.
func (c *committer) commitWaiting(own *write) error {
	c.mu.Lock()
	batch, rows, size := c.take()
	flushed := c.pickBuffered(rows, size)
	c.mu.Unlock()

	err := c.write(batch, flushed)

	c.mu.Lock()
	if err == nil {
		c.settle(batch, flushed)
	}
	if c.busy = len(c.queue) > 0; c.busy {
		close(c.queue[0].lead)
	}
	c.mu.Unlock()
	for _, w := range batch {
		if w != own {
			w.done <- err
		}
	}
	return err
}

// take removes from the queue what the next transaction holds.
func (c *committer) take() (batch []*write, rows, size int) {
	for len(c.queue) > 0 {
		w := c.queue[0]
		if len(batch) > 0 && (rows+len(w.rows) > c.maxRows || size+w.size > c.maxSize) {
			break
		}
		batch, rows, size = append(batch, w), rows+len(w.rows), size+w.size
		c.queue = slices.Delete(c.queue, 0, 1)
	}
	return batch, rows, size
}

// pickBuffered returns the buffered rows that still fit.
func (c *committer) pickBuffered(rows, size int) buffer {
	flushed := make(buffer)
	for key, value := range c.buffered {
		r := row{[]byte(key), *value}
		if rows++; rows > c.maxRows || size+r.size() > c.maxSize {
			break
		}
		size += r.size()
		flushed[key] = value
	}
	return flushed
}

// write commits one transaction: the buffered rows, then the batch, which wins where both name a row.
func (c *committer) write(batch []*write, flushed buffer) error {
	if err := c.guard(); err != nil {
		return err
	}
	txn := c.db.NewTransaction(true)
	defer txn.Discard()
	for key, value := range flushed {
		if err := txn.Set([]byte(key), *value); err != nil {
			return fmt.Errorf("write a row: %w", err)
		}
	}
	for _, w := range batch {
		for _, r := range w.rows {
			if err := setRow(txn, r); err != nil {
				return fmt.Errorf("write a row: %w", err)
			}
		}
	}
	if err := txn.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	c.snapshot.renew(c.db)
	c.account(batch)
	return nil
}

// releaseEvery is how many octets of rows are written between two looks at the memory that tables hold.
const releaseEvery = 128 << 10

// account counts what was written, and now and then has the memory of the tables that became of it given back.
func (c *committer) account(batch []*write) {
	for _, w := range batch {
		c.written += w.size
	}
	if c.written >= releaseEvery {
		c.written = 0
		c.release()
	}
}

// setRow puts one change into a transaction.
func setRow(txn *badger.Txn, r row) error {
	if r.value == nil {
		return txn.Delete(r.key)
	}
	return txn.Set(r.key, r.value)
}

// settle forgets buffered rows that are durable now, or that the batch overrode. A bucket's jobs are changed by one call at a
// time, so a row buffered while the batch was written is none that the batch holds.
func (c *committer) settle(batch []*write, flushed buffer) {
	if len(c.buffered) == 0 {
		return
	}
	left := maps.Clone(c.buffered)
	for key, value := range flushed {
		if left[key] == value {
			delete(left, key)
		}
	}
	for _, w := range batch {
		for _, r := range w.rows {
			if r.key[0] == kindJob {
				delete(left, string(r.key))
			}
		}
	}
	c.buffered = left
}

// maxBuffered is how many published jobs are kept in memory before they make a transaction of their own.
const maxBuffered = 256

// keep buffers a job row for the next transaction, or makes it one where many are buffered already.
func (c *committer) keep(ctx context.Context, key, value []byte) error {
	c.mu.Lock()
	full := len(c.buffered) >= maxBuffered
	if !full {
		more := maps.Clone(c.buffered)
		if more == nil {
			more = make(buffer)
		}
		more[string(key)] = &value
		c.buffered = more
	}
	c.mu.Unlock()
	if full {
		return c.commit(ctx, []row{{key, value}})
	}
	return nil
}

// newer returns what is buffered. Taken before a snapshot it goes with it: a row that has left the buffer by then is in the
// snapshot.
func (c *committer) newer() buffer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buffered
}

// flush makes the buffered rows durable. Nobody else may use the committer meanwhile.
func (c *committer) flush() error {
	for len(c.buffered) > 0 {
		flushed := c.pickBuffered(0, 0)
		if err := c.write(nil, flushed); err != nil {
			return fmt.Errorf("%d published jobs will be published again: %w", len(c.buffered), err)
		}
		c.settle(nil, flushed)
	}
	return nil
}
