package natstest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"
)

// Bounds of what is under way in one direction of one connection. Together with the delay they are all that limits the
// rate: with 100 ms one way, 64 MiB under way are 640 MB/s.
const (
	proxyBytes = 64 << 20
	proxyReads = 1 << 13
	proxyRead  = 64 << 10
)

// Proxy passes connections on to a server, and what travels on them a fixed time later: latency without loss, without
// reordering and without a limit on the rate. The delay is never shorter than asked, and about a millisecond longer.
//
// A client of a cluster learns the addresses of all nodes from the first one it meets, and would get round the proxy when
// it reconnects: connect it with nats.IgnoreDiscoveredServers.
type Proxy struct {
	target   string
	delay    time.Duration
	listener net.Listener
	stop     context.CancelFunc
	running  sync.WaitGroup
	up, down atomic.Int64

	mu   sync.Mutex
	cut  bool
	open map[*net.TCPConn]struct{} // of clients
}

// StartProxy starts a proxy to the server at target, one URL. Bytes take delay longer each way, so a round trip takes
// twice that. The proxy stops when the test ends.
func StartProxy(tb testing.TB, target string, delay time.Duration) *Proxy {
	tb.Helper()
	u, err := url.Parse(target)
	if err != nil || u.Host == "" {
		tb.Fatalf("start proxy to %q: want the URL of one server, such as nats://127.0.0.1:4222 (%v)", target, err)
	}
	l, err := net.Listen("tcp", loopback+":0")
	if err != nil {
		tb.Fatalf("start proxy to %s: %v", target, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &Proxy{target: u.Host, delay: delay, listener: l, stop: stop, open: map[*net.TCPConn]struct{}{}}
	p.running.Go(func() { p.accept(ctx) })
	tb.Cleanup(p.Stop)
	return p
}

// URL returns where clients connect. Safe for concurrent use.
func (p *Proxy) URL() string { return fmt.Sprintf("nats://%s", p.listener.Addr()) }

// Bytes returns how many bytes have reached the server, and how many have reached clients, on all connections so far.
// Safe for concurrent use.
func (p *Proxy) Bytes() (up, down int64) { return p.up.Load(), p.down.Load() }

// Stop cuts all connections, drops what is under way, and returns when all is gone. Repeating it does nothing.
func (p *Proxy) Stop() {
	p.stop()
	_ = p.listener.Close()
	p.running.Wait()
}

// Cut cuts all connections, and each new one, until Mend is called. Safe for concurrent use.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for client := range p.open {
		_ = client.Close()
	}
}

// Mend ends what Cut began. Safe for concurrent use.
func (p *Proxy) Mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
}

// begin notes a client's connection until done is called. ok is false while connections are cut.
func (p *Proxy) begin(client *net.TCPConn) (done func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[client] = struct{}{}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, client)
	}, !p.cut
}

func (p *Proxy) accept(ctx context.Context) {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.pass(ctx, conn.(*net.TCPConn)) })
	}
}

// pass joins client to a new connection to the server until either side ends.
func (p *Proxy) pass(ctx context.Context, client *net.TCPConn) {
	defer client.Close()
	done, ok := p.begin(client)
	defer done()
	if !ok {
		return
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.target)
	if err != nil {
		return
	}
	server := conn.(*net.TCPConn)
	defer server.Close()

	ctx, cut := context.WithCancel(ctx)
	defer cut()
	defer context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = server.Close()
	})()
	var both sync.WaitGroup
	both.Go(func() { p.direction(ctx, cut, server, client, &p.up) })
	both.Go(func() { p.direction(ctx, cut, client, server, &p.down) })
	both.Wait()
}

// passage is what was read at once, and when it is due at the other end.
type passage struct {
	due  time.Time
	data []byte
}

// direction carries bytes from src to dst until src ends or ctx is done. A dst that cannot be written to cuts the whole
// connection.
func (p *Proxy) direction(ctx context.Context, cut func(), dst, src *net.TCPConn, count *atomic.Int64) {
	under := make(chan passage, proxyReads)
	room := semaphore.NewWeighted(proxyBytes)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(under)
		p.read(ctx, src, under, room)
	})
	if err := deliver(ctx, dst, under, room, count); err != nil {
		cut()
	} else {
		_ = dst.CloseWrite()
	}
	reading.Wait()
}

// read takes bytes from src as they come and stamps them with the time they are due.
func (p *Proxy) read(ctx context.Context, src io.Reader, under chan<- passage, room *semaphore.Weighted) {
	buf := make([]byte, proxyRead)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if room.Acquire(ctx, int64(n)) != nil {
				return
			}
			select {
			case under <- passage{time.Now().Add(p.delay), slices.Clone(buf[:n])}:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// deliver writes what is under way to dst when it is due, in order, until there is no more.
func deliver(ctx context.Context, dst io.Writer, under <-chan passage, room *semaphore.Weighted, count *atomic.Int64) error {
	for m := range under {
		if wait := time.Until(m.due); wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return ctx.Err()
			}
		}
		n, err := dst.Write(m.data)
		count.Add(int64(n))
		room.Release(int64(len(m.data)))
		if err != nil {
			return err
		}
	}
	return nil
}
