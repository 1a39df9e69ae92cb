package blobstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"

	"headwater/bucket"
	"headwater/durable"
)

// DefaultSegmentSize is the size in bytes at which a segment is sealed if the configuration names none: 64 MiB, some
// 60,000 manifests, so that a rewrite takes well under a second.
const DefaultSegmentSize = 64 << 20

// maxSegmentSize keeps every offset within 32 bits.
const maxSegmentSize = 1 << 30

// Config says how a [Disk] is opened.
type Config struct {
	Dir         string       // required; made if missing, its parent must exist
	MaxBlobSize int64        // limit of one blob in bytes; zero means DefaultMaxBlobSize
	SegmentSize int64        // bytes at which a segment is sealed, at most 1 GiB; zero means DefaultSegmentSize
	Logger      *slog.Logger // is told what was repaired or given up; nil discards
}

// Disk is a durable store in a directory of the local file system, which it holds alone. See the package comment for how.
// All methods are safe for concurrent use. It starts no goroutine.
type Disk struct {
	dir         string
	limit       int64
	segmentSize int64
	log         *slog.Logger
	salt        [saltSize]byte
	lock        *durable.Lock
	open        opener
	calls       calls
	buffers     sync.Pool // *[]byte, for look-ups
	staged      atomic.Int64

	shards     [256]shard
	compacting sync.Mutex

	group   *durable.Group[*request]
	scratch []byte // of the commit under way
	retire  bool   // likewise: the active segment takes no more

	mu       sync.RWMutex // guards what follows; held for memory work only, never for I/O
	active   *segment
	sealed   []*segment // newest first; replaced, never changed in place
	segments map[uint32]*segment
	damage   Damage
}

// shard is one directory of large blobs, those whose hash begins with one byte. It is locked for writing from the rename of
// a file to the sync of the directory, so that nobody sees a name that is not durable.
type shard struct {
	sync.RWMutex
	made bool // the directory is there, durably
}

var (
	_ Store       = (*Disk)(nil)
	_ Adder       = (*Disk)(nil)
	_ BatchPutter = (*Disk)(nil)
	_ Lister      = (*Disk)(nil)
	_ Deleter     = (*Disk)(nil)
	_ Sizer       = (*Disk)(nil)
)

// Damage counts what a [Disk] found wrong since it was opened. A blob that is counted is no longer held.
type Damage struct {
	Small   int64 // small blobs whose bytes were wrong
	Large   int64 // large blobs whose bytes were wrong; see damaged/ in the directory
	Bytes   int64 // bytes of segments that were stepped over, because no sound record begins there
	Tail    int64 // bytes cut off the active segment; after a crash that is a write nobody was told of, and no damage
	Indexes int64 // index files that were missing or damaged, and were made anew
}

// Damage returns the counts so far.
func (d *Disk) Damage() Damage {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.damage
}

func (d *Disk) count(add func(*Damage)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	add(&d.damage)
}

func (d *Disk) path(parts ...string) string {
	return filepath.Join(append([]string{d.dir}, parts...)...)
}

func (d *Disk) segmentName(id uint32) string { return d.path(dirSmall, fmt.Sprintf("%08d", id)) }

func (d *Disk) stamp(segment uint32) stamp { return stamp{d.salt, segment} }

// Close waits for the calls under way, iterations included, and frees the directory. Open blobs can still be read.
// Closing again is [ErrClosed].
func (d *Disk) Close() error {
	if err := d.calls.close(); err != nil {
		return err
	}
	return d.shut()
}

// shut closes all files, the lock last.
func (d *Disk) shut() error {
	for _, s := range d.segments {
		s.release()
	}
	return d.lock.Release()
}

// Has implements [Reader].
func (d *Disk) Has(ctx context.Context, h bucket.Hash) (bool, error) {
	_, held, err := d.size(ctx, h)
	if err != nil {
		return false, fmt.Errorf("look up blob %s: %w", h, err)
	}
	return held, nil
}

// Size implements [Sizer].
func (d *Disk) Size(ctx context.Context, h bucket.Hash) (int64, error) {
	size, held, err := d.size(ctx, h)
	if err == nil && !held {
		err = ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("size of blob %s: %w", h, err)
	}
	return size, nil
}

func (d *Disk) size(ctx context.Context, h bucket.Hash) (int64, bool, error) {
	if err := d.calls.begin(ctx); err != nil {
		return 0, false, err
	}
	defer d.calls.end()
	return d.held(h)
}

// held returns the size of a blob and whether it is held.
func (d *Disk) held(h bucket.Hash) (int64, bool, error) {
	s, w, err := d.lookup(h)
	if err != nil {
		return 0, false, err
	}
	if s != nil {
		s.release()
		if !w.gone {
			return int64(w.length), true, nil
		}
	}
	return d.heldLarge(h)
}

