package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"headwater/bucket"
	"headwater/consumer"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

// contentType is the header that says how a body is encoded.
const contentType = "Content-Type"

// pubAck is what a stream answers to a message.
type pubAck struct {
	Stream    string    `json:"stream"`
	Seq       uint64    `json:"seq"`
	Duplicate bool      `json:"duplicate"`
	Batch     string    `json:"batch"` // that the message ended; empty for none
	Count     int       `json:"count"` // of the batch's messages
	Error     *apiError `json:"error"`
}

// store publishes a message and returns once a stream has stored it, or has found its message id among the last. If
// nobody answers, it tries again for a second, the time that a new leader takes to be found; then it is [ErrTimeout]. It is
// [ErrNotFound], at once, if the server says that the stream does not exist.
func (c *Client) store(ctx context.Context, in place, m *nats.Msg) (pubAck, error) {
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxElapsedTime(time.Second))
	answer, err := backoff.RetryWithData(func() (*nats.Msg, error) {
		answer, err := c.request(ctx, m)
		if errors.Is(err, errNoResponders) {
			err = c.whyNobody(ctx, in)
			if errors.Is(err, ErrNotFound) {
				return nil, backoff.Permanent(err)
			}
			return nil, err
		}
		return answer, backoff.Permanent(err)
	}, backoff.WithContext(policy, ctx))
	if err != nil {
		return pubAck{}, err
	}
	return readAck(answer.Data)
}

// readAck reads the answer of a stream. An error in it is an [*apiError].
func readAck(body []byte) (ack pubAck, err error) {
	if err := json.Unmarshal(body, &ack); err != nil {
		return ack, fmt.Errorf("the stream's answer cannot be read: %w", err)
	}
	if ack.Error != nil {
		return ack, ack.Error
	}
	if ack.Stream == "" || ack.Seq == 0 {
		return ack, fmt.Errorf("whoever answered is no stream: %.80q", body)
	}
	return ack, nil
}

// whyNobody says why nobody answers for a stream: it is not there ([ErrNotFound]), or something else ([ErrTimeout] and
// others).
func (c *Client) whyNobody(ctx context.Context, in place) error {
	_, err := c.streamInfo(ctx, in)
	return silent(in, err)
}

// silent says what it means that nobody answers for a stream; err is what asking about the stream returned.
func silent(in place, err error) error {
	if err == nil {
		return fmt.Errorf("%w: stream %s is there, but does not answer", ErrTimeout, in.stream)
	}
	return noJetStream(err)
}

// Announce publishes a head. Bucket and peer of a are required: they are the subject. It returns once the stream has stored
// the announcement, or has found that it holds it already (duplicate): announcing again within [headsWindow] tells nobody
// anew. Errors: [ErrNotFound] if the stream is missing, [ErrPayload], [ErrNotPermitted], [ErrUnreachable], [ErrTimeout].
func (c *Client) Announce(ctx context.Context, a bucket.Announcement) (duplicate bool, err error) {
	if a.Bucket.IsZero() || a.Peer.IsZero() || a.Link.IsZero() {
		return false, errors.New("announce: bucket, peer and link are required")
	}
	duplicate, err = c.storeMessage(ctx, c.names.HeadsStream(), c.names.Head(a.Bucket, a.Peer), a.MessageID(), a)
	if err != nil {
		return false, fmt.Errorf("announce %s: %w", a.Link, err)
	}
	return duplicate, nil
}

// storeMessage stores an announcement or a job. What the server would refuse, by cutting the connection, is refused here.
func (c *Client) storeMessage(
	ctx context.Context, stream, subject, id string, message interface{ Encode() ([]byte, error) },
) (duplicate bool, err error) {
	body, err := message.Encode()
	if err != nil {
		return false, err
	}
	if limit := min(bucket.MaxMessageSize, c.nc.MaxPayload()); int64(len(body)) > limit {
		return false, fmt.Errorf("%w: %d bytes, the limit is %d", ErrPayload, len(body), limit)
	}
	ack, err := c.store(ctx, c.at(stream), &nats.Msg{Subject: subject, Data: body, Header: nats.Header{
		natsjs.MsgIDHeader: {id}, contentType: {bucket.ContentTypeCBOR},
	}})
	return ack.Duplicate, err
}

// Jobs publishes the pin jobs of one peer.
type Jobs struct {
	c    *Client
	peer bucket.PublicKey
}

var _ consumer.Jobs = (*Jobs)(nil)

// Jobs returns the pin jobs of peer, who downloads.
func (c *Client) Jobs(peer bucket.PublicKey) *Jobs { return &Jobs{c, peer} }

// PublishJob publishes a job: see [consumer.Jobs]. Its id derives from the peer too, because all peers share the stream.
// Errors are those of [Client.Announce].
func (j *Jobs) PublishJob(ctx context.Context, job bucket.PinJob, attempt uint32) (duplicate bool, err error) {
	id := fmt.Sprintf("%s.%s.%s.%d", j.peer, job.Bucket, job.Link, attempt)
	duplicate, err = j.c.storeMessage(ctx, j.c.names.PinsStream(), j.c.names.Pins(j.peer, job.Bucket), id, job)
	if err != nil {
		return false, fmt.Errorf("publish the pin job for %s: %w", job.Link, err)
	}
	return duplicate, nil
}

// QueuedJobs counts the jobs of the peer that the broker holds, in work or waiting, by bucket.
func (j *Jobs) QueuedJobs(ctx context.Context) (map[bucket.ID]uint64, error) {
	names := j.c.names
	counts, err := j.c.bucketCounts(ctx, names.PinsStream(), names.PinsOf(j.peer), func(s string) (bucket.ID, bool) {
		_, id, ok := names.ParsePins(s)
		return id, ok
	})
	if err != nil {
		return nil, fmt.Errorf("count the queued pin jobs: %w", err)
	}
	return counts, nil
}

// Events tells what happens to the buckets of one peer.
type Events struct {
	c    *Client
	peer bucket.PublicKey
}

var _ consumer.Events = (*Events)(nil)

// Events returns the events of peer.
func (c *Client) Events(peer bucket.PublicKey) *Events { return &Events{c, peer} }

// Emit sends e to whoever listens. It never waits; without a connection e is lost.
func (e *Events) Emit(ev consumer.Event) {
	body, err := json.Marshal(ev)
	if err == nil {
		m := &nats.Msg{Subject: e.c.names.Event(e.peer, ev.BucketID, ev.Kind), Data: body}
		err = e.c.publish(m)
	}
	if err != nil {
		e.c.log.Debug("event not sent", "kind", ev.Kind, "error", err)
	}
}

// timeOf is when the stream received a message that a direct get answered.
func timeOf(m *nats.Msg) time.Time {
	t, err := time.Parse(time.RFC3339Nano, lastHeader(m.Header, "Nats-Time-Stamp"))
	if err != nil {
		return time.Time{}
	}
	return t
}

// expectSequence makes a stream refuse m unless the last message on its subject has that sequence; 0 is none.
func expectSequence(m *nats.Msg, seq uint64) *nats.Msg {
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	m.Header[natsjs.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(seq, 10)}
	return m
}
