package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
	"headwater/logstore"
)

// The questions that a running peer answers, as words of its NATS service. Requests and answers are JSON.
const (
	questionStatus   = "status"
	questionLog      = "log"
	questionHead     = "head"
	questionManifest = "manifest"
)

// Codes of answers that say why there is none.
const (
	answerBadRequest = 400
	answerNotFound   = 404
)

// pageSize is the most buckets or versions in one answer, so that it stays far below what a message may hold.
const pageSize = 500

// statusRequest asks for one bucket, or for a page of all, in order of their ids.
type statusRequest struct {
	Bucket *bucket.ID `json:"bucket_id,omitempty"`
	After  *bucket.ID `json:"after,omitempty"`
	Limit  int        `json:"limit,omitempty"` // 0: as many as a page holds
}

type statusAnswer struct {
	PeerID  bucket.PublicKey  `json:"peer_id"`
	Buckets []consumer.Status `json:"buckets"`
	// Outcomes counts how messages ended since the peer was started.
	Outcomes map[consumer.Kind]map[consumer.Outcome]uint64 `json:"outcomes"`
	Damage   map[string]blobstore.Damage         `json:"damage,omitempty"`
	More     bool                                `json:"more,omitempty"` // there may be buckets behind the last one
}

// logRequest asks for a page of a bucket's versions, newest first, beginning behind a version.
type logRequest struct {
	Bucket bucket.ID    `json:"bucket_id"`
	Before *bucket.Head `json:"before,omitempty"`
	Limit  int          `json:"limit,omitempty"`
}

type logAnswer struct {
	Head     bucket.Head `json:"head"`
	Versions []logLine   `json:"versions"`
	More     bool        `json:"more,omitempty"`
}

// logLine is one version as log tells it.
type logLine struct {
	BucketID  bucket.ID         `json:"bucket_id"`
	Link      bucket.Link       `json:"link"`
	Height    uint64            `json:"height"`
	Previous  *bucket.Link      `json:"previous"`
	Author    *bucket.PublicKey `json:"author"`
	Published bool              `json:"published"`
	Head      bool              `json:"head"`
	Complete  bool              `json:"complete"`
	Name      string            `json:"name"`
	Added     time.Time         `json:"added"`
}

type bucketRequest struct {
	Bucket bucket.ID `json:"bucket_id"`
}

type manifestRequest struct {
	Link bucket.Link `json:"link"`
}

type manifestAnswer struct {
	Manifest []byte `json:"manifest"` // base64 in JSON
}

// answer answers questions until ctx ends.
func (p *peer) answer(ctx context.Context) error {
	return p.client.Serve(ctx, jetstream.ServiceConfig{
		Peer: p.id, Version: version(),
		Handlers: map[string]func(context.Context, []byte) ([]byte, error){
			questionStatus: handler(p.answerStatus), questionLog: handler(p.answerLog),
			questionHead: handler(p.answerHead), questionManifest: handler(p.answerManifest),
		},
	})
}

// handler decodes the request and encodes the answer of f.
func handler[Q, A any](f func(context.Context, Q) (A, error)) func(context.Context, []byte) ([]byte, error) {
	return func(ctx context.Context, request []byte) ([]byte, error) {
		var q Q
		if len(request) > 0 {
			if err := json.Unmarshal(request, &q); err != nil {
				return nil, &jetstream.ServiceError{Code: answerBadRequest, Text: "the request cannot be read: " + err.Error()}
			}
		}
		a, err := f(ctx, q)
		if errors.Is(err, logstore.ErrNotFound) || errors.Is(err, blobstore.ErrNotFound) {
			return nil, &jetstream.ServiceError{Code: answerNotFound, Text: err.Error()}
		}
		if err != nil {
			return nil, err
		}
		return json.Marshal(a)
	}
}

func (p *peer) answerStatus(ctx context.Context, q statusRequest) (a statusAnswer, err error) {
	a = statusAnswer{PeerID: p.id, Outcomes: p.consumer.Outcomes(), Damage: p.damage()}
	limit := pageLimit(q.Limit)
	switch {
	case q.Bucket != nil:
		var s consumer.Status
		s, err = p.consumer.Status(ctx, *q.Bucket)
		a.Buckets = []consumer.Status{s}
	case q.After != nil:
		a.Buckets, err = p.consumer.Statuses(ctx, *q.After, limit)
	default:
		a.Buckets, err = p.consumer.Statuses(ctx, bucket.ID{}, limit)
	}
	if err != nil {
		return a, err
	}
	a.More = q.Bucket == nil && len(a.Buckets) == limit
	return a, p.countLetters(ctx, a.Buckets)
}

