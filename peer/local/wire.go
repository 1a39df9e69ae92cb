package local

import (
	"encoding/json"
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

// hello is the answer to GET /hello. Path and shape stay as they are, so that every two versions can name each other.
type hello struct {
	Protocol int  `json:"protocol"`
	Info     Info `json:"info"`
}

// Paths of the calls; those with an argument of JSON are root and the call's name. The version of the protocol is among them.
const (
	pathHello     = "/hello"
	root          = "/v1/"
	pathBlobs     = root + "blobs"
	pathManifests = root + "manifests"
)

const (
	// sizeHeader has the size of the blob that follows, in bytes, and errorTrailer why it ends early.
	sizeHeader   = "Headwater-Size"
	errorTrailer = "Headwater-Error"
	// fileQuery says that the client may be told a file instead of being sent a large blob, and fileHeader has its name, escaped as
	// in a URL.
	fileQuery  = "file"
	fileHeader = "Headwater-File"
)

const (
	// chunkSize is how many bytes of a large blob are read and sent at a time. A body up to that goes with its request.
	chunkSize = 128 << 10
	// maxRequest, maxEvent and maxAnswer are the most bytes of JSON in a request, an event, and an answer: a page of 500 buckets,
	// or the branches of a bucket with their manifests.
	maxRequest = 1 << 20
	maxEvent   = 1 << 20
	maxAnswer  = 64 << 20
)

// request is the argument of a call. Which fields it has depends on the call.
type request struct {
	Hash   bucket.Hash    `json:"hash,omitzero"`
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

// line is one of those that answer a call with events. The last one has Error, or nothing.
type line struct {
	Ready bool            `json:"ready,omitempty"` // no event is missed any more
	Event json.RawMessage `json:"event,omitempty"`
	Error *wireError      `json:"error,omitempty"`
}
