package tree

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"headwater/bucket"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// Built is what [Build] has made.
type Built struct {
	// Entry links to the root node.
	Entry bucket.Link
	// Blobs names every blob of the tree, ascending: nodes and files, including those that were there before.
	Blobs bucket.Pins
	// Nodes is how many nodes were written, and Bytes how many bytes of blobs, including the file of permissions.
	Nodes int
	Bytes int64
	// Tree is the tree as [Load] would read it; its Files are those of the listing it was built from.
	Tree *Listing
}

// Build writes the nodes of a tree, the deepest first and the root node last. The root is sealed with secret, which must be
// one made for this version. The files' blobs must be there already. prev is nil, or was read by [Load] or made by Build: a
// directory keeps its blob if its entries are those of the same path in prev. All others are sealed anew with fresh secrets,
// and so is the file of permissions if they have changed.
//
// Errors are those of [Listing.Check], of [Node.Encode] and of w. All is durable on return; after an error some nodes may
// have been written, which nothing points to.
func Build(ctx context.Context, w Writer, l, prev *Listing, secret bucket.Secret) (Built, error) {
	if err := l.Check(); err != nil {
		return Built{}, fmt.Errorf("build tree: %w", err)
	}
	b := newBuilder(w, l, prev)
	for _, dirs := range slices.Backward(b.levels) {
		if err := b.level(ctx, dirs); err != nil {
			return Built{}, fmt.Errorf("build tree: %w", err)
		}
	}
	perms, err := b.permissions(ctx)
	if err != nil {
		return Built{}, fmt.Errorf("build tree: permissions of directories: %w", err)
	}
	root := b.node("")
	if perms != nil {
		root.Links[dirsFile] = *perms
		b.tree.DirsFile = *perms
	}
	out, err := b.write(ctx, root, secret)
	if err != nil {
		return Built{}, fmt.Errorf("build tree: root: %w", err)
	}
	b.count(out)
	return Built{Entry: out.dir.Link, Blobs: b.blobs(out.dir), Nodes: b.nodes, Bytes: b.size, Tree: b.tree}, nil
}

// builder is the state of one Build.
type builder struct {
	w        Writer
	prev     *Listing // empty rather than nil
	tree     *Listing // what is built: its directories have blobs once their level is done
	children map[string][]string
	before   map[string]int // how many children a directory of prev has
	levels   [][]string     // directories by the number of their names, less one
	room     *semaphore.Weighted

	nodes int
	size  int64
}

func newBuilder(w Writer, l, prev *Listing) *builder {
	if prev == nil {
		prev = NewListing()
	}
	b := &builder{
		w: w, prev: prev, tree: &Listing{Files: l.Files, Dirs: make(map[string]Folder, len(l.Dirs))},
		children: make(map[string][]string, len(l.Dirs)), before: make(map[string]int, len(prev.Dirs)),
		room: semaphore.NewWeighted(nodeRoom),
	}
	for path, f := range l.Dirs {
		b.tree.Dirs[path] = Folder{Perm: f.Perm}
		depth := strings.Count(path, "/")
		for len(b.levels) <= depth {
			b.levels = append(b.levels, nil)
		}
		b.levels[depth] = append(b.levels[depth], path)
	}
	for _, paths := range []iter.Seq[string]{maps.Keys(l.Files), maps.Keys(l.Dirs)} {
		for path := range paths {
			dir, _ := splitPath(path)
			b.children[dir] = append(b.children[dir], path)
		}
	}
	for _, paths := range []iter.Seq[string]{maps.Keys(prev.Files), maps.Keys(prev.Dirs)} {
		for path := range paths {
			dir, _ := splitPath(path)
			b.before[dir]++
		}
	}
	return b
}

// written is a node that was sealed and put.
type written struct {
	dir  Dir
	size int64
}

