package local

import (
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
)

// PageSize is the most buckets or versions in one answer.
const PageSize = 500

// Status is how a peer and its buckets stand.
type Status struct {
	PeerID  bucket.PublicKey  `json:"peer_id"`
	Running bool              `json:"running"`        // a peer runs on the directory
	Broker  Broker            `json:"broker"`         // how the connection stands
	Buckets []consumer.Status `json:"buckets"`        // ascending by id
	More    bool              `json:"more,omitempty"` // there may be buckets behind the last one
	// Outcomes counts how messages ended since the peer was started.
	Outcomes map[consumer.Kind]map[consumer.Outcome]uint64 `json:"outcomes"`
	Damage   map[string]blobstore.Damage                   `json:"damage,omitempty"`
}

// Broker is how the connection to the broker stands.
type Broker struct {
	URL       string     `json:"url,omitempty"` // without credentials
	Connected bool       `json:"connected"`
	Since     *time.Time `json:"since,omitempty"` // of that
	Error     string     `json:"error,omitempty"` // why it is not connected
}
