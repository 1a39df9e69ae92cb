package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/jetstream"
)

func (a *app) announceCommand() *cobra.Command {
	var stores []string
	cmd := &cobra.Command{
		Use: "announce BUCKET [LINK]", Short: "Announce a head of a bucket",
		Long: `Announce a head of a bucket in the name of the peer of --dir. Without LINK it is the
head that the running peer knows. An announcement is a hint: every receiver fetches
the manifests and verifies them itself.`,
		Example: "  headwater announce photos\n  headwater announce 550e8400-e29b-41d4-a716-446655440000 bafyr4idodq5cld6yaodzogazaj3nu4czcgstd5cqvfislbyj4d3gm4ytna",
		Args:    usageArgs(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *jetstream.Client) error {
				return a.runAnnounce(cmd.Context(), c, args, stores)
			})
		},
	}
	cmd.Flags().StringSliceVar(&stores, "store", nil, "object stores that receivers shall ask first: NAME or DOMAIN/NAME")
	return cmd
}

func (a *app) runAnnounce(ctx context.Context, c *jetstream.Client, args, stores []string) error {
	for _, s := range stores {
		if err := bucket.CheckStoreName(s); err != nil {
			return err
		}
	}
	id, err := a.readIdentity()
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has no identity to announce with (%w); make one with 'headwater init'", a.dir, errNotFound)
	}
	if err != nil {
		return err
	}
	me := id.PublicKey()
	announcement := bucket.Announcement{Peer: me, Stores: stores}
	if announcement.Bucket, err = findBucket(ctx, c, me, args[0]); err != nil {
		return err
	}
	if len(args) == 2 {
		announcement.Link, err = bucket.ParseLink(args[1])
	} else {
		var head bucket.Head
		head, err = ask[bucket.Head](ctx, c, me, questionHead, bucketRequest{announcement.Bucket})
		announcement.Link, announcement.Height = head.Link, &head.Height
	}
	if err != nil {
		return err
	}
	if announcement.Link.Codec() != bucket.CodecDagCBOR {
		return usagef("%s is no link to a manifest", announcement.Link)
	}
	announcement.Hints = knownHints(ctx, c, announcement)
	duplicate, err := c.Announce(ctx, announcement)
	if err != nil {
		return err
	}
	return a.printAnnounced(announcement, duplicate)
}

// knownHints are those that stand announced with the same head already, by whoever made it.
func knownHints(ctx context.Context, c *jetstream.Client, n bucket.Announcement) (best bucket.Hints) {
	heads, err := (&bus{c: c}).Heads(ctx, n.Bucket)
	if err != nil {
		return best // hints are worth no failure
	}
	for _, h := range heads {
		if h.Link == n.Link && len(h.Hints.Packs)+len(h.Hints.Recent) >= len(best.Packs)+len(best.Recent) {
			best = h.Hints
		}
	}
	return best
}

func (a *app) printAnnounced(n bucket.Announcement, duplicate bool) error {
	if a.json {
		return writeJSON(a.out, struct {
			BucketID  bucket.ID        `json:"bucket_id"`
			PeerID    bucket.PublicKey `json:"peer_id"`
			Link      bucket.Link      `json:"link"`
			Height    *uint64          `json:"height"`
			Duplicate bool             `json:"duplicate"`
		}{n.Bucket, n.Peer, n.Link, n.Height, duplicate})
	}
	said := "announced"
	if duplicate {
		said = "announced a moment ago already:"
	}
	_, err := fmt.Fprintf(a.out, "%s %s of bucket %s\n", said, n.Link, n.Bucket)
	return err
}
