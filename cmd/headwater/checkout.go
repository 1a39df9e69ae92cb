package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"headwater/author"
	"headwater/bucket"
	"headwater/tree"
	"headwater/worktree"
)

const checkoutHelp = `Make DIR what a version of a bucket holds, writing only what differs. Every file is
verified before any of it is written in clear. A file that stands in the way and is not
one that checkout or commit knows is never overwritten, and a file that the bucket does
not have is never removed, unless you say so.

Owners get the newest version; mirrors get the newest one that is published.`

// checkoutOptions are the flags of checkout.
type checkoutOptions struct {
	desk    deskOptions
	which   which
	path    string
	force   bool
	del     bool
	outside bool
}

func (a *app) checkoutCommand() *cobra.Command {
	var o checkoutOptions
	cmd := &cobra.Command{
		Use: "checkout BUCKET DIR", Short: "Make a directory what a bucket holds", Long: checkoutHelp,
		Example: "  headwater checkout photos ~/Pictures\n  headwater checkout photos /tmp/old --at 12 --path 2024/summer",
		Args:    usageArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDesk(cmd.Context(), o.desk, func(d *desk) error {
				return d.checkout(cmd.Context(), args[0], args[1], o)
			})
		},
	}
	o.desk.bind(cmd)
	o.which.bind(cmd)
	f := cmd.Flags()
	f.StringVar(&o.path, "path", "", "only this file or directory of the bucket")
	f.BoolVar(&o.force, "force", false, "overwrite files that are not known to be in the bucket")
	f.BoolVar(&o.del, "delete", false, "remove files that the bucket does not have")
	f.BoolVar(&o.outside, "outside-links", false, "make symbolic links that lead out of DIR too")
	return cmd
}

// checkoutAnswer is what checkout says.
type checkoutAnswer struct {
	BucketID   bucket.ID       `json:"bucket_id"`
	Name       string          `json:"name"`
	Link       bucket.Link     `json:"link"`
	Height     uint64          `json:"height"`
	Dir        string          `json:"dir"`
	Written    int             `json:"written"`
	Bytes      int64           `json:"bytes"`
	Unchanged  int             `json:"unchanged"`
	Modes      int             `json:"modes"`
	Removed    int             `json:"removed"`
	Left       []string        `json:"left,omitempty"`
	Skipped    []skippedAnswer `json:"skipped,omitempty"`
	Collisions [][]string      `json:"collisions,omitempty"`
	Forks      []forkAnswer    `json:"forks,omitempty"`
}

func (d *desk) checkout(ctx context.Context, name, dir string, o checkoutOptions) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	v, heads, err := d.read(ctx, name, o.which.at)
	if err != nil {
		return err
	}
	d.noteForks(name, heads)
	l, err := d.open(ctx, v)
	if err != nil {
		return err
	}
	if err := d.settleRecord(ctx, abs, heads); err != nil {
		return err
	}
	record, err := d.records.Load(abs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	result, err := d.write(ctx, abs, l, record, worktree.CheckoutOptions{
		Origin: originOf(v), Path: o.path, Force: o.force, Delete: o.del, OutsideLinks: o.outside, Exclude: d.exclude(),
	})
	if err != nil {
		return err
	}
	return d.printCheckout(abs, v, heads, l, result)
}

// write makes the directory what the listing says, and keeps the record of what was done, whether it was all or not.
func (d *desk) write(
	ctx context.Context, abs string, l *tree.Listing, record *worktree.Record, o worktree.CheckoutOptions,
) (worktree.Result, error) {
	p := newCount(d.err, "checkout", len(l.Files))
	defer p.end()
	o.Progress = p.set
	o.Save = func(r *worktree.Record) error { return d.records.Save(ctx, abs, r) }
	result, record, err := worktree.Checkout(ctx, abs, l, record, d.bus, o)
	if record != nil {
		err = errors.Join(err, d.records.Save(ctx, abs, record))
	}
	return result, err
}

func (d *desk) printCheckout(abs string, v *bucket.Version, heads author.Heads, l *tree.Listing, r worktree.Result) error {
	answer := checkoutAnswer{
		BucketID: v.Bucket, Name: v.Name, Link: v.Link, Height: v.Height, Dir: abs, Written: r.Written, Bytes: r.Octets,
		Unchanged: r.Unchanged, Modes: r.Modes, Removed: r.Removed, Left: r.Left, Collisions: tree.Collisions(l),
		Forks: forkAnswers(heads.Forks),
	}
	for _, s := range r.Skipped {
		answer.Skipped = append(answer.Skipped, skippedAnswer{s.Path, s.Reason})
		d.note("not written: %s: %s", printable(s.Path), s.Reason)
	}
	for _, c := range answer.Collisions {
		d.note("%s are one name where case or accents do not count", printable(fmt.Sprint(c)))
	}
	if len(r.Left) > 0 {
		d.note("%d files are not in the bucket and stay, such as %s; --delete removes them", len(r.Left), printable(r.Left[0]))
	}
	if d.json {
		return writeJSON(d.out, answer)
	}
	if v.Link != heads.Head.Link {
		d.note("the newest version is %d, %s", heads.Head.Height, heads.Head.Link)
	}
	_, err := fmt.Fprintf(d.out, "checked out version %d of %s: %d files written (%s), %d unchanged, %d removed\n",
		v.Height, printable(v.Name), r.Written, octets(uint64(r.Octets)), r.Unchanged+r.Modes, r.Removed)
	return err
}
