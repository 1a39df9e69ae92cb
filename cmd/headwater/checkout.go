package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/peer"
)

const checkoutHelp = `Make DIR what a version of a bucket holds, writing only what differs. What the peer of
--dir holds is read there; the rest is fetched. Every file is verified before any of it
is written in clear. A file that stands in the way and is not one that checkout or
commit knows is never overwritten, and a file that the bucket does not have is never
removed, unless you say so.

Owners get the newest version; mirrors get the newest one that is published.`

func (a *app) checkoutCommand() *cobra.Command {
	var o peer.CheckoutOptions
	cmd := &cobra.Command{
		Use: "checkout BUCKET DIR", Short: "Make a directory what a bucket holds", Long: checkoutHelp,
		Example: "  headwater checkout photos ~/Pictures\n  headwater checkout photos /tmp/old --at 12 --path 2024/summer",
		Args:    usageArgs(cobra.ExactArgs(2)),
		RunE: a.onBucket(func(ctx context.Context, s *peer.Session, id bucket.ID, args []string) error {
			o.At = a.at
			return a.runCheckout(ctx, s, id, args[0], args[1], o)
		}),
	}
	a.bindReading(cmd)
	f := cmd.Flags()
	f.StringVar(&o.Path, "path", "", "only this file or directory of the bucket")
	f.BoolVar(&o.Force, "force", false, "overwrite files that are not known to be in the bucket")
	f.BoolVar(&o.Delete, "delete", false, "remove files that the bucket does not have")
	f.BoolVar(&o.OutsideLinks, "outside-links", false, "make symbolic links that lead out of DIR too")
	return cmd
}

func (a *app) runCheckout(ctx context.Context, s *peer.Session, id bucket.ID, name, dir string, o peer.CheckoutOptions) error {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return usagef("%s is no directory", dir)
	}
	p := newProgress(a.err, "checkout")
	o.Progress = func(files, bytes int64, total int) { p.count(files, int64(total), "files", bytes) }
	c, err := s.Checkout(ctx, id, dir, o)
	p.end()
	if err != nil {
		return err
	}
	a.noteForks(name, id, c.Forks)
	for _, f := range c.Skipped {
		a.note("not written: %s: %s", printable(f.Path), f.Reason)
	}
	for _, names := range c.Collisions {
		a.note("%s are one name where case or accents do not count", printable(fmt.Sprint(names)))
	}
	if len(c.Left) > 0 {
		a.note("%d files are not in the bucket and stay, such as %s; --delete removes them", len(c.Left), printable(c.Left[0]))
	}
	if c.Link != c.Head.Link {
		a.note("the newest version is %d, %s", c.Head.Height, c.Head.Link)
	}
	return a.answer(c, "checked out version %d of %s: %d files written (%s), %d unchanged, %d removed\n",
		c.Height, printable(c.Name), c.Written, byteSize(uint64(c.Bytes)), c.Unchanged+c.Modes, c.Removed)
}