// Get implements [Reader]. A small blob is verified before it is handed out. One whose bytes are wrong is [ErrCorrupt] and no
// longer held from then on, so that it can be put again.
func (d *Disk) Get(ctx context.Context, h bucket.Hash) (*Blob, error) {
	blob, err := d.get(ctx, h)
	if err != nil {
		return nil, fmt.Errorf("get blob %s: %w", h, err)
	}
	return blob, nil
}

func (d *Disk) get(ctx context.Context, h bucket.Hash) (*Blob, error) {
	if err := d.calls.begin(ctx); err != nil {
		return nil, err
	}
	defer d.calls.end()
	blob, err := d.getSmall(ctx, h)
	if blob == nil && err == nil {
		blob, err = d.getLarge(h)
	}
	return blob, err
}

// getSmall returns the small blob h, or nil if none is held.
func (d *Disk) getSmall(ctx context.Context, h bucket.Hash) (*Blob, error) {
	s, w, err := d.lookup(h)
	if err != nil || s == nil {
		return nil, err
	}
	defer s.release()
	if w.gone {
		return nil, nil
	}
	body, err := s.body(w)
	if err != nil {
		return nil, err
	}
	if bucket.Sum(body) == h {
		return verifiedBlob(int64(w.length), bytes.NewReader(body)), nil
	}
	d.log.Warn("a small blob is damaged and no longer held", "hash", h, "segment", s.id, "offset", w.offset)
	err = d.submit(ctx, op{kind: opDrop, hash: h, at: place{s.id, w.offset}})
	d.count(func(c *Damage) { c.Small++ })
	return nil, errors.Join(ErrCorrupt, err)
}

// Put implements [Store]. Small blobs that are put at the same time share one sync.
func (d *Disk) Put(ctx context.Context, h bucket.Hash, r io.Reader) (int64, error) {
	size, err := d.put(ctx, h, r)
	if err != nil {
		return 0, fmt.Errorf("put blob %s: %w", h, err)
	}
	return size, nil
}

func (d *Disk) put(ctx context.Context, h bucket.Hash, r io.Reader) (int64, error) {
	if err := d.calls.begin(ctx); err != nil {
		return 0, err
	}
	defer d.calls.end()
	if size, held, err := d.held(h); held || err != nil {
		return size, err
	}
	r = &contextReader{ctx, r}
	var head bytes.Buffer
	if _, err := head.ReadFrom(io.LimitReader(r, SmallSize+1)); err != nil {
		return 0, err
	}
	if head.Len() > SmallSize {
		return d.putLarge(h, io.MultiReader(&head, r))
	}
	data := head.Bytes()
	if int64(len(data)) > d.limit {
		return 0, fmt.Errorf("%w: more than the %d bytes allowed", ErrTooLarge, d.limit)
	}
	if got := bucket.Sum(data); got != h {
		return 0, fmt.Errorf("%w: they hash to %s", ErrMismatch, got)
	}
	return int64(len(data)), d.submit(ctx, op{kind: opPut, hash: h, data: data})
}

// Add implements [Adder].
func (d *Disk) Add(ctx context.Context, size int64, r io.Reader) (bucket.Hash, error) {
	h, err := d.add(ctx, size, r)
	if err != nil {
		return bucket.Hash{}, fmt.Errorf("add blob: %w", err)
	}
	return h, nil
}

func (d *Disk) add(ctx context.Context, size int64, r io.Reader) (h bucket.Hash, err error) {
	if err := d.calls.begin(ctx); err != nil {
		return h, err
	}
	defer d.calls.end()
	if size > SmallSize {
		return d.addLarge(ctx, size, r)
	}
	var b bytes.Buffer
	if err := copyExactly(ctx, &b, r, size, d.limit); err != nil {
		return h, err
	}
	h = bucket.Sum(b.Bytes())
	return h, d.submit(ctx, op{kind: opPut, hash: h, data: b.Bytes()})
}

// PutBatch implements [BatchPutter] with one write and one sync for each segment touched; a segment takes some 64 MiB.
func (d *Disk) PutBatch(ctx context.Context, blobs []Small) error {
	if err := d.calls.begin(ctx); err != nil {
		return fmt.Errorf("put batch: %w", err)
	}
	defer d.calls.end()
	if err := checkBatch(ctx, blobs, d.limit); err != nil {
		return err
	}
	ops := make([]op, len(blobs))
	for i, b := range blobs {
		ops[i] = op{kind: opPut, hash: b.Hash, data: b.Data}
	}
	if err := d.submit(ctx, ops...); err != nil {
		return fmt.Errorf("put batch of %d blobs: %w", len(blobs), err)
	}
	return nil
}
