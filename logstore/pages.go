package logstore

import (
	"context"
	"iter"
)

// Pages grow, so that a short walk reads little and a long one seeks seldom.
const (
	firstPage = 16
	lastPage  = 512
)

// pages makes a sequence out of a function that returns up to n items after a cursor. Nothing is held while the caller works
// on an item, so that it may call the store again, and may take as long as it likes.
func pages[T, C any](ctx context.Context, start C, cursor func(T) C, page func(after C, n int) ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		after := start
		for n := firstPage; ; n = min(2*n, lastPage) {
			items, err := page(after, n)
			for _, item := range items {
				if ctx.Err() != nil {
					yield(none, ctx.Err())
					return
				}
				if !yield(item, nil) {
					return
				}
			}
			if err != nil {
				yield(none, err)
				return
			}
			if len(items) < n {
				return
			}
			after = cursor(items[len(items)-1])
		}
	}
}
