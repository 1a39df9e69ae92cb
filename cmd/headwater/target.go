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

func (a *app) bindPeer(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.peer, "peer", "", "id of the peer to ask (default: the one of --dir)")
}

// target finds the peer to ask: the one named, the one of the directory, or the only one that runs.
func (a *app) target(ctx context.Context, c *jetstream.Client) (bucket.PublicKey, error) {
	if a.peer != "" {
		return bucket.ParsePublicKey(a.peer)
	}
	id, err := peer.ReadIdentity(a.cfg.Dir)
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
		a.cfg.Dir, len(peers), strings.Join(ids, "\n  "))
}
