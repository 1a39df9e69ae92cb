package consumer_test

import (
	"testing"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/consumer"
)

// However often a head was announced, its announcer going back to it ends what blocked the bucket.
func TestOnce_AHeadThatManyAnnounceIsDoneWithUntilSomethingBlocksItsBucket(t *testing.T) {
	w := newWorld(t)
	chain := buckettest.New(t, buckettest.Identity(t, 1), w.me.PublicKey()).Grow(t, 3)
	w.putChain(chain)
	cfg := w.config()
	cfg.RetryLimit = 1
	c, _ := w.run(cfg)
	head := chain.Head().Link
	w.announce(chain.ID, head, 1, "")
	w.wait(consumer.EventComplete)
	for announcer := range byte(5) {
		w.announce(chain.ID, head, 2+announcer, "")
		w.wait(consumer.EventDuplicate)
	}
	w.announce(chain.ID, head, 2, `,"height":99`)
	w.wait(consumer.EventRejected) // what it says is compared all the same
	w.announce(chain.ID, bucket.ManifestLink([]byte("nowhere")), 3, "")
	w.wait(consumer.EventDead)
	waitState(t, c, chain.ID, consumer.StateBlocked)
	w.announce(chain.ID, head, 4, "") // another one's word changes nothing
	w.wait(consumer.EventDuplicate)
	waitState(t, c, chain.ID, consumer.StateBlocked)
	w.announce(chain.ID, head, 3, "")
	w.wait(consumer.EventDuplicate)
	waitState(t, c, chain.ID, consumer.StateInSync)
}
