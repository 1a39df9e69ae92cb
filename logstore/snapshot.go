package logstore

import (
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// snapshot is the newest committed state, shared by all readers. A transaction of their own would have every reader wait for
// the commit that is under way.
type snapshot struct {
	mu  sync.Mutex
	cur *view
}

// view is a read-only transaction and the number of those who use it.
type view struct {
	txn   *badger.Txn
	users int // the snapshot itself is one while the view is the newest
}

// renew makes what was committed the newest state. No commit may be under way.
func (s *snapshot) renew(db *badger.DB) {
	next := &view{txn: db.NewTransaction(false), users: 1}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave()
	s.cur = next
}

// close gives up the newest state.
func (s *snapshot) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave()
}

// leave ends the snapshot's own use of its view.
func (s *snapshot) leave() {
	if s.cur != nil {
		s.cur.release()
	}
	s.cur = nil
}

// acquire returns the newest state, to be released.
func (s *snapshot) acquire() *view {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cur.users++
	return s.cur
}

// release ends one use.
func (s *snapshot) release(v *view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v.release()
}

// release ends one use, under the snapshot's lock.
func (v *view) release() {
	if v.users--; v.users == 0 {
		v.txn.Discard()
	}
}
