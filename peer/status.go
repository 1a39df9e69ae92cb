package peer

import (
	"context"
	"errors"
	"fmt"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/logstore"
	"headwater/peer/local"
)

// Status implements [local.Teller].
func (h held) Status(ctx context.Context, id, after bucket.ID, limit int) (s local.Status, err error) {
	done, err := h.calls.enter()
	if err != nil {
		return s, err
	}
	defer done()
	if !h.isRunning.Load() {
		_, _ = h.broker.wait(ctx) // how that went is in the answer
	}
	s = local.Status{
		PeerID: h.ID(), Running: h.isRunning.Load(), Broker: h.broker.state(), Outcomes: h.consumer.Outcomes(), Damage: h.damage(),
	}
	if limit < 1 || limit > local.PageSize {
		limit = local.PageSize
	}
	if id.IsZero() {
		s.Buckets, err = h.consumer.Statuses(ctx, after, limit)
		s.More = len(s.Buckets) == limit
	} else {
		var one consumer.Status
		if one, err = h.consumer.Status(ctx, id); errors.Is(err, logstore.ErrNotFound) {
			err = fmt.Errorf("bucket %s: %w: nothing is known of it here", id, ErrNoBucket)
		}
		s.Buckets = []consumer.Status{one}
	}
	if err != nil {
		return s, err
	}
	for i := range s.Buckets {
		if err := h.complete(ctx, &s, &s.Buckets[i]); err != nil {
			return s, err
		}
	}
	h.countDead(ctx, s.Buckets)
	return s, nil
}

// complete says of a bucket's state what only the whole peer knows: whether it hears, and what it still owes the broker.
func (p *Peer) complete(ctx context.Context, s *local.Status, b *consumer.Status) error {
	owes, err := p.owes(ctx, b.BucketID, bucket.Link{})
	if err == nil && b.Forks > 0 {
		b.Forks, err = p.forks(ctx, b.BucketID)
	}
	if err != nil {
		return err
	}
	switch b.State {
	case consumer.StateBlocked, consumer.StateDiverged, consumer.StateNotShared:
		return nil // a person has to act, with or without a broker
	}
	switch {
	case !s.Broker.Connected:
		b.State = consumer.StateOffline
		if b.LastError == "" {
			b.LastError, b.Since = s.Broker.Error, s.Broker.Since
		}
	case owes:
		b.State = consumer.StateUploading
		if next, err := p.publisher.LastError(b.BucketID); err != nil && b.LastError == "" {
			b.LastError, b.NextTry = err.Error(), &next
		}
	case s.Running && !p.hears.Load():
		b.State = consumer.StateOffline
		if why := p.deaf.Load(); why != nil && b.LastError == "" {
			b.LastError = *why
		}
	case !s.Running:
		b.State = consumer.StateNotRunning
	}
	return nil
}

// forks counts the branches beside the head that no version holds as merged.
func (p *Peer) forks(ctx context.Context, id bucket.ID) (uint64, error) {
	b, err := p.bucket(ctx, id)
	if err != nil {
		return 0, err
	}
	tips, err := p.tips(ctx, b)
	return uint64(len(tips)), err
}

// countDead fills in how many dead letters each bucket has, as far as the broker answers: only it knows.
func (p *Peer) countDead(ctx context.Context, all []consumer.Status) {
	client, err := p.broker.use()
	if err != nil {
		return
	}
	counts, err := client.CountLetters(ctx, p.ID())
	if err != nil {
		if !errors.Is(err, jetstream.ErrNotFound) {
			p.cfg.Logger.Debug("dead letters not counted", "error", err)
		}
		return
	}
	for i := range all {
		all[i].Dead = counts[all[i].BucketID]
	}
}

// damage lists the blob stores in which something was found wrong.
func (p *Peer) damage() map[string]blobstore.Damage {
	found := map[string]blobstore.Damage{}
	for name, d := range map[string]*blobstore.Disk{"manifests": p.stores.manifests, "blobs": p.stores.blobs} {
		if damage := d.Damage(); damage.Small+damage.Large+damage.Bytes > 0 {
			found[name] = damage
		}
	}
	return found
}

// Log implements [local.History].
func (h held) Log(ctx context.Context, id bucket.ID, before bucket.Head, limit int) (page local.LogPage, err error) {
	done, err := h.calls.enter()
	if err != nil {
		return page, err
	}
	defer done()
	b, err := h.bucket(ctx, id)
	if err != nil {
		return page, err
	}
	if limit < 1 || limit > local.PageSize {
		limit = local.PageSize
	}
	page.Head = b.Known
	for e, err := range h.stores.log.Walk(ctx, id, before) {
		if err != nil {
			return page, err
		}
		if len(page.Versions) == limit {
			page.More = true
			break
		}
		page.Versions = append(page.Versions, local.NewLogEntry(e, b.Known))
	}
	return page, nil
}
