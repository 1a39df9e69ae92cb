package jetstream

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"strings"

	"headwater/bucket"
	"headwater/consumer"
)

// DefaultPrefix is the prefix of every name if none is configured.
const DefaultPrefix = "headwater"

// maxPrefixSize bounds a prefix: it stands in stream and store names, which have limits in file systems.
const maxPrefixSize = 32

// Names builds and parses every name that Headwater uses on a NATS account. Systems with different prefixes share an
// account without meeting. The zero Names has the [DefaultPrefix].
type Names struct {
	// Prefix: lower-case letters, digits and hyphens, starting with a letter, at most 32 bytes. Other characters are
	// refused so that no two prefixes lead to one stream name. Empty: [DefaultPrefix].
	Prefix string
}

// Validate says what is wrong with the prefix. The other methods of Names expect a valid one.
func (n Names) Validate() error {
	p := n.prefix()
	bad := strings.TrimLeft(p, lowerDigits+"-") != "" || len(p) > maxPrefixSize || !strings.Contains(lower, p[:1])
	if bad {
		return fmt.Errorf("prefix %.40q: want up to %d lower-case letters, digits and hyphens, a letter first", p, maxPrefixSize)
	}
	return nil
}

const (
	lower       = "abcdefghijklmnopqrstuvwxyz"
	lowerDigits = lower + "0123456789"
	nameChars   = lowerDigits + "ABCDEFGHIJKLMNOPQRSTUVWXYZ_-"
)

func (n Names) prefix() string { return cmp.Or(n.Prefix, DefaultPrefix) }

func (n Names) subject(tokens ...string) string { return n.prefix() + "." + strings.Join(tokens, ".") }

// Stream names.

// HeadsStream is the stream of announcements.
func (n Names) HeadsStream() string { return n.stream("HEADS") }

// PinsStream is the work queue of pin jobs.
func (n Names) PinsStream() string { return n.stream("PINS") }

// DeadStream is the stream of dead letters.
func (n Names) DeadStream() string { return n.stream("DEAD") }

func (n Names) stream(what string) string {
	return strings.ReplaceAll(strings.ToUpper(n.prefix()), "-", "_") + "_" + what
}

// StreamOf is the stream that the messages of a kind are in.
func (n Names) StreamOf(k consumer.Kind) string {
	if k == consumer.KindPins {
		return n.PinsStream()
	}
	return n.HeadsStream()
}

// Durable is the name of a peer's durable for a kind, on [Names.StreamOf].
func (n Names) Durable(k consumer.Kind, peer bucket.PublicKey) string {
	return string(k) + "-" + peer.String()
}

// ManifestStore is the object store of manifests.
func (n Names) ManifestStore() string { return n.prefix() + "-manifests" }

// BlobStore is the object store of everything else.
func (n Names) BlobStore() string { return n.prefix() + "-blobs" }

// Subjects.

// Head is the subject on which a peer announces a bucket's head.
func (n Names) Head(b bucket.ID, peer bucket.PublicKey) string {
	return n.subject("heads", b.String(), peer.String())
}

// HeadsOf matches the announcements of one bucket.
func (n Names) HeadsOf(b bucket.ID) string { return n.subject("heads", b.String(), "*") }

// AllHeads matches all announcements.
func (n Names) AllHeads() string { return n.subject("heads", "*", "*") }

// ParseHead reads an announcement's subject. What does not parse stays zero, and makes ok false.
func (n Names) ParseHead(subject string) (b bucket.ID, peer bucket.PublicKey, ok bool) {
	t, ok := n.tokens(subject, "heads", 2)
	if !ok {
		return b, peer, false
	}
	b, okBucket := parseID(t[0])
	peer, okPeer := parsePeer(t[1])
	return b, peer, okBucket && okPeer
}

// Pins is the subject of the jobs of one bucket for the peer that downloads.
func (n Names) Pins(peer bucket.PublicKey, b bucket.ID) string {
	return n.subject("pins", peer.String(), b.String())
}

// PinsOf matches the jobs for one peer.
func (n Names) PinsOf(peer bucket.PublicKey) string { return n.subject("pins", peer.String(), "*") }

// AllPins matches all jobs.
func (n Names) AllPins() string { return n.subject("pins", "*", "*") }

// ParsePins reads a job's subject. What does not parse stays zero, and makes ok false.
func (n Names) ParsePins(subject string) (peer bucket.PublicKey, b bucket.ID, ok bool) {
	t, ok := n.tokens(subject, "pins", 2)
	if !ok {
		return peer, b, false
	}
	peer, okPeer := parsePeer(t[0])
	b, okBucket := parseID(t[1])
	return peer, b, okBucket && okPeer
}

// Dead is the subject of the dead letters of one peer, kind and bucket. The zero bucket, written as a UUID, stands for
// messages whose subject names none.
func (n Names) Dead(peer bucket.PublicKey, k consumer.Kind, b bucket.ID) string {
	return n.subject("dead", peer.String(), string(k), b.String())
}

