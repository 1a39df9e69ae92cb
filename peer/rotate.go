package peer

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"

	"golang.org/x/sync/errgroup"

	"headwater/tree"
)

// rotations is how many files are put anew at a time. Each takes up to twice [tree.SmallFile] bytes of memory.
const rotations = 4

// rotate puts every file of a tree under a fresh secret. It returns a tree of the same paths, whose directories are to be
// built anew. Files that were one blob stay one.
func (d *draft) rotate(ctx context.Context, l *tree.Listing) (*tree.Listing, error) {
	type blob struct {
		entry tree.Data
		paths []string
		anew  tree.Data
	}
	blobs := map[tree.Dir]*blob{}
	for _, p := range slices.Sorted(maps.Keys(l.Files)) {
		entry := l.Files[p]
		key := tree.Dir{Link: entry.Link, Secret: entry.Secret}
		if blobs[key] == nil {
			blobs[key] = &blob{entry: entry}
		}
		blobs[key].paths = append(blobs[key].paths, p)
	}
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(rotations)
	for _, b := range blobs {
		g.Go(func() (err error) {
			if b.anew, err = d.putAnew(inner, path.Base(b.paths[0]), b.entry); err != nil {
				return fmt.Errorf("put %s anew: %w", b.paths[0], err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := &tree.Listing{Files: make(map[string]tree.Data, len(l.Files)), Dirs: make(map[string]tree.Folder, len(l.Dirs))}
	for p, folder := range l.Dirs {
		out.Dirs[p] = tree.Folder{Perm: folder.Perm}
	}
	for _, b := range blobs {
		for _, p := range b.paths {
			entry := l.Files[p]
			entry.Link, entry.Secret = b.anew.Link, b.anew.Secret
			out.Files[p] = entry
		}
	}
	return out, nil
}

// putAnew puts a file under a fresh secret, deciphered as it is read. No plain byte is ever on disk.
func (d *draft) putAnew(ctx context.Context, name string, entry tree.Data) (tree.Data, error) {
	a, known := entry.Attributes()
	size, hash := int64(a.Size), a.Hash
	if !known {
		var err error
		if size, hash, err = tree.Verify(ctx, d.holder, entry); err != nil {
			return tree.Data{}, err
		}
	}
	return tree.PutFile(ctx, d.w, name, tree.Attributes{Hash: hash}, tree.SourceOf(ctx, d.holder, entry, size))
}
