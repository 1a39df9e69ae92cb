package blobstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/zeebo/blake3"

	"headwater/bucket"
	"headwater/durable"
)

// copySize is how many bytes of a large blob are in memory at a time.
const copySize = 256 << 10

func shardName(i byte) string { return fmt.Sprintf("%02x", i) }

func (d *Disk) largePath(h bucket.Hash) string { return d.path(dirLarge, shardName(h[0]), h.String()) }

// heldLarge returns the size of a large blob and whether it is held. A name is there before it is durable, but only while its
// shard is locked.
func (d *Disk) heldLarge(h bucket.Hash) (int64, bool, error) {
	shard := &d.shards[h[0]]
	shard.RLock()
	defer shard.RUnlock()
	info, err := os.Lstat(d.largePath(h))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	case !info.Mode().IsRegular():
		return 0, false, nil
	}
	return info.Size(), true, nil
}

// getLarge opens a large blob. Its bytes are verified as they are read.
func (d *Disk) getLarge(h bucket.Hash) (*Blob, error) {
	size, held, err := d.heldLarge(h)
	if err != nil {
		return nil, err
	}
	if !held {
		return nil, ErrNotFound
	}
	f, err := os.Open(d.largePath(h))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound // deleted in between
	}
	if err != nil {
		return nil, err
	}
	if size == 0 { // cut to nothing: no Read would complete it, and find that out
		d.quarantine(h, f)
		return nil, errors.Join(ErrCorrupt, f.Close())
	}
	blob := NewBlob(h, size, f)
	blob.file = f.Name()
	blob.corrupt = func() { d.quarantine(h, f) }
	return blob, nil
}

// putLarge writes r to a file and gives it its name once it has proven to be h.
func (d *Disk) putLarge(h bucket.Hash, r io.Reader) (size int64, err error) {
	verified := newVerifier(r, h, -1, d.limit, ErrMismatch)
	staged, err := d.stage(func(w io.Writer) error {
		size, err = io.CopyBuffer(struct{ io.Writer }{w}, verified, make([]byte, copySize))
		return err
	})
	if err != nil {
		return 0, err
	}
	return size, d.name(staged, h)
}

// addLarge writes the size bytes of r to a file, and gives it the name that they turn out to have.
func (d *Disk) addLarge(ctx context.Context, size int64, r io.Reader) (h bucket.Hash, err error) {
	hasher := blake3.New()
	staged, err := d.stage(func(w io.Writer) error {
		return copyExactly(ctx, io.MultiWriter(w, hasher), r, size, d.limit)
	})
	if err != nil {
		return h, err
	}
	hasher.Sum(h[:0])
	return h, d.name(staged, h)
}

// name makes a staged file a large blob, durably.
func (d *Disk) name(staged string, h bucket.Hash) error {
	shard := &d.shards[h[0]]
	shard.Lock()
	defer shard.Unlock()
	if _, err := os.Lstat(d.largePath(h)); err == nil { // somebody was faster, and is done
		return os.Remove(staged)
	}
	if !shard.made {
		if err := durable.MakeDir(d.path(dirLarge, shardName(h[0]))); err != nil {
			return errors.Join(err, os.Remove(staged))
		}
		shard.made = true
	}
	if err := settle(staged, d.largePath(h)); err != nil {
		return err
	}
	os.Remove(d.path(dirDamaged, h.String()))
	return nil
}

// copyExactly copies the size bytes of r to w. Another number of them is [ErrMismatch], more than limit [ErrTooLarge].
func copyExactly(ctx context.Context, w io.Writer, r io.Reader, size, limit int64) error {
	if size > limit {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, size, limit)
	}
	r = &contextReader{ctx, r}
	buf := make([]byte, min(copySize, max(size, 0)+1)) // a byte more, to see the end
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(r, max(size, 0)+1), buf)
	if err == nil && n != size {
		err = fmt.Errorf("%w: not %d bytes", ErrMismatch, size)
	}
	return err
}

// quarantine moves a large blob whose bytes are wrong out of the way, if it is still the file that was read.
func (d *Disk) quarantine(h bucket.Hash, read *os.File) {
	if d.calls.begin(context.Background()) != nil {
		return // closed meanwhile: whoever reads it next finds out
	}
	defer d.calls.end()
	shard := &d.shards[h[0]]
	shard.Lock()
	defer shard.Unlock()
	was, err := read.Stat()
	if err != nil {
		return
	}
	now, err := os.Lstat(d.largePath(h))
	if err != nil || !os.SameFile(was, now) {
		return
	}
	if err := os.Rename(d.largePath(h), d.path(dirDamaged, h.String())); err != nil {
		d.log.Warn("a damaged large blob could not be moved away", "hash", h, "error", err)
		return
	}
	d.count(func(c *Damage) { c.Large++ })
	d.log.Warn("a large blob is damaged and no longer held", "hash", h, "moved", d.path(dirDamaged, h.String()))
	if err := errors.Join(durable.SyncDir(d.path(dirLarge, shardName(h[0]))), durable.SyncDir(d.path(dirDamaged))); err != nil {
		d.log.Warn("sync after moving a damaged blob away", "hash", h, "error", err)
	}
}

// Delete implements [Deleter]. Large blobs cost one sync for each of the 256 directories touched, small ones one for 8192 of
// them. Then it rewrites segments that are more than half dead; each takes free space of up to half its size, and some
// hundred milliseconds. A rewrite that fails, or that ctx ends, is no error: the blobs are gone.
func (d *Disk) Delete(ctx context.Context, hashes ...bucket.Hash) error {
	if err := d.calls.begin(ctx); err != nil {
		return fmt.Errorf("delete blobs: %w", err)
	}
	defer d.calls.end()
	for chunk := range slices.Chunk(hashes, deleteSize) {
		if err := d.deleteChunk(ctx, chunk); err != nil {
			return fmt.Errorf("delete blobs: %w", err)
		}
	}
	d.compact(ctx)
	return nil
}

// deleteSize is how many blobs are deleted at a time: what a deletion of any length needs in memory.
const deleteSize = 8192

func (d *Disk) deleteChunk(ctx context.Context, hashes []bucket.Hash) error {
	ops := make([]op, len(hashes))
	var shards [256][]bucket.Hash
	for i, h := range hashes {
		ops[i] = op{kind: opDelete, hash: h}
		shards[h[0]] = append(shards[h[0]], h)
	}
	if err := d.submit(ctx, ops...); err != nil {
		return err
	}
	for i, shard := range shards {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.deleteLarge(byte(i), shard); err != nil {
			return err
		}
	}
	return nil
}

// deleteLarge removes large blobs of one shard.
func (d *Disk) deleteLarge(i byte, hashes []bucket.Hash) error {
	if !slices.ContainsFunc(hashes, d.mayBeLarge) {
		return nil
	}
	d.shards[i].Lock()
	defer d.shards[i].Unlock()
	for _, h := range hashes {
		if err := os.Remove(d.largePath(h)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return durable.SyncDir(d.path(dirLarge, shardName(i)))
}

func (d *Disk) mayBeLarge(h bucket.Hash) bool {
	_, held, err := d.heldLarge(h)
	return held || err != nil
}
