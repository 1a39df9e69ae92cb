package jetstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/bucket"
	"headwater/consumer"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

// Headers of a dead letter, beside those of the message.
const (
	headerReason     = "Headwater-Reason"
	headerClass      = "Headwater-Reason-Class"
	headerSubject    = "Headwater-Subject"
	headerSequence   = "Headwater-Sequence"
	headerDeliveries = "Headwater-Deliveries"
	// headerTruncated holds the size of a body that was cut, because it did not fit beside the headers above.
	headerTruncated = "Headwater-Truncated"
	// headerOriginal precedes the name of a header of the message that would have an effect on the letter: every one that
	// starts with "Nats-", through which the server is told what to do with a message, and every one that starts with
	// "Headwater-" or is "Status", which would be taken for one of the letter's.
	headerOriginal = "Headwater-Original-"
)

// maxLetterHeaders is how many bytes of a message's headers a letter keeps, the first ones in alphabetical order.
const maxLetterHeaders = 64 << 10

// letterRoom is what a letter's own headers may take.
const letterRoom = 8 << 10

// DeadLetters sets the messages of one peer aside.
type DeadLetters struct {
	c    *Client
	peer bucket.PublicKey
}

var _ consumer.DeadLetters = (*DeadLetters)(nil)

// DeadLetters returns the dead letters of peer, who could not do anything with the messages.
func (c *Client) DeadLetters(peer bucket.PublicKey) *DeadLetters { return &DeadLetters{c, peer} }

// Bury stores a message with its reason: see [consumer.DeadLetters]. Body and headers are kept as they were sent; a body so
// large that nothing can be added is cut, and marked so. Within an hour the same delivery leaves one letter.
func (d *DeadLetters) Bury(ctx context.Context, m consumer.Message, class, reason string) error {
	letter := &nats.Msg{Subject: d.c.names.Dead(d.peer, m.Kind, m.Bucket), Header: letterHeaders(m), Data: m.Body}
	size := (&nats.Msg{Header: letter.Header}).Size()
	if room := int(d.c.nc.MaxPayload()) - size - letterRoom; len(m.Body) > room {
		letter.Data = m.Body[:max(room, 0)]
		letter.Header[headerTruncated] = []string{strconv.Itoa(len(m.Body))}
	}
	for k, v := range map[string]string{
		headerReason: clip(reason, 1024), headerClass: clip(class, 64), headerSubject: clip(m.Subject, 4096),
		headerSequence: strconv.FormatUint(m.Sequence, 10), headerDeliveries: strconv.FormatUint(m.Deliveries, 10),
		natsjs.MsgIDHeader: d.letterID(m),
	} {
		letter.Header[k] = []string{v}
	}
	if _, err := d.c.store(ctx, d.c.at(d.c.names.DeadStream()), letter); err != nil {
		return fmt.Errorf("bury %s message %d: %w", m.Kind, m.Sequence, err)
	}
	return nil
}

// letterID names the delivery, not its number: the body tells apart the messages of a stream that was made anew.
func (d *DeadLetters) letterID(m consumer.Message) string {
	sum := sha256.Sum256(append([]byte(m.Subject+"\x00"), m.Body...))
	return fmt.Sprintf("%s.%s.%d.%s", d.peer, m.Kind, m.Sequence, hex.EncodeToString(sum[:16]))
}

// letterHeaders are the headers of the message, with those that would have an effect under another name.
func letterHeaders(m consumer.Message) nats.Header {
	h := nats.Header{}
	size := 0
	for _, k := range slices.Sorted(maps.Keys(m.Header)) {
		name := k
		if takesEffect(k) {
			name = headerOriginal + k
		}
		for _, v := range m.Header[k] {
			if size += len(name) + len(v) + 4; size > maxLetterHeaders {
				return h
			}
			h[name] = append(h[name], v)
		}
	}
	return h
}

func takesEffect(header string) bool {
	h := strings.ToLower(header)
	return strings.HasPrefix(h, "nats-") || strings.HasPrefix(h, "headwater-") || h == "status"
}

// Letter is a message that was set aside, and what is known about it. What it says is no more proven than it was.
type Letter struct {
	consumer.Message // as it was delivered, with its original headers

	Letter uint64           // its sequence among the dead letters, which names it
	Owner  bucket.PublicKey // the peer that set it aside
	Class  string
	Reason string
	At     time.Time // when it was set aside
	// Truncated is the size of the body if the letter could not hold all of it, else 0.
	Truncated int
}

// readLetter reads a letter as a direct get answers it. ok is false if its subject is not that of a letter.
func (c *Client) readLetter(m *nats.Msg) (l Letter, ok bool) {
	l.Owner, l.Kind, l.Bucket, ok = c.names.ParseDead(lastHeader(m.Header, natsjs.SubjectHeader))
	if !ok {
		return l, false
	}
	l.Letter, l.At = sequenceOf(m), timeOf(m)
	l.Class, l.Reason, l.Subject = m.Header.Get(headerClass), m.Header.Get(headerReason), m.Header.Get(headerSubject)
	// What cannot be read stays 0: letters can be written by hand.
	l.Sequence, _ = strconv.ParseUint(m.Header.Get(headerSequence), 10, 64)
	l.Deliveries, _ = strconv.ParseUint(m.Header.Get(headerDeliveries), 10, 64)
	l.Truncated, _ = strconv.Atoi(m.Header.Get(headerTruncated))
	if l.Kind == consumer.KindHeads {
		_, l.Peer, _ = c.names.ParseHead(l.Subject)
	} else {
		l.Peer, _, _ = c.names.ParsePins(l.Subject)
	}
	l.Body, l.Header = m.Data, map[string][]string{}
	for k, v := range m.Header {
		if name, original := strings.CutPrefix(k, headerOriginal); original {
			l.Header[name] = v
		} else if !takesEffect(k) {
			l.Header[k] = v
		}
	}
	return l, true
}

// replayHeaders are the headers that a replayed message gets: its own, but none that would have an effect, because those
// spoke of another moment.
func (l Letter) replayHeaders() nats.Header {
	h := nats.Header{}
	for k, v := range l.Header {
		if !takesEffect(k) {
			h[k] = v
		}
	}
	if _, ok := h[contentType]; !ok {
		for k, v := range l.Header { // a sender may spell it otherwise
			if textproto.CanonicalMIMEHeaderKey(k) == contentType {
				h[contentType] = v
			}
		}
	}
	// Each letter can be replayed once within the duplicate window, but is not taken for the message it holds.
	h[natsjs.MsgIDHeader] = []string{fmt.Sprintf("replay.%s.%d", l.Owner, l.Letter)}
	return h
}
