package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

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
	var o peer.CommitOptions
	cmd := &cobra.Command{
		Use: "commit BUCKET DIR", Short: "Make a directory the next version of a bucket", Long: commitHelp,
		Example: "  headwater commit photos ~/Pictures\n  headwater commit photos ~/Pictures --publish --no-wait",
		Args:    usageArgs(cobra.ExactArgs(2)),
		RunE: a.onBucket(func(ctx context.Context, s *peer.Session, id bucket.ID, args []string) error {
			return a.runCommit(ctx, s, id, args[0], args[1], o)
		}),
	}
	a.bindMaking(cmd)
	cmd.Flags().BoolVar(&o.Publish, "publish", false, "let mirrors read this version")
	cmd.Flags().BoolVar(&o.Force, "force", false, "make the version what DIR is, without the changes of others that DIR lacks")
	return cmd
}

func (a *app) runCommit(ctx context.Context, s *peer.Session, id bucket.ID, name, dir string, o peer.CommitOptions) error {
	if info, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return usagef("there is no directory %s", dir)
	}
	scan, store := newProgress(a.err, "scan"), newProgress(a.err, "commit")
	var end func()
	o.Upload, end = a.upload()
	o.Scanned = func(files, bytes int64) { scan.count(files, 0, "files", bytes) }
	o.Stored = func(files, bytes int64, total int) { store.count(files, int64(total), "files", bytes) }
	m, err := s.Commit(ctx, id, dir, o)
	store.end()
	end()
	if err != nil {
		return err
	}
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
	a.noteMade(name, m)
	if m.Unchanged {
		return a.answer(m, "nothing to commit: version %d of %s holds it all\n", m.Height, printable(m.Name))
	}
	return a.answer(m, "committed version %d of %s: %d files added, %d modified, %d removed; %d objects put, %s\n%s\n",
		m.Height, printable(m.Name), m.Added, m.Modified, m.Removed, m.Objects, byteSize(uint64(m.Bytes)), m.Link)
}
