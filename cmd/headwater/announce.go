package main

import (
	"context"

	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/jetstream"
	"headwater/peer"
)

func (a *app) announceCommand() *cobra.Command {
	var stores []string
	cmd := &cobra.Command{
		Use: "announce BUCKET [LINK]", Short: "Announce a head of a bucket",
		Long: `Announce a head of a bucket in the name of the peer of --dir. Without LINK it is the
newest one that the peer has; what the object stores lack of it is uploaded first. An
announcement is a hint: every receiver fetches the manifests and verifies them itself.

A broker that was never told, or has lost what it was told, is noticed by a running
peer and by commands that look at the broker, and told again. This command tells it of a
head whatever it knows.`,
		Example: `  headwater announce photos
  headwater announce 550e8400-e29b-41d4-a716-446655440000 bafyr4idodq5cld6yaodzogazaj3nu4czcgstd5cqvfislbyj4d3gm4ytna`,
		Args: usageArgs(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runAnnounce(cmd, args, stores)
		},
	}
	a.bindStores(cmd)
	cmd.Flags().StringSliceVar(&stores, "store", nil, "object stores that receivers shall ask first: NAME or DOMAIN/NAME")
	return cmd
}

// runAnnounce announces the head that the log has, or, with LINK, any head.
func (a *app) runAnnounce(cmd *cobra.Command, args, stores []string) error {
	for _, s := range stores {
		if err := bucket.CheckStoreName(s); err != nil {
			return err
		}
	}
	var n bucket.Announcement
	var duplicate bool
	err := a.onBucket(func(ctx context.Context, s *peer.Session, id bucket.ID, args []string) (err error) {
		n = bucket.Announcement{Bucket: id, Peer: s.ID(), Stores: stores}
		if len(args) == 2 {
			n.Link, err = bucket.ParseLink(args[1])
			return err
		}
		head, err := s.Head(ctx, id)
		if n.Link, n.Height = head.Link, &head.Height; err != nil || len(stores) > 0 {
			return err
		}
		duplicate, err = s.Announce(ctx, id, n.Link)
		return err
	})(cmd, args)
	if err != nil {
		return err
	}
	if len(args) == 1 && len(stores) == 0 {
		return a.printAnnounced(n, duplicate)
	}
	if n.Link.Codec() != bucket.CodecDagCBOR {
		return usagef("%s is no link to a manifest", n.Link)
	}
	return a.onBroker(func(ctx context.Context, c *jetstream.Client, _ []string) error { return a.announceAny(ctx, c, n) })(cmd, args)
}

// maxAttempts is how many message ids are tried for a head whose announcement the bus drops as a repetition, but no longer has.
const maxAttempts = 16

// announceAny announces a head whether or not the log has it. Within the duplicate window the bus drops an announcement as a
// repetition even if another head has replaced the first one; then it is announced under another id.
func (a *app) announceAny(ctx context.Context, c *jetstream.Client, n bucket.Announcement) (err error) {
	n.Hints, _ = standing(ctx, c, n)
	duplicate, stands := true, false
	for ; duplicate && !stands && n.Attempt < maxAttempts; n.Attempt++ {
		if duplicate, err = c.Announce(ctx, n); err != nil {
			return err
		}
		if duplicate {
			_, stands = standing(ctx, c, n)
		}
	}
	return a.printAnnounced(n, duplicate)
}

// standing returns the longest hints among the announcements of this head that stand already, whoever made them, and reports
// whether one of them is the peer's own. If they cannot be read it reports true: that is no reason to fail.
func standing(ctx context.Context, c *jetstream.Client, n bucket.Announcement) (best bucket.Hints, own bool) {
	heads, err := c.Heads(ctx, n.Bucket)
	if err != nil {
		return best, true
	}
	for _, m := range heads {
		h, err := bucket.DecodeAnnouncement(m.ContentType, m.Body)
		if err != nil || h.Link != n.Link {
			continue
		}
		own = own || m.Peer == n.Peer
		if len(h.Hints.Packs)+len(h.Hints.Recent) >= len(best.Packs)+len(best.Recent) {
			best = h.Hints
		}
	}
	return best, own
}

func (a *app) printAnnounced(n bucket.Announcement, duplicate bool) error {
	said := "announced"
	if duplicate {
		said = "announced a moment ago already:"
	}
	return a.answer(struct {
		BucketID  bucket.ID        `json:"bucket_id"`
		PeerID    bucket.PublicKey `json:"peer_id"`
		Link      bucket.Link      `json:"link"`
		Height    *uint64          `json:"height"`
		Duplicate bool             `json:"duplicate"`
	}{n.Bucket, n.Peer, n.Link, n.Height, duplicate}, "%s %s of bucket %s\n", said, n.Link, n.Bucket)
}
