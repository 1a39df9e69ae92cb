package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/peer"
)

func (a *app) initCommand() *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use: "init", Short: "Make the peer's identity, or import one",
		Long: `Make the peer's identity: an Ed25519 key, kept in --dir and readable by you alone.
An identity that is there already is never replaced.`,
		Example: `  headwater init
  headwater init --import ~/.jax/key.pem      an identity of jax-buckets
  headwater init --import user.nk             an nkeys seed
  cat user.nk | headwater init --import -`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runInit(cmd.Context(), from) },
	}
	cmd.Flags().StringVar(&from, "import", "", "file with an existing identity: a PEM key file of jax-buckets, or an nkeys seed; - for standard input")
	return cmd
}

func (a *app) runInit(ctx context.Context, from string) error {
	var id bucket.Identity
	var err error
	if from == "" {
		id, err = peer.MakeIdentity(a.cfg.Dir)
	} else if id, err = a.importIdentity(ctx, from); err == nil {
		err = peer.WriteIdentity(a.cfg.Dir, id)
	}
	if errors.Is(err, fs.ErrExist) {
		have, readErr := peer.ReadIdentity(a.cfg.Dir)
		if readErr == nil && from != "" && have.PublicKey() == id.PublicKey() {
			return a.printID(have)
		}
		return fmt.Errorf("%s has an identity already; take another --dir, or see 'headwater id'", a.cfg.Dir)
	}
	if err != nil {
		return err
	}
	return a.printID(id)
}

func (a *app) importIdentity(ctx context.Context, from string) (bucket.Identity, error) {
	const limit = 64 << 10 // bytes; a key file has less than 200
	b, err := a.readFile(ctx, from, limit)
	if err != nil {
		return bucket.Identity{}, fmt.Errorf("import identity: %w", err)
	}
	return peer.ParseIdentity(from, b)
}

func (a *app) idCommand() *cobra.Command {
	return &cobra.Command{
		Use: "id", Short: "Print the peer's id", Args: usageArgs(cobra.NoArgs),
		Example: "  headwater id\n  headwater id --json",
		RunE: func(*cobra.Command, []string) error {
			id, err := peer.ReadIdentity(a.cfg.Dir)
			if err != nil {
				return err
			}
			return a.printID(id)
		},
	}
}

func (a *app) printID(id bucket.Identity) error {
	return a.answer(struct {
		PeerID bucket.PublicKey `json:"peer_id"`
	}{id.PublicKey()}, "%s\n", id.PublicKey())
}