// level makes the nodes of directories in parallel; none of them is in another.
func (b *builder) level(ctx context.Context, dirs []string) error {
	out := make([]written, len(dirs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(putters)
	for i, path := range dirs {
		if b.unchanged(path) {
			out[i].dir = b.prev.Dirs[path].Blob
			continue
		}
		g.Go(func() (err error) {
			if out[i], err = b.writeDir(ctx, path); err != nil {
				err = fmt.Errorf("directory %.200q: %w", path, err)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, path := range dirs {
		f := b.tree.Dirs[path]
		f.Blob = out[i].dir
		b.tree.Dirs[path] = f
		b.count(out[i])
	}
	return nil
}

func (b *builder) count(out written) {
	if out.size > 0 {
		b.nodes++
		b.size += out.size
	}
}

// unchanged reports whether the node that prev has for a directory equals the one to be made, but for secret and nonce.
func (b *builder) unchanged(path string) bool {
	if f, ok := b.prev.Dirs[path]; !ok || f.Blob == (Dir{}) || len(b.children[path]) != b.before[path] {
		return false
	}
	for _, child := range b.children[path] {
		if f, ok := b.tree.Dirs[child]; ok {
			if b.prev.Dirs[child].Blob != f.Blob {
				return false
			}
		} else if old, ok := b.prev.Files[child]; !ok || !old.equal(b.tree.Files[child]) {
			return false
		}
	}
	return true
}

// equal reports whether two entries are the same in every byte.
func (d Data) equal(o Data) bool {
	if (d.Mime == nil) != (o.Mime == nil) || d.Mime != nil && *d.Mime != *o.Mime {
		return false
	}
	return d.Link == o.Link && d.Secret == o.Secret && bytes.Equal(d.Metadata, o.Metadata)
}

// node returns the node of a directory whose subdirectories are made.
func (b *builder) node(path string) *Node {
	n := &Node{Links: make(map[string]Entry, len(b.children[path]))}
	for _, child := range b.children[path] {
		_, name := splitPath(child)
		if f, ok := b.tree.Dirs[child]; ok {
			n.Links[name] = f.Blob
		} else {
			n.Links[name] = b.tree.Files[child]
		}
	}
	return n
}

func (b *builder) writeDir(ctx context.Context, path string) (written, error) {
	const entry = 256 // bytes of an encoded entry, about
	size := min(int64(len(b.children[path]))*entry, nodeRoom)
	if err := b.room.Acquire(ctx, size); err != nil {
		return written{}, err
	}
	defer b.room.Release(size)
	return b.write(ctx, b.node(path), NewSecret())
}

func (b *builder) write(ctx context.Context, n *Node, secret bucket.Secret) (written, error) {
	plain, err := n.Encode()
	if err != nil {
		return written{}, err
	}
	link, size, err := b.put(ctx, plain, secret)
	return written{Dir{link, secret}, size}, err
}

// put seals bytes and puts the blob.
func (b *builder) put(ctx context.Context, plain []byte, secret bucket.Secret) (bucket.Link, int64, error) {
	blob, err := Seal(secret, plain)
	if err != nil {
		return bucket.Link{}, 0, err
	}
	link := bucket.RawLink(blob)
	return link, int64(len(blob)), b.w.Put(ctx, link.Hash(), int64(len(blob)), bytes.NewReader(blob))
}

// permissions returns the entry of the file of permissions, nil for no file. It writes the file if that of prev has others.
func (b *builder) permissions(ctx context.Context) (*Data, error) {
	plain, err := encodeDirs(b.tree)
	if err != nil || plain == nil {
		return nil, err
	}
	a := Attributes{Perm: 0o644, Size: uint64(len(plain)), Hash: bucket.Sum(plain)}
	if old, ok := b.prev.DirsFile.Attributes(); ok && old == a {
		return &b.prev.DirsFile, nil
	}
	d := Data{Secret: NewSecret(), Metadata: a.Metadata()}
	var size int64
	d.Link, size, err = b.put(ctx, plain, d.Secret)
	b.size += size
	return &d, err
}

// blobs returns the hashes of all blobs of the tree.
func (b *builder) blobs(root Dir) bucket.Pins {
	pins := make(bucket.Pins, 0, 2+len(b.tree.Files)+len(b.tree.Dirs))
	pins = append(pins, root.Link.Hash())
	if b.tree.DirsFile.Link != (bucket.Link{}) {
		pins = append(pins, b.tree.DirsFile.Link.Hash())
	}
	for _, d := range b.tree.Files {
		pins = append(pins, d.Link.Hash())
	}
	for _, f := range b.tree.Dirs {
		pins = append(pins, f.Blob.Link.Hash())
	}
	slices.SortFunc(pins, func(x, y bucket.Hash) int { return bytes.Compare(x[:], y[:]) })
	return slices.Compact(pins)
}
