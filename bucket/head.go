package bucket

import "cmp"

// Head is a version as the head rule sees it: a height and a link. The zero Head means none.
type Head struct {
	Link   Link   `json:"link"`
	Height uint64 `json:"height"`
}

// IsZero reports whether h names no version.
func (h Head) IsZero() bool { return h.Link.IsZero() }

// Compare orders heads by the head rule: the greater height wins, then the larger link. The zero Head comes before all
// others. All peers that hold the same versions pick the same head.
func (h Head) Compare(o Head) int {
	if h.IsZero() || o.IsZero() {
		return cmp.Compare(h.Link.Compare(Link{}), o.Link.Compare(Link{}))
	}
	return cmp.Or(cmp.Compare(h.Height, o.Height), h.Link.Compare(o.Link))
}
