package jetstream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"headwater/bucket"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// ServiceName is what a running peer is called among the NATS services.
const ServiceName = "headwater"

// serviceConcurrency is how many questions a peer answers at once; further ones wait.
const serviceConcurrency = 8

// Metadata of the service, by which running peers are found and told apart.
const (
	metaPeer    = "peer"
	metaPrefix  = "prefix"
	metaVersion = "version"
)

// Codes of a [ServiceError] that this package gives.
const (
	codeInternal = 500 // a handler failed with an error of no code
	codeTooLarge = 413 // the answer is larger than the server allows
)

// ServiceError is an answer that says why there is none. A handler returns one, wrapped or not, to choose the code, and
// [Client.Ask] returns it to who asked.
type ServiceError struct {
	Code int
	Text string
}

// Error returns the text and the code.
func (e *ServiceError) Error() string { return fmt.Sprintf("%s (%d)", e.Text, e.Code) }

// ServiceConfig is what a running peer answers.
type ServiceConfig struct {
	Peer bucket.PublicKey // required
	// Version of the program. NATS services have semantic versions; another text is told in the metadata.
	Version string
	// Handlers by question, a word of letters, digits, '_' and '-'. They are called concurrently; their context ends with
	// that of Serve. They own the bytes they get.
	Handlers map[string]func(ctx context.Context, request []byte) ([]byte, error)
}

// service answers the questions to one peer.
type service struct {
	c     *Client
	slots chan struct{}
	work  sync.WaitGroup
}

// Serve answers questions to a peer, as a NATS service, until ctx ends; then it waits for the handlers at work and returns
// nil. It fails if the configuration is no good or the connection is closed.
func (c *Client) Serve(ctx context.Context, cfg ServiceConfig) error {
	if cfg.Peer.IsZero() {
		return errors.New("serve: a peer is required")
	}
	s := &service{c: c, slots: make(chan struct{}, serviceConcurrency)}
	svc, err := micro.AddService(c.nc, c.microConfig(cfg))
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	for question, handle := range cfg.Handlers {
		err := svc.AddEndpoint(question, s.handler(ctx, handle), micro.WithEndpointSubject(c.names.Ask(cfg.Peer, question)))
		if err != nil {
			return errors.Join(fmt.Errorf("serve %q: %w", question, err), svc.Stop())
		}
	}
	select {
	case <-ctx.Done():
		err = nil
	case <-c.link.ended:
		err = fmt.Errorf("serve: %w: the connection is closed", ErrUnreachable)
	}
	stopErr := svc.Stop()
	s.work.Wait()
	if stopErr != nil && !errors.Is(stopErr, nats.ErrConnectionClosed) {
		c.log.Debug("the service did not stop well", "error", stopErr)
	}
	return err
}

func (c *Client) microConfig(cfg ServiceConfig) micro.Config {
	version := cfg.Version
	if !regexp.MustCompile(`^\d+\.\d+\.\d+$`).MatchString(version) {
		version = "0.0.0"
	}
	return micro.Config{
		Name: ServiceName, Version: version, Description: "Headwater: keeps versioned, encrypted buckets in sync",
		Metadata: map[string]string{metaPeer: cfg.Peer.String(), metaPrefix: c.names.prefix(), metaVersion: cfg.Version},
		// Each peer has subjects of its own: there is nobody to share its questions with.
		QueueGroupDisabled: true,
		ErrorHandler: func(_ micro.Service, err *micro.NATSError) {
			c.log.Warn("NATS reports an error of the service", "subject", err.Subject, "error", err.Description)
		},
	}
}

// handler runs handle beside the subscription's own goroutine, as soon as a slot is free.
func (s *service) handler(ctx context.Context, handle func(context.Context, []byte) ([]byte, error)) micro.Handler {
	return micro.HandlerFunc(func(req micro.Request) {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		s.work.Go(func() {
			defer func() { <-s.slots }()
			body, err := handle(ctx, req.Data())
			if limit := s.c.nc.MaxPayload(); err == nil && int64(len(body)) > limit {
				err = &ServiceError{codeTooLarge, fmt.Sprintf("the answer has %d bytes, the server allows %d", len(body), limit)}
			}
			if err := s.c.publish(reply(req.Reply(), body, err)); err != nil {
				s.c.log.Debug("answer not sent", "subject", req.Subject(), "error", err)
			}
		})
	})
}

