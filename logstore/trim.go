package logstore

import (
	"context"
	"maps"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// trimEvery is how often Trim looks at the memory that tables hold.
const trimEvery = 200 * time.Millisecond

// Trim gives the memory of mapped tables back now and then, until ctx ends, which is no error. Badger merges tables while nobody
// writes, and reads them through mappings; what it has touched stays resident until somebody says that it may go. Without Trim
// that is said while rows are written only. It is to have returned before Close is called.
func (s *Badger) Trim(ctx context.Context) error {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.log.release()
		}
	}
}

// release gives the memory of mapped tables back, if it is much. Badger reads and writes tables through mappings, so that all that it
// touches counts as the process's until the kernel runs short.
func (s *Badger) release(dir string) {
	if residentFiles() <= maxMapped {
		return
	}
	before := s.tables()
	_ = s.log.read(func(r reader) error {
		it := r.txn.NewIterator(badger.IteratorOptions{}) // while it is open, no table that it may read is closed
		defer it.Close()
		held := s.tables()
		maps.DeleteFunc(held, func(id uint64, _ bool) bool { return !before[id] })
		giveBack(dir, held)
		return nil
	})
}

// tables returns the ids of the tables in use.
func (s *Badger) tables() map[uint64]bool {
	ids := make(map[uint64]bool)
	for _, t := range s.db.Tables() {
		ids[t.ID] = true
	}
	return ids
}
