package logstore

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"headwater/bucket"
	"headwater/durable"
)

var _ Store = (*Badger)(nil)

// Config says where a log lives and when it refuses to write.
type Config struct {
	// Dir is the log's directory, made if it is missing. Required. Its lock is a file beside it: Dir + ".lock".
	Dir string
	// Logger is told what Badger says, and what a start finds. nil discards.
	Logger *slog.Logger
	// MinFree is how many bytes of disk a write must find free; below, it is refused with ErrDiskFull. Badger writes through
	// memory maps, so that a disk that is really full ends the process. 0 means DefaultMinFree.
	MinFree uint64
	// ReadIfFull: if less is free, open the log for reading alone, provided that it was closed and has the newest schema;
	// whatever would write is refused with ErrDiskFull until it is opened anew. False: it is not opened then.
	ReadIfFull bool
	// Free returns how many bytes are free where a directory lies. nil asks the file system.
	Free func(dir string) (uint64, error)
}

// memTableSize is how many bytes of rows Badger gathers before it writes a table. A transaction holds at most 15% of it.
const memTableSize = 8 << 20

// DefaultMinFree is the room for the tables that Badger may write without being asked again, four times what it holds in
// memory, and 64 MiB more.
const DefaultMinFree = 4*memTableSize + 64<<20

// Badger is a log in a directory. One process at a time holds it. All methods are safe for concurrent use.
//
// If a context ends while its call waits, for its turn at the bucket or for a transaction, the call ends, and transactions that
// have not begun are not written; one that has begun is waited for, and its outcome is returned.
type Badger struct {
	cfg   Config
	set   settings
	lock  *durable.Lock
	db    *badger.DB
	log   committer
	turns turns

	full error // why the log was opened for reading alone; nil if it was not

	open   sync.RWMutex // held for reading by every call
	closed bool

	strangersMu sync.Mutex
	strangers   int // buckets without versions that have a condition
}

// settings are what only tests set otherwise.
type settings struct {
	memTable int64
	open     func(badger.Options) (*badger.DB, error)
	now      func() time.Time
}

// production returns the settings of a peer.
func production() settings { return settings{memTable: memTableSize, open: badger.Open, now: time.Now} }

// badgerOptions is the profile of a small daemon: little memory, everything synced.
func badgerOptions(cfg Config, set settings) badger.Options {
	return badger.DefaultOptions(cfg.Dir).
		WithSyncWrites(true).
		WithDetectConflicts(false). // one call at a time changes a bucket, and transactions read nothing
		WithMemTableSize(set.memTable).
		WithNumMemtables(2).
		WithBaseTableSize(512 << 10). // a compaction builds up to ten tables at once in memory, at several times their size
		WithBlockCacheSize(4 << 20).
		WithIndexCacheSize(0).
		WithValueLogFileSize(16 << 20).
		WithValueThreshold(min(1<<20, set.memTable/16)).
		WithNumCompactors(2).
		// A merge of new tables rewrites the whole level below them, so that level is kept small. What it gives to the next one
		// goes there table by table: rows of a bucket are added in order, and meet few others.
		WithBaseLevelSize(32 << 20).
		WithNumLevelZeroTables(5).
		WithNumLevelZeroTablesStall(12).
		WithCompactL0OnClose(true).
		WithNumGoroutines(2).
		WithMetricsEnabled(false).
		WithChecksumVerificationMode(options.NoVerification). // see checkTable
		WithLogger(badgerLogger{cfg.Logger})
}

// Close is described at [Store]. Calls under way are waited for. If it returns an error the directory is free all the same,
// and the next start checks it.
func (s *Badger) Close() error {
	s.open.Lock()
	if s.closed {
		s.open.Unlock()
		return failed(ErrClosed, "close the log")
	}
	s.closed = true
	s.open.Unlock()

	flushErr := s.log.flush()
	s.log.snapshot.close()
	err := s.db.Close()
	if err == nil && s.full == nil {
		err = writeClean(s.cfg.Dir)
	}
	return failed(errors.Join(flushErr, err, s.lock.Release()), "close log %s", s.cfg.Dir)
}

// read runs f with the newest committed state.
func (s *Badger) read(ctx context.Context, f func(r reader) error) error {
	return s.use(ctx, func() error { return s.log.read(f) })
}

// change runs f with the newest committed state when it is its turn to change the bucket.
func (s *Badger) change(ctx context.Context, id bucket.ID, f func(r reader) error) error {
	return s.use(ctx, func() error {
		done, err := s.turns.wait(ctx, id)
		if err != nil {
			return err
		}
		defer done()
		return s.log.read(f)
	})
}

// use runs f while the log is open. f must not call use again: Close would wait for both.
func (s *Badger) use(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.open.RLock()
	defer s.open.RUnlock()
	if s.closed {
		return ErrClosed
	}
	return f()
}
