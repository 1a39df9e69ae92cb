package local

import (
	"time"

	"headwater/bucket"
)

// Protocol is the version of the protocol. Both ends of a socket must have the same.
const Protocol = 1

// Info is what a holder says of itself.
type Info struct {
	PeerID  bucket.PublicKey `json:"peer_id"`
	PID     int              `json:"pid"`
	Since   time.Time        `json:"since"`
	Role    string           `json:"role"`    // "run", or a command's name
	Version string           `json:"version"` // of the program
	Broker  BrokerSettings   `json:"broker"`

	ManifestStores []string `json:"manifest_stores,omitempty"` // as NAME or DOMAIN/NAME, the one that is written first
	BlobStores     []string `json:"blob_stores,omitempty"`
	AllowUnsigned  bool     `json:"allow_unsigned,omitempty"`
}

// BrokerSettings are how a holder reaches the broker. No credentials are among them.
type BrokerSettings struct {
	URL      string `json:"url,omitempty"`
	Context  string `json:"context,omitempty"`
	Domain   string `json:"domain,omitempty"`
	Prefix   string `json:"prefix,omitempty"`
	Embedded bool   `json:"embedded,omitempty"` // a server in the holder's process
}

// hello is the first frame of both ends. Its shape stays as it is, so that every two versions can name each other.
type hello struct {
	Protocol int    `json:"protocol"`
	Refused  string `json:"refused,omitempty"` // why the holder takes no calls on this connection
	Info     Info   `json:"info,omitzero"`     // of the holder
}

// The calls. The names stand on the wire.
const (
	callHas      = "has"
	callGet      = "get"
	callPut      = "put"
	callAdd      = "add"
	callManifest = "manifest"
	callFind     = "find"
	callLook     = "look"
	callAncestor = "ancestor"
	callCarried  = "carried"
	callLog      = "log"
	callKeep     = "keep"
	callAwait    = "await"
	callAnnounce = "announce"
	callStatus   = "status"
	callWatch    = "watch"
	callTakeover = "takeover"
)

// request asks for a call. Which fields it has is the call's.
type request struct {
	Call   string         `json:"call"`
	Hash   bucket.Hash    `json:"hash,omitzero"`
	Size   int64          `json:"size,omitempty"` // of the body
	Link   bucket.Link    `json:"link,omitzero"`
	Links  []bucket.Link  `json:"links,omitempty"`
	Bucket bucket.ID      `json:"bucket_id,omitzero"`
	Name   string         `json:"name,omitempty"`
	Bus    bool           `json:"bus,omitempty"`
	Query  *AncestorQuery `json:"query,omitempty"`
	Before bucket.Head    `json:"before,omitzero"`
	After  bucket.ID      `json:"after,omitzero"`
	Limit  int            `json:"limit,omitempty"`
	Report bool           `json:"report,omitempty"` // progress is wanted
}

// inline reports whether the body of a request comes right behind it, and not only when the holder is ready.
func (r *request) inline() bool { return r.Size <= chunkSize }

// sized is the answer that a body follows.
type sized struct {
	Size int64 `json:"size"`
}
