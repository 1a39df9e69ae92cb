package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"headwater/peer"
)

func (a *app) createCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a bucket",
		Long: `Make an empty bucket, owned by the peer of --dir, and announce it. The name is for
people; the id that is printed names the bucket everywhere.`,
		Example: "  headwater create photos\n  headwater create photos --json",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := peer.EnsureIdentity(a.cfg.Dir); err != nil {
				return err
			}
			return a.withSession(cmd, func(ctx context.Context, s *peer.Session) error {
				upload, end := a.upload()
				m, err := s.Create(ctx, args[0], upload)
				end()
				if err != nil {
					return err
				}
				a.noteMade(m.Name, m)
				if _, err := s.Find(ctx, m.Name); errors.Is(err, peer.ErrUsage) {
					a.note("%s names another bucket too: say %s to name this one", printable(m.Name), m.BucketID)
				}
				return a.answer(m, "created bucket %s, named %s\n", m.BucketID, printable(m.Name))
			})
		},
	}
	a.bindMaking(cmd)
	return cmd
}
