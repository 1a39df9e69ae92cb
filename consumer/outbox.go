package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"headwater/bucket"
	"headwater/logstore"
)

// runOutbox publishes, once, what was recorded and not published before the process died, and what was published and is
// neither done nor in the broker's queue any more. It keeps trying while the broker does not answer.
func (c *Consumer) runOutbox(ctx context.Context) error {
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(c.RetryMax), backoff.WithMaxElapsedTime(0),
	)
	return backoff.RetryNotify(func() error {
		_, err := c.publishDue(ctx, nil)
		return err
	}, backoff.WithContext(b, ctx), func(err error, in time.Duration) {
		c.Logger.Warn("outbox not published yet", "error", err, "retry", in.Round(time.Millisecond))
	})
}

// keepJobs publishes, every Reconcile until ctx ends, the jobs that are not done and not in the broker's queue: it lost them, or
// could not be reached when they were recorded. A job has to be missing twice in a row, so that one that is being published, or
// settled, at this moment is left alone. If no job is waiting, the broker is not asked.
func (c *Consumer) keepJobs(ctx context.Context) error {
	tick := time.NewTicker(c.Reconcile)
	defer tick.Stop()
	missing := map[bucket.Link]bool{}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		var err error
		if missing, err = c.publishDue(ctx, missing); err != nil && ctx.Err() == nil {
			c.Logger.Warn("pin jobs not compared with the broker's queue", "error", err)
		}
	}
}

// publishDue publishes the jobs that are missing in the broker's queue and were so before, and returns what else is missing. If
// before is nil, as when the process begins, all that are missing are due, and those that are pending. The queue is counted
// after the log was read, and what is missing goes out under a new id: the broker may remember one whose message it does not
// have any more.
func (c *Consumer) publishDue(ctx context.Context, before map[bucket.Link]bool) (missing map[bucket.Link]bool, err error) {
	missing = map[bucket.Link]bool{}
	var jobs []logstore.Job
	for job, err := range c.Log.Jobs(ctx) {
		if err != nil {
			return missing, backoff.Permanent(fmt.Errorf("read outbox: %w", err))
		}
		if job.State != logstore.JobDead {
			jobs = append(jobs, job)
		}
	}
	if len(jobs) == 0 {
		return missing, nil
	}
	queued, err := c.Jobs.QueuedJobs(ctx)
	if err != nil {
		return missing, fmt.Errorf("count queued pin jobs: %w", err)
	}
	for _, job := range jobs {
		switch {
		case queued[job.Bucket] > 0 && before == nil:
			err = c.publishPending(ctx, job.Bucket, job.Head())
		case queued[job.Bucket] > 0:
		case before != nil && !before[job.Link]:
			missing[job.Link] = true
		default:
			c.Logger.Info("a pin job is not in the broker's queue; it is published", "bucket", job.Bucket, "link", job.Link)
			err = c.republish(ctx, job)
		}
		if err != nil {
			return missing, err
		}
	}
	return missing, nil
}

// revive makes a job pending again under a new id.
func (c *Consumer) revive(ctx context.Context, job logstore.Job) (logstore.Job, error) {
	if err := c.Log.SetJob(ctx, job.Bucket, job.Head(), logstore.JobPending); err != nil {
		return job, err
	}
	return c.Log.Job(ctx, job.Bucket, job.Head())
}

func (c *Consumer) publishPending(ctx context.Context, id bucket.ID, h bucket.Head) error {
	job, err := c.Log.Job(ctx, id, h)
	if errors.Is(err, logstore.ErrNotFound) {
		return nil
	}
	if err != nil || job.State != logstore.JobPending {
		return err
	}
	return c.publish(ctx, job)
}

// publishLater publishes one job if the broker answers: else it stays pending, and is published by Run.
func (c *Consumer) publishLater(ctx context.Context, id bucket.ID, h bucket.Head) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := c.publishPending(ctx, id, h); err != nil {
		c.Logger.Debug("pin job not published yet", "bucket", id, "link", h.Link, "error", err)
	}
}

// publish sends a job as a message, and notes that it was sent. A crash in between sends it twice under one id. If the
// broker knows the id but does not have the message any more, as from a log that was removed since, the job goes out under
// another id.
func (c *Consumer) publish(ctx context.Context, job logstore.Job) error {
	duplicate, err := c.Jobs.PublishJob(ctx, job.PinJob, job.Attempt)
	if err != nil {
		return fmt.Errorf("publish pin job of version %s: %w", job.Link, err)
	}
	if duplicate {
		queued, err := c.Jobs.QueuedJobs(ctx)
		if err != nil {
			return fmt.Errorf("count queued pin jobs: %w", err)
		}
		if queued[job.Bucket] == 0 {
			return c.republish(ctx, job)
		}
	}
	err = c.Log.SetJob(ctx, job.Bucket, job.Head(), logstore.JobPublished)
	if errors.Is(err, logstore.ErrNotFound) {
		return nil // the worker was faster
	}
	return err
}

// republish sends a job under a new id, unless it was done, or somebody else has sent it, meanwhile.
func (c *Consumer) republish(ctx context.Context, job logstore.Job) error {
	now, err := c.Log.Job(ctx, job.Bucket, job.Head())
	if err == nil && (now.State != job.State || now.Attempt != job.Attempt) {
		return nil
	}
	if err == nil {
		now, err = c.revive(ctx, now)
	}
	if err == nil {
		err = c.publish(ctx, now)
	}
	if errors.Is(err, logstore.ErrNotFound) {
		return nil
	}
	return err
}
