package consumer_test

import (
	"context"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
)

// waitsBehind fails unless a head waits for its next try, and status says so.
func waitsBehind(t *testing.T, c *consumer.Consumer, head *bucket.Version) {
	t.Helper()
	s, err := c.Status(t.Context(), head.Bucket)
	if err != nil || s.State != consumer.StateBehind || s.Target == nil || *s.Target != head.Head() {
		t.Errorf("got %+v, %v, want it behind %s", s, err, head.Link)
	}
	if s.LastError == "" || s.NextTry == nil {
		t.Errorf("got last error %q, next try %v, want those of the head that waits", s.LastError, s.NextTry)
	}
}

// A head that waits for its next try is what the bucket is behind, whatever else is taken meanwhile, and completed.
func TestStatusSaysBehindWhileAHeadWaits(t *testing.T) {
	takes := map[string]func(w *world, c *consumer.Consumer, good *bucket.Version){
		"another one is looked at": func(w *world, c *consumer.Consumer, good *bucket.Version) {
			ignored, err := c.Look(w.t.Context(), good.Bucket, []bucket.Announcement{{Link: good.Link}})
			if err != nil || len(ignored) > 0 {
				w.t.Fatalf("got %v ignored, %v, want none", ignored, err)
			}
		},
		"another one is announced by another peer": func(w *world, _ *consumer.Consumer, good *bucket.Version) {
			w.announce(good.Bucket, good.Link, 2, "")
		},
		"its announcement names another one": nil,
	}
	for name, take := range takes {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 5)
			w.putChain(chain)
			w.lose(chain.Versions[3].Link.Hash())
			cfg := w.config()
			cfg.RetryMin, cfg.RetryMax = time.Hour, time.Hour
			c, _ := w.run(cfg)
			good, more := chain.Versions[2], ""
			if take == nil {
				more = `,"heads":["` + good.Link.String() + `"]`
			}
			w.announce(chain.ID, chain.Head().Link, 1, more)
			w.wait(consumer.EventRetrying)
			if take != nil {
				take(w, c, good)
			}
			w.wait(consumer.EventComplete)
			waitsBehind(t, c, chain.Head())
		})
	}
}

// publishing is an outbox that calls a function before it publishes a job.
type publishing struct {
	consumer.Jobs
	before func(bucket.PinJob)
}

func (p publishing) PublishJob(ctx context.Context, j bucket.PinJob, attempt uint32) (bool, error) {
	p.before(j)
	return p.Jobs.PublishJob(ctx, j, attempt)
}

// From the moment on that a job can be worked on, its catch-up is over: what is announced beside it, and waits, is seen.
func TestStatusSaysNoCatchUpOnceItsJobIsPublished(t *testing.T) {
	w := newWorld(t)
	chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 3)
	w.putChain(chain)
	cfg := w.config()
	var c *consumer.Consumer
	cfg.Jobs = publishing{w, func(j bucket.PinJob) {
		s, err := c.Status(w.t.Context(), j.Bucket)
		if err != nil || s.State != consumer.StateFetching || s.Target != nil {
			w.t.Errorf("got %+v, %v, want it fetching pins", s, err)
		}
	}}
	c, err := consumer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.runs(c)
	w.announce(chain.ID, chain.Head().Link, 1, "")
	w.wait(consumer.EventComplete)
}

// What was set aside is no error any more once a look took a head.
func TestStatusForgetsAHeadThatWasSetAsideOnceAnotherIsTaken(t *testing.T) {
	w := newWorld(t)
	chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 2)
	w.putChain(chain)
	cfg := w.config()
	cfg.RetryLimit = 1
	c, _ := w.run(cfg)
	w.announce(chain.ID, bucket.ManifestLink([]byte("nowhere")), 1, "")
	w.wait(consumer.EventDead)
	if ignored, err := c.Look(t.Context(), chain.ID, []bucket.Announcement{{Link: chain.Head().Link}}); err != nil || len(ignored) > 0 {
		t.Fatalf("got %v ignored, %v, want none", ignored, err)
	}
	w.wait(consumer.EventComplete)
	waitState(t, c, chain.ID, consumer.StateInSync)
	if s, err := c.Status(t.Context(), chain.ID); err != nil || s.LastError != "" || s.Since != nil {
		t.Errorf("got %+v, %v, want no error", s, err)
	}
}
