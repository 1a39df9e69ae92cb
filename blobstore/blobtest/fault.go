package blobtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"headwater/blobstore"
	"headwater/bucket"
)

// Op names a method of a store.
type Op string

// The methods that can be told to fail.
const (
	OpHas      Op = "has"
	OpGet      Op = "get"
	OpSize     Op = "size"
	OpPut      Op = "put"
	OpPutBatch Op = "put batch"
	OpDelete   Op = "delete"
	OpList     Op = "list"
)

// Mode says how a call goes wrong.
type Mode int

const (
	// Fail returns the error without asking the store behind.
	Fail Mode = iota
	// FailAfter asks the store behind, and then returns the error all the same: the caller cannot know that it was done. A Get
	// hands out a blob that fails with the error in place of its last bytes; a list ends with the error after it has listed
	// everything.
	FailAfter
	// Stall waits until the call's context is over, or Release is called, and then goes on as if nothing had happened.
	Stall
)

// ErrInjected is the error of a [Fault] that names none.
var ErrInjected = errors.New("injected fault")

// Fault is one way in which calls go wrong.
type Fault struct {
	Op    Op
	Hash  bucket.Hash // only calls that name this blob; zero: all
	Mode  Mode
	Err   error // nil: ErrInjected
	After int   // calls that go well before the first that does not
	Times int   // how many calls go wrong; zero: all
}

// Faulty is a store that does what the store behind it does, except for the faults that are injected. Abilities that
// the store behind lacks return errors.ErrUnsupported. It is safe for concurrent use, Inject included.
type Faulty struct {
	store blobstore.Store

	mu      sync.Mutex
	faults  []*Fault
	release chan struct{} // closed by Release
	stalled chan struct{} // gets a value for each call that begins to stall
	calls   map[Op]int
}

var (
	_ blobstore.Store       = (*Faulty)(nil)
	_ blobstore.Adder       = (*Faulty)(nil)
	_ blobstore.BatchPutter = (*Faulty)(nil)
	_ blobstore.Lister      = (*Faulty)(nil)
	_ blobstore.Deleter     = (*Faulty)(nil)
	_ blobstore.Sizer       = (*Faulty)(nil)
)

// NewFaulty returns a store without faults in front of another.
func NewFaulty(store blobstore.Store) *Faulty {
	return &Faulty{
		store: store, release: make(chan struct{}), stalled: make(chan struct{}, 1<<10), calls: make(map[Op]int),
	}
}

// Inject adds a fault. Of several that fit a call the first one counts.
func (f *Faulty) Inject(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, &fault)
}

// Heal forgets all faults. Calls that are stalled stay so until Release.
func (f *Faulty) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// Release lets go all calls that are stalled now.
func (f *Faulty) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.release)
	f.release = make(chan struct{})
}

// Stalled gets a value whenever a call begins to stall, so that a test can wait for that; up to 1024 are kept.
func (f *Faulty) Stalled() <-chan struct{} { return f.stalled }

// Calls returns how often a method was called, whether it went well or not.
func (f *Faulty) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// hit counts a call and returns the fault that it meets, if any.
func (f *Faulty) hit(op Op, hashes ...bucket.Hash) (Fault, <-chan struct{}, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[op]++
	for i, fault := range f.faults {
		if fault.Op != op || !names(hashes, fault.Hash) {
			continue
		}
		if fault.After > 0 {
			fault.After--
			return Fault{}, nil, false
		}
		hit := *fault
		if fault.Times == 1 {
			f.faults = slices.Delete(f.faults, i, i+1)
		}
		fault.Times = max(0, fault.Times-1)
		if hit.Err == nil {
			hit.Err = ErrInjected
		}
		return hit, f.release, true
	}
	return Fault{}, nil, false
}

func names(hashes []bucket.Hash, h bucket.Hash) bool { return h.IsZero() || slices.Contains(hashes, h) }

// call makes a call with its fault. late is the error to return although the call was made.
func (f *Faulty) call(ctx context.Context, op Op, hashes ...bucket.Hash) (early, late error) {
	fault, release, ok := f.hit(op, hashes...)
	switch {
	case !ok:
		return nil, nil
	case fault.Mode == Fail:
		return fmt.Errorf("%s: %w", op, fault.Err), nil
	case fault.Mode == FailAfter:
		return nil, fmt.Errorf("%s: %w", op, fault.Err)
	}
	select {
	case f.stalled <- struct{}{}:
	default:
	}
	select {
	case <-release:
		return nil, nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", op, ctx.Err()), nil
	}
}

