package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/tree"
)

func (a *app) lsCommand() *cobra.Command {
	var o deskOptions
	var w which
	var recursive bool
	cmd := &cobra.Command{
		Use: "ls BUCKET [PATH]", Short: "List a directory of a bucket",
		Example: "  headwater ls photos\n  headwater ls photos 2024 -R --at 12",
		Args:    usageArgs(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDesk(cmd.Context(), o, func(d *desk) error {
				return d.ls(cmd.Context(), args[0], cleanPath(args[1:]), w.at, recursive)
			})
		},
	}
	o.bind(cmd)
	w.bind(cmd)
	cmd.Flags().BoolVarP(&recursive, "recursive", "R", false, "everything below, too")
	return cmd
}

// cleanPath is the path that a person gave, as trees have it; empty for the root.
func cleanPath(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return strings.TrimPrefix(path.Clean("/"+args[0]), "/")
}

// entryAnswer is a file or directory as ls tells it.
type entryAnswer struct {
	Path string      `json:"path"`
	Type string      `json:"type"` // file, symlink or dir
	Mode string      `json:"mode,omitempty"`
	Size *uint64     `json:"size"` // null where the entry does not say
	Hash bucket.Hash `json:"blake3,omitzero"`
	Mime *string     `json:"mime"`
	Link bucket.Link `json:"link"` // of the encrypted blob
}

func fileAnswer(p string, f tree.Data) entryAnswer {
	e := entryAnswer{Path: p, Type: "file", Mime: f.Mime, Link: f.Link}
	if attributes, ok := f.Attributes(); ok {
		e.Mode, e.Size, e.Hash = fmt.Sprintf("%04o", attributes.Perm), &attributes.Size, attributes.Hash
		if attributes.Symlink {
			e.Type = "symlink"
		}
	}
	return e
}

func dirAnswer(p string, link bucket.Link) entryAnswer {
	return entryAnswer{Path: p, Type: "dir", Link: link}
}

func (d *desk) ls(ctx context.Context, name, below, at string, recursive bool) error {
	v, _, err := d.read(ctx, name, at)
	if err != nil {
		return err
	}
	var all []entryAnswer
	if recursive {
		all, err = d.listAll(ctx, v, below)
	} else {
		all, err = d.listOne(ctx, v, below)
	}
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b entryAnswer) int { return cmp.Compare(a.Path, b.Path) })
	if d.json {
		for _, e := range all {
			if err := writeJSON(d.out, e); err != nil {
				return err
			}
		}
		return nil
	}
	return table(d.out, func(row func(...any)) {
		for _, e := range all {
			row(e.cells()...)
		}
	})
}

func (e entryAnswer) cells() []any {
	mode, size, name := cmp.Or(e.Mode, "-"), "-", printable(e.Path)
	if e.Size != nil {
		size = octets(*e.Size)
	}
	switch e.Type {
	case "dir":
		name += "/"
	case "symlink":
		name += "@"
	}
	return []any{mode, size, name}
}

// listOne lists one directory, or one file.
func (d *desk) listOne(ctx context.Context, v *bucket.Version, below string) ([]entryAnswer, error) {
	secret, err := d.author.Open(v)
	if err != nil {
		return nil, err
	}
	link := v.Entry
	if below != "" {
		e, err := tree.Find(ctx, d.bus, v.Entry, secret, below)
		if err != nil {
			return nil, err
		}
		if f, ok := e.(tree.Data); ok {
			return []entryAnswer{fileAnswer(below, f)}, nil
		}
		link, secret = e.Blob()
	}
	node, err := tree.ReadNode(ctx, d.bus, link, secret)
	if err != nil {
		return nil, err
	}
	var all []entryAnswer
	for name, e := range node.Links {
		p := path.Join(below, name)
		if strings.Contains(name, "/") || name == ".." || name == "." || name == "" {
			p = below + "/" + name // a name that is no name is shown as it stands
		}
		if f, ok := e.(tree.Data); ok {
			all = append(all, fileAnswer(p, f))
		} else {
			link, _ := e.Blob()
			all = append(all, dirAnswer(p, link))
		}
	}
	return all, nil
}

// listAll lists everything below a path.
func (d *desk) listAll(ctx context.Context, v *bucket.Version, below string) ([]entryAnswer, error) {
	l, err := d.open(ctx, v)
	if err != nil {
		return nil, err
	}
	inside := func(p string) bool { return below == "" || p == below || strings.HasPrefix(p, below+"/") }
	var all []entryAnswer
	for p, f := range maps.All(l.Files) {
		if inside(p) {
			all = append(all, fileAnswer(p, f))
		}
	}
	for p, f := range maps.All(l.Dirs) {
		if inside(p) && p != below {
			all = append(all, dirAnswer(p, f.Blob.Link))
		}
	}
	if _, isDir := l.Dirs[below]; len(all) == 0 && below != "" && !isDir {
		return nil, fmt.Errorf("%s: %w in version %d", below, fs.ErrNotExist, v.Height)
	}
	return all, nil
}

func (a *app) catCommand() *cobra.Command {
	var o deskOptions
	var w which
	cmd := &cobra.Command{
		Use: "cat BUCKET PATH", Short: "Write a file of a bucket to standard output",
		Long: `Write a file of a bucket to standard output. Nothing is written before the whole file is
fetched and verified; a large one waits, encrypted, in the directory for temporary files.`,
		Example: "  headwater cat photos 2024/summer.jpg > summer.jpg",
		Args:    usageArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDesk(cmd.Context(), o, func(d *desk) error {
				return d.cat(cmd.Context(), args[0], cleanPath(args[1:]), w.at)
			})
		},
	}
	o.bind(cmd)
	w.bind(cmd)
	return cmd
}

func (d *desk) cat(ctx context.Context, name, p, at string) (err error) {
	v, _, err := d.read(ctx, name, at)
	if err != nil {
		return err
	}
	secret, err := d.author.Open(v)
	if err != nil {
		return err
	}
	e, err := tree.Find(ctx, d.bus, v.Entry, secret, p)
	if err != nil {
		return err
	}
	f, ok := e.(tree.Data)
	if !ok {
		return usagef("%s is a directory; list it with 'headwater ls %s %s'", p, name, p)
	}
	var spool *os.File
	defer func() {
		if spool != nil {
			err = errors.Join(err, spool.Close())
		}
	}()
	plain, err := tree.Fetch(ctx, d.bus, f, func() (tree.Spool, error) {
		spool, err = os.CreateTemp("", "headwater-cat-*")
		if err != nil {
			return nil, err
		}
		return spool, os.Remove(spool.Name()) // it goes when it is closed, or when we die
	})
	if err != nil {
		return err
	}
	_, err = plain.WriteTo(d.out)
	return err
}
