package main

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/peer"
)

func (a *app) lsCommand() *cobra.Command {
	var recursive bool
	cmd := &cobra.Command{
		Use: "ls BUCKET [PATH]", Short: "List a directory of a bucket",
		Example: "  headwater ls photos\n  headwater ls photos 2024 -R --at 12",
		Args:    usageArgs(cobra.RangeArgs(1, 2)),
		RunE: a.onBucket(func(ctx context.Context, s *peer.Session, id bucket.ID, args []string) error {
			all, err := s.List(ctx, id, append(args, "")[1], a.at, recursive)
			if err != nil {
				return err
			}
			return a.printEntries(all)
		}),
	}
	a.bindReading(cmd)
	cmd.Flags().BoolVarP(&recursive, "recursive", "R", false, "everything below, too")
	return cmd
}

func (a *app) printEntries(all []peer.Entry) error {
	if a.json {
		for _, e := range all {
			if err := writeJSON(a.out, e); err != nil {
				return err
			}
		}
		return nil
	}
	return table(a.out, func(row func(...any)) {
		for _, e := range all {
			mode, size, name := cmp.Or(e.Mode, "-"), "-", printable(e.Path)
			if e.Size != nil {
				size = byteSize(*e.Size)
			}
			switch e.Type {
			case "dir":
				name += "/"
			case "symlink":
				name += "@"
			}
			row(mode, size, name)
		}
	})
}

func (a *app) catCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "cat BUCKET PATH", Short: "Write a file of a bucket to standard output",
		Long: `Write a file of a bucket to standard output. Nothing is written before the whole file is
here and verified.`,
		Example: "  headwater cat photos 2024/summer.jpg > summer.jpg",
		Args:    usageArgs(cobra.ExactArgs(2)),
		RunE: a.onBucket(func(ctx context.Context, s *peer.Session, id bucket.ID, args []string) error {
			return s.Read(ctx, id, args[1], a.at, a.out)
		}),
	}
	a.bindReading(cmd)
	return cmd
}