// Has implements blobstore.Reader.
func (f *Faulty) Has(ctx context.Context, h bucket.Hash) (bool, error) {
	early, late := f.call(ctx, OpHas, h)
	if early != nil {
		return false, early
	}
	ok, err := f.store.Has(ctx, h)
	return ok && late == nil, errors.Join(late, err)
}

// Get implements blobstore.Reader.
func (f *Faulty) Get(ctx context.Context, h bucket.Hash) (*blobstore.Blob, error) {
	early, late := f.call(ctx, OpGet, h)
	if early != nil {
		return nil, early
	}
	blob, err := f.store.Get(ctx, h)
	if err != nil || late == nil {
		return blob, err
	}
	return blobstore.NewBlob(h, blob.Size(), &cutReader{blob, (blob.Size() + 1) / 2, late}), nil
}

// cutReader fails after some bytes.
type cutReader struct {
	io.ReadCloser
	left int64
	err  error
}

func (c *cutReader) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, c.err
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// Size implements blobstore.Sizer.
func (f *Faulty) Size(ctx context.Context, h bucket.Hash) (int64, error) {
	early, late := f.call(ctx, OpSize, h)
	sizer, ok := f.store.(blobstore.Sizer)
	if early != nil || !ok {
		return 0, or(early, errors.ErrUnsupported)
	}
	n, err := sizer.Size(ctx, h)
	return n, errors.Join(late, err)
}

// Put implements blobstore.Store.
func (f *Faulty) Put(ctx context.Context, h bucket.Hash, r io.Reader) (int64, error) {
	early, late := f.call(ctx, OpPut, h)
	if early != nil {
		return 0, early
	}
	n, err := f.store.Put(ctx, h, r)
	if late != nil {
		return 0, errors.Join(late, err)
	}
	return n, err
}

// Add implements blobstore.Adder. Faults of OpPut that name no blob apply to it.
func (f *Faulty) Add(ctx context.Context, size int64, r io.Reader) (bucket.Hash, error) {
	early, late := f.call(ctx, OpPut)
	adder, ok := f.store.(blobstore.Adder)
	if early != nil || !ok {
		return bucket.Hash{}, or(early, errors.ErrUnsupported)
	}
	h, err := adder.Add(ctx, size, r)
	return h, errors.Join(late, err)
}

// PutBatch implements blobstore.BatchPutter.
func (f *Faulty) PutBatch(ctx context.Context, blobs []blobstore.Small) error {
	hashes := make([]bucket.Hash, len(blobs))
	for i, b := range blobs {
		hashes[i] = b.Hash
	}
	early, late := f.call(ctx, OpPutBatch, hashes...)
	batcher, ok := f.store.(blobstore.BatchPutter)
	if early != nil || !ok {
		return or(early, errors.ErrUnsupported)
	}
	return errors.Join(late, batcher.PutBatch(ctx, blobs))
}

// Delete implements blobstore.Deleter.
func (f *Faulty) Delete(ctx context.Context, hashes ...bucket.Hash) error {
	early, late := f.call(ctx, OpDelete, hashes...)
	deleter, ok := f.store.(blobstore.Deleter)
	if early != nil || !ok {
		return or(early, errors.ErrUnsupported)
	}
	return errors.Join(late, deleter.Delete(ctx, hashes...))
}

// All implements blobstore.Lister.
func (f *Faulty) All(ctx context.Context) iter.Seq2[blobstore.Info, error] {
	return func(yield func(blobstore.Info, error) bool) {
		early, late := f.call(ctx, OpList)
		lister, ok := f.store.(blobstore.Lister)
		if early != nil || !ok {
			yield(blobstore.Info{}, or(early, errors.ErrUnsupported))
			return
		}
		for info, err := range lister.All(ctx) {
			if !yield(info, err) || err != nil {
				return
			}
		}
		if late != nil {
			yield(blobstore.Info{}, late)
		}
	}
}

// or returns a, or b if a is nil.
func or(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
