package peer

import (
	"context"
	"fmt"
	"math"

	"headwater/bucket"
	"headwater/tree"
)

// putOps puts the operation log of a version, sealed with its secret. A version in which nothing changed has none, nor has one
// with more changes than a log can hold: the tree is whole without it.
func (d *draft) putOps(ctx context.Context, changes []tree.Change) error {
	ops := opsOf(changes, d.id.PublicKey(), d.m.Height)
	if len(ops) == 0 || len(ops) > tree.MaxOps || d.m.Height > math.MaxUint32 {
		return nil
	}
	plain, err := ops.Encode()
	if bucket.ClassOf(err) == bucket.TooLarge {
		return nil
	}
	var blob []byte
	if err == nil {
		blob, err = tree.Seal(d.secret, plain)
	}
	if err == nil {
		d.m.OpsLog, err = d.put(ctx, blob)
	}
	if err != nil {
		return fmt.Errorf("put operation log: %w", err)
	}
	d.pins = append(d.pins, d.m.OpsLog.Hash())
	return nil
}

// opsOf returns changes as operations. Their counters begin with the height, so that those of one peer never repeat, whether
// or not it has read the logs before. Operations cannot express permissions of directories.
func opsOf(changes []tree.Change, peer bucket.PublicKey, height uint64) tree.OpsLog {
	var ops tree.OpsLog
	for _, c := range changes {
		op := tree.Op{ID: tree.OpID{Peer: peer, Timestamp: height<<32 | uint64(len(ops))}, Path: c.Path, IsDir: c.Dir}
		switch {
		case c.Kind == tree.Removed:
			op.Kind = tree.OpRemove
		case c.Dir && c.Kind == tree.Added:
			op.Kind = tree.OpMkdir
		case c.Dir:
			continue
		default:
			op.Kind, op.Content = tree.OpAdd, c.New.Link
		}
		ops = append(ops, op)
	}
	return ops
}
