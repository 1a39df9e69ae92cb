package publisher

import (
	"sync"

	"headwater/bucket"
)

// maxPackMemory is the most buckets whose packs are remembered. Of others the bus is asked.
const maxPackMemory = 256

// packMemory is how far the chains that were announced lately are packed. The zero value is ready. Safe for concurrent use.
type packMemory struct {
	mu  sync.Mutex
	all map[bucket.ID]packed
}

func (m *packMemory) of(id bucket.ID) (packed, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.all[id]
	return p, ok
}

// keep remembers how far a chain is packed; one of which nothing is packed needs no memory.
func (m *packMemory) keep(id bucket.ID, p packed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.below.IsZero() {
		delete(m.all, id)
		return
	}
	if m.all == nil || m.all[id].below.IsZero() && len(m.all) >= maxPackMemory {
		m.all = map[bucket.ID]packed{}
	}
	m.all[id] = p
}
