package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/peer/local"
)

func (a *app) logCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "log BUCKET", Short: "The versions of a bucket, newest first, with forks drawn",
		Example: "  headwater log 550e8400-e29b-41d4-a716-446655440000\n  headwater log photos -n 20\n  headwater log photos --json",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAnswers(cmd, func(ctx context.Context, from answers) error {
				return a.runLog(ctx, from, args[0], limit)
			})
		},
	}
	a.bindPeer(cmd)
	a.bindStores(cmd)
	cmd.Flags().IntVarP(&limit, "limit", "n", 0, "at most so many versions; 0: all")
	return cmd
}

func (a *app) runLog(ctx context.Context, from answers, name string, limit int) error {
	id, err := from.Find(ctx, name)
	if err != nil {
		return err
	}
	graph := graph{w: a.out}
	var before bucket.Head
	for printed := 0; ; {
		page, err := from.Log(ctx, id, before, max(0, limit-printed))
		if err != nil {
			return err
		}
		for _, l := range page.Versions {
			if err := a.printVersion(&graph, l); err != nil {
				return err
			}
		}
		printed += len(page.Versions)
		if !page.More || len(page.Versions) == 0 || (limit > 0 && printed >= limit) {
			return nil
		}
		last := page.Versions[len(page.Versions)-1]
		before = bucket.Head{Link: last.Link, Height: last.Height}
	}
}

func (a *app) printVersion(g *graph, l local.LogEntry) error {
	if a.json {
		return writeJSON(a.out, l)
	}
	author := bucket.PublicKey{}
	if l.Author != nil {
		author = *l.Author
	}
	marks := ""
	for _, m := range []struct {
		is   bool
		text string
	}{{l.Head, " head"}, {l.Complete, " complete"}, {l.Published, " published"}} {
		if m.is {
			marks += m.text
		}
	}
	return g.draw(l, fmt.Sprintf("%d  %s  %s%s  %s", l.Height, shortKey(author), timeText(l.Added), marks, l.Name), l.Link.String())
}

// graph draws versions, newest first, in a column per branch, as git does.
type graph struct {
	w       io.Writer
	columns []bucket.Link // of each branch: the version that comes next in it; zero behind a genesis
}

// draw writes one version in the column that waits for it, or in a new one: text, and below it more.
func (g *graph) draw(l local.LogEntry, text, more string) error {
	i := slices.Index(g.columns, l.Link)
	if i < 0 {
		i = len(g.columns)
		g.columns = append(g.columns, l.Link)
	}
	if err := g.join(i, l.Link); err != nil {
		return err
	}
	cells := slices.Repeat([]string{"|"}, len(g.columns))
	cells[i] = "*"
	first := strings.Join(cells, " ")
	g.columns[i], cells[i] = bucket.Link{}, " "
	if l.Previous != nil {
		g.columns[i], cells[i] = *l.Previous, "|"
	}
	_, err := fmt.Fprintf(g.w, "%s  %s\n%s  %s\n", first, clip(text, max(lineWidth-len(first)-2, 20)), strings.Join(cells, " "), more)
	return err
}

// join ends the columns to the right of i that wait for the same version: their branches leave the chain here.
func (g *graph) join(i int, link bucket.Link) error {
	for j := len(g.columns) - 1; j > i; j-- {
		if g.columns[j] != link {
			continue
		}
		line := strings.TrimRight(strings.Repeat("| ", j), " ") + "/" + strings.Repeat(" /", len(g.columns)-j-1)
		g.columns = slices.Delete(g.columns, j, j+1)
		if _, err := fmt.Fprintln(g.w, line); err != nil {
			return err
		}
	}
	return nil
}
