package peer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"headwater/bucket"
	"headwater/tree"
)

// Entry is a file or directory of a version. Its JSON is what scripts rely on.
type Entry struct {
	Path string      `json:"path"`
	Type string      `json:"type"` // file, symlink or dir
	Mode string      `json:"mode,omitempty"`
	Size *uint64     `json:"size"` // null if the entry does not say
	Hash bucket.Hash `json:"blake3,omitzero"`
	Mime *string     `json:"mime"`
	Link bucket.Link `json:"link"` // of the encrypted blob
}

// FileEntry returns the entry of a file.
func FileEntry(p string, f tree.Data) Entry {
	e := Entry{Path: p, Type: "file", Mime: f.Mime, Link: f.Link}
	if attributes, ok := f.Attributes(); ok {
		e.Mode, e.Size, e.Hash = fmt.Sprintf("%04o", attributes.Perm), &attributes.Size, attributes.Hash
		if attributes.Symlink {
			e.Type = "symlink"
		}
	}
	return e
}

func dirEntry(p string, link bucket.Link) Entry { return Entry{Path: p, Type: "dir", Link: link} }

// cleanPath is the path that a person gave, as trees have it; empty for the root.
func cleanPath(p string) string { return strings.TrimPrefix(path.Clean("/"+p), "/") }

// readable returns the version that is meant, and its secret.
func (s *Session) readable(ctx context.Context, id bucket.ID, at string) (*bucket.Version, bucket.Secret, error) {
	view, err := s.look(ctx, id, false)
	if err != nil {
		return nil, bucket.Secret{}, err
	}
	v, err := s.at(ctx, view, at)
	if err != nil {
		return nil, bucket.Secret{}, err
	}
	secret, err := unlock(s.id, v)
	return v, secret, err
}

// List returns what a directory of a version holds, or everything below it, ascending by path. at is a height or a link, empty
// for the newest version that can be read. fs.ErrNotExist.
func (s *Session) List(ctx context.Context, id bucket.ID, below, at string, recursive bool) ([]Entry, error) {
	v, secret, err := s.readable(ctx, id, at)
	if err != nil {
		return nil, err
	}
	var all []Entry
	if below = cleanPath(below); recursive {
		all, err = s.listAll(ctx, v, below)
	} else {
		all, err = s.listOne(ctx, v, secret, below)
		err = s.lacking(ctx, v, err)
	}
	slices.SortFunc(all, func(a, b Entry) int { return cmp.Compare(a.Path, b.Path) })
	return all, err
}

// listOne lists one directory, or one file.
func (s *Session) listOne(ctx context.Context, v *bucket.Version, secret bucket.Secret, below string) ([]Entry, error) {
	link := v.Entry
	if below != "" {
		e, err := tree.Find(ctx, s.holder, v.Entry, secret, below)
		if err != nil {
			return nil, err
		}
		if f, ok := e.(tree.Data); ok {
			return []Entry{FileEntry(below, f)}, nil
		}
		link, secret = e.Blob()
	}
	node, err := tree.ReadNode(ctx, s.holder, link, secret)
	if err != nil {
		return nil, err
	}
	var all []Entry
	for name, e := range node.Links {
		p := path.Join(below, name)
		if strings.Contains(name, "/") || name == ".." || name == "." || name == "" {
			p = below + "/" + name // a name that Join would drop or resolve is shown as it is
		}
		if f, ok := e.(tree.Data); ok {
			all = append(all, FileEntry(p, f))
		} else {
			link, _ := e.Blob()
			all = append(all, dirEntry(p, link))
		}
	}
	return all, nil
}

// listAll lists everything below a path.
func (s *Session) listAll(ctx context.Context, v *bucket.Version, below string) ([]Entry, error) {
	l, err := s.loadTree(ctx, v)
	if err != nil {
		return nil, err
	}
	inside := func(p string) bool { return below == "" || p == below || strings.HasPrefix(p, below+"/") }
	var all []Entry
	for p, f := range maps.All(l.Files) {
		if inside(p) {
			all = append(all, FileEntry(p, f))
		}
	}
	for p, f := range maps.All(l.Dirs) {
		if inside(p) && p != below {
			all = append(all, dirEntry(p, f.Blob.Link))
		}
	}
	if _, isDir := l.Dirs[below]; len(all) == 0 && below != "" && !isDir {
		return nil, fmt.Errorf("%s: %w in version %d", below, fs.ErrNotExist, v.Height)
	}
	return all, nil
}

// Read writes a file of a version to w. Nothing is written before the whole file is here and verified. fs.ErrNotExist;
// [ErrUsage] for a directory.
func (s *Session) Read(ctx context.Context, id bucket.ID, p, at string, w io.Writer) (err error) {
	v, secret, err := s.readable(ctx, id, at)
	if err != nil {
		return err
	}
	defer func() { err = s.lacking(ctx, v, err) }()
	p = cleanPath(p)
	e, err := tree.Find(ctx, s.holder, v.Entry, secret, p)
	if err != nil {
		return err
	}
	f, ok := e.(tree.Data)
	if !ok {
		return fmt.Errorf("%w: %s is a directory; list it with 'headwater ls'", ErrUsage, p)
	}
	size, _, err := tree.Verify(ctx, s.holder, f)
	if err != nil {
		return err
	}
	plain, err := tree.SourceOf(ctx, s.holder, f, size).Open()
	if err != nil {
		return err
	}
	_, err = io.Copy(w, plain)
	return errors.Join(err, plain.Close())
}

// Diff lists what changed between two versions, each named by height or link: up to the newest that can be read if to is empty,
// from the one before that if from is empty.
func (s *Session) Diff(ctx context.Context, id bucket.ID, from, to string) ([]tree.Change, error) {
	view, err := s.look(ctx, id, false)
	if err != nil {
		return nil, err
	}
	newer, err := s.at(ctx, view, to)
	if err != nil {
		return nil, err
	}
	before := tree.NewListing()
	if from != "" || newer.Height > 0 {
		if from == "" {
			from = fmt.Sprint(newer.Height - 1)
		}
		older, err := s.at(ctx, view, from)
		if err != nil {
			return nil, err
		}
		if before, err = s.loadTree(ctx, older); err != nil {
			return nil, err
		}
	}
	after, err := s.loadTree(ctx, newer)
	if err != nil {
		return nil, err
	}
	return tree.Diff(before, after), nil
}
