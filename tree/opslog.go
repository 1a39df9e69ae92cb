package tree

import (
	"cmp"
	"fmt"
	"slices"

	"headwater/bucket"

	"filippo.io/edwards25519"
)

// Limits on operation logs. What is beyond them is neither written nor read.
const (
	// MaxOpsLogSize is the most bytes of an encoded operation log: 64 MiB.
	MaxOpsLogSize = 64 << 20
	// MaxOps is the most operations of one log: 262,144, at 256 bytes each, which is about what an operation takes.
	MaxOps = MaxOpsLogSize / 256
	// MaxPathSize is the most bytes of a path in an operation.
	MaxPathSize = 32 << 10
)

// OpID names an operation: who did it, and that peer's counter at the time, which is not a clock time.
type OpID struct {
	Peer      bucket.PublicKey
	Timestamp uint64
}

// compareWire is the order in which operations are written: by peer, then by counter. It is the order of their encoded
// keys.
func (i OpID) compareWire(o OpID) int {
	return cmp.Or(i.Peer.Compare(o.Peer), cmp.Compare(i.Timestamp, o.Timestamp))
}

// OpKind says what an operation did. The zero OpKind is none.
type OpKind byte

// The kinds of operation.
const (
	OpAdd    OpKind = 1 + iota // a file was written
	OpRemove                   // a file or directory was removed
	OpMkdir                    // a directory was made
	OpMove                     // a file or directory was moved
)

// String returns the kind's name on the wire: Add, Remove, Mkdir or Mv.
func (k OpKind) String() string {
	switch k {
	case OpAdd:
		return "Add"
	case OpRemove:
		return "Remove"
	case OpMkdir:
		return "Mkdir"
	case OpMove:
		return "Mv"
	}
	return fmt.Sprintf("OpKind(%d)", byte(k))
}

// Op is one step from a version to the next. Paths have no slash in front; like names in nodes they are kept as found,
// and are not safe to use on a file system.
type Op struct {
	ID      OpID
	Kind    OpKind
	Path    string      // what was written, removed or made; the new path of what was moved
	From    string      // the old path of what was moved; empty for all other kinds
	IsDir   bool        // the path is a directory
	Content bucket.Link // to the encrypted file that was added; zero for none
}

// OpsLog is the list of operations of one version, each ID once.
type OpsLog []Op

// minOpSize is that of the shortest operation, whose id is written twice.
const (
	minOpIDSize = 1 + 1 + len("peer_id") + minSecretSize + 1 + len("timestamp") + 1
	minOpSize   = 2*minOpIDSize + 1 + 1 + len("id") + 1 + len("path") + 1 + 1 + len("is_dir") + 1 +
		1 + len("op_type") + 1 + len("Add") + 1 + len("content_link") + 1
)

// Encode returns the canonical encoding, whatever the order of the list, which stays as it is. The error wraps a
// [*bucket.Refusal]: of class too_large if a limit is passed, of class wrong_codec for a link that is not to a raw
// blob, of class malformed for an ID that stands twice, a peer that is not a point of the curve, a kind that does not
// exist, a path that is not UTF-8, and a From in an operation that is not a move.
func (l OpsLog) Encode() ([]byte, error) {
	if len(l) > MaxOps {
		err := refuse(bucket.TooLarge, "%d operations; the limit is %d", len(l), MaxOps)
		return nil, fmt.Errorf("encode operation log: %w", err)
	}
	ops := slices.SortedFunc(slices.Values(l), func(a, b Op) int { return a.ID.compareWire(b.ID) })
	b := appendHead(nil, majorMap, 1)
	b = appendText(b, "operations")
	b = appendHead(b, majorMap, uint64(len(ops)))
	for i := range ops {
		op, before := &ops[i], &ops[max(i-1, 0)]
		if err := op.check(); err != nil {
			return nil, fmt.Errorf("encode operation on %.80q: %w", op.Path, err)
		}
		if i > 0 && op.ID == before.ID {
			err := refuse(bucket.Malformed, "two operations %d of %s", op.ID.Timestamp, op.ID.Peer)
			return nil, fmt.Errorf("encode operation log: %w", err)
		}
		if i == 0 || op.ID.Peer != before.ID.Peer {
			if err := checkPeer(op.ID.Peer); err != nil {
				return nil, fmt.Errorf("encode operation on %.80q: %w", op.Path, err)
			}
		}
		b = op.append(op.ID.append(b))
	}
	if len(b) > MaxOpsLogSize {
		err := refuse(bucket.TooLarge, "%d bytes; the limit is %d", len(b), MaxOpsLogSize)
		return nil, fmt.Errorf("encode operation log: %w", err)
	}
	return b, nil
}

// checkPeer demands a point of the curve, since the original reads no other key.
func checkPeer(k bucket.PublicKey) error {
	if _, err := new(edwards25519.Point).SetBytes(k[:]); err != nil {
		return refuse(bucket.Malformed, "peer %s is no point of the curve", k)
	}
	return nil
}

func (o *Op) check() error {
	if o.Kind < OpAdd || o.Kind > OpMove {
		return refuse(bucket.Malformed, "there is no %v", o.Kind)
	}
	if o.Kind != OpMove && o.From != "" {
		return refuse(bucket.Malformed, "%v does not move anything from %.80q", o.Kind, o.From)
	}
	if err := checkText("a path", o.Path, MaxPathSize); err != nil {
		return err
	}
	if err := checkText("a path", o.From, MaxPathSize); err != nil {
		return err
	}
	if !o.Content.IsZero() {
		return checkLink(o.Content)
	}
	return nil
}

func (i OpID) append(b []byte) []byte {
	b = appendText(appendHead(b, majorMap, 2), "peer_id")
	b = appendInts(b, i.Peer[:])
	return appendHead(appendText(b, "timestamp"), majorUint, i.Timestamp)
}

func (o *Op) append(b []byte) []byte {
	b = appendText(appendHead(b, majorMap, 5), "id")
	b = o.ID.append(b)
	b = appendText(appendText(b, "path"), o.Path)
	b = appendText(b, "is_dir")
	if o.IsDir {
		b = append(b, simpleTrue)
	} else {
		b = append(b, simpleFalse)
	}
	b = appendText(b, "op_type")
	if o.Kind == OpMove {
		b = appendText(appendHead(b, majorMap, 1), o.Kind.String())
		b = appendText(appendHead(b, majorMap, 1), "from")
		b = appendText(b, o.From)
	} else {
		b = appendText(b, o.Kind.String())
	}
	b = appendText(b, "content_link")
	if o.Content.IsZero() {
		return append(b, simpleNull)
	}
	return appendLink(b, o.Content)
}
