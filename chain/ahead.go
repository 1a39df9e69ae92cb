package chain

import (
	"iter"
	"sync"
)

// ahead yields what seq yields, while seq makes the next one. It returns once seq has returned.
func ahead[T any](seq iter.Seq2[T, error]) iter.Seq2[T, error] {
	type made struct {
		t   T
		err error
	}
	return func(yield func(T, error) bool) {
		next, stop := make(chan made), make(chan struct{})
		var maker sync.WaitGroup
		maker.Go(func() {
			defer close(next)
			for t, err := range seq {
				select {
				case next <- made{t, err}:
				case <-stop:
					return
				}
			}
		})
		defer maker.Wait()
		defer close(stop)
		for m := range next {
			if !yield(m.t, m.err) {
				return
			}
		}
	}
}
