package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"headwater/author"
	"headwater/bucket"
	"headwater/tree"
)

func (a *app) diffCommand() *cobra.Command {
	var o deskOptions
	cmd := &cobra.Command{
		Use: "diff BUCKET [FROM [TO]]", Short: "What changed between versions of a bucket",
		Long: `What changed between two versions, each named by its height or its link: without TO up to
the newest that can be read, without FROM from the one before that.
A is added, D removed, M modified; a directory ends in a slash.`,
		Example: "  headwater diff photos\n  headwater diff photos 3 12",
		Args:    usageArgs(cobra.RangeArgs(1, 3)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDesk(cmd.Context(), o, func(d *desk) error { return d.diff(cmd.Context(), args[0], args[1:]) })
		},
	}
	o.bind(cmd)
	return cmd
}

// changeAnswer is one difference as diff tells it.
type changeAnswer struct {
	Path string       `json:"path"`
	Kind string       `json:"kind"`
	Dir  bool         `json:"dir"`
	Old  *entryAnswer `json:"old"`
	New  *entryAnswer `json:"new"`
}

func (d *desk) diff(ctx context.Context, name string, versions []string) error {
	to := ""
	if len(versions) == 2 {
		to = versions[1]
	}
	newer, heads, err := d.read(ctx, name, to)
	if err != nil {
		return err
	}
	before, err := d.older(ctx, heads, newer, versions)
	if err != nil {
		return err
	}
	after, err := d.open(ctx, newer)
	if err != nil {
		return err
	}
	for _, c := range tree.Diff(before, after) {
		if err := d.printChange(c); err != nil {
			return err
		}
	}
	return nil
}

// older returns the tree that is compared with: that of the version named first, or of the one before the newer one.
func (d *desk) older(ctx context.Context, heads author.Heads, newer *bucket.Version, versions []string) (*tree.Listing, error) {
	var v *bucket.Version
	var err error
	switch {
	case len(versions) > 0:
		v, err = d.version(ctx, heads.Head, versions[0])
	case newer.Height == 0:
		return tree.NewListing(), nil
	default:
		v, err = d.author.At(ctx, heads.Head, newer.Height-1)
	}
	if err != nil {
		return nil, err
	}
	return d.open(ctx, v)
}

func (d *desk) printChange(c tree.Change) error {
	if d.json {
		answer := changeAnswer{Path: c.Path, Kind: c.Kind.String(), Dir: c.Dir}
		if c.Old != nil {
			answer.Old = new(fileAnswer(c.Path, *c.Old))
		}
		if c.New != nil {
			answer.New = new(fileAnswer(c.Path, *c.New))
		}
		return writeJSON(d.out, answer)
	}
	mark, path := "M", printable(c.Path)
	switch c.Kind {
	case tree.Added:
		mark = "A"
	case tree.Removed:
		mark = "D"
	}
	if c.Dir {
		path += "/"
	}
	_, err := fmt.Fprintf(d.out, "%s %s\n", mark, path)
	return err
}
