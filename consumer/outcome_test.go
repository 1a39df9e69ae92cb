package consumer_test

import (
	"sync/atomic"
	"testing"

	"headwater/bucket"
	"headwater/consumer"
)

// Whoever finds the queues empty finds every outcome counted: what the owner reads is not behind what the broker was told.
func TestNothingAcknowledgedIsLost_OutcomesAreCountedBeforeTheyAreSettled(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Buckets, cfg.RetryLimit = 1, 2
	c, err := consumer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var settled, missed atomic.Uint64
	count := func() {
		ended, counted := settled.Add(1), uint64(0)
		for _, outcomes := range c.Outcomes() {
			for _, n := range outcomes {
				counted += n
			}
		}
		if counted < ended {
			missed.Add(1)
		}
	}
	w.heads.settling, w.pins.settling = count, count
	stop := w.runs(c)

	chain, _ := pinned(t, w, 3)
	w.announce(chain.ID, chain.Head().Link, 1, "") // applied, and its pins are complete
	w.wait(consumer.EventComplete)
	w.announce(chain.ID, chain.Head().Link, 2, "")
	w.wait(consumer.EventDuplicate)
	w.send(chain.ID, 3, []byte("{"))
	w.wait(consumer.EventRejected)
	w.announce(bucket.NewID(), bucket.ManifestLink([]byte("nowhere")), 1, "") // retried, then given up
	w.wait(consumer.EventDead)
	stop()
	if n := missed.Load(); n != 0 {
		t.Errorf("%d of %d deliveries were settled before their outcome was counted", n, settled.Load())
	}
}
