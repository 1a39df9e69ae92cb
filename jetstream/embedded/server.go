// Package embedded runs a NATS server with JetStream in this process, durable in a directory, for a peer whose owner runs
// no broker. It is apart from package jetstream, so that a program that only connects does not link the server.
package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"headwater/durable"

	"github.com/nats-io/nats-server/v2/server"
)

// DefaultListen is where an embedded server listens: on loopback only, at the port where NATS clients look.
const DefaultListen = "127.0.0.1:4222"

// startLimit bounds how long an embedded server may take to come up. It reads its streams from disk first.
const startLimit = 30 * time.Second

// Errors of [Start].
var (
	// ErrLocked: another server of this kind runs on the directory.
	ErrLocked = errors.New("directory is in use by another server")
	// ErrListen: the address is in use or cannot be bound.
	ErrListen = errors.New("cannot listen")
)

// Config is an embedded server. Dir is required.
type Config struct {
	Dir    string // where it keeps streams, and the lock file that keeps a second server away
	Listen string // host:port; port 0 is any that is free. Empty: DefaultListen
	// SyncInterval is how often what was acknowledged is synced to disk, and so how much a power cut may take. 0: every
	// message before it is acknowledged.
	SyncInterval time.Duration
	Logger       *slog.Logger
}

// Server is a NATS server with JetStream in this process. Safe for concurrent use.
type Server struct {
	run  *server.Server
	lock *durable.Lock
	once sync.Once
}

// Start starts a server and returns when it accepts connections. Stop it after the clients are closed. It fails with
// [ErrLocked] if another one runs on the directory, which NATS itself would not notice, and with [ErrListen] if the
// address cannot be listened on.
func Start(cfg Config) (*Server, error) {
	if cfg.Dir == "" {
		return nil, errors.New("start NATS server: a directory is required")
	}
	listen := cmp.Or(cfg.Listen, DefaultListen)
	opts, err := cfg.options(listen)
	if err != nil {
		return nil, fmt.Errorf("start NATS server: %w", err)
	}
	if err := durable.MakeDirAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("start NATS server: %w", err)
	}
	lock, err := durable.Acquire(filepath.Join(cfg.Dir, "server.lock"), durable.Self("NATS server"))
	if errors.Is(err, durable.ErrHeld) {
		err = fmt.Errorf("%w: %w", ErrLocked, err)
	}
	if err != nil {
		return nil, fmt.Errorf("start NATS server: %w", err)
	}
	s, err := start(opts, listen, &serverLog{log: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start NATS server: %w", err), lock.Release())
	}
	return &Server{run: s, lock: lock}, nil
}

func (cfg Config) options(listen string) (*server.Options, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("%w on %q (--listen): want host:port: %w", ErrListen, listen, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%w on %q (--listen): %w", ErrListen, listen, err)
	}
	o := &server.Options{
		ServerName: "headwater", Host: host, Port: int(n), JetStream: true, StoreDir: cfg.Dir,
		SyncAlways: cfg.SyncInterval <= 0, SyncInterval: cfg.SyncInterval,
		NoSigs: true, // signals are the program's
	}
	if n == 0 {
		o.Port = server.RANDOM_PORT
	}
	return o, nil
}

// start runs a server until it accepts connections.
func start(opts *server.Options, listen string, log *serverLog) (*server.Server, error) {
	if opts.Port != server.RANDOM_PORT {
		// The server would report this to its log only.
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", listen)
		if err != nil {
			return nil, fmt.Errorf("%w on %s: %w: choose another address with --listen", ErrListen, listen, err)
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	s.SetLoggerV2(log, false, false, false)
	s.Start()
	if s.Running() && s.ReadyForConnections(startLimit) && s.JetStreamEnabled() {
		return s, nil
	}
	s.Shutdown()
	s.WaitForShutdown()
	return nil, fmt.Errorf("it does not come up: %s", cmp.Or(log.fatal(), "no reason was given"))
}

// URL returns where clients connect.
func (s *Server) URL() string { return s.run.ClientURL() }

// Stop cuts the clients off, writes everything to disk, and returns when the server is gone and another one may run on the
// directory. Stopping twice does nothing.
func (s *Server) Stop() error {
	var err error
	s.once.Do(func() {
		s.run.Shutdown()
		s.run.WaitForShutdown()
		err = s.lock.Release()
	})
	return err
}

// serverLog passes on what the server logs. Its notices are details to whoever runs a peer.
type serverLog struct {
	log *slog.Logger

	mu   sync.Mutex
	last string // reason why the server gave up
}

var _ server.Logger = (*serverLog)(nil)

func (l *serverLog) fatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Fatalf is called when the server gives up.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	l.last = text(format, v)
	l.mu.Unlock()
	l.log.Error(text(format, v))
}

// Errorf passes an error on.
func (l *serverLog) Errorf(format string, v ...any) { l.log.Error(text(format, v)) }

// Warnf passes a warning on.
func (l *serverLog) Warnf(format string, v ...any) { l.log.Warn(text(format, v)) }

// Noticef passes a notice on, as a detail.
func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(text(format, v)) }

// Debugf passes a detail on.
func (l *serverLog) Debugf(format string, v ...any) { l.log.Debug(text(format, v)) }

// Tracef passes a detail on.
func (l *serverLog) Tracef(format string, v ...any) { l.log.Debug(text(format, v)) }

func text(format string, v []any) string {
	return "NATS server: " + strings.TrimSpace(fmt.Sprintf(format, v...))
}
