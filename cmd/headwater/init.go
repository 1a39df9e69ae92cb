package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"headwater/bucket"
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
		RunE: func(*cobra.Command, []string) error { return a.runInit(from) },
	}
	cmd.Flags().StringVar(&from, "import", "", "file with an existing identity: a PEM key file of jax-buckets, or an nkeys seed; - for standard input")
	return cmd
}

func (a *app) runInit(from string) error {
	var id bucket.Identity
	var err error
	if from == "" {
		id, err = a.makeIdentity()
	} else if id, err = a.importIdentity(from); err == nil {
		err = a.writeIdentity(id)
	}
	if errors.Is(err, fs.ErrExist) {
		have, readErr := a.readIdentity()
		if readErr == nil && from != "" && have.PublicKey() == id.PublicKey() {
			return a.printID(have)
		}
		return fmt.Errorf("%s has an identity already; take another --dir, or see 'headwater id'", a.dir)
	}
	if err != nil {
		return err
	}
	return a.printID(id)
}

func (a *app) importIdentity(from string) (bucket.Identity, error) {
	const limit = 64 << 10 // octets; a key file has less than 200
	var b []byte
	var err error
	if from == "-" {
		b, err = io.ReadAll(io.LimitReader(a.in, limit))
	} else {
		b, err = os.ReadFile(from)
	}
	if err != nil {
		return bucket.Identity{}, fmt.Errorf("import identity: %w", err)
	}
	return parseIdentity(from, b)
}

func (a *app) idCommand() *cobra.Command {
	return &cobra.Command{
		Use: "id", Short: "Print the peer's id", Args: usageArgs(cobra.NoArgs),
		Example: "  headwater id\n  headwater id --json",
		RunE: func(*cobra.Command, []string) error {
			id, err := a.readIdentity()
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s has no identity (%w); make one with 'headwater init'", a.dir, errNotFound)
			}
			if err != nil {
				return err
			}
			return a.printID(id)
		},
	}
}

func (a *app) printID(id bucket.Identity) error {
	if a.json {
		return writeJSON(a.out, struct {
			PeerID bucket.PublicKey `json:"peer_id"`
		}{id.PublicKey()})
	}
	_, err := fmt.Fprintln(a.out, id.PublicKey())
	return err
}
