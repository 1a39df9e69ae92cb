package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"headwater/author"
	"headwater/bucket"
)

// versionAnswer is what the commands say that make a version.
type versionAnswer struct {
	BucketID  bucket.ID        `json:"bucket_id"`
	Name      string           `json:"name"`
	Link      bucket.Link      `json:"link"`
	Height    uint64           `json:"height"`
	Author    bucket.PublicKey `json:"author"`
	Published bool             `json:"published"`
	Unchanged bool             `json:"unchanged"` // there was nothing to do, and this version was there before

	Added      int             `json:"added"` // files
	Modified   int             `json:"modified"`
	Removed    int             `json:"removed"`
	Objects    int             `json:"objects"` // put
	Bytes      int64           `json:"bytes"`   // of those
	Skipped    []skippedAnswer `json:"skipped,omitempty"`
	Conflicts  []string        `json:"conflicts,omitempty"`
	Collisions [][]string      `json:"collisions,omitempty"`
	Forks      []forkAnswer    `json:"forks,omitempty"` // that are not merged
	Merged     []bucket.Link   `json:"merged,omitempty"`
}

type skippedAnswer struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// forkAnswer is a fork as the commands tell it.
type forkAnswer struct {
	Link     bucket.Link      `json:"link"`
	Height   uint64           `json:"height"`
	Author   bucket.PublicKey `json:"author"`
	Ancestor bucket.Head      `json:"ancestor"`
}

func forkAnswers(forks []author.Fork) (all []forkAnswer) {
	for _, f := range forks {
		all = append(all, forkAnswer{f.Tip.Link, f.Tip.Height, f.Author, f.Ancestor.Head()})
	}
	return all
}

func answerOf(v *bucket.Version) versionAnswer {
	a := versionAnswer{BucketID: v.Bucket, Name: v.Name, Link: v.Link, Height: v.Height, Published: v.Published()}
	if v.Author != nil {
		a.Author = *v.Author
	}
	return a
}

func (a *app) createCommand() *cobra.Command {
	var o deskOptions
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a bucket",
		Long: `Make an empty bucket, owned by the peer of --dir, and announce it. The name is for
people; the id that is printed names the bucket everywhere.`,
		Example: "  headwater create photos\n  headwater create photos --json",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := a.ensureIdentity(); err != nil {
				return err
			}
			return a.withDesk(cmd.Context(), o, func(d *desk) error { return d.create(cmd.Context(), args[0]) })
		},
	}
	o.bind(cmd)
	return cmd
}

func (d *desk) create(ctx context.Context, name string) error {
	if name == "" {
		return usagef("a bucket needs a name")
	}
	if err := d.ensureStores(ctx, d.client, d.client.Names().ManifestStore()); err != nil {
		return err
	}
	v, err := d.author.Create(ctx, name)
	if err != nil {
		return err
	}
	answer := answerOf(v)
	if d.json {
		return writeJSON(d.out, answer)
	}
	_, err = fmt.Fprintf(d.out, "created bucket %s, named %s\n", v.Bucket, printable(v.Name))
	return err
}

// printMade says what version was made, and of what.
func (d *desk) printMade(did string, answer versionAnswer) error {
	if d.json {
		return writeJSON(d.out, answer)
	}
	_, err := fmt.Fprintf(d.out, "%s version %d of %s, %s\n", did, answer.Height, printable(answer.Name), answer.Link)
	return err
}
