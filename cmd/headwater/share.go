package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/peer"
)

func (a *app) shareCommand() *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use: "share BUCKET PEER", Short: "Let a peer hold a bucket, as an owner or a mirror",
		Long: `Let a peer hold a bucket, from the next version on, which this makes. An owner reads and
writes. A mirror holds everything, and reads the versions that are published. The
peer's id is what 'headwater id' prints there.`,
		Example: "  headwater share photos 8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c\n" +
			"  headwater share photos 8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c --role mirror",
		Args: usageArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := parseRole(role)
			if err != nil {
				return err
			}
			with, err := bucket.ParsePublicKey(args[1])
			if err == nil {
				err = with.Check()
			}
			if err != nil {
				return usageError{err}
			}
			did := fmt.Sprintf("shared with %s as %s:", shortKey(with), role)
			return a.making(cmd, args, did, func(ctx context.Context, s *peer.Session, id bucket.ID, u peer.Upload) (*peer.Made, error) {
				return s.Share(ctx, id, with, r, u)
			})
		},
	}
	a.bindMaking(cmd)
	cmd.Flags().StringVar(&role, "role", "owner", "owner or mirror")
	return cmd
}

func parseRole(s string) (bucket.Role, error) {
	switch strings.ToLower(s) {
	case "owner":
		return bucket.Owner, nil
	case "mirror":
		return bucket.Mirror, nil
	}
	return 0, usagef("--role: %q is neither owner nor mirror", s)
}

func (a *app) unshareCommand() *cobra.Command {
	var rotate bool
	cmd := &cobra.Command{
		Use: "unshare BUCKET PEER", Short: "Take a bucket from a peer, from the next version on",
		Long: `Take a bucket from a peer, from the next version on, which this makes. What the peer could
read it may have kept; it cannot read the next version, nor what changes in it. Blobs
that do not change keep their secrets, which the peer knows: with --rotate all of
them are encrypted anew, which takes as long as committing everything again.`,
		Example: "  headwater unshare photos 8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c --rotate",
		Args:    usageArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, err := bucket.ParsePublicKey(args[1])
			if err != nil {
				return err
			}
			did := fmt.Sprintf("taken from %s:", shortKey(from))
			return a.making(cmd, args, did, func(ctx context.Context, s *peer.Session, id bucket.ID, u peer.Upload) (*peer.Made, error) {
				return s.Unshare(ctx, id, from, rotate, u)
			})
		},
	}
	a.bindMaking(cmd)
	cmd.Flags().BoolVar(&rotate, "rotate", false, "encrypt every file and directory anew")
	return cmd
}

func (a *app) publishCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "publish BUCKET", Short: "Let mirrors read what a bucket holds now",
		Long: `Let mirrors read what a bucket holds now, by a new version whose secret stands in it in
clear: whoever gets hold of that version's blobs can read them, for ever. Later
versions are private again, unless they are published too.`,
		Example: "  headwater publish photos",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.making(cmd, args, "published", func(ctx context.Context, s *peer.Session, id bucket.ID, u peer.Upload) (*peer.Made, error) {
				return s.Publish(ctx, id, u)
			})
		},
	}
	a.bindMaking(cmd)
	return cmd
}
