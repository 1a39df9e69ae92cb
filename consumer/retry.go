package consumer

import (
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
