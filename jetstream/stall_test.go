package jetstream_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// stall passes connections on to a server. Once it is told to, it keeps what the server says from the clients, whose
// connections stay.
type stall struct {
	listener net.Listener
	target   string
	left     atomic.Int64  // bytes to pass on to clients; negative is no limit
	resumed  chan struct{} // closed when all passes again
	resume   func()
	running  sync.WaitGroup
}

func newStall(t *testing.T, url string) *stall {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noErr(t, "listen", err)
	p := &stall{listener: l, target: strings.TrimPrefix(url, "nats://"), resumed: make(chan struct{})}
	p.left.Store(-1)
	p.resume = sync.OnceFunc(func() {
		p.left.Store(-1)
		close(p.resumed)
	})
	p.running.Go(p.accept)
	t.Cleanup(func() { // the client has closed its connection by now
		_ = l.Close()
		p.running.Wait()
	})
	return p
}

func (p *stall) url() string { return "nats://" + p.listener.Addr().String() }

// stallAfter passes so many more bytes on to clients.
func (p *stall) stallAfter(n int64) { p.left.Store(n) }

func (p *stall) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			return
		}
		p.running.Go(func() {
			defer server.Close()
			_, _ = io.Copy(server, client)
		})
		p.running.Go(func() {
			defer client.Close()
			p.down(client, server)
		})
	}
}

// down passes on to the client what the server says, as far as it may.
func (p *stall) down(client io.Writer, server io.Reader) {
	buf := make([]byte, 16<<10)
	for {
		n, err := server.Read(buf)
		now := n
		if left := p.left.Load(); left >= 0 {
			now = int(min(left, int64(n)))
			p.left.Store(left - int64(now))
		}
		_, lost := client.Write(buf[:now])
		if now < n {
			<-p.resumed
			_, lost = client.Write(buf[now:n])
		}
		if err != nil || lost != nil {
			return
		}
	}
}
