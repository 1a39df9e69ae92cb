package author

import (
	"sync"

	"headwater/bucket"
)

// maxHeard is the most buckets whose announcements an author remembers.
const maxHeard = 64

// heard is what was announced of the newest versions of buckets, so that nobody need ask for it again: the hints in it lead
// back from these versions, and go on with the next one. The zero value is ready. Safe for concurrent use.
type heard struct {
	mu  sync.Mutex
	all map[bucket.ID][]bucket.Announcement
}

// keep remembers what was announced of one bucket, as far as it is about the versions given, instead of what was before.
func (h *heard) keep(id bucket.ID, announced []bucket.Announcement, versions map[bucket.Link]bool) {
	h.change(id, func([]bucket.Announcement) (kept []bucket.Announcement) {
		for _, n := range announced {
			if versions[n.Link] {
				kept = append(kept, n)
			}
		}
		return kept
	})
}

// add remembers what a peer announces, instead of what it announced before.
func (h *heard) add(n bucket.Announcement) {
	h.change(n.Bucket, func(old []bucket.Announcement) []bucket.Announcement {
		kept := []bucket.Announcement{n}
		for _, o := range old {
			if o.Peer != n.Peer {
				kept = append(kept, o)
			}
		}
		return kept
	})
}

func (h *heard) change(id bucket.ID, f func([]bucket.Announcement) []bucket.Announcement) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil || h.all[id] == nil && len(h.all) >= maxHeard {
		h.all = map[bucket.ID][]bucket.Announcement{}
	}
	h.all[id] = f(h.all[id])
}

// of returns what was announced of one version.
func (h *heard) of(id bucket.ID, link bucket.Link) []bucket.Announcement {
	h.mu.Lock()
	defer h.mu.Unlock()
	return about(h.all[id], link)
}

// about returns those announcements that are about one version, and have hints of what is below it.
func about(announced []bucket.Announcement, link bucket.Link) (some []bucket.Announcement) {
	for _, n := range announced {
		if n.Link == link && len(n.Hints.Recent)+len(n.Hints.Packs) > 0 {
			some = append(some, n)
		}
	}
	return some
}
