package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

// place is a stream and where its API is asked.
type place struct{ api, stream string }

// at is a stream of the client's own domain.
func (c *Client) at(stream string) place { return place{c.api, stream} }

// storeAt is the stream behind an object store. Only the text of the API's subject depends on the domain: asking many
// domains leaves nothing behind.
func (c *Client) storeAt(s Store) place {
	if s.Domain == "" {
		return place{c.api, s.stream()}
	}
	return place{apiPrefix(s.Domain), s.stream()}
}

// getRequest asks a stream for messages, in the words of the JetStream API. Servers refuse fields they do not know.
type getRequest struct {
	Seq      uint64 `json:"seq,omitempty"`
	LastFor  string `json:"last_by_subj,omitempty"`
	NextFor  string `json:"next_by_subj,omitempty"`
	Batch    int    `json:"batch,omitempty"`
	MaxBytes int    `json:"max_bytes,omitempty"`

	// Multi asks for the last message of each of these subjects.
	Multi []string `json:"multi_last,omitempty"`
}

// errAbsent: the stream answered, and has no such message.
var errAbsent = errors.New("no such message in the stream")

// get reads one message. Without leader any replica answers, in one round trip, and may lag; with it the stream's leader
// does, and knows all that was acknowledged. Streams that allow no direct gets are always asked through their leader.
// Errors: errAbsent, [ErrNotFound] if the stream does not exist, and those of [Client.request].
func (c *Client) get(ctx context.Context, in place, req getRequest, leader bool) (*nats.Msg, error) {
	if leader || c.leaders.is(in) {
		return c.leaderGet(ctx, in, req)
	}
	m := &nats.Msg{Subject: in.api + ".DIRECT.GET." + in.stream}
	if req.LastFor != "" {
		m.Subject += "." + req.LastFor // can be permitted for single subjects
	} else {
		body, err := json.Marshal(req)
		if err != nil {
			return nil, err
		}
		m.Data = body
	}
	answer, err := c.request(ctx, m)
	if errors.Is(err, errNoResponders) {
		if err = c.directOff(ctx, in); err == nil {
			return c.leaderGet(ctx, in, req)
		}
	}
	if err != nil {
		return nil, err
	}
	if status, err := statusOf(answer); status != 0 {
		return nil, err
	}
	return answer, nil
}

// directOff says why nobody answers a direct get: nil if the stream allows none, which is remembered, else an error as
// [Client.whyNobody].
func (c *Client) directOff(ctx context.Context, in place) error {
	info, err := c.streamInfo(ctx, in)
	if err == nil && !info.Config.AllowDirect {
		c.leaders.know(in, true)
		return nil
	}
	return silent(in, err)
}

// leaderGet reads one message through the JetStream API, and gives it the headers that a direct get would.
func (c *Client) leaderGet(ctx context.Context, in place, req getRequest) (*nats.Msg, error) {
	var resp struct {
		Message struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	err := c.apiCall(ctx, in.api, "STREAM.MSG.GET."+in.stream, req, &resp)
	if hasCode(err, codeMessageNotFound) {
		return nil, errAbsent
	}
	if err != nil {
		return nil, noJetStream(err)
	}
	m := &nats.Msg{Header: nats.Header{}, Data: resp.Message.Data}
	if len(resp.Message.Header) > 0 {
		if m.Header, err = nats.DecodeHeadersMsg(resp.Message.Header); err != nil {
			return nil, fmt.Errorf("message %d of stream %s: %w", resp.Message.Seq, in.stream, err)
		}
	}
	m.Header.Add(natsjs.SubjectHeader, resp.Message.Subject)
	m.Header.Add(natsjs.SequenceHeader, strconv.FormatUint(resp.Message.Seq, 10))
	m.Header.Add("Nats-Time-Stamp", resp.Message.Time.Format(time.RFC3339Nano))
	return m, nil
}

// errBad: the server does not understand the request. One before 2.11 says so of a batched get by subjects.
var errBad = errors.New("the server answers 408")

// Statuses that the server sends in place of a message.
const (
	statusEnd          = 204
	statusAbsent       = 404
	statusBad          = 408
	statusNoResponders = 503
)

// statusOf returns the status of a message that has no body and is not one of the stream's, and the error that it means: -1 if
// it is not a number, 0 for any other message.
func statusOf(m *nats.Msg) (int, error) {
	text := m.Header.Get("Status")
	if len(m.Data) > 0 || text == "" {
		return 0, nil
	}
	switch status, err := strconv.Atoi(text); {
	case err != nil:
		return -1, fmt.Errorf("the server answers with status %.20q", text)
	case status == statusAbsent:
		return status, errAbsent
	case status == statusBad:
		return status, fmt.Errorf("%w: %s", errBad, clip(m.Header.Get("Description"), 100))
	case status == statusNoResponders:
		return status, errNoResponders
	default:
		return status, fmt.Errorf("the server answers %d: %s", status, clip(m.Header.Get("Description"), 100))
	}
}

// batch asks a stream for many messages at a time. Requests are sent and received in turn, so that one can be under way
// while the messages of another are used. Servers before 2.11 answer each with a single message. Not safe for concurrent
// use.
//
// Like the body of an HTTP response it lives as long as the context it was opened with.
type batch struct {
	c       *Client
	in      place
	subject string
	parent  context.Context
	guard   context.Context // ends when the server forbids the subject, too
	done    func()
	sub     *nats.Subscription
	inbox   string
	sent    int
	req     getRequest // the last one sent
}

// openBatch prepares for requests. Close it in any case.
func (c *Client) openBatch(ctx context.Context, in place) (*batch, error) {
	b := &batch{c: c, in: in, subject: in.api + ".DIRECT.GET." + in.stream, parent: ctx, inbox: c.nc.NewInbox()}
	var err error
	if b.sub, err = c.nc.SubscribeSync(b.inbox + ".*"); err != nil {
		return nil, c.callError(ctx, ctx, err)
	}
	b.guard, b.done = c.calls.add(ctx, b.subject, false)
	return b, nil
}

// close gives up what was asked for.
func (b *batch) close() {
	b.done()
	_ = b.sub.Unsubscribe()
}

// send asks. What an earlier request still has to deliver is lost.
func (b *batch) send(req getRequest) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	b.req = req
	b.sent++
	return b.c.publish(&nats.Msg{Subject: b.subject, Reply: b.answers(), Data: body})
}

