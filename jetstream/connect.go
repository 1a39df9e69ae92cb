package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natscontext"
)

// connectRetrying connects, once or until it succeeds or ctx ends.
func (c *Client) connectRetrying(ctx context.Context, cfg Config) (natscontext.Settings, error) {
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond),
		backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	var last error
	settings, err := backoff.RetryNotifyWithData(func() (natscontext.Settings, error) {
		var s natscontext.Settings
		if s, last = c.connect(ctx, cfg); last != nil && (!cfg.Wait || !errors.Is(last, ErrUnreachable)) {
			return s, backoff.Permanent(last)
		}
		return s, last
	}, backoff.WithContext(policy, ctx), func(err error, d time.Duration) {
		c.log.Warn("no NATS server yet", "error", err, "next_try", d.Round(time.Millisecond))
	})
	if err != nil && ctx.Err() != nil && last != nil && !errors.Is(err, last) {
		return settings, fmt.Errorf("%w: %w", last, ctx.Err())
	}
	return settings, err
}

// connect tries each server once.
func (c *Client) connect(ctx context.Context, cfg Config) (s natscontext.Settings, err error) {
	if err := ctx.Err(); err != nil {
		return s, err
	}
	opts, err := c.options(ctx, cfg)
	if err != nil {
		return s, err
	}
	where := cfg.URL
	if cfg.Context != "" {
		c.nc, s, err = natscontext.Connect(cfg.Context, opts...)
		where = cmp.Or(where, s.URL, "context "+cfg.Context)
	} else {
		where = cmp.Or(where, DefaultURL)
		c.nc, err = nats.Connect(where, opts...)
	}
	if err != nil {
		return s, fmt.Errorf("connect to %s: %w", where, dialError(err))
	}
	return s, nil
}

// dialError says which kind of failure err is.
func dialError(err error) error {
	// Not net.Error: what the system says about a file that is missing is one too.
	_, isNet := errors.AsType[*net.OpError](err)
	_, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked),
		errors.Is(err, nats.ErrAccountAuthExpired), errors.Is(err, nats.ErrPermissionViolation):
		return fmt.Errorf("%w: %w", ErrNotPermitted, err)
	case isNet, isDNS, errors.Is(err, io.EOF), errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrTimeout),
		errors.Is(err, nats.ErrNoInfoReceived), errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrStaleConnection):
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return err
}

// options turns cfg into options of the connection.
func (c *Client) options(ctx context.Context, cfg Config) ([]nats.Option, error) {
	opts := []nats.Option{
		nats.Name(cmp.Or(cfg.Name, "headwater")),
		nats.Timeout(dialTimeout(ctx, cfg.URL)),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait/2, reconnectWait),
		nats.PingInterval(pingInterval),
		nats.IgnoreAuthErrorAbort(),
		// A publish while disconnected fails at once instead of being kept in memory and perhaps lost.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(c.onDisconnect),
		nats.ReconnectHandler(c.onReconnect),
		nats.ClosedHandler(c.onClosed),
		nats.ErrorHandler(c.onError),
		nats.LameDuckModeHandler(func(nc *nats.Conn) {
			c.log.Info("NATS server is about to stop", "server", nc.ConnectedUrlRedacted())
		}),
	}
	if cfg.Context != "" && cfg.URL != "" {
		opts = append(opts, servers(cfg.URL))
	}
	if cfg.Creds != "" {
		opts = append(opts, nats.UserCredentials(cfg.Creds))
	}
	if cfg.NKey != "" {
		o, err := nats.NkeyOptionFromSeed(cfg.NKey)
		if err != nil {
			return nil, fmt.Errorf("nkey seed %s: %w", cfg.NKey, err)
		}
		opts = append(opts, o)
	}
	if cfg.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(cfg.InboxPrefix))
	}
	return append(opts, cfg.TLS.options()...), nil
}

func (t TLS) options() (opts []nats.Option) {
	if t.CA != "" {
		opts = append(opts, nats.RootCAs(t.CA))
	}
	if t.Cert != "" || t.Key != "" {
		opts = append(opts, nats.ClientCert(t.Cert, t.Key))
	}
	if t.First {
		opts = append(opts, nats.TLSHandshakeFirst())
	}
	return opts
}

// servers overrides the servers of a context.
func servers(urls string) nats.Option {
	return func(o *nats.Options) error {
		o.Url, o.Servers = "", nil
		for u := range strings.SplitSeq(urls, ",") {
			o.Servers = append(o.Servers, strings.TrimSpace(u))
		}
		return nil
	}
}

// dialTimeout shares the time that ctx leaves among the servers, each of which takes it at most twice: to connect, and to
// be greeted.
func dialTimeout(ctx context.Context, urls string) time.Duration {
	end, ok := ctx.Deadline()
	if !ok {
		return dialLimit
	}
	tries := 2 * (1 + strings.Count(urls, ","))
	return max(min(dialLimit, time.Until(end)/time.Duration(tries)), 10*time.Millisecond)
}
