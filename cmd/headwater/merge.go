package main

import (
	"context"

	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/peer"
)

func (a *app) mergeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "merge BUCKET", Short: "Bring the branches of a fork together",
		Long: `Bring the branches of a fork together, as a new version of the branch that everybody takes
as head. What one side changed is taken. Where both changed a file, the head's keeps
its name and the other is kept beside it, with height and author of its version in
its name.`,
		Example: "  headwater merge photos",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE:    a.onBucket(a.runMerge),
	}
	a.bindMaking(cmd)
	return cmd
}

func (a *app) runMerge(ctx context.Context, s *peer.Session, id bucket.ID, args []string) error {
	upload, end := a.upload()
	m, err := s.Merge(ctx, id, upload)
	end()
	if err != nil {
		return err
	}
	for _, c := range m.Conflicts {
		a.note("changed on both sides: the other one is kept as %s", printable(c))
	}
	a.noteMade(args[0], m)
	if m.Unchanged {
		return a.answer(m, "%s has no fork: version %d is the one head\n", printable(m.Name), m.Height)
	}
	return a.answer(m, "merged %d branches into version %d of %s, %s\n", len(m.Merged)+1, m.Height, printable(m.Name), m.Link)
}
