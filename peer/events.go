package peer

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"headwater/bucket"
	"headwater/consumer"
)

// maxBehind is how many events one listener may be behind before it misses some.
const maxBehind = 1024

// events passes on what happens: to listeners in this process or over the socket, and to the bus. Safe for concurrent use.
type events struct {
	first func(consumer.Event) // of the configuration; nil for none

	mu        sync.Mutex
	bus       consumer.Events // nil while the peer does not run
	listeners map[chan []byte]struct{}
}

func newEvents(first func(consumer.Event)) *events {
	return &events{first: first, listeners: map[chan []byte]struct{}{}}
}

// Emit implements [consumer.Events].
func (e *events) Emit(ev consumer.Event) {
	if e.first != nil {
		e.first(ev)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.bus != nil {
		e.bus.Emit(ev)
	}
	if len(e.listeners) == 0 {
		return
	}
	b, err := json.Marshal(ev)
	if err != nil {
		return // an event that cannot be passed on is no reason to fail
	}
	for l := range e.listeners {
		select {
		case l <- b:
		default:
		}
	}
}

// tell passes events on to the bus from now on, or, with nil, no longer.
func (e *events) tell(bus consumer.Events) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.bus = bus
}

// watch calls handle with each event until ctx ends.
func (e *events) watch(ctx context.Context, started func(), handle func([]byte)) error {
	l := make(chan []byte, maxBehind)
	e.mu.Lock()
	e.listeners[l] = struct{}{}
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.listeners, l)
		e.mu.Unlock()
	}()
	if started != nil {
		started()
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case b := <-l:
			handle(b)
		}
	}
}

// announcements passes on what the publisher does as an event like those of the consumer.
func (e *events) announcements(peer bucket.PublicKey) func(bucket.ID, bucket.Head, []bucket.Link) {
	return func(id bucket.ID, head bucket.Head, heads []bucket.Link) {
		e.Emit(consumer.Event{
			At: time.Now().UTC(), Kind: consumer.EventAnnounced, BucketID: id, PeerID: peer, Link: head.Link, Height: head.Height, Heads: heads,
		})
	}
}
