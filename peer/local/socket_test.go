package local_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/peer/local"
	"headwater/peer/local/localtest"
)

func TestDialWithoutAHolder(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Join(dir, "none")} {
		if _, err := local.Dial(t.Context(), d, 0); !errors.Is(err, local.ErrNoHolder) {
			t.Errorf("dial %s: got %v, want %v", d, err, local.ErrNoHolder)
		}
	}
	stop := serveOn(t, listen(t, dir), &localtest.Memory{}, nil)
	dial(t, dir)
	stop()
	path, _ := local.SocketPath(dir)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	if _, err := local.Dial(t.Context(), dir, 0); !errors.Is(err, local.ErrNoHolder) {
		t.Errorf("dial: got %v, want %v", err, local.ErrNoHolder)
	}
}

func listen(t testing.TB, dir string) net.Listener {
	t.Helper()
	l, err := local.Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestInfoIsTold(t *testing.T) {
	c := dial(t, serve(t, &localtest.Memory{}, nil))
	if d := cmp.Diff(info(t), c.Info()); d != "" {
		t.Error(d)
	}
}

func TestOtherVersionsAreRefusedByName(t *testing.T) {
	dir := t.TempDir()
	other := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // a holder of another version
		w.Write(local.Hello(99, local.Info{PID: 42, Version: "9.9"}))
	})}
	l := listen(t, dir)
	var serving sync.WaitGroup
	serving.Go(func() { other.Serve(l) })
	_, err := local.Dial(t.Context(), dir, 0)
	if !errors.Is(err, local.ErrRefused) || !strings.Contains(err.Error(), "version 99") || !strings.Contains(err.Error(), "version 1:") ||
		!strings.Contains(err.Error(), "process 42") {
		t.Errorf("dial: got %v", err)
	}
	other.Close()
	serving.Wait()
}

func TestWhatIsNoCallIsRefused(t *testing.T) {
	dir := serve(t, &localtest.Memory{}, nil)
	path, _ := local.SocketPath(dir)
	for _, b := range []string{
		"\xff\xff\xff\xff\xff", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET /v1/blobs/x HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /v2/has HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", "POST /v1/no HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
		"POST /v1/has HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{", "POST /v1/manifests HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n{",
		"PUT /v1/blobs/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST /v1/blobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conn.Write([]byte(b))
		conn.(*net.UnixConn).CloseWrite()
		answer, err := io.ReadAll(conn)
		if err != nil || strings.Contains(string(answer), " 200 ") {
			t.Errorf("%q: got %q, %v, want it refused", b, answer, err)
		}
		conn.Close()
	}
	c := dial(t, dir)
	if _, err := c.Has(t.Context(), bucket.Hash{}); err != nil {
		t.Fatal(err)
	}
}

func TestTakeover(t *testing.T) {
	if err := dial(t, serve(t, &localtest.Memory{}, nil)).Takeover(t.Context()); !errors.Is(err, local.ErrRefused) {
		t.Errorf("take over from a running peer: got %v, want %v", err, local.ErrRefused)
	}
	dir := t.TempDir()
	yield := make(chan struct{}, 1)
	stop := serveOn(t, listen(t, dir), &localtest.Memory{}, func() { yield <- struct{}{} })
	c := dial(t, dir)
	if err := c.Takeover(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-yield
	stop()
	if _, err := c.Has(t.Context(), bucket.Hash{}); !errors.Is(err, local.ErrGone) {
		t.Errorf("a call after that: got %v, want %v", err, local.ErrGone)
	}
}

func TestManyCallsAtATime(t *testing.T) {
	c := dial(t, serve(t, &localtest.Memory{}, nil))
	var calls sync.WaitGroup
	for i := range 200 {
		calls.Go(func() {
			b := localtest.Bytes(uint64(i), 1000+i*1000)
			h := bucket.Sum(b)
			if err := c.Put(t.Context(), h, int64(len(b)), bytes.NewReader(b)); err != nil {
				t.Error(err)
			}
			if got, err := blobstore.ReadAll(t.Context(), c, h, int64(len(b))); err != nil || !bytes.Equal(got, b) {
				t.Errorf("get: got %d bytes, %v", len(got), err)
			}
		})
	}
	calls.Wait()
}

func TestCallsEndWithTheClient(t *testing.T) {
	c := dial(t, serve(t, &localtest.Memory{}, nil))
	started := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		err := c.Watch(context.Background(), func() { close(started) }, func([]byte) {})
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("watch: got %v, want %v", err, net.ErrClosed)
		}
	})
	<-started
	c.Close()
	watch.Wait()
	if _, err := c.Has(t.Context(), bucket.Hash{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("has: got %v, want %v", err, net.ErrClosed)
	}
}

// picky is a holder that wants no more of a blob after its first bytes.
type picky struct{ localtest.Memory }

func (p *picky) Put(_ context.Context, _ bucket.Hash, _ int64, r io.Reader) error {
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		return err
	}
	return blobstore.ErrTooLarge
}

func TestHolderThatWantsNoMoreIsHeard(t *testing.T) {
	c := dial(t, serve(t, &picky{}, nil))
	for _, n := range []int64{2000, local.ChunkSize + 1, 1 << 20, 1 << 40} {
		if err := c.Put(t.Context(), bucket.Hash{}, n, io.LimitReader(zeros{}, n)); !errors.Is(err, blobstore.ErrTooLarge) {
			t.Errorf("put %d bytes: got %v, want %v", n, err, blobstore.ErrTooLarge)
		}
	}
}

// within fails the test if f takes longer than a second.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	begin := time.Now()
	if f(); time.Since(begin) > time.Second {
		t.Errorf("%s took %v, want at most a second", what, time.Since(begin))
	}
}
