package peer

import (
	"fmt"

	"headwater/bucket"
	"headwater/tree"
)

// sharesAfter returns the shares of the version after prev: every owner's holds its secret, wrapped anew.
func sharesAfter(prev *bucket.Version, c change, secret bucket.Secret) ([]bucket.Share, error) {
	roles := make(map[bucket.PublicKey]bucket.Role, len(prev.Shares)+len(c.share))
	kept := make(map[bucket.PublicKey]bucket.Share, len(prev.Shares))
	for _, s := range prev.Shares {
		roles[s.Identity] = s.Role
		kept[s.Identity] = s
	}
	for _, k := range c.unshare {
		if _, both := c.share[k]; both {
			return nil, fmt.Errorf("%s is both to be shared with and not", k)
		}
		if _, ok := kept[k]; !ok {
			return nil, fmt.Errorf("unshare with %s: %w", k, ErrNoShare)
		}
		delete(roles, k)
	}
	for k, role := range c.share {
		if role != bucket.Owner && role != bucket.Mirror {
			return nil, fmt.Errorf("share with %s: there is no %s", k, role)
		}
		if err := k.Check(); err != nil {
			return nil, fmt.Errorf("share with %s: %w", k, err)
		}
		roles[k] = role
	}
	return wrapAll(roles, kept, secret)
}

// wrapAll makes the shares of peers by their roles. A mirror that stays one keeps its share as it is.
func wrapAll(
	roles map[bucket.PublicKey]bucket.Role, kept map[bucket.PublicKey]bucket.Share, secret bucket.Secret,
) ([]bucket.Share, error) {
	shares := make([]bucket.Share, 0, len(roles))
	owners := 0
	for k, role := range roles {
		share := bucket.Share{Identity: k, Role: role}
		if role == bucket.Owner {
			owners++
			wrapped, err := tree.Wrap(secret, k)
			if err != nil {
				return nil, err
			}
			share.Secret = &wrapped
		} else if before, ok := kept[k]; ok && before.Role == role {
			share = before
		}
		shares = append(shares, share)
	}
	if owners == 0 {
		return nil, fmt.Errorf("%w: make somebody else an owner first", ErrNoOwner)
	}
	return shares, nil
}
