package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/cenkalti/backoff/v4"

	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
)

// peer is a running peer put together: the consumer, with the broker on one side and the stores on the other.
type peer struct {
	client   *jetstream.Client
	id       bucket.PublicKey
	options  runOptions
	stores   *stores
	consumer *consumer.Consumer
	from     consumer.Sources
	sources  []*jetstream.Source
	log      *slog.Logger
}

func newPeer(
	client *jetstream.Client, id bucket.PublicKey, stores *stores, o runOptions, log *slog.Logger,
	line *statusLine,
) (*peer, error) {
	p := &peer{client: client, id: id, options: o, stores: stores, log: log}
	p.options.ensure.Peer = id
	heads, err := p.source(consumer.KindHeads, o.buckets)
	if err != nil {
		return nil, err
	}
	pins, err := p.source(consumer.KindPins, o.pinJobs)
	if err != nil {
		return nil, err
	}
	names := client.Names()
	p.from = consumer.Sources{Announcements: []consumer.Source{heads}, PinJobs: []consumer.Source{pins}}
	p.consumer, err = consumer.New(consumer.Config{
		Peer: id, Log: stores.log, Manifests: stores.manifests, Blobs: stores.blobs,
		Objects: client.Objects(), Jobs: client.Jobs(id), DeadLetters: client.DeadLetters(id), Events: line.before(client.Events(id)),
		ManifestStores: orDefault(o.manifestStores, names.ManifestStore()), BlobStores: orDefault(o.blobStores, names.BlobStore()),
		Rules: bucket.Rules{AllowUnsigned: o.allowUnsigned}, AllVersions: o.allVersions,
		Buckets: o.buckets, PinJobsMax: o.pinJobs, Fetches: o.fetches,
		MaxVersions: o.maxVersions, MaxBlobSize: o.maxBlobSize, FetchTimeout: o.fetchTimeout, SyncTimeout: o.syncTimeout,
		RetryLimit: o.retryLimit, RetryMin: o.retryMin, RetryMax: o.retryMax,
		StageDir: filepath.Join(stores.dir, "stage"), StageLimit: o.stageLimit, Logger: log,
	})
	return p, err
}

func orDefault(list []string, name string) []string {
	if len(list) == 0 {
		return []string{name}
	}
	return list
}

func (p *peer) source(kind consumer.Kind, concurrency int) (*jetstream.Source, error) {
	s, err := p.client.NewSource(jetstream.SourceConfig{Kind: kind, Concurrency: concurrency, Ensure: p.options.ensure})
	if err != nil {
		return nil, usageError{err}
	}
	p.sources = append(p.sources, s)
	return s, nil
}

// ensure makes what is missing on the broker, and says what is there with other settings. It waits for a broker that does not
// answer.
func (p *peer) ensure(ctx context.Context) error {
	b := backoff.NewExponentialBackOff(backoff.WithMaxInterval(10*time.Second), backoff.WithMaxElapsedTime(0))
	differences, err := backoff.RetryNotifyWithData(func() ([]jetstream.Difference, error) {
		d, err := p.client.Ensure(ctx, p.options.ensure)
		if err != nil && !errors.Is(err, jetstream.ErrUnreachable) && !errors.Is(err, jetstream.ErrTimeout) {
			return d, backoff.Permanent(err)
		}
		return d, err
	}, backoff.WithContext(b, ctx), func(err error, in time.Duration) {
		p.log.Warn("the broker does not answer yet", "error", err, "retry", in.Round(time.Millisecond))
	})
	for _, d := range differences {
		log := p.log.Warn
		if d.Breaks {
			log = p.log.Error
		}
		log("the server has another setting", "asset", d.Asset, "setting", d.Setting, "want", d.Want, "have", d.Have, "fix", d.Fix)
	}
	return err
}

// consume runs the consumer until ctx ends, then gives back what the sources hold.
func (p *peer) consume(ctx context.Context) error {
	err := p.consumer.Run(ctx, p.from)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	for _, s := range p.sources {
		if closeErr := s.Close(ctx); closeErr != nil {
			p.log.Warn("deliveries not given back; they come again when their lease runs out", "error", closeErr)
		}
	}
	return err
}

// reachable returns once the peer answers its own question through the broker.
func (p *peer) reachable(ctx context.Context) error {
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(5*time.Millisecond), backoff.WithMaxInterval(time.Second), backoff.WithMaxElapsedTime(0),
	)
	return backoff.Retry(func() error {
		_, err := p.client.Ask(ctx, p.id, questionStatus, []byte(`{"limit":1}`))
		if err != nil && !errors.Is(err, jetstream.ErrNoPeer) && !errors.Is(err, jetstream.ErrTimeout) {
			return backoff.Permanent(fmt.Errorf("ask myself: %w", err))
		}
		return err
	}, backoff.WithContext(b, ctx))
}
