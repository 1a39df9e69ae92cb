package consumer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"headwater/blobstore"
	"headwater/bucket"
)

// fetchManifest returns the version at link: from our own manifests where they have it, else from the first store that has
// octets that hash to it. An object that is not there yet is asked for again for some milliseconds. Bytes that are the
// link's, but no strict manifest, are a [*bucket.Refusal]: no other store can have better ones.
func (c *Consumer) fetchManifest(ctx context.Context, stores []string, link bucket.Link) (*bucket.Version, error) {
	b, err := blobstore.ReadAll(ctx, c.Manifests, link.Hash(), bucket.MaxManifestSize)
	if err != nil {
		b, err = c.fetchBytes(ctx, "manifest", stores, link, bucket.MaxManifestSize)
	}
	if err != nil {
		return nil, err
	}
	return c.opener.Open(link, b)
}

// fetchBytes returns the octets that link names, which are small enough to hold in memory.
func (c *Consumer) fetchBytes(ctx context.Context, what string, stores []string, link bucket.Link, limit int64) ([]byte, error) {
	return patiently(ctx, func(fresh bool) (b []byte, err error) {
		err = c.fromStores(ctx, what, stores, link, fresh, func(r io.Reader, size int64) error {
			if size > limit {
				return fmt.Errorf("%w: %d octets, the limit is %d", blobstore.ErrTooLarge, size, limit)
			}
			b, err = io.ReadAll(blobstore.Verify(r, link.Hash(), -1, limit))
			return err
		})
		return b, err
	})
}

// fromStores opens the object in one store after another until take is content with what it reads. Where none is, the error
// says what each of them answered, and is:
//
//   - of no class and not ErrNotFound, where a store did not answer: another time it may;
//   - a [*bucket.Refusal], where every store answered and one has octets that cannot be the link's;
//   - ErrNotFound, where no store has the object.
func (c *Consumer) fromStores(
	ctx context.Context, what string, stores []string, link bucket.Link, fresh bool, take func(io.Reader, int64) error,
) error {
	var answers answers
	for i, store := range stores {
		if slices.Contains(stores[:i], store) {
			continue
		}
		err := c.fromStore(ctx, store, link.Hash(), fresh, take)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("fetch %s %s: %w", what, link, ctx.Err())
		}
		answers.add(store, err)
	}
	return answers.verdict(what, link)
}

// fromStore lets take read one object of one store.
func (c *Consumer) fromStore(
	ctx context.Context, store string, h bucket.Hash, fresh bool, take func(io.Reader, int64) error,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := newWatchdog(c.FetchTimeout, cancel)
	defer watch.stop()
	r, size, err := c.Objects.Get(ctx, store, h, fresh)
	if err == nil {
		err = errors.Join(take(watch.reader(r), size), r.Close())
	}
	if watch.bit() {
		return fmt.Errorf("no answer for %s", c.FetchTimeout)
	}
	return err
}

// answers gathers what the stores said of one object.
type answers struct {
	said     []string
	silent   bool // one did not answer
	mismatch bool
	tooLarge bool
}

func (a *answers) add(store string, err error) {
	switch {
	case errors.Is(err, ErrNotFound):
		a.said = append(a.said, store+": no such object")
		return
	case errors.Is(err, blobstore.ErrMismatch):
		a.mismatch = true
	case errors.Is(err, blobstore.ErrTooLarge):
		a.tooLarge = true
	default:
		a.silent = true
	}
	a.said = append(a.said, fmt.Sprintf("%s: %v", store, err))
}

// verdict is the error that follows from all answers.
func (a *answers) verdict(what string, link bucket.Link) error {
	if len(a.said) == 0 {
		return fmt.Errorf("fetch %s %s: no object store is named or configured: %w", what, link, ErrNotFound)
	}
	said := strings.Join(a.said, "; ")
	switch {
	case a.silent:
		return fmt.Errorf("fetch %s %s: a store did not answer (%s)", what, link, said)
	case a.mismatch:
		return bucket.Refuse(bucket.HashMismatch, link, "the %s is in no store with the right octets (%s)", what, said)
	case a.tooLarge:
		return bucket.Refuse(bucket.TooLarge, link, "the %s is too large (%s)", what, said)
	}
	return fmt.Errorf("fetch %s %s: %w (%s)", what, link, ErrNotFound, said)
}
