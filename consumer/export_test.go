package consumer

import (
	"context"
	"errors"

	"headwater/bucket"
)

// HoldNear makes the consumer hold at most n versions in memory ahead of the walk, so that a test needs no more.
func (c *Consumer) HoldNear(n int) { c.nearVersions = n }

// WriteSpool makes a spool of versions, in blocks of n.
func WriteSpool(path string, versions []*bucket.Version, n int) error {
	s, err := openSpool(path, new(bucket.Opener))
	for err == nil && len(versions) > 0 {
		batch := versions[:min(n, len(versions))]
		versions = versions[len(batch):]
		err = s.put(batch)
	}
	return errors.Join(err, s.close())
}

// ReadSpool opens a spool and reads all that it says is in it.
func ReadSpool(ctx context.Context, path string) (versions []*bucket.Version, err error) {
	s, err := openSpool(path, new(bucket.Opener))
	if err != nil {
		return nil, err
	}
	for batch, readErr := range s.batches(ctx, 0, s.count()) {
		err = readErr
		versions = append(versions, batch...)
	}
	return versions, errors.Join(err, s.close())
}
