package jetstream_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"testing"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/test/natstest"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// smalls are n different objects of 1 KiB.
func smalls(n int) []blobstore.Small {
	all := make([]blobstore.Small, n)
	for i := range all {
		b := bytes.Clone(noise(1, 1024))
		binary.LittleEndian.PutUint64(b, uint64(i))
		all[i] = blobstore.Small{Hash: bucket.Sum(b), Data: b}
	}
	return all
}

func BenchmarkGetSmall(b *testing.B) {
	s := natstest.Start(b)
	c := ensured(b, s.URL(), peer(1))
	all := smalls(10_000)
	noErr(b, "put", c.PutObjects(b.Context(), blobs, all))
	_, js := plain(b, s.URL())
	theirs, err := js.ObjectStore(b.Context(), blobs)
	noErr(b, "object store", err)
	o := c.Objects()
	get := func(b *testing.B, h bucket.Hash, fresh bool) {
		r, _, err := o.Get(b.Context(), blobs, h, fresh)
		if err != nil {
			b.Fatal(err)
		}
		_ = r.Close()
	}
	for _, fresh := range []bool{false, true} {
		b.Run(fmt.Sprintf("fresh=%v", fresh), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				get(b, all[i%len(all)].Hash, fresh)
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				get(b, all[i%len(all)].Hash, false)
			}
		})
	})
	b.Run("library", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := theirs.GetBytes(b.Context(), all[i%len(all)].Hash.String()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkPutSmall(b *testing.B) {
	for _, sync := range []bool{false, true} {
		b.Run(fmt.Sprintf("sync=%v", sync), func(b *testing.B) {
			s := natstest.StartWith(b, natstest.Config{SyncAlways: sync})
			c := ensured(b, s.URL(), peer(1))
			n := uint64(0)
			fresh := func() blobstore.Small {
				n++
				body := binary.LittleEndian.AppendUint64(noise(1, 1016), n)
				return blobstore.Small{Hash: bucket.Sum(body), Data: body}
			}
			b.Run("PutObject", func(b *testing.B) {
				for b.Loop() {
					o := fresh()
					if err := c.PutObject(b.Context(), blobs, o.Hash, 1024, bytes.NewReader(o.Data)); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("PutObjects", func(b *testing.B) {
				const batch = 1000
				for b.Loop() {
					objects := make([]blobstore.Small, batch)
					for i := range objects {
						objects[i] = fresh()
					}
					if err := c.PutObjects(b.Context(), blobs, objects); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/object")
			})
			b.Run("present", func(b *testing.B) {
				o := fresh()
				for b.Loop() {
					if err := c.PutObject(b.Context(), blobs, o.Hash, 1024, bytes.NewReader(o.Data)); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkLarge(b *testing.B) {
	const size = 64 << 20
	s := natstest.Start(b)
	c := ensured(b, s.URL(), peer(1))
	body := noise(1, size)
	n := uint64(0)
	b.Run("PutObject", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			b.StopTimer()
			n++
			binary.LittleEndian.PutUint64(body, n)
			h := bucket.Sum(body)
			b.StartTimer()
			if err := c.PutObject(b.Context(), blobs, h, size, bytes.NewReader(body)); err != nil {
				b.Fatal(err)
			}
		}
	})
	h := bucket.Sum(body)
	b.Run("Get", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			r, _, err := c.Objects().Get(b.Context(), blobs, h, false)
			if err != nil {
				b.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, r); err != nil || n != size {
				b.Fatalf("read %d: %v", n, err)
			}
			_ = r.Close()
		}
	})
	_, js := plain(b, s.URL())
	theirs, err := js.ObjectStore(b.Context(), blobs)
	noErr(b, "object store", err)
	b.Run("library's Get", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			ctx, cancel := context.WithTimeout(b.Context(), limit)
			r, err := theirs.Get(ctx, h.String())
			if err != nil {
				b.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, r); err != nil || n != size {
				b.Fatalf("read %d: %v", n, err)
			}
			_ = r.Close()
			cancel()
		}
	})
}

// BenchmarkSource shows what waiting for the broker's word on each acknowledgement costs: announcements are acknowledged
// without it, pin jobs with.
func BenchmarkSource(b *testing.B) {
	s := natstest.Start(b)
	nc, js := plain(b, s.URL())
	for _, kind := range []consumer.Kind{consumer.KindHeads, consumer.KindPins} {
		for _, workers := range []int{1, 32, 128} {
			b.Run(fmt.Sprintf("%s/workers=%d", kind, workers), func(b *testing.B) {
				c := ensured(b, s.URL(), peer(1))
				fill(b, nc, js, c, kind, b.N+1000)
				src := source(b, c, kind)
				b.ResetTimer()
				drain(b, src, workers, b.N)
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
			})
		}
	}
}

// fill publishes n messages, each on a subject of its own.
func fill(b *testing.B, nc *nats.Conn, js natsjs.JetStream, c *jetstream.Client, kind consumer.Kind, n int) {
	b.Helper()
	body := noise(1, 200)
	for range n {
		subject := c.Names().Head(bucket.NewID(), peer(2))
		if kind == consumer.KindPins {
			subject = c.Names().Pins(peer(1), bucket.NewID())
		}
		if err := nc.Publish(subject, body); err != nil {
			b.Fatal(err)
		}
	}
	noErr(b, "flush", nc.Flush())
	st, err := js.Stream(b.Context(), c.Names().StreamOf(kind))
	noErr(b, "stream", err)
	eventually(b, "the stream holds them", func() bool {
		info, err := st.Info(b.Context())
		return err == nil && info.State.Msgs >= uint64(n)
	})
}

// drain takes and acknowledges n deliveries.
func drain(b *testing.B, src *jetstream.Source, workers, n int) {
	g, ctx := errgroup.WithContext(b.Context())
	work := make(chan consumer.Delivery)
	for range workers {
		g.Go(func() error {
			for d := range work {
				if err := d.Ack(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for range n {
		d, err := src.Next(ctx)
		if err != nil {
			b.Fatal(err)
		}
		work <- d
	}
	close(work)
	noErr(b, "ack", g.Wait())
}

func BenchmarkAnnounce(b *testing.B) {
	s := natstest.Start(b)
	c := ensured(b, s.URL(), peer(1))
	for i := byte(0); b.Loop(); i++ {
		if _, err := c.Announce(b.Context(), bucket.Announcement{Bucket: bucket.NewID(), Peer: peer(1), Link: manifestLink(i)}); err != nil {
			b.Fatal(err)
		}
	}
}
