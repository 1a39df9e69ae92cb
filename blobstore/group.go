package blobstore

import (
	"context"
	"slices"
	"sync"

	"headwater/bucket"
)

// opKind says what an op does to the segments.
type opKind byte

const (
	opPut    opKind = iota // append the blob, unless it is held
	opDelete               // bury the blob, if it is held
	opDrop                 // bury it only if it is still the one at the place: its octets are wrong
	opMove                 // append it again only if it is still the one at the place: its segment is being rewritten
)

// place is where a record stands.
type place struct{ segment, offset uint32 }

// op is one change to the small blobs. It is decided and applied by the leader, one at a time, so it needs no lock.
type op struct {
	kind opKind
	hash bucket.Hash
	data []byte // of a blob to append
	at   place
}

// request is what one caller wants done.
type request struct {
	ops  []op
	err  error
	done chan struct{}
}

// group lets callers that come at the same time share a write and a sync. There is no goroutine behind it: the callers who
// wait all try to take the lead, and who gets it commits what all of them have queued, while new ones queue up behind.
type group struct {
	lead  chan struct{} // holds one token while nobody leads
	mu    sync.Mutex
	queue []*request
}

func newGroup() *group {
	g := &group{lead: make(chan struct{}, 1)}
	g.lead <- struct{}{}
	return g
}

// do has commit apply ops, together with those of other callers, and returns once that is durable. commit is called by one
// caller at a time, and settles each request. When ctx ends before anybody has begun with ops they are not applied; once
// begun do waits for the outcome, since the octets are still in use.
func (g *group) do(ctx context.Context, ops []op, commit func([]*request)) error {
	if len(ops) == 0 {
		return nil
	}
	req := &request{ops: ops, done: make(chan struct{})}
	g.mu.Lock()
	g.queue = append(g.queue, req)
	g.mu.Unlock()
	for {
		select {
		case <-req.done:
			return req.err
		case <-g.lead:
			commit(g.take())
			g.lead <- struct{}{}
		case <-ctx.Done():
			if g.withdraw(req) {
				return ctx.Err()
			}
			<-req.done
			return req.err
		}
	}
}

// take empties the queue.
func (g *group) take() []*request {
	g.mu.Lock()
	defer g.mu.Unlock()
	reqs := g.queue
	g.queue = nil
	return reqs
}

// withdraw takes a request off the queue; false means that a leader has it.
func (g *group) withdraw(req *request) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.queue, req)
	if i < 0 {
		return false
	}
	g.queue = slices.Delete(g.queue, i, i+1)
	return true
}
