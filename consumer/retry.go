package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// retryDelay is the delay before the next delivery after so many failures: exponential, with jitter, between RetryMin and
// RetryMax.
func (c *Consumer) retryDelay(failures int) time.Duration {
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(c.RetryMin), backoff.WithMaxInterval(c.RetryMax), backoff.WithMultiplier(2),
		backoff.WithRandomizationFactor(0.3), backoff.WithMaxElapsedTime(0),
	)
	var d time.Duration
	for range failures {
		d = b.NextBackOff()
	}
	return d
}

// notYetVisible is how long an object that a store does not have is asked for again at once: a replica may lag behind the
// announcement by milliseconds. Beyond that the message goes back to the broker.
const notYetVisible = 250 * time.Millisecond

// patiently calls f again every few milliseconds while it returns ErrNotFound, for at most notYetVisible. From the second
// call on, fresh is set.
func patiently[T any](ctx context.Context, f func(fresh bool) (T, error)) (T, error) {
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(2*time.Millisecond), backoff.WithMaxInterval(80*time.Millisecond),
		backoff.WithMultiplier(2), backoff.WithMaxElapsedTime(notYetVisible),
	)
	fresh := false
	return backoff.RetryWithData(func() (T, error) {
		v, err := f(fresh)
		fresh = true
		if err != nil && !errors.Is(err, ErrNotFound) {
			return v, backoff.Permanent(err)
		}
		return v, err
	}, backoff.WithContext(b, ctx))
}
