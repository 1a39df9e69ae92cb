package jetstream

import (
	"sync"
	"time"
)

// What is learnt about a stream is believed for so long: its configuration may change, and its servers may be replaced by
// newer ones behind a leaf node that stays connected.
const memoryLimit = 10 * time.Minute

// maxMemory bounds how many streams are remembered: stores can be named by anybody's messages.
const maxMemory = 256

// memory is what was lately learnt about streams from what they answered. It decides only how they are asked, and a server's
// version would not do: who answers for a domain may be older than the server that the client is connected to. The zero memory
// is empty. Safe for concurrent use.
type memory struct {
	mu     sync.Mutex
	learnt map[place]learnt
}

type learnt struct {
	yes bool
	at  time.Time
}

// know notes an answer.
func (m *memory) know(in place, yes bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.learnt == nil || len(m.learnt) >= maxMemory {
		m.learnt = map[place]learnt{}
	}
	m.learnt[in] = learnt{yes, time.Now()}
}

// known returns what was learnt, if that is not too long ago.
func (m *memory) known(in place) (yes, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, known := m.learnt[in]
	if !known || time.Since(l.at) > memoryLimit {
		return false, false
	}
	return l.yes, true
}

// is reports whether an answer was yes.
func (m *memory) is(in place) bool {
	yes, _ := m.known(in)
	return yes
}

// forget empties the memory, for a new connection: the server may be another one.
func (m *memory) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.learnt = nil
}
