package natstest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// OldServerVariable names the environment variable that holds the path of the old server's program. If it is not set, the
// program is bin/nats-server-2.10 at the root of the module, where make puts it.
const OldServerVariable = "HEADWATER_TEST_OLD_SERVER"

// OldServer is a NATS server with JetStream of the 2.10 line, the oldest that Headwater is used with: a process of its own.
type OldServer struct {
	port    int
	dir     string
	process *os.Process
	exited  chan struct{}
	log     bytes.Buffer // read only when the process has exited
}

// StartOld starts an old server with nothing in it and kills it when the test ends. It fails the test if there is no such
// program: a test that needs it never passes without it.
func StartOld(tb testing.TB) *OldServer {
	tb.Helper()
	return startOld(tb, func(dir string) string { return fmt.Sprintf("jetstream { store_dir: %q }", dir) })
}

// StartOldLeaf is [StartOld] for a server that joins hub, which must accept leafs, as a leaf node, and whose JetStream domain
// is domain.
func StartOldLeaf(tb testing.TB, hub *Server, domain string) *OldServer {
	tb.Helper()
	return startOld(tb, func(dir string) string {
		return fmt.Sprintf("server_name: %q\njetstream { domain: %q, store_dir: %q }\nleafnodes { remotes: [ { url: %q } ] }",
			domain, domain, dir, "nats-leaf://"+hub.leaf)
	})
}

func startOld(tb testing.TB, config func(dir string) string) *OldServer {
	tb.Helper()
	bin, err := findProgram(OldServerVariable, "nats-server-2.10")
	if err != nil {
		tb.Fatalf("find the old NATS server: %v: run `make tools`, or set %s to its path", err, OldServerVariable)
	}
	s := &OldServer{dir: tb.TempDir()}
	home := tb.TempDir()
	file := filepath.Join(home, "config")
	if err := os.WriteFile(file, []byte(config(s.dir)), 0o600); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		s.Stop()
		if tb.Failed() {
			tb.Logf("the old NATS server's log:\n%s", &s.log)
		}
	})
	if err := retryPorts(func() error { return s.start(bin, file, home) }); err != nil {
		tb.Fatalf("start the old NATS server: %v", err)
	}
	return s
}

// start starts the process on a free port and waits until it accepts connections.
func (s *OldServer) start(bin, config, home string) error {
	s.Stop()
	s.port = freePort()
	cmd := exec.Command(bin, "--config", config, "--addr", loopback, "--port", strconv.Itoa(s.port))
	cmd.Env, cmd.Stdout, cmd.Stderr = bareEnv(home), &s.log, &s.log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait()
	}()
	s.process, s.exited = cmd.Process, exited
	return s.await()
}

// await returns when the server greets a client, which it does once JetStream is ready.
func (s *OldServer) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if s.greets() {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.exited:
			return fmt.Errorf("port %d: %w", s.port, errNotReady)
		case <-ctx.Done():
			return fmt.Errorf("port %d: %w within %s", s.port, errNotReady, startLimit)
		}
	}
}

func (s *OldServer) greets() bool {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(loopback, strconv.Itoa(s.port)), time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	greeting, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && strings.HasPrefix(greeting, "INFO ")
}

// URL returns where clients connect. Safe for concurrent use.
func (s *OldServer) URL() string { return fmt.Sprintf("nats://%s:%d", loopback, s.port) }

// Port returns the port of [OldServer.URL]. Another server can take it once this one is stopped.
func (s *OldServer) Port() int { return s.port }

// Dir returns where the server keeps its streams. Another server can take them over once this one is stopped.
func (s *OldServer) Dir() string { return s.dir }

// Stop kills the server, and returns when it is gone. What it stored stays. Stopping a stopped server does nothing.
func (s *OldServer) Stop() {
	if s.process == nil {
		return
	}
	_ = s.process.Kill()
	<-s.exited
	s.process = nil
}
