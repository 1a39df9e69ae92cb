package test

import (
	"context"
	"errors"
	"testing"
	"time"

	"headwater/blobstore"
	"headwater/bucket/buckettest"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/test/natstest"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

// clusterEnv is a cluster of three with everything on all nodes, and peers on it that share buckets of many versions.
type clusterEnv struct {
	*env
	cluster *natstest.Cluster
	peers   []*peer
	chains  []*buckettest.Chain
}

func newClusterEnv(t *testing.T, buckets, versions int) *clusterEnv {
	t.Helper()
	c := &clusterEnv{cluster: natstest.StartCluster(t, 3)}
	c.env = newEnv(t, c.cluster.URL(), 3)
	for i := range 2 {
		c.peers = append(c.peers, c.newPeer(byte(200+i), peerConfig{
			// What a node takes with it when it stops comes again after its lease: a short one here.
			ensure: jetstream.EnsureConfig{Replicas: 3, AckWait: 3 * time.Second},
			change: func(c *consumer.Config) { quickly(1 << 30)(c); c.LeaseInterval = time.Second },
		}))
	}
	for range buckets {
		chain := buckettest.New(t, buckettest.Identity(t, 1), c.peers[0].key(), c.peers[1].key())
		chain.Grow(t, versions)
		c.chains = append(c.chains, chain)
		c.putVersions(chain.Versions...)
		c.grow(chain, 1, 5)
	}
	return c
}

func (c *clusterEnv) announceAll(chains []*buckettest.Chain) {
	for _, chain := range chains {
		c.announce(chain.Head(), 1)
	}
}

// checkConverged waits until every peer has every bucket complete, and checks what they hold.
func (c *clusterEnv) checkConverged(t *testing.T) {
	t.Helper()
	for _, p := range c.peers {
		for _, chain := range c.chains {
			p.waitComplete(chain.Head())
			p.checkLog(chain.Versions)
		}
		p.checkSettled()
		if l := c.letters(p); len(l) > 0 {
			t.Errorf("got dead letters %q, want none", letterTexts(l))
		}
	}
}

func TestNothingAcknowledgedIsLost_NodeStoppedAndRestarted(t *testing.T) {
	for _, of := range []struct{ name, stream string }{
		{"leader of the manifests", "OBJ_" + jetstream.Names{}.ManifestStore()},
		{"leader of the jobs", jetstream.Names{}.PinsStream()},
		{"leader of the announcements", jetstream.Names{}.HeadsStream()},
	} {
		t.Run(of.name, func(t *testing.T) {
			c := newClusterEnv(t, 6, 40)
			for _, p := range c.peers {
				p.start()
			}
			half := len(c.chains) / 2
			c.announceAll(c.chains[:half])
			waitUntil(t, "something is applied", func() bool { return c.peers[0].applied() > 0 })
			node := c.cluster.LeaderOf(of.stream)
			c.cluster.Stop(node)
			c.announceAll(c.chains[half:])
			waitUntil(t, "something is complete without the node", func() bool {
				return len(c.peers[1].events.of(consumer.EventComplete)) > 0
			})
			c.cluster.Restart(node)
			for _, chain := range c.chains {
				c.grow(chain, 2, 2)
			}
			c.announceAll(c.chains)
			c.checkConverged(t)
		})
	}
}

func TestNothingAcknowledgedIsLost_DurablesDeletedDuringTheSync(t *testing.T) {
	c := newClusterEnv(t, 6, 40)
	for _, p := range c.peers {
		p.start()
	}
	c.announceAll(c.chains)
	waitUntil(t, "something is applied", func() bool { return c.peers[0].applied() > 0 })
	for _, p := range c.peers {
		for _, kind := range []consumer.Kind{consumer.KindHeads, consumer.KindPins} {
			c.insist("delete a durable", func(ctx context.Context) error {
				err := c.js.DeleteConsumer(ctx, c.names.StreamOf(kind), c.names.Durable(kind, p.key()))
				return unless(err, natsjs.ErrConsumerNotFound)
			})
		}
	}
	for _, chain := range c.chains {
		c.grow(chain, 1, 2)
	}
	c.announceAll(c.chains)
	c.checkConverged(t)
}

// unless returns err, or nil if it is the error that says that an earlier try has done it.
func unless(err, done error) error {
	if errors.Is(err, done) {
		return nil
	}
	return err
}

// The jobs are in the outbox: a peer that finds its queue empty publishes again what is not done.
func TestNothingAcknowledgedIsLost_QueueOfJobsDeleted(t *testing.T) {
	c := newClusterEnv(t, 4, 10)
	var late []blobstore.Small
	for _, chain := range c.chains {
		late = append(late, c.addVersion(chain, c.newBlobs(3, 1<<10))...)
		c.putVersions(chain.Head())
	}
	for _, p := range c.peers {
		p.start()
	}
	c.announceAll(c.chains)
	for _, p := range c.peers {
		waitUntil(t, "all jobs are tried", func() bool {
			return p.applied() == len(c.chains) && p.outcomes(consumer.KindPins)[consumer.ClassRetry] >= uint64(len(c.chains))
		})
		p.stop()
	}
	c.insist("delete the queue", func(ctx context.Context) error {
		return unless(c.js.DeleteStream(ctx, c.names.PinsStream()), natsjs.ErrStreamNotFound)
	})
	c.put(c.names.BlobStore(), late...)
	for _, p := range c.peers {
		p.start()
	}
	c.checkConverged(t)
}
