package natstest

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Limits of a server whose [Config] names none. They bound what streams may reserve; nothing is allocated in advance.
const (
	DefaultMaxMemory = 256 << 20 // bytes
	DefaultMaxStore  = 16 << 30  // bytes
)

// startLimit bounds how long a server may take to come up, and a cluster to agree. It takes less than a second on an idle
// machine; the rest is for busy ones.
const startLimit = 30 * time.Second

// Config says how a server differs from a plain one. The zero Config is a plain one.
type Config struct {
	// Dir is where streams live. Empty: a temporary directory of the test. Two running servers must not share one: NATS
	// does not notice, and destroys both.
	Dir string
	// Port is the port on loopback. 0: one that is free. It stays the same when the server is started again.
	Port int
	// Domain is the JetStream domain. Empty: none.
	Domain string
	// SyncAlways makes the server sync every message to disk before it acknowledges it. False: it acknowledges what it
	// has written, and syncs later, as NATS does unless it is told otherwise.
	SyncAlways bool
	// MaxMemory and MaxStore bound what streams in memory and in files may take, in bytes. 0: the defaults.
	MaxMemory, MaxStore int64
	// MaxPayload bounds one message, in bytes. 0: the server's own default, 1 MiB.
	MaxPayload int32
	// AcceptLeafs lets other servers join this one as its leaf nodes.
	AcceptLeafs bool
	// LeafOf is the server that this one joins as a leaf node; it must accept leafs and should be of another Domain. Nil:
	// the server stands alone.
	LeafOf *Server
	// Users are who may connect. None: everybody, without a name.
	Users []User
}

// User is somebody who may connect, and the subjects that they may use. Nil subjects allow all; an empty list that is not
// nil allows none.
type User struct {
	Name, Password     string
	Publish, Subscribe []string
}

// Server is a NATS server with JetStream in this process.
type Server struct {
	tb   testing.TB
	opts *server.Options
	url  string
	leaf string // where leaf nodes join, if they may
	run  *server.Server
}

// Start starts a server with nothing in it and stops it when the test ends.
func Start(tb testing.TB) *Server {
	tb.Helper()
	return StartWith(tb, Config{})
}

// StartWith starts a server as cfg says and stops it when the test ends.
func StartWith(tb testing.TB, cfg Config) *Server {
	tb.Helper()
	s := &Server{tb: tb}
	dir := cfg.dir(tb) // first: it must outlive the server
	tb.Cleanup(func() { s.halt() })
	err := retryPorts(func() error {
		s.opts = cfg.options(dir)
		return s.start()
	})
	if err != nil {
		tb.Fatalf("start NATS server: %v", err)
	}
	return s
}

func (cfg Config) dir(tb testing.TB) string {
	if cfg.Dir != "" {
		return cfg.Dir
	}
	return tb.TempDir()
}

// options turns cfg into options of the server with every port decided, so that the server finds the same ones again when
// it is started once more.
func (cfg Config) options(dir string) *server.Options {
	o := &server.Options{
		ServerName:         "n0",
		Host:               loopback,
		Port:               cfg.Port,
		JetStream:          true,
		JetStreamDomain:    cfg.Domain,
		JetStreamMaxMemory: cmp.Or(cfg.MaxMemory, DefaultMaxMemory),
		JetStreamMaxStore:  cmp.Or(cfg.MaxStore, DefaultMaxStore),
		StoreDir:           dir,
		SyncAlways:         cfg.SyncAlways,
		MaxPayload:         cfg.MaxPayload,
		NoSigs:             true,
		NoLog:              true,
	}
	if o.Port == 0 {
		o.Port = freePort()
	}
	if cfg.Domain != "" {
		o.ServerName = cfg.Domain
	}
	if cfg.AcceptLeafs {
		o.LeafNode.Host, o.LeafNode.Port = loopback, freePort()
	}
	if cfg.LeafOf != nil {
		hub := &url.URL{Scheme: "nats-leaf", Host: cfg.LeafOf.leaf}
		o.LeafNode.ReconnectInterval = 50 * time.Millisecond
		o.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{hub}}}
	}
	for _, u := range cfg.Users {
		o.Users = append(o.Users, u.user())
	}
	return o
}

func (u User) user() *server.User {
	p := &server.Permissions{}
	if u.Publish != nil {
		p.Publish = subjects(u.Publish)
	}
	if u.Subscribe != nil {
		p.Subscribe = subjects(u.Subscribe)
	}
	return &server.User{Username: u.Name, Password: u.Password, Permissions: p}
}

func subjects(allow []string) *server.SubjectPermission {
	if len(allow) == 0 {
		return &server.SubjectPermission{Deny: []string{">"}}
	}
	return &server.SubjectPermission{Allow: allow}
}

// start starts a server from the options and waits until it accepts connections.
func (s *Server) start() error {
	// The server writes into its options, so each life gets a copy.
	srv, err := server.NewServer(s.opts.Clone())
	if err != nil {
		return err
	}
	srv.Start()
	s.run = srv
	// The port is the same after a restart, when others may be reading.
	if url := fmt.Sprintf("nats://%s:%d", s.opts.Host, s.opts.Port); s.url != url {
		s.url = url
	}
	if s.opts.LeafNode.Port != 0 {
		s.leaf = fmt.Sprintf("%s:%d", s.opts.LeafNode.Host, s.opts.LeafNode.Port)
	}
	// A server that could not bind a port has shut itself down by now.
	if srv.Running() && srv.ReadyForConnections(startLimit) {
		return nil
	}
	s.halt()
	return fmt.Errorf("port %d or one beside it: %w", s.opts.Port, errNotReady)
}

// errNotReady says that a server did not come up; nearly always because a port was taken meanwhile.
var errNotReady = errors.New("the server does not accept connections")

// halt shuts the server down and waits for it. It does nothing to a stopped one.
func (s *Server) halt() {
	if s.run == nil {
		return
	}
	s.run.Shutdown()
	s.run.WaitForShutdown()
	s.run = nil
}

// URL returns where clients connect. It stays the same when the server is stopped and started again. Safe for concurrent
// use.
func (s *Server) URL() string { return s.url }

// Dir returns where the server keeps its streams. Read or damage what is there only while the server is stopped.
func (s *Server) Dir() string { return s.opts.StoreDir }

// Running reports whether the server is started.
func (s *Server) Running() bool { return s.run != nil }

// Stop shuts the server down, cutting its clients off, and returns when it is gone. What it stored stays. Stopping
// a stopped server does nothing.
func (s *Server) Stop() {
	s.tb.Helper()
	s.halt()
}

// Restart stops the server, if it runs, and starts it again on the same port and directory.
func (s *Server) Restart() {
	s.tb.Helper()
	s.halt()
	if err := s.start(); err != nil {
		s.tb.Fatalf("start NATS server again: %v", err)
	}
}