func pageLimit(asked int) int {
	if asked < 1 {
		return pageSize
	}
	return min(asked, pageSize)
}

// countLetters fills in how many dead letters each bucket has, which the broker knows.
func (p *peer) countLetters(ctx context.Context, all []consumer.Status) error {
	counts, err := p.client.CountLetters(ctx, p.id)
	if errors.Is(err, jetstream.ErrNotFound) {
		return nil // somebody deleted the stream: no letters are left
	}
	if err != nil {
		return err
	}
	for i := range all {
		all[i].Dead = counts[all[i].BucketID]
	}
	return nil
}

// damage lists the blob stores in which something was found wrong.
func (p *peer) damage() map[string]blobstore.Damage {
	found := map[string]blobstore.Damage{}
	for name, d := range map[string]*blobstore.Disk{"manifests": p.stores.manifests, "blobs": p.stores.blobs} {
		if damage := d.Damage(); damage.Small+damage.Large+damage.Octets > 0 {
			found[name] = damage
		}
	}
	return found
}

func (p *peer) answerLog(ctx context.Context, q logRequest) (a logAnswer, err error) {
	b, err := p.stores.log.Bucket(ctx, q.Bucket)
	if err == nil && b.Known.IsZero() {
		err = noVersion(q.Bucket)
	}
	if err != nil {
		return a, err
	}
	a.Head = b.Known
	var before bucket.Head
	if q.Before != nil {
		before = *q.Before
	}
	limit := pageLimit(q.Limit)
	for e, err := range p.stores.log.Walk(ctx, q.Bucket, before) {
		if err != nil {
			return a, err
		}
		if len(a.Versions) == limit {
			a.More = true
			break
		}
		a.Versions = append(a.Versions, lineOf(e, b.Known))
	}
	return a, nil
}

func lineOf(e logstore.Entry, known bucket.Head) logLine {
	l := logLine{
		BucketID: e.Bucket, Link: e.Link, Height: e.Height, Published: e.Published, Head: e.Head() == known,
		Complete: e.Complete, Name: e.Name, Added: e.Added,
	}
	if !e.Previous.IsZero() {
		l.Previous = &e.Previous
	}
	if !e.Author.IsZero() {
		l.Author = &e.Author
	}
	return l
}

func (p *peer) answerHead(ctx context.Context, q bucketRequest) (bucket.Head, error) {
	b, err := p.stores.log.Bucket(ctx, q.Bucket)
	if err == nil && b.Known.IsZero() {
		err = noVersion(q.Bucket)
	}
	return b.Known, err
}

func noVersion(id bucket.ID) error {
	return fmt.Errorf("bucket %s has no version here: %w", id, logstore.ErrNotFound)
}

func (p *peer) answerManifest(ctx context.Context, q manifestRequest) (manifestAnswer, error) {
	b, err := blobstore.ReadAll(ctx, p.stores.manifests, q.Link.Hash(), bucket.MaxManifestSize)
	return manifestAnswer{b}, err
}

// ask puts a question to a running peer.
func ask[A any](ctx context.Context, c *jetstream.Client, peer bucket.PublicKey, question string, request any) (a A, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return a, err
	}
	answer, err := c.Ask(ctx, peer, question, body)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return a, fmt.Errorf("peer %s answered what cannot be read: %w", peer, err)
	}
	return a, nil
}

// askStatuses asks for all buckets, page by page.
func askStatuses(ctx context.Context, c *jetstream.Client, peer bucket.PublicKey) (all statusAnswer, err error) {
	var request statusRequest
	for {
		a, err := ask[statusAnswer](ctx, c, peer, questionStatus, request)
		if err != nil {
			return all, err
		}
		buckets := slices.Concat(all.Buckets, a.Buckets)
		all = a
		all.Buckets, all.More = buckets, false
		if !a.More || len(a.Buckets) == 0 {
			return all, nil
		}
		request.After = &a.Buckets[len(a.Buckets)-1].BucketID
	}
}
