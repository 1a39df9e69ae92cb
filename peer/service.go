package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/jetstream"
	"headwater/logstore"
	"headwater/peer/local"
)

// The questions that a running peer answers to other machines, as words of its NATS service. Requests and answers are JSON.
const (
	QuestionStatus   = "status"
	QuestionLog      = "log"
	QuestionManifest = "manifest"
)

// Codes of the answers that are errors.
const (
	answerBadRequest = 400
	answerNotFound   = 404
)

// StatusRequest asks for one bucket, or for a page of all, in order of their ids.
type StatusRequest struct {
	Bucket bucket.ID `json:"bucket_id,omitzero"`
	After  bucket.ID `json:"after,omitzero"`
	Limit  int       `json:"limit,omitempty"` // 0: as many as a page holds
}

// LogRequest asks for a page of a bucket's versions, newest first, beginning behind a version.
type LogRequest struct {
	Bucket bucket.ID   `json:"bucket_id"`
	Before bucket.Head `json:"before,omitzero"`
	Limit  int         `json:"limit,omitempty"`
}

// ManifestRequest asks for a manifest that the peer keeps.
type ManifestRequest struct {
	Link bucket.Link `json:"link"`
}

// ManifestAnswer is a manifest.
type ManifestAnswer struct {
	Manifest []byte `json:"manifest"` // base64 in JSON
}

// answer answers questions until ctx ends.
func (p *Peer) answer(ctx context.Context, client *jetstream.Client) error {
	return client.Serve(ctx, jetstream.ServiceConfig{
		Peer: p.ID(), Version: p.cfg.Version,
		Handlers: map[string]func(context.Context, []byte) ([]byte, error){
			QuestionStatus: handler(func(ctx context.Context, q StatusRequest) (local.Status, error) {
				return held{p}.Status(ctx, q.Bucket, q.After, q.Limit)
			}),
			QuestionLog: handler(func(ctx context.Context, q LogRequest) (local.LogPage, error) {
				return held{p}.Log(ctx, q.Bucket, q.Before, q.Limit)
			}),
			QuestionManifest: handler(func(ctx context.Context, q ManifestRequest) (a ManifestAnswer, err error) {
				a.Manifest, err = blobstore.ReadAll(ctx, p.stores.manifests, q.Link.Hash(), bucket.MaxManifestSize)
				return a, err
			}),
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
		if errors.Is(err, logstore.ErrNotFound) || errors.Is(err, blobstore.ErrNotFound) || errors.Is(err, ErrNoBucket) {
			return nil, &jetstream.ServiceError{Code: answerNotFound, Text: err.Error()}
		}
		if err != nil {
			return nil, err
		}
		return json.Marshal(a)
	}
}

// Remote asks a running peer on the bus what it would tell its own owner. Safe for concurrent use.
type Remote struct {
	Client *jetstream.Client
	Peer   bucket.PublicKey
}

// Ask puts a question to a running peer and decodes its answer. jetstream.ErrNoPeer; ErrNoBucket if it does not have what it was
// asked for.
func Ask[A any](ctx context.Context, r Remote, question string, request any) (a A, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return a, err
	}
	answer, err := r.Client.Ask(ctx, r.Peer, question, body)
	if service, ok := errors.AsType[*jetstream.ServiceError](err); ok && service.Code == answerNotFound {
		return a, fmt.Errorf("%w: %w", ErrNoBucket, err)
	}
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return a, fmt.Errorf("peer %s answered what cannot be read: %w", r.Peer, err)
	}
	return a, nil
}

// Status asks for all buckets, page by page, or for one.
func (r Remote) Status(ctx context.Context, id bucket.ID) (all local.Status, err error) {
	return allPages(func(after bucket.ID) (local.Status, error) {
		return Ask[local.Status](ctx, r, QuestionStatus, StatusRequest{Bucket: id, After: after})
	})
}

// allPages asks for one page after the other, each after a bucket.
func allPages(ask func(after bucket.ID) (local.Status, error)) (all local.Status, err error) {
	var after bucket.ID
	for {
		page, err := ask(after)
		if err != nil {
			return all, err
		}
		page.Buckets = append(all.Buckets, page.Buckets...)
		if all = page; !page.More || len(page.Buckets) == 0 {
			return all, nil
		}
		after = page.Buckets[len(page.Buckets)-1].BucketID
	}
}

// Log asks for a page of a bucket's versions.
func (r Remote) Log(ctx context.Context, id bucket.ID, before bucket.Head, limit int) (local.LogPage, error) {
	return Ask[local.LogPage](ctx, r, QuestionLog, LogRequest{Bucket: id, Before: before, Limit: limit})
}

// Find returns the bucket that a person means: by its id, the beginning of its id, or its name.
func (r Remote) Find(ctx context.Context, name string) (bucket.ID, error) {
	if id, err := bucket.ParseID(name); err == nil {
		return id, nil
	}
	all, err := r.Status(ctx, bucket.ID{})
	if err != nil {
		return bucket.ID{}, err
	}
	var found []bucket.ID
	for _, s := range all.Buckets {
		if meant(name, s.BucketID, s.Name) {
			found = append(found, s.BucketID)
		}
	}
	return one(name, found)
}
