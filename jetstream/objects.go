package jetstream

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"headwater/bucket"

	"github.com/nats-io/nats.go"
)

// # Layout of an object store
//
// An object is one message that describes it (meta), on a subject made from its name, and messages that hold its bytes
// (chunks), all on one subject with a token that the meta names. This is the layout of every NATS client, so the nats
// command reads what is written here, and the other way round. What is written here uses the object's hash as the token,
// so that whoever knows the hash can ask for an object of one chunk without having read its meta.
//
// Nothing marks such a chunk: its bytes either hash to the name or not. If they do not, because the object has
// several chunks or because somebody else wrote there, the meta is read like that of any other object.

const (
	// maxChunk is the most bytes of a chunk that is written here. A server that syncs what it stores does so once for each
	// message: larger chunks cost it less, and stay well below the 1 MiB of a message that servers take by default.
	maxChunk = 512 << 10
	// chunkRoom is for what stands in the message of a chunk beside its bytes.
	chunkRoom = 4 << 10
	// maxObjectChunks bounds what a meta may claim.
	maxObjectChunks = math.MaxUint32
)

// objectMeta is the description of an object, as all NATS clients write it.
type objectMeta struct {
	Name    string        `json:"name"`
	Options objectOptions `json:"options"`
	Store   string        `json:"bucket"`
	Token   string        `json:"nuid"`
	Size    uint64        `json:"size"`
	Time    time.Time     `json:"mtime"` // zero: the message's time counts
	Chunks  uint64        `json:"chunks"`
	Digest  string        `json:"digest,omitempty"`
	Deleted bool          `json:"deleted,omitempty"`
}

type objectOptions struct {
	// Link: the object is elsewhere. Links are not followed: no store answers for another.
	Link      *struct{} `json:"link,omitempty"`
	ChunkSize uint32    `json:"max_chunk_size,omitempty"`
}

// readMeta reads the description of the object h. One that cannot belong to it is an error that says why.
func readMeta(m *nats.Msg, h bucket.Hash) (meta objectMeta, err error) {
	if err := json.Unmarshal(m.Data, &meta); err != nil {
		return meta, fmt.Errorf("its description cannot be read: %w", err)
	}
	switch {
	case meta.Deleted:
		return meta, fmt.Errorf("it was deleted")
	case meta.Options.Link != nil:
		return meta, fmt.Errorf("it is a link")
	case meta.Name != h.String():
		return meta, fmt.Errorf("its description is that of %.80q", meta.Name)
	case meta.Size > math.MaxInt64, meta.Chunks > maxObjectChunks, meta.Chunks > meta.Size,
		(meta.Chunks == 0) != (meta.Size == 0):
		return meta, fmt.Errorf("its description claims %d bytes in %d chunks", meta.Size, meta.Chunks)
	case meta.Chunks > 0 && !validToken(meta.Token):
		return meta, fmt.Errorf("its description names no chunks")
	}
	return meta, nil
}

// chunkSize returns the most bytes of a chunk that the server takes.
func (c *Client) chunkSize() int {
	return max(min(maxChunk, int(c.nc.MaxPayload())-chunkRoom), chunkRoom)
}

// digestText is how NATS clients write a SHA-256 digest.
func digestText(sum []byte) string { return "SHA-256=" + base64.URLEncoding.EncodeToString(sum) }
