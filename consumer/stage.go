package consumer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"headwater/blobstore"
	"headwater/bucket"
)

// errStageFull: long catch-ups already hold as much disk as they may. Another time there is room.
var errStageFull = errors.New("no room to stage a long catch-up; it goes on when another one is done")

// stages is where long stretches wait for verification: a directory per bucket, so that a catch-up that is interrupted finds
// what it fetched, and a bound on what all of them take together.
type stages struct {
	dir    string
	limit  int64
	opener *bucket.Opener
	spool  string // name of the file: what was verified by other rules is not to be taken for verified

	mu    sync.Mutex
	sizes map[string]int64 // octets by directory name
	inUse map[string]bool
}

// openStages makes the directory, and measures what an earlier process left there.
func openStages(dir string, limit int64, opener *bucket.Opener, rules bucket.Rules) (*stages, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make stage directory: %w", err)
	}
	s := &stages{dir: dir, limit: limit, opener: opener, spool: "spool", sizes: map[string]int64{}, inUse: map[string]bool{}}
	if rules.AllowUnsigned {
		s.spool = "spool-unsigned"
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read stage directory: %w", err)
	}
	for _, e := range entries {
		size, err := diskUsage(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("measure stage directory: %w", err)
		}
		s.sizes[e.Name()] = size
	}
	return s, nil
}

func diskUsage(dir string) (size int64, err error) {
	return size, filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
}

// take accounts for size more octets of a bucket. Where they do not fit, stages that nobody works on are removed: they cost
// time when they are wanted again, and nothing else.
func (s *stages) take(name string, size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.total()+size > s.limit {
		if !s.evict() {
			return errStageFull
		}
	}
	s.sizes[name] += size
	return nil
}

func (s *stages) total() (sum int64) {
	for _, n := range s.sizes {
		sum += n
	}
	return sum
}

func (s *stages) evict() bool {
	for name := range s.sizes {
		if !s.inUse[name] && os.RemoveAll(filepath.Join(s.dir, name)) == nil {
			delete(s.sizes, name)
			return true
		}
	}
	return false
}

// stage is one bucket's place. It is used by the bucket's one worker.
type stage struct {
	all   *stages
	name  string
	made  bool            // its directory is there, surely
	spool *spool          // what came oldest first, verified
	store *blobstore.Disk // what came newest first, unverified; nil until something is staged
}

// open returns the bucket's stage, with what an interrupted catch-up left in it.
func (s *stages) open(id bucket.ID) (st *stage, err error) {
	st = &stage{all: s, name: id.String()}
	s.mu.Lock()
	s.inUse[st.name] = true
	s.mu.Unlock()
	if st.spool, err = openSpool(st.path(s.spool), s.opener); err != nil {
		return st, err
	}
	if _, err := os.Stat(st.path("walk")); err != nil {
		return st, nil //nolint:nilerr // nothing was staged, or nothing that can be read
	}
	return st, st.openStore()
}

func (st *stage) path(name string) string { return filepath.Join(st.all.dir, st.name, name) }

// room accounts for versions, and makes the directory where it is missing.
func (st *stage) room(versions []*bucket.Version) error {
	var size int64
	for _, v := range versions {
		size += int64(len(v.Encoded()))
	}
	if err := st.all.take(st.name, size); err != nil || st.made {
		return err
	}
	if err := os.MkdirAll(st.path(""), 0o700); err != nil {
		return fmt.Errorf("make stage: %w", err)
	}
	st.made = true
	return nil
}

// openStore opens the store on disk. One that cannot be opened is removed: it held nothing that cannot be fetched again.
func (st *stage) openStore() (err error) {
	dir := st.path("walk")
	if st.store, err = blobstore.OpenDisk(blobstore.Config{Dir: dir}); err == nil {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("clear stage: %w", err)
	}
	if st.store, err = blobstore.OpenDisk(blobstore.Config{Dir: dir}); err != nil {
		return fmt.Errorf("open stage: %w", err)
	}
	return nil
}

// put stages versions that are not verified, durably.
func (st *stage) put(ctx context.Context, versions []*bucket.Version) error {
	if err := st.room(versions); err != nil {
		return err
	}
	if st.store == nil {
		if err := st.openStore(); err != nil {
			return err
		}
	}
	return putVersions(ctx, st.store, versions)
}

// append puts verified versions behind those in the spool.
func (st *stage) append(versions []*bucket.Version) error {
	if err := st.room(versions); err != nil {
		return err
	}
	return st.spool.put(versions)
}

// get returns a staged version, or blobstore.ErrNotFound.
func (st *stage) get(ctx context.Context, link bucket.Link) (*bucket.Version, error) {
	if st.store == nil {
		return nil, blobstore.ErrNotFound
	}
	b, err := blobstore.ReadAll(ctx, st.store, link.Hash(), bucket.MaxManifestSize)
	if err != nil {
		return nil, err
	}
	return st.all.opener.Open(link, b)
}

// close gives the stage up. keep leaves what it holds for the next catch-up of the bucket.
func (st *stage) close(keep bool) error {
	var err error
	if st.store != nil {
		err = st.store.Close()
	}
	if st.spool != nil {
		err = errors.Join(err, st.spool.close())
	}
	st.all.mu.Lock()
	defer st.all.mu.Unlock()
	delete(st.all.inUse, st.name)
	if keep {
		return err
	}
	delete(st.all.sizes, st.name)
	return errors.Join(err, os.RemoveAll(filepath.Join(st.all.dir, st.name)))
}

// putVersions keeps manifests durably: the small ones, which is nearly all, together.
func putVersions(ctx context.Context, store Manifests, versions []*bucket.Version) error {
	small := make([]blobstore.Small, 0, len(versions))
	for _, v := range versions {
		b := v.Encoded()
		if len(b) <= blobstore.SmallSize {
			small = append(small, blobstore.Small{Hash: v.Link.Hash(), Data: b})
			continue
		}
		if _, err := store.Put(ctx, v.Link.Hash(), bytes.NewReader(b)); err != nil {
			return fmt.Errorf("keep manifest %s: %w", v.Link, err)
		}
	}
	if err := store.PutBatch(ctx, small); err != nil {
		return fmt.Errorf("keep %d manifests: %w", len(small), err)
	}
	return nil
}
