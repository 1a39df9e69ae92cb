package logstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"headwater/durable"
)

// row is one change: a key with its new value, or without one if it is removed.
type row struct{ key, value []byte }

// size is what Badger counts for the row in a transaction, and a little more.
func (r row) size() int { return len(r.key) + len(r.value) + 16 }

// weigh returns how many rows there are, and their size.
func weigh(rows []row) (count, size int) {
	for _, r := range rows {
		size += r.size()
	}
	return len(rows), size
}

// committer lets many goroutines share synced transactions. It also keeps the job rows whose only change is that they were
// published: they ride with the next transaction.
type committer struct {
	db       *badger.DB
	group    *durable.Group[[]row]
	guard    func() error // refuses if too little disk is left
	release  func()       // gives memory of tables back
	maxRows  int
	maxSize  int
	written  int // since release was called; used by whoever commits
	snapshot snapshot

	mu       sync.Mutex
	buffered buffer
}

// buffer is rows that are newer than those in the database, by their keys. It is never changed, only replaced, so that a
// reader can take it before the snapshot that it goes with.
type buffer map[string]*[]byte

// start makes the committer ready. Transactions hold at most three quarters of what Badger allows.
func (c *committer) start(db *badger.DB) {
	c.db, c.maxRows, c.maxSize = db, int(db.MaxBatchCount())*3/4, int(db.MaxBatchSize())*3/4
	c.group = durable.NewGroup(durable.GroupConfig[[]row]{
		Commit: c.commitBatch, Weigh: weigh, MaxCount: c.maxRows, MaxSize: c.maxSize,
	})
	c.snapshot.renew(db)
}

// commit makes rows durable, all or none, after everything that waits already. If ctx ends before a transaction with the rows
// was begun they are withdrawn and nothing is written; later than that, the outcome is waited for.
func (c *committer) commit(ctx context.Context, rows []row) error { return c.group.Do(ctx, rows) }

// commitAll makes any number of rows durable in as many transactions as it takes, in order.
func (c *committer) commitAll(ctx context.Context, rows []row) error {
	for part := range slices.Chunk(rows, c.maxRows/2) {
		if err := c.commit(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// commitBatch commits what has gathered, with as much of what is buffered as fits. Once begun it does not stop halfway.
func (c *committer) commitBatch(_ context.Context, batch [][]row) error {
	count, size := 0, 0
	for _, rows := range batch {
		n, s := weigh(rows)
		count, size = count+n, size+s
	}
	c.mu.Lock()
	flushed := c.pickBuffered(count, size)
	c.mu.Unlock()
	if err := c.write(batch, flushed); err != nil {
		return err
	}
	c.account(size)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(batch, flushed)
	return nil
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

// write commits one transaction: the buffered rows, then the batch, which wins if both name a row.
func (c *committer) write(batch [][]row, flushed buffer) error {
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
	for _, rows := range batch {
		for _, r := range rows {
			if err := setRow(txn, r); err != nil {
				return fmt.Errorf("write a row: %w", err)
			}
		}
	}
	if err := txn.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	c.snapshot.renew(c.db)
	return nil
}

// releaseEvery is how many bytes of rows are written between two looks at the memory that tables hold.
const releaseEvery = 2 << 20

// account counts what was written, and now and then has the memory of the tables that became of it given back.
func (c *committer) account(size int) {
	if c.written += size; c.written >= releaseEvery {
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
// time, so the batch holds no row that was buffered while it was written.
func (c *committer) settle(batch [][]row, flushed buffer) {
	if len(c.buffered) == 0 {
		return
	}
	left := maps.Clone(c.buffered)
	for key, value := range flushed {
		if left[key] == value {
			delete(left, key)
		}
	}
	for _, rows := range batch {
		for _, r := range rows {
			if r.key[0] == kindJob {
				delete(left, string(r.key))
			}
		}
	}
	c.buffered = left
}

// maxBuffered is how many published jobs are kept in memory before they make a transaction of their own.
const maxBuffered = 256

// keep buffers a job row for the next transaction, or makes it one if many are buffered already.
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

// read runs f with the newest committed state, and with what is buffered. The latter is taken first: a row that has left the
// buffer by then is in the snapshot.
func (c *committer) read(f func(r reader) error) error {
	c.mu.Lock()
	newer := c.buffered
	c.mu.Unlock()
	v := c.snapshot.acquire()
	defer c.snapshot.release(v)
	return f(reader{v.txn, newer})
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
