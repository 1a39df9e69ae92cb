package peer

import (
	"context"
	"fmt"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
	"headwater/logstore"
	"headwater/peer/local"
)

// maxVisited is the most versions of a bucket that is not shared with this peer which are verified for a look at it.
const maxVisited = 10_000

// visit looks at a bucket that is not shared with this peer: what is published there can be read by everybody who finds it. Its
// versions are verified like all others, in a log that is thrown away.
func (p *Peer) visit(ctx context.Context, id bucket.ID, heads []bucket.Announcement, v local.View) (local.View, error) {
	log, manifests := logstore.NewMemory(), new(blobstore.Memory)
	c, err := consumer.New(consumer.Config{
		Peer: p.ID(), Visit: true, Log: log, Manifests: manifests, Blobs: p.stores.blobs, Objects: p.broker, Jobs: nobody{}, DeadLetters: p.broker,
		ManifestStores: p.broker.stores[0], BlobStores: p.broker.stores[1], Rules: p.cfg.rules(), MaxVersions: maxVisited,
		StageDir: p.stageDir() + "-visits", Logger: p.cfg.Logger,
	})
	if err != nil {
		return v, err
	}
	ignored, err := c.Look(ctx, id, heads)
	if err != nil {
		return v, err
	}
	b, err := log.Bucket(ctx, id)
	if err != nil || b.Known.IsZero() {
		return v, nothing(id, fmt.Errorf("bucket %s: %w", id, ErrNoBucket), ignored, "")
	}
	v.Head, err = blobstore.ReadAll(ctx, manifests, b.Known.Link.Hash(), bucket.MaxManifestSize)
	return v, err
}

// nobody takes pin jobs that nobody is to do.
type nobody struct{}

// PublishJob implements [consumer.Jobs].
func (nobody) PublishJob(context.Context, bucket.PinJob, uint32) (bool, error) { return false, nil }

// QueuedJobs implements [consumer.Jobs].
func (nobody) QueuedJobs(context.Context) (map[bucket.ID]uint64, error) { return nil, nil }
