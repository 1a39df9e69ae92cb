package main

import (
	"context"
	"errors"
	"io/fs"

	"headwater/author"
	"headwater/bucket"
	"headwater/worktree"
)

// notes are the records that directories are to have once the versions are made that their commits are about to make. A
// commit that dies behind that point has not saved its record, and without it the next commit would take this very version
// for the work of others, and whatever was edited since for a conflict with it.
type notes struct {
	worktree.Records
	next func(bucket.Link) error // of the commit in work; nil for none
}

// notedManifests is the store of manifests, which takes a note of a version before anybody can have it.
type notedManifests struct {
	*bus
	notes *notes
}

// PutManifest stores a manifest.
func (n notedManifests) PutManifest(ctx context.Context, m []byte) error {
	if n.notes.next != nil {
		if err := n.notes.next(bucket.ManifestLink(m)); err != nil {
			return err
		}
	}
	return n.bus.PutManifest(ctx, m)
}

// settleRecord ends what a commit of the directory has begun that died: where its version came to be, the directory has the
// record that was noted for it.
func (d *desk) settleRecord(ctx context.Context, dir string, heads author.Heads) error {
	r, err := d.notes.Load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || r.Bucket != heads.Head.Bucket {
		return err
	}
	_, made, err := d.branchOf(ctx, heads, r.Version)
	if err == nil && made {
		err = d.records.Save(ctx, dir, r)
	}
	if err != nil {
		return err
	}
	return d.notes.Remove(dir)
}

// branchOf says whether a version was made that anybody has heard of, and on which branch it is: the fork's, or, where that
// is nil, the head's.
func (d *desk) branchOf(ctx context.Context, heads author.Heads, v bucket.Link) (fork *author.Fork, made bool, err error) {
	if _, err = d.author.AtLink(ctx, heads.Head, v); !errors.Is(err, author.ErrNoVersion) {
		return nil, err == nil, err
	}
	for i := range heads.Forks {
		f := &heads.Forks[i]
		if _, err = d.author.AtLink(ctx, f.Tip, v); !errors.Is(err, author.ErrNoVersion) {
			return f, err == nil, err
		}
	}
	return nil, false, nil
}
