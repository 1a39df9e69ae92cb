package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/peer"
)

const commitHelp = `Make what is in DIR the next version of a bucket, and announce it. Files that did not
change keep their blobs; what is new is encrypted and kept by the peer of --dir, then
uploaded. No peer needs to run, and no broker: the version is made here, and goes out
as soon as the broker answers.

Where DIR was checked out or committed before, and others have written since, their
changes stay: both are merged, and a file that both changed is kept twice. Otherwise
the new version holds what DIR holds, and nothing else.

.headwaterignore files, in the syntax of .gitignore, say what to leave out.`

func (a *app) commitCommand() *cobra.Command {
	var so sessionOptions
	var u uploadFlags
	var o peer.CommitOptions
	cmd := &cobra.Command{
		Use: "commit BUCKET DIR", Short: "Make a directory the next version of a bucket", Long: commitHelp,
		Example: "  headwater commit photos ~/Pictures\n  headwater commit photos ~/Pictures --publish --no-wait",
		Args:    usageArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withBucket(cmd, args[0], so, func(ctx context.Context, s *peer.Session, id bucket.ID) error {
				return a.runCommit(ctx, s, id, args[0], args[1], o, u)
			})
		},
	}
	so.bind(cmd)
	u.bind(cmd)
	cmd.Flags().BoolVar(&o.Publish, "publish", false, "let mirrors read this version")
	cmd.Flags().BoolVar(&o.Force, "force", false, "make the version what DIR is, without the changes of others that DIR lacks")
	return cmd
}

func (a *app) runCommit(
	ctx context.Context, s *peer.Session, id bucket.ID, name, dir string, o peer.CommitOptions, u uploadFlags,
) error {
	p := newCount(a.err, "scan", 0)
	var end func()
	o.Upload, end = a.upload(u)
	o.Scanned = p.set
	o.Stored = func(files, bytes int64, total int) {
		p.what, p.of = "commit", total
		p.set(files, bytes)
	}
	m, err := s.Commit(ctx, id, dir, o)
	p.end()
	end()
	if err != nil {
		return err
	}
	a.noteForks(name, id, m.Forks)
	for _, f := range m.Skipped {
		a.note("left out %s: %s", printable(f.Path), f.Reason)
	}
	for _, c := range m.Collisions {
		a.note("%s are one name where case or accents do not count", printable(fmt.Sprint(c)))
	}
	for _, c := range m.Conflicts {
		a.note("changed here and by others: yours is kept as %s", printable(c))
	}
	if m.Behind {
		a.note("there are versions that %s was not made from; get their changes with: headwater checkout %s %s", dir, name, dir)
	}
	a.noteMade(m)
	return a.printCommit(m)
}

func (a *app) printCommit(m *peer.Made) error {
	if a.json {
		return writeJSON(a.out, m)
	}
	if m.Unchanged {
		_, err := fmt.Fprintf(a.out, "nothing to commit: version %d of %s holds it all\n", m.Height, printable(m.Name))
		return err
	}
	_, err := fmt.Fprintf(a.out, "committed version %d of %s: %d files added, %d modified, %d removed; %d objects put, %s\n%s\n",
		m.Height, printable(m.Name), m.Added, m.Modified, m.Removed, m.Objects, byteSize(uint64(m.Bytes)), m.Link)
	return err
}
