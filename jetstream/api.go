package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"headwater/bucket"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

// The JetStream API is spoken here in its own words, JSON requests on its subjects, rather than through the client's
// library: a refusal then ends the call it belongs to, and any domain can be asked without keeping a handle for it.

// streamInfo is what is read of a stream's state.
type streamInfo struct {
	Config  natsjs.StreamConfig `json:"config"`
	Created time.Time           `json:"created"`
	State   struct {
		Subjects map[string]uint64 `json:"subjects"`
	} `json:"state"`
	Total int `json:"total"` // of subjects, if they were asked for and are more than one page
}

// durableInfo is what is read of a durable's state.
type durableInfo struct {
	Config        natsjs.ConsumerConfig `json:"config"`
	NumAckPending int                   `json:"num_ack_pending"`
	Paused        bool                  `json:"paused"`
}

// apiCall asks operation op of the JetStream API behind prefix and reads the answer into resp. An error of the API is an
// [*apiError]. Nobody answering is errNoResponders: JetStream is off, has no leader, or the domain does not exist.
func (c *Client) apiCall(ctx context.Context, prefix, op string, req, resp any) error {
	var body []byte
	if req != nil {
		var err error
		if body, err = json.Marshal(req); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
	m, err := c.request(ctx, &nats.Msg{Subject: prefix + "." + op, Data: body})
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	var failed struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &failed); err != nil {
		return fmt.Errorf("%s: the answer is no JSON: %w", op, err)
	}
	if failed.Error != nil {
		return fmt.Errorf("%s: %w", op, failed.Error)
	}
	if resp == nil {
		return nil
	}
	if err := json.Unmarshal(m.Data, resp); err != nil {
		return fmt.Errorf("%s: the answer cannot be read: %w", op, err)
	}
	return nil
}

func (c *Client) streamInfo(ctx context.Context, in place) (info streamInfo, err error) {
	err = c.apiCall(ctx, in.api, "STREAM.INFO."+in.stream, nil, &info)
	return info, err
}

func (c *Client) durableInfo(ctx context.Context, stream, durable string) (info durableInfo, err error) {
	err = c.apiCall(ctx, c.api, "CONSUMER.INFO."+stream+"."+durable, nil, &info)
	return info, err
}

// subjectCounts returns how many messages there are on each subject of a stream that matches filter.
func (c *Client) subjectCounts(ctx context.Context, in place, filter string) (map[string]uint64, error) {
	counts := map[string]uint64{}
	for offset := 0; ; {
		var page streamInfo
		req := map[string]any{"subjects_filter": filter, "offset": offset}
		if err := c.apiCall(ctx, in.api, "STREAM.INFO."+in.stream, req, &page); err != nil {
			return nil, err
		}
		maps.Copy(counts, page.State.Subjects)
		offset += len(page.State.Subjects)
		if len(page.State.Subjects) == 0 || offset >= page.Total {
			return counts, nil
		}
	}
}

// bucketCounts counts the messages of a stream by bucket: those on subjects that match filter and that parse reads.
func (c *Client) bucketCounts(
	ctx context.Context, stream, filter string, parse func(subject string) (bucket.ID, bool),
) (map[bucket.ID]uint64, error) {
	subjects, err := c.subjectCounts(ctx, c.at(stream), filter)
	counts := map[bucket.ID]uint64{}
	for s, n := range subjects {
		if id, ok := parse(s); ok {
			counts[id] += n
		}
	}
	return counts, noJetStream(err)
}

// createStream makes a stream. If one of that name exists already, even with other settings, it returns nil: somebody
// was faster. A server that is strict and too old to know batches is asked without them.
func (c *Client) createStream(ctx context.Context, cfg natsjs.StreamConfig) error {
	create := func() error { return c.apiCall(ctx, c.api, "STREAM.CREATE."+cfg.Name, cfg, nil) }
	err := c.retryPlacement(ctx, create)
	if hasCode(err, codeInvalidJSON) && cfg.AllowAtomicPublish {
		cfg.AllowAtomicPublish = false
		err = c.retryPlacement(ctx, create)
	}
	if hasCode(err, codeStreamNameInUse) {
		return nil
	}
	if err == nil {
		c.log.Info("made a stream", "stream", cfg.Name, "replicas", cfg.Replicas)
	}
	return err
}

// createDurable makes a durable. If one of that name exists already, even with other settings, it returns nil.
func (c *Client) createDurable(ctx context.Context, stream string, cfg natsjs.ConsumerConfig) error {
	op := "CONSUMER.CREATE." + stream + "." + cfg.Durable + "." + cfg.FilterSubject
	cfg.Name = cfg.Durable
	req := struct {
		Stream string                `json:"stream_name"`
		Config natsjs.ConsumerConfig `json:"config"`
		Action string                `json:"action"`
	}{stream, cfg, "create"}
	err := c.retryPlacement(ctx, func() error { return c.apiCall(ctx, c.api, op, req, nil) })
	if hasCode(err, codeConsumerExists, codeConsumerNameInUse) {
		return nil
	}
	if err == nil {
		c.log.Info("made a durable", "durable", cfg.Durable, "stream", stream)
	}
	return err
}

// retryPlacement repeats a creation while a cluster that has just come up cannot place it yet, for the length of one
// request limit.
func (c *Client) retryPlacement(ctx context.Context, create func() error) error {
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(20*time.Millisecond),
		backoff.WithMaxInterval(500*time.Millisecond), backoff.WithMaxElapsedTime(c.limit))
	return backoff.Retry(func() error {
		err := create()
		if hasCode(err, codeNoSuitablePeers, codeClusterNotAvail) || errors.Is(err, errNoResponders) {
			return err
		}
		return backoff.Permanent(err)
	}, backoff.WithContext(policy, ctx))
}

// lastHeader is the last value of a header. In what a direct get answers, the server's own headers come after those of the
// stored message, which may have the same names and say anything.
func lastHeader(h nats.Header, key string) string {
	if v := h[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// sequenceOf is the sequence of a message that a direct get answered, or 0.
func sequenceOf(m *nats.Msg) uint64 {
	n, err := strconv.ParseUint(lastHeader(m.Header, natsjs.SequenceHeader), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// noJetStream says what nobody answering the JetStream API means.
func noJetStream(err error) error {
	if !errors.Is(err, errNoResponders) {
		return err
	}
	return fmt.Errorf("%w: %w: is JetStream enabled on the server, and the domain right?", ErrTimeout, err)
}
