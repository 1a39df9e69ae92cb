package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/peer"
)

func (a *app) mergeCommand() *cobra.Command {
	var o sessionOptions
	var u uploadFlags
	cmd := &cobra.Command{
		Use: "merge BUCKET", Short: "Bring the branches of a fork together",
		Long: `Bring the branches of a fork together, as a new version of the branch that everybody takes
as head. What one side changed is taken. Where both changed a file, the head's keeps
its name and the other is kept beside it, with height and author of its version in
its name.`,
		Example: "  headwater merge photos",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withBucket(cmd, args[0], o, func(ctx context.Context, s *peer.Session, id bucket.ID) error {
				upload, end := a.upload(u)
				m, err := s.Merge(ctx, id, upload)
				end()
				if err != nil {
					return err
				}
				return a.printMerge(m)
			})
		},
	}
	o.bind(cmd)
	u.bind(cmd)
	return cmd
}

func (a *app) printMerge(m *peer.Made) error {
	for _, c := range m.Conflicts {
		a.note("changed on both sides: the other one is kept as %s", printable(c))
	}
	if m.Unchanged && !a.json {
		_, err := fmt.Fprintf(a.out, "%s has no fork: version %d is the one head\n", printable(m.Name), m.Height)
		return err
	}
	return a.printMade(fmt.Sprintf("merged %d branches into", len(m.Merged)+1), m)
}