// DeadOf matches the dead letters of a peer, a kind and a bucket; what is zero matches any.
func (n Names) DeadOf(peer bucket.PublicKey, k consumer.Kind, b bucket.ID) string {
	return n.subject("dead", orAny(peer), cmp.Or(string(k), "*"), orAny(b))
}

// ParseDead reads a dead letter's subject; ok is false if it is none.
func (n Names) ParseDead(subject string) (peer bucket.PublicKey, k consumer.Kind, b bucket.ID, ok bool) {
	t, ok := n.tokens(subject, "dead", 3)
	if !ok {
		return peer, "", b, false
	}
	peer, okPeer := parsePeer(t[0])
	b, okBucket := parseID(t[2])
	if k = consumer.Kind(t[1]); k != consumer.KindHeads && k != consumer.KindPins {
		return peer, "", b, false
	}
	return peer, k, b, okPeer && okBucket
}

// Event is the subject of an event.
func (n Names) Event(peer bucket.PublicKey, b bucket.ID, k consumer.EventKind) string {
	return n.subject("events", peer.String(), b.String(), string(k))
}

// EventsOf matches the events of a peer, a bucket and a kind; what is zero matches any.
func (n Names) EventsOf(peer bucket.PublicKey, b bucket.ID, k consumer.EventKind) string {
	return n.subject("events", orAny(peer), orAny(b), cmp.Or(string(k), "*"))
}

// orAny is the token of a peer or bucket, or the wildcard for none.
func orAny(who interface {
	IsZero() bool
	String() string
}) string {
	if who.IsZero() {
		return "*"
	}
	return who.String()
}

// Ask is the subject on which a peer answers a question. A question is one token of letters, digits, '_' and '-'.
func (n Names) Ask(peer bucket.PublicKey, question string) string {
	return n.subject("ask", peer.String(), question)
}

// tokens splits a subject behind the prefix and the word that says what it is.
func (n Names) tokens(subject, what string, count int) ([]string, bool) {
	rest, ok := strings.CutPrefix(subject, n.prefix()+"."+what+".")
	if !ok {
		return nil, false
	}
	t := strings.SplitN(rest, ".", count+1)
	return t, len(t) == count
}

// validSubjectToken reports whether t is one token of a subject and no wildcard.
func validSubjectToken(t string) bool { return t != "" && !strings.ContainsAny(t, ".*> \t\r\n\x00") }

func parseID(s string) (bucket.ID, bool) {
	b, err := bucket.ParseID(s)
	return b, err == nil
}

func parsePeer(s string) (bucket.PublicKey, bool) {
	k, err := bucket.ParsePublicKey(s)
	return k, err == nil
}

// Object stores.

// Store names an object store, in a JetStream domain or, if Domain is empty, in the client's own.
type Store struct {
	Domain string
	Name   string
}

// ParseStore reads "name" or "domain/name", each of letters, digits, '_' and '-', together at most
// [bucket.MaxStoreNameSize] bytes. Anything else is [bucket.ErrSyntax].
func ParseStore(s string) (Store, error) {
	st := Store{Name: s}
	if domain, name, ok := strings.Cut(s, "/"); ok {
		if st = (Store{Domain: domain, Name: name}); domain == "" {
			st.Name = ""
		}
	}
	if len(s) > bucket.MaxStoreNameSize || st.Name == "" || strings.Trim(st.Domain+st.Name, nameChars) != "" {
		return Store{}, fmt.Errorf("object store %.140q: %w: want name or domain/name of letters, digits, _ and -", s,
			bucket.ErrSyntax)
	}
	return st, nil
}

// String returns the form that [ParseStore] reads.
func (s Store) String() string {
	if s.Domain == "" {
		return s.Name
	}
	return s.Domain + "/" + s.Name
}

// stream is the stream behind the object store, by the convention of all NATS clients.
func (s Store) stream() string { return "OBJ_" + s.Name }

// chunks is the subject of the chunks that carry a token.
func (s Store) chunks(token string) string { return "$O." + s.Name + ".C." + token }

// meta is the subject of the description of the object that is called name.
func (s Store) meta(name string) string {
	return "$O." + s.Name + ".M." + base64.URLEncoding.EncodeToString([]byte(name))
}

// validToken reports whether a token out of an object's description can stand in a subject without widening it.
func validToken(t string) bool {
	return t != "" && len(t) <= 128 && strings.Trim(t, nameChars+"=") == ""
}

// The JetStream API.

// apiPrefix is where the API of a domain is asked.
func apiPrefix(domain string) string {
	if domain == "" {
		return "$JS.API"
	}
	return "$JS." + domain + ".API"
}

// inboxPrefix is where NATS clients await answers, unless they are told otherwise.
const inboxPrefix = "_INBOX"
