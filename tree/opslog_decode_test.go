package tree

import (
	"cmp"
	"slices"

	"headwater/bucket"
)

// What reads an operation log back. Only tests do: the log of a version is there for other readers of the format.

// Compare is the order in which operations happened: by counter, then by peer. Where two contradict, the later one
// holds.
func (i OpID) Compare(o OpID) int {
	return cmp.Or(cmp.Compare(i.Timestamp, o.Timestamp), i.Peer.Compare(o.Peer))
}

// DecodeOpsLog reads the one canonical encoding of an operation log: what it returns encodes to b again, byte for
// byte. It returns the operations in the order of [OpID.Compare]. Anything else is a [*bucket.Refusal] of class
// malformed, non_canonical, wrong_codec or too_large.
func DecodeOpsLog(b []byte) (OpsLog, error) {
	if len(b) > MaxOpsLogSize {
		return nil, refuse(bucket.TooLarge, "an operation log of %d bytes; the limit is %d", len(b), MaxOpsLogSize)
	}
	r := &reader{b: b}
	r.exactly(majorMap, 1, "an operation log")
	r.field("operations")
	count := r.count(MaxOps, minOpSize, "a map of operations")
	ops := make(OpsLog, 0, count)
	for i := 0; i < count && r.err == nil; i++ {
		id := r.opID()
		if i > 0 && ops[i-1].ID.compareWire(id) >= 0 {
			r.refuse(bucket.NonCanonical, "operations that are not in order, or of one id")
		}
		if r.err == nil && (i == 0 || ops[i-1].ID.Peer != id.Peer) {
			if err := checkPeer(id.Peer); err != nil {
				return nil, err
			}
		}
		ops = append(ops, r.op(id))
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	slices.SortFunc(ops, func(a, b Op) int { return a.ID.Compare(b.ID) })
	return ops, nil
}

func (r *reader) opID() (id OpID) {
	r.exactly(majorMap, 2, "the id of an operation")
	r.field("peer_id")
	id.Peer = r.ints("a peer")
	r.field("timestamp")
	id.Timestamp = r.want(majorUint, "a timestamp")
	return id
}

// op reads the operation that stands under the key id.
func (r *reader) op(id OpID) (op Op) {
	r.exactly(majorMap, 5, "an operation")
	r.field("id")
	if op.ID = r.opID(); r.err == nil && op.ID != id {
		r.refuse(bucket.Malformed, "an operation that stands under the id of another")
	}
	r.field("path")
	op.Path = r.text(MaxPathSize, "a path")
	r.field("is_dir")
	op.IsDir = r.boolean("is_dir")
	r.field("op_type")
	op.Kind, op.From = r.opKind()
	r.field("content_link")
	if !r.null() {
		op.Content = r.link()
	}
	return op
}

func (r *reader) opKind() (kind OpKind, from string) {
	if len(r.b) > 0 && r.b[0]>>5 == majorMap {
		r.exactly(majorMap, 1, "a move")
		r.field(OpMove.String())
		r.exactly(majorMap, 1, "a move")
		r.field("from")
		return OpMove, r.text(MaxPathSize, "a path")
	}
	name := r.text(MaxNameSize, "the kind of an operation")
	for _, k := range []OpKind{OpAdd, OpRemove, OpMkdir} {
		if k.String() == name {
			return k, ""
		}
	}
	r.refuse(bucket.Malformed, "a kind of operation that does not exist")
	return 0, ""
}

func (r *reader) boolean(what string) bool {
	b := r.take(1)
	if r.err == nil && b[0] != simpleTrue && b[0] != simpleFalse {
		r.refuse(bucket.Malformed, "something else where %s belongs", what)
	}
	return r.err == nil && b[0] == simpleTrue
}
