package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/jetstream"
	"headwater/peer"
)

// target is which peer a command asks.
type target struct{ peer string }

func (t *target) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.peer, "peer", "", "id of the peer to ask (default: the one of --dir)")
}

// resolve finds the peer: the one named, the one of the directory, or the only one that runs.
func (t *target) resolve(ctx context.Context, a *app, c *jetstream.Client) (bucket.PublicKey, error) {
	if t.peer != "" {
		return bucket.ParsePublicKey(t.peer)
	}
	id, err := peer.ReadIdentity(a.dir)
	if err == nil {
		return id.PublicKey(), nil
	}
	if !errors.Is(err, peer.ErrNoIdentity) {
		return bucket.PublicKey{}, err
	}
	peers, err := c.Peers(ctx)
	if err != nil {
		return bucket.PublicKey{}, err
	}
	switch len(peers) {
	case 0:
		return bucket.PublicKey{}, fmt.Errorf("%w: none answers on %s; start one with 'headwater run'", jetstream.ErrNoPeer, c.URL())
	case 1:
		return peers[0].Peer, nil
	}
	ids := make([]string, len(peers))
	for i, p := range peers {
		ids[i] = p.Peer.String()
	}
	return bucket.PublicKey{}, usagef("%s holds no identity and %d peers run; choose one with --peer:\n  %s",
		a.dir, len(peers), strings.Join(ids, "\n  "))
}
