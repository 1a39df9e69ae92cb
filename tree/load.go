package tree

import (
	"context"
	"fmt"

	"headwater/blobstore"
	"headwater/bucket"

	"golang.org/x/sync/semaphore"
)

const (
	// sideBySide is how many nodes are read at a time: most of the time is spent waiting for them.
	sideBySide = 32
	// putters is how many nodes are written at a time: many are stored in one step if the store can do that.
	putters = 128
	// nodeRoom is the most bytes of encoded nodes that are in memory at a time while a tree is read or written; a node
	// takes several times that once it is decoded.
	nodeRoom = MaxNodeSize + Overhead
	// maxMimes is how many media types are kept once for all files that have them.
	maxMimes = 256
)

// Load reads the whole tree below entry, the root node, which secret opens: every directory, and no file. Nodes are read in
// parallel. A node at several paths is read and counted for each of them, so that a small store cannot hold an endless
// tree.
//
// What cannot be a tree of real files is refused while it is read: with a [*bucket.Refusal] of class too_large beyond
// [MaxFiles], [MaxDepth], [MaxPath] or [MaxTreeSize], and with one of class malformed that is [ErrName] too for a name that
// [CheckName] refuses. Other errors are those of [ReadNode], wrapped with the path of the directory.
func Load(ctx context.Context, r blobstore.Reader, entry bucket.Link, secret bucket.Secret) (*Listing, error) {
	return load(ctx, r, entry, secret, MaxFiles)
}

// load is Load of at most that many files and directories.
func load(ctx context.Context, r blobstore.Reader, entry bucket.Link, secret bucket.Secret, most int) (*Listing, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ld := &loader{
		r: r, room: semaphore.NewWeighted(nodeRoom), results: make(chan loaded),
		tree: NewListing(), tally: tally{most: most}, mimes: map[string]*string{},
	}
	ld.pending = []pendingDir{{"", Dir{entry, secret}}}
	running, err := 0, error(nil)
	for running > 0 || len(ld.pending) > 0 {
		for ; running < sideBySide && len(ld.pending) > 0; running++ {
			d := ld.pending[0]
			ld.pending = ld.pending[1:]
			go func() { ld.results <- ld.read(ctx, d) }()
		}
		got := <-ld.results
		running--
		if err == nil {
			err = ld.take(got)
		}
		if err != nil { // the first one; those that follow come of cancelling
			cancel()
			ld.pending = nil
		}
		ld.room.Release(got.room)
	}
	if err == nil && ld.dirs != nil {
		err = ld.tree.loadDirs(ctx, r, ld.dirs)
	}
	if err != nil {
		return nil, fmt.Errorf("load tree: %w", err)
	}
	return ld.tree, nil
}

// loader is the state of one Load. Workers use r, room and results; the rest belongs to the loop.
type loader struct {
	r       blobstore.Reader
	room    *semaphore.Weighted
	results chan loaded
	pending []pendingDir // in order: what unfolds does so in the first levels, and is refused before there is much to read
	tree    *Listing
	tally   tally
	mimes   map[string]*string
	dirs    Entry // of the permissions file; nil for none
}

type pendingDir struct {
	path string
	dir  Dir
}

type loaded struct {
	path string
	node *Node
	room int64 // to be released when the node is no longer needed
	err  error
}

func (ld *loader) read(ctx context.Context, d pendingDir) loaded {
	out := loaded{path: d.path}
	out.node, out.err = readNode(ctx, ld.r, d.dir, func(size int64) error {
		err := ld.room.Acquire(ctx, size)
		if err == nil {
			out.room = size
		}
		return err
	})
	return out
}

// take lists the entries of a directory.
func (ld *loader) take(got loaded) error {
	if got.err != nil {
		return fmt.Errorf("directory %.200q: %w", got.path, got.err)
	}
	for name, e := range got.node.Links {
		if err := CheckName(name); err != nil {
			return fmt.Errorf("directory %.200q: %w: %w", got.path, refuse(bucket.Malformed, "a name that cannot be a file's"), err)
		}
		if got.path == "" && name == dirsFile {
			ld.dirs = e
			continue
		}
		if err := ld.tally.add(got.path, name, e); err != nil {
			return err
		}
		path := joinPath(got.path, name)
		switch e := e.(type) {
		case Dir:
			ld.tree.Dirs[path] = Folder{Blob: e}
			ld.pending = append(ld.pending, pendingDir{path, e})
		case Data:
			e.Mime = ld.mime(e.Mime)
			ld.tree.Files[path] = e
		}
	}
	return nil
}

// mime returns a media type that is the same in memory for most files that have it.
func (ld *loader) mime(m *string) *string {
	if m == nil {
		return nil
	}
	if known, ok := ld.mimes[*m]; ok {
		return known
	}
	if len(ld.mimes) < maxMimes {
		ld.mimes[*m] = m
	}
	return m
}
