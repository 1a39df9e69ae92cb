package natstest

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Cluster is a group of servers in this process that replicate streams among themselves. They are numbered from 0.
type Cluster struct {
	tb    testing.TB
	nodes []*Server
}

// StartCluster starts n servers, waits until they agree, and stops them when the test ends.
func StartCluster(tb testing.TB, n int) *Cluster {
	tb.Helper()
	return StartClusterWith(tb, n, Config{})
}

// StartClusterWith starts n servers as cfg says, waits until they agree, and stops them when the test ends. Each server
// chooses its own port and has its own directory, a subdirectory of cfg's; cfg.Port must be 0.
func StartClusterWith(tb testing.TB, n int, cfg Config) *Cluster {
	tb.Helper()
	if cfg.Port != 0 {
		tb.Fatalf("start NATS cluster: Port is %d, but each of the %d nodes needs its own: leave it 0", cfg.Port, n)
	}
	c := &Cluster{tb: tb}
	dir := cfg.dir(tb) // first: it must outlive the servers
	tb.Cleanup(c.halt)
	err := retryPorts(func() error {
		c.halt()
		c.nodes = clusterNodes(tb, n, cfg, dir)
		return c.start()
	})
	if err != nil {
		tb.Fatalf("start NATS cluster of %d: %v", n, err)
	}
	c.WaitReady()
	return c
}

// clusterNodes returns n servers that are yet to be started, each with the routes to all of them.
func clusterNodes(tb testing.TB, n int, cfg Config, dir string) []*Server {
	nodes := make([]*Server, n)
	routes := make([]*url.URL, n)
	for i := range nodes {
		o := cfg.options(filepath.Join(dir, fmt.Sprintf("n%d", i)))
		o.ServerName = fmt.Sprintf("n%d", i)
		o.Cluster = server.ClusterOpts{Name: "natstest", Host: loopback, Port: freePort()}
		routes[i] = &url.URL{Scheme: "nats-route", Host: fmt.Sprintf("%s:%d", loopback, o.Cluster.Port)}
		nodes[i] = &Server{tb: tb, opts: o}
	}
	for _, s := range nodes {
		s.opts.Routes = routes
	}
	return nodes
}

func (c *Cluster) start() error {
	for _, s := range c.nodes {
		if err := s.start(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) halt() {
	for _, s := range c.nodes {
		s.halt()
	}
}

// Nodes returns the servers. They can be stopped and started through the cluster or by themselves, with the same effect.
func (c *Cluster) Nodes() []*Server { return c.nodes }

// URL returns where clients connect: the URLs of all nodes, separated by commas. Safe for concurrent use.
func (c *Cluster) URL() string {
	urls := make([]string, len(c.nodes))
	for i, s := range c.nodes {
		urls[i] = s.URL()
	}
	return strings.Join(urls, ",")
}

// Stop shuts node i down and returns when it is gone. What it stored stays.
func (c *Cluster) Stop(i int) {
	c.tb.Helper()
	c.nodes[i].Stop()
}

// Restart starts node i again on the same ports and directory, and returns when it accepts connections. It may not have
// caught up with the others by then: see [Cluster.WaitReady] and [Cluster.WaitCurrent].
func (c *Cluster) Restart(i int) {
	c.tb.Helper()
	c.nodes[i].Restart()
}

// WaitReady returns when the nodes that run have a leader that sees all of them, so that streams can be made with as many
// replicas as there are nodes running. It fails the test if less than a majority runs.
func (c *Cluster) WaitReady() {
	c.tb.Helper()
	c.wait("a leader that sees all running nodes", func() bool {
		running, seen := 0, 0
		for _, s := range c.nodes {
			if s.run == nil {
				continue
			}
			running++
			if !s.run.JetStreamIsCurrent() {
				return false
			}
			if s.run.JetStreamIsLeader() {
				seen = len(s.run.JetStreamClusterPeers())
			}
		}
		return seen == running
	})
}

// WaitCurrent returns when every running node that holds a replica of the stream has caught up with the stream's leader,
// and at least replicas of them do.
func (c *Cluster) WaitCurrent(stream string, replicas int) {
	c.tb.Helper()
	c.wait(fmt.Sprintf("%d current replicas of stream %s", replicas, stream), func() bool {
		current := 0
		for _, s := range c.nodes {
			if s.run == nil || !s.run.JetStreamIsStreamAssigned(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
				continue
			}
			if !s.run.JetStreamIsStreamCurrent(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
				return false
			}
			current++
		}
		return current >= replicas
	})
}

// LeaderOf waits until the stream has a leader and returns the number of its node.
func (c *Cluster) LeaderOf(stream string) int {
	c.tb.Helper()
	leader := -1
	c.wait("a leader of stream "+stream, func() bool {
		for i, s := range c.nodes {
			if s.run != nil && s.run.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
				leader = i
			}
		}
		return leader >= 0
	})
	return leader
}

// wait looks at the cluster until holds does, and fails the test if that takes too long.
func (c *Cluster) wait(what string, holds func() bool) {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.tb.Fatalf("NATS cluster: waited %s for %s", startLimit, what)
		}
	}
}
