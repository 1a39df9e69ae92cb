package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/peer"
)

func (a *app) inspectCommand() *cobra.Command {
	var store string
	cmd := &cobra.Command{
		Use: "inspect LINK|FILE", Short: "One manifest decoded, its link, and whether its signature holds",
		Long: `Decode one manifest, from a file or from the broker, and say whether it is a strict
one and whether its signature holds. Bytes that are no strict manifest end with exit
code 4. A file called like a link is named with ./ in front; - is standard input.`,
		Example: "  headwater inspect bafyr4idodq5cld6yaodzogazaj3nu4czcgstd5cqvfislbyj4d3gm4ytna\n  headwater inspect manifest.cbor --json",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runInspect(cmd.Context(), store, args[0])
		},
	}
	a.bindPeer(cmd)
	cmd.Flags().StringVar(&store, "store", "", "object store to look in (default: PREFIX-manifests, then the peer's own)")
	return cmd
}

func (a *app) runInspect(ctx context.Context, store, what string) error {
	link, err := bucket.ParseLink(what)
	var b []byte
	if err == nil {
		err = a.withClient(ctx, func(c *jetstream.Client) (err error) {
			b, err = a.findManifest(ctx, c, store, link)
			return err
		})
	} else {
		b, err = a.readFile(ctx, what, bucket.MaxManifestSize+1)
		link = bucket.ManifestLink(b)
	}
	if err != nil {
		return err
	}
	v, err := bucket.Open(link, b)
	if err != nil {
		return err
	}
	return a.printInspection(v)
}

// readFile reads at most limit bytes of a file, or of standard input.
func (a *app) readFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	r := a.in
	if name != "-" {
		f, from, err := openFile(ctx, name)
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%s is no link, and no file: %w", name, errNotFound)
		}
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = from
	}
	return io.ReadAll(io.LimitReader(r, limit))
}

// findManifest looks in the object store, then asks the peer.
func (a *app) findManifest(ctx context.Context, c *jetstream.Client, store string, link bucket.Link) ([]byte, error) {
	name := store
	if name == "" {
		name = c.Names().ManifestStore()
	}
	b, err := readObject(ctx, c, name, link.Hash(), bucket.MaxManifestSize)
	if !errors.Is(err, consumer.ErrNotFound) || store != "" {
		return b, err
	}
	other, peerErr := a.target(ctx, c)
	if peerErr != nil {
		return nil, err
	}
	answer, peerErr := peer.Ask[peer.ManifestAnswer](ctx, peer.Remote{Client: c, Peer: other}, peer.QuestionManifest, peer.ManifestRequest{Link: link})
	if peerErr != nil {
		return nil, fmt.Errorf("manifest %s: %w; the peer says: %w", link, err, peerErr)
	}
	return answer.Manifest, nil
}

// readObject reads one object without checking that its bytes hash to h. It refuses one of more than limit bytes.
func readObject(ctx context.Context, c *jetstream.Client, store string, h bucket.Hash, limit int64) ([]byte, error) {
	r, size, err := c.Objects().Get(ctx, store, h, true)
	if err != nil {
		return nil, fmt.Errorf("object %s of %s: %w", h, store, err)
	}
	defer r.Close()
	if size > limit {
		return nil, bucket.Refuse(bucket.TooLarge, bucket.Link{}, "object %s of %s has %d bytes; the limit is %d", h, store, size, limit)
	}
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil && !errors.Is(err, blobstore.ErrMismatch) {
		return nil, fmt.Errorf("read object %s of %s: %w", h, store, err)
	}
	return b, nil
}

// inspection is the JSON of inspect.
type inspection struct {
	Link           bucket.Link       `json:"link"`
	Hash           bucket.Hash       `json:"hash"`
	BucketID       bucket.ID         `json:"bucket_id"`
	Name           string            `json:"name"`
	Height         uint64            `json:"height"`
	Previous       *bucket.Link      `json:"previous"`
	Entry          bucket.Link       `json:"entry"`
	Pins           bucket.Link       `json:"pins"`
	OpsLog         *bucket.Link      `json:"ops_log"`
	Author         *bucket.PublicKey `json:"author"`
	Signed         bool              `json:"signed"`
	SignatureValid bool              `json:"signature_valid"`
	Published      bool              `json:"published"`
	Shares         []shareLine       `json:"shares"`
	Size           int               `json:"size"`
}

type shareLine struct {
	PeerID bucket.PublicKey `json:"peer_id"`
	Role   string           `json:"role"`
}

func inspectionOf(v *bucket.Version) inspection {
	i := inspection{
		Link: v.Link, Hash: v.Link.Hash(), BucketID: v.Bucket, Name: v.Name, Height: v.Height, Entry: v.Entry, Pins: v.Pins,
		Author: v.Author, Signed: v.Signed(), SignatureValid: v.Signed() && v.VerifySignature() == nil,
		Published: v.Published(), Shares: []shareLine{}, Size: len(v.Encoded()),
	}
	if !v.Previous.IsZero() {
		i.Previous = &v.Previous
	}
	if !v.OpsLog.IsZero() {
		i.OpsLog = &v.OpsLog
	}
	for _, s := range v.Shares {
		i.Shares = append(i.Shares, shareLine{s.Identity, s.Role.String()})
	}
	return i
}

func (a *app) printInspection(v *bucket.Version) error {
	i := inspectionOf(v)
	if a.json {
		return writeJSON(a.out, i)
	}
	signature := "holds"
	if err := v.VerifySignature(); err != nil {
		signature = bucketReason(err)
	}
	return table(a.out, func(row func(...any)) {
		row("link", i.Link)
		row("hash", i.Hash)
		row("bucket", i.BucketID)
		row("name", clip(i.Name, 60))
		row("height", i.Height)
		row("previous", orDash(v.Previous))
		row("entry", i.Entry)
		row("pins", i.Pins)
		row("operations", orDash(v.OpsLog))
		row("published", i.Published)
		if v.Author != nil {
			row("author", v.Author)
		}
		row("signature", signature)
		for _, s := range i.Shares {
			row("share", s.PeerID.String()+" "+s.Role)
		}
		row("size", fmt.Sprintf("%d bytes", i.Size))
	})
}

func bucketReason(err error) string {
	if r, ok := errors.AsType[*bucket.Refusal](err); ok {
		return fmt.Sprintf("%s: %s", r.Class, r.Reason)
	}
	return err.Error()
}

func orDash(l bucket.Link) string {
	if l.IsZero() {
		return "-"
	}
	return l.String()
}
