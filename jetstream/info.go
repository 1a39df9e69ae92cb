package jetstream

import (
	"context"
	"fmt"
	"time"

	"headwater/bucket"
	"headwater/consumer"
)

// ServerInfo is what can be said about the server and the connection to it.
type ServerInfo struct {
	URL        string // of the server the client is connected to, without credentials
	Name       string
	Version    string
	Cluster    string // empty where the server stands alone
	Domain     string // JetStream domain; empty: none
	RTT        time.Duration
	MaxPayload int64
	// ClockAhead is how far the server's clock is ahead of ours, give or take half an RTT. Negative: behind. It is known
	// only where the streams are there already (ClockKnown).
	ClockAhead time.Duration
	ClockKnown bool
}

// Inspect asks the server about itself. It fails where JetStream does not answer: with [ErrTimeout] where nobody does,
// [ErrNotPermitted] where asking is forbidden, or with what the server says.
func (c *Client) Inspect(ctx context.Context) (ServerInfo, error) {
	info := ServerInfo{URL: c.nc.ConnectedUrlRedacted(), Name: c.nc.ConnectedServerName(),
		Version: c.nc.ConnectedServerVersion(), Cluster: c.nc.ConnectedClusterName(), MaxPayload: c.nc.MaxPayload()}
	var account struct {
		Domain string `json:"domain"`
	}
	if err := c.apiCall(ctx, c.api, "INFO", nil, &account); err != nil {
		return info, fmt.Errorf("ask JetStream about itself: %w", noJetStream(err))
	}
	info.Domain = account.Domain
	begin := time.Now()
	if err := c.flush(ctx); err != nil {
		return info, fmt.Errorf("measure the round trip: %w", err)
	}
	info.RTT = time.Since(begin)
	var stream struct {
		Time time.Time `json:"ts"`
	}
	begin = time.Now()
	err := c.apiCall(ctx, c.api, "STREAM.INFO."+c.names.HeadsStream(), nil, &stream)
	if took := time.Since(begin); err == nil && !stream.Time.IsZero() {
		info.ClockAhead, info.ClockKnown = stream.Time.Sub(begin.Add(took/2)), true
	}
	return info, nil
}

// HeadsSince returns when the stream of announcements was made: another time is another stream, which has heard nothing of what
// the first was told. [ErrNotFound] if there is none.
func (c *Client) HeadsSince(ctx context.Context) (time.Time, error) {
	info, err := c.streamInfo(ctx, c.names.StreamOf(consumer.KindHeads))
	if err != nil {
		return time.Time{}, fmt.Errorf("age of the stream of announcements: %w", noJetStream(err))
	}
	return info.Created, nil
}

// Backlog is what a durable still has to deliver.
type Backlog struct {
	Waiting uint64 // never delivered
	InWork  int    // delivered, and neither acknowledged nor terminated; those given back for later are among them
}

// Backlog returns what is still to be delivered to a peer. [ErrNotFound] where it has no durable.
func (c *Client) Backlog(ctx context.Context, k consumer.Kind, peer bucket.PublicKey) (Backlog, error) {
	info, err := c.durableInfo(ctx, c.names.StreamOf(k), c.names.Durable(k, peer))
	if err != nil {
		return Backlog{}, fmt.Errorf("backlog of %s for peer %s: %w", k, peer, noJetStream(err))
	}
	return Backlog{Waiting: info.NumPending, InWork: info.NumAckPending}, nil
}
