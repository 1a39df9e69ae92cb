package local

import (
	"context"
	"encoding/json"

	"headwater/bucket"
)

// request is a call. Of its fields each method sets those that its arguments need.
type request struct {
	Method   string         `json:"method"`
	Hash     bucket.Hash    `json:"hash,omitzero"`
	Size     int64          `json:"size,omitempty"`
	Link     bucket.Link    `json:"link,omitzero"`
	Links    []bucket.Link  `json:"links,omitempty"`
	Name     string         `json:"name,omitempty"`
	Bucket   bucket.ID      `json:"bucket_id,omitzero"`
	After    bucket.ID      `json:"after,omitzero"`
	Before   bucket.Head    `json:"before,omitzero"`
	Limit    int            `json:"limit,omitempty"`
	Bus      bool           `json:"bus,omitempty"`
	Ancestor *AncestorQuery `json:"ancestor,omitempty"`
	Manifest []byte         `json:"manifest,omitempty"`
}

// The methods with a conversation of their own. All others are in methods.
const (
	methodGet      = "get"
	methodPut      = "put"
	methodAwait    = "await"
	methodWatch    = "watch"
	methodTakeover = "takeover"
)

// methods are the calls of one request and one answer.
var methods = map[string]func(context.Context, Holder, request) (any, error){
	"has":      func(ctx context.Context, h Holder, q request) (any, error) { return h.Has(ctx, q.Hash) },
	"manifest": func(ctx context.Context, h Holder, q request) (any, error) { return h.Manifest(ctx, q.Link) },
	"find":     func(ctx context.Context, h Holder, q request) (any, error) { return h.Find(ctx, q.Name) },
	"look":     func(ctx context.Context, h Holder, q request) (any, error) { return h.Look(ctx, q.Bucket, q.Bus) },
	"ancestor": func(ctx context.Context, h Holder, q request) (any, error) {
		if q.Ancestor == nil {
			return nil, errFrame
		}
		return h.Ancestor(ctx, *q.Ancestor)
	},
	"carried": func(ctx context.Context, h Holder, q request) (any, error) { return h.Carried(ctx, q.Bucket, q.Links) },
	"log": func(ctx context.Context, h Holder, q request) (any, error) {
		return h.Log(ctx, q.Bucket, q.Before, q.Limit)
	},
	"keep": func(ctx context.Context, h Holder, q request) (any, error) { return h.Keep(ctx, q.Manifest) },
	"announce": func(ctx context.Context, h Holder, q request) (any, error) {
		return h.Announce(ctx, q.Bucket, q.Link)
	},
	"status": func(ctx context.Context, h Holder, q request) (any, error) {
		return h.Status(ctx, q.Bucket, q.After, q.Limit)
	},
}

// decode reads JSON into v, which is nil if nothing is wanted.
func decode(content []byte, v any) error {
	if v == nil {
		return nil
	}
	return json.Unmarshal(content, v)
}
