package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"headwater/peer"
)

func (a *app) createCommand() *cobra.Command {
	var o sessionOptions
	var u uploadFlags
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a bucket",
		Long: `Make an empty bucket, owned by the peer of --dir, and announce it. The name is for
people; the id that is printed names the bucket everywhere.`,
		Example: "  headwater create photos\n  headwater create photos --json",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := peer.EnsureIdentity(a.dir); err != nil {
				return err
			}
			return a.withSession(cmd, o, func(ctx context.Context, s *peer.Session) error {
				upload, end := a.upload(u)
				m, err := s.Create(ctx, args[0], upload)
				end()
				if err != nil {
					return err
				}
				a.noteMade(m)
				if a.json {
					return writeJSON(a.out, m)
				}
				_, err = fmt.Fprintf(a.out, "created bucket %s, named %s\n", m.BucketID, printable(m.Name))
				return err
			})
		},
	}
	o.bind(cmd)
	u.bind(cmd)
	return cmd
}
