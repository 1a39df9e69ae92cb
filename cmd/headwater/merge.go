package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"headwater/author"
	"headwater/bucket"
	"headwater/tree"
)

func (a *app) mergeCommand() *cobra.Command {
	var o deskOptions
	cmd := &cobra.Command{
		Use: "merge BUCKET", Short: "Bring the branches of a fork together",
		Long: `Bring the branches of a fork together, as a new version of the branch that everybody takes
as head. What one side changed is taken. Where both changed a file, the head's keeps
its name and the other is kept beside it, with height and author of its version in
its name.`,
		Example: "  headwater merge photos",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDesk(cmd.Context(), o, func(d *desk) error { return d.merge(cmd.Context(), args[0]) })
		},
	}
	o.bind(cmd)
	return cmd
}

func (d *desk) merge(ctx context.Context, name string) error {
	id, err := d.find(ctx, name)
	if err != nil {
		return err
	}
	heads, err := d.heads(ctx, id)
	if err != nil {
		return err
	}
	e := &edition{heads: heads, answer: answerOf(heads.Head)}
	if len(heads.Forks) == 0 {
		e.answer.Unchanged = true
		if d.json {
			return writeJSON(d.out, e.answer)
		}
		_, err := fmt.Fprintf(d.out, "%s has no fork: version %d is the one head\n", printable(heads.Head.Name), heads.Head.Height)
		return err
	}
	if e.before, err = d.open(ctx, heads.Head); err != nil {
		return err
	}
	merged, tips := e.before, []bucket.Link(nil)
	for _, f := range heads.Forks {
		if merged, err = d.mergeFork(ctx, merged, f, &e.answer); err != nil {
			return fmt.Errorf("merge version %d, %s: %w", f.Tip.Height, f.Tip.Link, err)
		}
		tips = append(tips, f.Tip.Link)
	}
	e.count(merged)
	e.answer.Unchanged = false
	change := author.Change{Tree: merged, Prev: e.before, Merged: tips}
	if _, err := d.next(ctx, heads.Head, change, &e.answer); err != nil {
		return err
	}
	return d.printMerge(e)
}

// mergeFork merges the tree of a fork into ours.
func (d *desk) mergeFork(ctx context.Context, ours *tree.Listing, f author.Fork, answer *versionAnswer) (*tree.Listing, error) {
	theirs, err := d.open(ctx, f.Tip)
	if err != nil {
		return nil, err
	}
	base, err := d.open(ctx, f.Ancestor)
	if errors.Is(err, author.ErrNotShared) || errors.Is(err, author.ErrNotPublished) {
		base, err = tree.NewListing(), nil // from before our time: whatever differs is kept twice
	}
	if err != nil {
		return nil, err
	}
	merged, conflicts := tree.Merge(base, ours, theirs, func(path string) string {
		return tree.ConflictName(path, f.Tip.Height, f.Author)
	})
	for _, c := range conflicts {
		if c.Copy != "" {
			answer.Conflicts = append(answer.Conflicts, c.Copy)
		}
	}
	return merged, nil
}

func (d *desk) printMerge(e *edition) error {
	for _, c := range e.answer.Conflicts {
		d.note("changed on both sides: the other one is kept as %s", printable(c))
	}
	return d.printMade(fmt.Sprintf("merged %d branches into", len(e.heads.Forks)+1), e.answer)
}