// answers is the subject of the answers to the last request.
func (b *batch) answers() string { return b.inbox + "." + strconv.Itoa(b.sent) }

// receive returns the messages that answer the last request, in the order of the stream. There may be fewer than asked for:
// the server stops when the bytes asked for are reached, and a replica when it knows no more. None is errAbsent; nobody
// answering is errNoResponders.
func (b *batch) receive() ([]*nats.Msg, error) {
	var msgs []*nats.Msg
	size, last := 0, uint64(0)
	for len(msgs) <= b.req.Batch && size <= 2*(b.req.MaxBytes+int(b.c.nc.MaxPayload())) {
		m, err := b.next()
		if err != nil {
			return nil, err
		}
		switch status, err := statusOf(m); {
		case status == statusEnd && len(msgs) > 0:
			return msgs, nil
		case status == statusEnd:
			return nil, errAbsent
		case status != 0:
			return nil, err
		}
		seq := sequenceOf(m)
		if seq <= last {
			return nil, fmt.Errorf("stream %s answers sequence %d after %d", b.in.stream, seq, last)
		}
		msgs, size, last = append(msgs, m), size+len(m.Data), seq
		if len(m.Header[numPendingHeader]) == 0 {
			return msgs, nil // a server that knows no batches
		}
	}
	return nil, fmt.Errorf("stream %s answers with more than was asked for", b.in.stream)
}

const numPendingHeader = "Nats-Num-Pending"

// next returns the next answer to the last request.
func (b *batch) next() (*nats.Msg, error) {
	ctx, cancel := context.WithTimeoutCause(b.guard, b.c.limit, fmt.Errorf("%w: waited %s", ErrTimeout, b.c.limit))
	defer cancel()
	for {
		m, err := b.sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, b.c.silence(b.c.callError(b.parent, ctx, err), b.subject)
		}
		if m.Subject == b.answers() {
			return m, nil
		}
	}
}

// Sizes of one step of a scan.
const (
	scanBatch = 256
	scanBytes = 1 << 20
)

// scan yields the messages whose subjects match filter, in the order of the stream, until there are no more, or an error, which
// ends it.
func (c *Client) scan(ctx context.Context, in place, filter string) iter.Seq2[*nats.Msg, error] {
	return func(yield func(*nats.Msg, error) bool) {
		b, err := c.openBatch(ctx, in)
		if err != nil {
			yield(nil, err)
			return
		}
		defer b.close()
		for from, leader := uint64(1), c.leaders.is(in); ; {
			var msgs []*nats.Msg
			msgs, leader, err = b.step(getRequest{Seq: from, NextFor: filter, Batch: scanBatch, MaxBytes: scanBytes}, leader)
			if errors.Is(err, errAbsent) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for _, m := range msgs {
				if !yield(m, nil) {
					return
				}
				from = max(from, sequenceOf(m)) + 1
			}
		}
	}
}

// step sends and receives one request, by single messages from the leader if the stream allows no direct gets.
func (b *batch) step(req getRequest, leader bool) ([]*nats.Msg, bool, error) {
	if !leader {
		if err := b.send(req); err != nil {
			return nil, false, err
		}
		msgs, err := b.receive()
		if !errors.Is(err, errNoResponders) {
			return msgs, false, err
		}
		if err := b.c.directOff(b.parent, b.in); err != nil {
			return nil, false, err
		}
	}
	m, err := b.c.leaderGet(b.parent, b.in, getRequest{Seq: req.Seq, NextFor: req.NextFor})
	return []*nats.Msg{m}, true, err
}
