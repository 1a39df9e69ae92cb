package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/jetstream"
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
	id, err := a.readIdentity()
	if err == nil {
		return id.PublicKey(), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
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

// findBucket resolves how people name a bucket: by its id, by the beginning of it, or by its name.
func findBucket(ctx context.Context, c *jetstream.Client, peer bucket.PublicKey, name string) (bucket.ID, error) {
	if id, err := bucket.ParseID(name); err == nil {
		return id, nil
	}
	all, err := askStatuses(ctx, c, peer)
	if err != nil {
		return bucket.ID{}, err
	}
	var found []bucket.ID
	for _, s := range all.Buckets {
		if s.Name == name || (name != "" && strings.HasPrefix(s.BucketID.String(), name)) {
			found = append(found, s.BucketID)
		}
	}
	switch len(found) {
	case 0:
		return bucket.ID{}, fmt.Errorf("bucket %q: %w at peer %s; 'headwater status' lists what it knows", name, errNotFound, peer)
	case 1:
		return found[0], nil
	}
	return bucket.ID{}, usagef("%q names %d buckets, such as %s and %s; give the id", name, len(found), found[0], found[1])
}
