//go:build linux

package test_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/jetstream"
	"headwater/test/natstest"
)

// What an idle peer costs, with many buckets and with one. Each is a process of its own, with a server of its own; both are
// watched in the same minute.

const (
	idleBuckets = 10_000
	idleFor     = time.Minute
)

func BenchmarkRatioIdle(b *testing.B) {
	for range b.N {
		many, one := newIdle(b, 201, idleBuckets), newIdle(b, 202, 1)
		before := []footing{many.footing(), one.footing()}
		tick := time.NewTicker(idleFor)
		<-tick.C
		tick.Stop()
		m, o := many.footing().since(before[0]), one.footing().since(before[1])
		many.peer.stop()
		one.peer.stop()

		messages, cpu := m.messages()/o.messages(), m.busy()/max(o.busy(), 0.01)
		memory := float64(m.resident) / float64(o.resident)
		b.ReportMetric(messages, "ratio-messages")
		b.ReportMetric(cpu, "ratio-CPU")
		b.ReportMetric(memory, "ratio-memory")
		b.ReportMetric(m.messages(), "messages/min")
		b.ReportMetric(m.busy(), "%-of-a-core")
		b.ReportMetric(float64(m.resident)/(1<<20), "MiB")
		b.Logf("idle for %v: a peer of %d buckets takes %.2f times the messages, %.2f times the CPU and %.2f times the memory of one of a "+
			"single bucket\n%5d: %s\n%5d: %s", idleFor, idleBuckets, messages, cpu, memory, idleBuckets, m, 1, o)
	}
}

// idle is a peer in sync, and a connection to look at its server with.
type idle struct {
	tb   testing.TB
	peer *cliPeer
	nc   *nats.Conn
}

// newIdle returns a running peer that has the first version of so many buckets, and nothing left to do.
func newIdle(tb testing.TB, seed byte, n int) *idle {
	tb.Helper()
	s := natstest.Start(tb)
	nc, err := nats.Connect(s.URL())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	me := buckettest.Identity(tb, seed)
	i := &idle{tb, startPeerOn(tb, s.URL(), importedDir(tb, me)), nc}
	var versions []*bucket.Version
	for range n {
		versions = append(versions, buckettest.New(tb, buckettest.Identity(tb, 1), me.PublicKey()).Grow(tb, 1).Head())
	}
	if err := publish(tb.Context(), s.URL(), versions); err != nil {
		tb.Fatal(err)
	}
	await(tb, "all buckets are in sync", func() (bool, any) {
		synced := 0
		for _, s := range i.peer.status() {
			if s.State == "in_sync" {
				synced++
			}
		}
		return synced == n, synced
	}, i.peer)
	return i
}

// publish stores manifests and the empty pins list, and announces the versions, over a connection that is closed then.
func publish(ctx context.Context, url string, versions []*bucket.Version) error {
	c, err := jetstream.Dial(ctx, jetstream.Config{URL: url})
	if err != nil {
		return err
	}
	if err := c.PutObjects(ctx, c.Names().BlobStore(), []blobstore.Small{{Hash: bucket.Sum(nil)}}); err != nil {
		return err
	}
	for part := range slices.Chunk(versions, 500) {
		var objects []blobstore.Small
		for _, v := range part {
			objects = append(objects, blobstore.Small{Hash: v.Link.Hash(), Data: v.Encoded()})
		}
		if err := c.PutObjects(ctx, c.Names().ManifestStore(), objects); err != nil {
			return err
		}
	}
	g, inGroup := errgroup.WithContext(ctx)
	g.SetLimit(100)
	for _, v := range versions {
		g.Go(func() error {
			a := bucket.Announcement{Bucket: v.Bucket, Peer: *v.Author, Link: v.Link, Hints: bucket.Hints{Manifest: v.Encoded()}}
			_, err := c.Announce(inGroup, a)
			return err
		})
	}
	return errors.Join(g.Wait(), c.Close(ctx))
}

// footing is what a peer has used since it began, or over a period.
type footing struct {
	at                  time.Time
	watched             time.Duration // 0: since it began
	sent, got           int64         // messages that the server counts: from the peer, and to it
	sentBytes, gotBytes int64         // in those
	cpu                 time.Duration // user and system
	resident, most      int64         // bytes of memory: at the end, and at most since it began
}

// footing looks at the peer's process, and asks the server about the peer's connections.
func (i *idle) footing() footing {
	i.tb.Helper()
	pid := i.peer.process.Process.Pid
	f := footing{at: time.Now(), most: i.peer.peak()}
	var err error
	if f.cpu, err = cpuOf(pid); err == nil {
		f.resident, err = memoryOf(pid, "VmRSS:")
	}
	if err != nil {
		i.tb.Fatal(err)
	}
	mine, err := i.nc.GetClientID()
	if err != nil {
		i.tb.Fatal(err)
	}
	m, err := i.nc.Request("$SYS.REQ.ACCOUNT.PING.CONNZ", nil, commandLimit)
	if err != nil {
		i.tb.Fatalf("ask the server about its connections: %v", err)
	}
	answer := decoded[connections](i.tb, string(m.Data))
	for _, c := range answer.Data.Connections {
		if c.ID != mine {
			f.sent, f.got = f.sent+c.Sent, f.got+c.Got
			f.sentBytes, f.gotBytes = f.sentBytes+c.SentBytes, f.gotBytes+c.GotBytes
		}
	}
	return f
}

// connections is what a server reports of the connections of an account.
type connections struct {
	Data struct {
		Connections []struct {
			ID        uint64 `json:"cid"`
			Sent      int64  `json:"in_msgs"`
			Got       int64  `json:"out_msgs"`
			SentBytes int64  `json:"in_bytes"`
			GotBytes  int64  `json:"out_bytes"`
		}
	}
}

// since is what was used since an earlier look.
func (f footing) since(g footing) footing {
	f.watched = f.at.Sub(g.at)
	f.sent, f.got, f.cpu = f.sent-g.sent, f.got-g.got, f.cpu-g.cpu
	f.sentBytes, f.gotBytes = f.sentBytes-g.sentBytes, f.gotBytes-g.gotBytes
	return f
}

// messages is the number of messages a minute, both ways.
func (f footing) messages() float64 { return float64(f.sent+f.got) / f.watched.Minutes() }

// busy is the part of one core that was used, in percent.
func (f footing) busy() float64 { return 100 * f.cpu.Seconds() / f.watched.Seconds() }

func (f footing) String() string {
	per := f.watched.Minutes()
	return fmt.Sprintf("a minute %3.0f messages from the peer, %5.0f bytes, and %3.0f to it, %5.0f bytes; %.2f %% of a core; "+
		"%d MiB, at most %d while it synced", float64(f.sent)/per, float64(f.sentBytes)/per, float64(f.got)/per, float64(f.gotBytes)/per,
		f.busy(), f.resident>>20, f.most>>20)
}

// cpuOf is how long a process has been on a processor.
func cpuOf(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	const user, ticks = 11, 100 // after the name, which may hold anything, and its bracket; ticks a second on all of Linux
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	var u, s int64
	if _, err := fmt.Sscan(strings.Join(fields[user:user+2], " "), &u, &s); err != nil {
		return 0, fmt.Errorf("read /proc/%d/stat: %w", pid, err)
	}
	return time.Duration(u+s) * time.Second / ticks, nil
}
