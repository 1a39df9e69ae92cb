package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/peer"
	"headwater/tree"
)

func (a *app) diffCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "diff BUCKET [FROM [TO]]", Short: "What changed between versions of a bucket",
		Long: `What changed between two versions, each named by its height or its link: without TO up to
the newest that can be read, without FROM from the one before that.
A is added, D removed, M modified; a directory ends in a slash.`,
		Example: "  headwater diff photos\n  headwater diff photos 3 12",
		Args:    usageArgs(cobra.RangeArgs(1, 3)),
		RunE: a.onBucket(func(ctx context.Context, s *peer.Session, id bucket.ID, args []string) error {
			versions := append(args, "", "")
			changes, err := s.Diff(ctx, id, versions[1], versions[2])
			for _, c := range changes {
				if err := a.printChange(c); err != nil {
					return err
				}
			}
			return err
		}),
	}
	a.bindStores(cmd)
	return cmd
}

// changeAnswer is one difference as diff tells it.
type changeAnswer struct {
	Path string      `json:"path"`
	Kind string      `json:"kind"`
	Dir  bool        `json:"dir"`
	Old  *peer.Entry `json:"old"`
	New  *peer.Entry `json:"new"`
}

func (a *app) printChange(c tree.Change) error {
	if a.json {
		answer := changeAnswer{Path: c.Path, Kind: c.Kind.String(), Dir: c.Dir}
		if c.Old != nil {
			answer.Old = new(peer.FileEntry(c.Path, *c.Old))
		}
		if c.New != nil {
			answer.New = new(peer.FileEntry(c.Path, *c.New))
		}
		return writeJSON(a.out, answer)
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
	_, err := fmt.Fprintf(a.out, "%s %s\n", mark, path)
	return err
}