// reply is an answer as all NATS services give it.
func reply(to string, body []byte, err error) *nats.Msg {
	m := &nats.Msg{Subject: to, Data: body}
	if err == nil {
		return m
	}
	failed, ok := errors.AsType[*ServiceError](err)
	if !ok {
		failed = &ServiceError{codeInternal, err.Error()}
	}
	m.Data = nil
	m.Header = nats.Header{
		micro.ErrorHeader:     {cmp.Or(clip(failed.Text, 2048), "no reason was given")},
		micro.ErrorCodeHeader: {strconv.Itoa(failed.Code)},
	}
	return m
}

// Ask asks a running peer and returns its answer. Nobody answering is [ErrNoPeer]; a peer that could not answer is a
// [*ServiceError]. Without a deadline in ctx it waits for the request limit.
func (c *Client) Ask(ctx context.Context, peer bucket.PublicKey, question string, request []byte) ([]byte, error) {
	m := &nats.Msg{Subject: c.names.Ask(peer, question), Data: request}
	limit := c.limit
	if end, ok := ctx.Deadline(); ok {
		limit = time.Until(end)
	}
	bounded, done := c.boundedFor(ctx, limit, m.Subject)
	defer done()
	answer, err := c.nc.RequestMsgWithContext(bounded, m)
	if err != nil {
		if err = c.callError(ctx, bounded, err); errors.Is(err, errNoResponders) {
			err = ErrNoPeer
		}
		return nil, fmt.Errorf("ask peer %s for %s: %w", peer, question, err)
	}
	if text := answer.Header.Get(micro.ErrorHeader); text != "" {
		code, err := strconv.Atoi(answer.Header.Get(micro.ErrorCodeHeader))
		if err != nil {
			code = codeInternal
		}
		return nil, fmt.Errorf("ask peer %s for %s: %w", peer, question, &ServiceError{code, clip(text, 2048)})
	}
	return answer.Data, nil
}

// RunningPeer is a peer that answers questions at this moment.
type RunningPeer struct {
	Peer    bucket.PublicKey
	Version string
}

// peersQuiet is how long nobody must have answered for the list of peers to be complete.
const peersQuiet = 300 * time.Millisecond

// maxPeers bounds that list.
const maxPeers = 10_000

// Peers lists the peers with this client's prefix that run and can be reached, by key. It takes a third of a second, as it
// cannot know how many there are; if ctx ends before, it returns those that answered by then.
func (c *Client) Peers(ctx context.Context) ([]RunningPeer, error) {
	inbox := c.nc.NewInbox()
	sub, err := c.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("list running peers: %w", c.callError(ctx, ctx, err))
	}
	defer func() { _ = sub.Unsubscribe() }()
	subject := "$SRV.INFO." + ServiceName
	guard, done := c.calls.add(ctx, subject, false)
	defer done()
	if err := c.publish(&nats.Msg{Subject: subject, Reply: inbox}); err != nil {
		return nil, fmt.Errorf("list running peers: %w", err)
	}
	found := map[bucket.PublicKey]RunningPeer{}
	for len(found) < maxPeers {
		soon, cancel := context.WithTimeout(guard, peersQuiet)
		m, err := sub.NextMsgWithContext(soon)
		cancel()
		if err != nil && ctx.Err() == nil && guard.Err() != nil {
			return nil, fmt.Errorf("list running peers: %w", context.Cause(guard))
		}
		if err != nil {
			break
		}
		if p, ok := c.readPeer(m); ok {
			found[p.Peer] = p
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b RunningPeer) int { return a.Peer.Compare(b.Peer) }), nil
}

// readPeer reads what a service says about itself; ok is false if it is not a peer of this prefix.
func (c *Client) readPeer(m *nats.Msg) (p RunningPeer, ok bool) {
	var info micro.Info
	if json.Unmarshal(m.Data, &info) != nil || info.Metadata[metaPrefix] != c.names.prefix() {
		return p, false
	}
	p.Peer, ok = parsePeer(info.Metadata[metaPeer])
	p.Version = clip(info.Metadata[metaVersion], 64)
	return p, ok
}
