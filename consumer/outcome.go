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

// Outcome is what a message can come to: one of the classes here, or a [bucket.Class]. The list is closed.
type Outcome string

// The outcomes beyond refusals.
const (
	ClassApplied   Outcome = "applied"
	ClassDuplicate Outcome = "duplicate"
	ClassStale     Outcome = "stale"
	ClassNotShared Outcome = "not_shared"
	ClassDiverged  Outcome = "diverged"
	ClassRetry     Outcome = "retry"
	ClassExhausted Outcome = "exhausted"
)

// event is the event of a message that ended that way; empty for none.
func (o Outcome) event(k Kind) EventKind {
	switch {
	case o == ClassApplied && k == KindPins:
		return EventComplete
	case o == ClassApplied:
		return EventApplied
	case o == ClassDuplicate:
		return EventDuplicate
	case o == ClassDiverged:
		return EventDiverged
	}
	return ""
}

// result is how work ended without an error; zero if that has been told.
type result struct {
	outcome Outcome
	event   Event // further fields of the event; kind, time and subject are set when it is settled
	why     error // [ErrDiverged] or [ErrNotShared], if it was not applied for that
}

// settleTimeout bounds how long the settling of one delivery may wait for the broker, also while the process stops.
const settleTimeout = 5 * time.Second

// settle is the one place where the end of work becomes an outcome: done, never, or later. It is counted before the message
// is acknowledged: once the queue is empty, every outcome is counted.
func (c *Consumer) settle(ctx context.Context, d Delivery, r result, err error) {
	stopping := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	m := d.Message()
	switch class := bucket.ClassOf(err); {
	case err == nil:
		c.board.ended(m)
		c.count(m, r.outcome)
		c.logSettle(m, d.Ack(ctx))
		c.tell(m, r)
	case stopping && class == "":
		c.logSettle(m, d.Retry(ctx, 0)) // no failure: the process stops
	case class != "":
		_, forged := errors.AsType[*badMessage](err)
		c.setAside(ctx, d, m, Outcome(class), linkOf(m, err), refusalReason(err), !forged)
	default:
		c.settleLater(ctx, d, m, err)
	}
}

// count notes how work ended without an error, if that was not noted before.
func (c *Consumer) count(m Message, o Outcome) {
	if o == "" {
		return
	}
	c.board.count(m.Kind, o)
	if o == ClassApplied {
		c.board.applied(m)
	}
}

// tell emits the event of work that ended without an error.
func (c *Consumer) tell(m Message, r result) {
	if kind := r.outcome.event(m.Kind); kind != "" {
		c.emit(m, kind, r.event)
	}
}

// settleLater gives the message back for a growing delay, or sets it aside after too many failures.
func (c *Consumer) settleLater(ctx context.Context, d Delivery, m Message, err error) {
	failures := c.board.failed(m, err, time.Now())
	if failures >= c.RetryLimit {
		reason := fmt.Sprintf("given up after %d failures; the last: %v", failures, err)
		c.setAside(ctx, d, m, ClassExhausted, linkOf(m, err), reason, true)
		return
	}
	delay := c.retryDelay(failures)
	c.board.retrying(m, time.Now().Add(delay))
	c.Logger.Info("retry later", "subject", m.Subject, "failures", failures, "in", delay.Round(time.Millisecond), "error", err)
	c.logSettle(m, d.Retry(ctx, delay))
	c.emit(m, EventRetrying, Event{
		Link: linkOf(m, err), Class: string(ClassRetry), Reason: err.Error(), Attempt: failures,
		RetryIn: delay.Round(time.Millisecond).String(),
	})
}

// retryDelay is the delay before the next delivery after so many failures: exponential from RetryMin up to RetryMax, with a
// jitter of 30 % either way.
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

// badMessage is a refusal of the message itself, which says nothing about the version it names: no job or bucket is blocked
// because somebody publishes nonsense about it.
type badMessage struct{ error }

func (b *badMessage) Unwrap() error { return b.error }

// setAside stores a dead letter, and only then ends the message. If it cannot be stored, the message is tried again. blocks
// says that the version at link, which we wait for, is given up with it.
func (c *Consumer) setAside(
	ctx context.Context, d Delivery, m Message, class Outcome, link bucket.Link, reason string, blocks bool,
) {
	if err := c.DeadLetters.Bury(ctx, m, string(class), reason); err != nil {
		c.Logger.Error("dead letter cannot be stored", "subject", m.Subject, "class", class, "error", err)
		c.logSettle(m, d.Retry(ctx, c.RetryMax))
		return
	}
	if blocks {
		if err := c.recordBlocked(ctx, m, class, link, reason); err != nil {
			c.Logger.Error("condition cannot be recorded", "subject", m.Subject, "error", err)
		}
	}
	c.board.dead(m, class, reason, time.Now())
	c.Logger.Warn("set aside", "subject", m.Subject, "class", class, "reason", reason)
	c.logSettle(m, d.Terminate(ctx, string(class)+": "+reason))
	kind := EventRejected
	if class == ClassExhausted {
		kind = EventDead
	}
	c.emit(m, kind, Event{Link: link, Class: string(class), Reason: reason})
}

// recordBlocked remembers what a person has to look at: a version whose pins, or whose chain, were given up. An announced
// head that can never become right blocks nothing.
func (c *Consumer) recordBlocked(ctx context.Context, m Message, class Outcome, link bucket.Link, reason string) error {
	if m.Kind == KindHeads && class != ClassExhausted {
		return nil
	}
	if m.Kind == KindPins {
		var e logstore.Entry
		j, err := c.readPinJob(m)
		if err == nil {
			e, err = c.Find(ctx, m.Bucket, j.Head())
		}
		if err == nil {
			err = c.Log.SetJob(ctx, m.Bucket, e.Head(), logstore.JobDead)
		}
		if errors.Is(err, logstore.ErrNotFound) {
			return nil // a job for a version that is done, or that is not in the log
		}
		if err != nil {
			return err
		}
	}
	cond := logstore.Condition{State: string(StateBlocked), Class: string(class), Reason: reason, Link: link}
	if m.Kind == KindHeads {
		cond.Peer = m.Peer
	}
	return c.setCondition(ctx, m.Bucket, cond)
}

// setCondition records why a bucket is not simply in sync.
func (c *Consumer) setCondition(ctx context.Context, id bucket.ID, cond logstore.Condition) error {
	cond.Since = time.Now()
	err := c.Log.SetCondition(ctx, id, cond)
	c.done.forget(id)
	if errors.Is(err, logstore.ErrTooMany) {
		c.Logger.Warn("not recorded: too many buckets that are not held have one", "bucket", id, "state", cond.State)
		return nil
	}
	return err
}

// emit tells what happened to the message's bucket.
func (c *Consumer) emit(m Message, kind EventKind, e Event) {
	e.At, e.Kind, e.BucketID, e.PeerID, e.Subject = time.Now().UTC(), kind, m.Bucket, c.Peer, m.Subject
	c.Events.Emit(e)
}

// logSettle reports a delivery that could not be settled: it is delivered again, and found done.
func (c *Consumer) logSettle(m Message, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		c.Logger.Debug("delivery not settled; it will come again", "subject", m.Subject, "error", err)
	}
}

// linkOf is what a message's failure is about: its own link, zero if it cannot be read, or another head that it names.
func linkOf(m Message, err error) bucket.Link {
	if o, ok := errors.AsType[*otherHead](err); ok {
		return o.link
	}
	if m.Kind == KindPins {
		j, _ := bucket.DecodePinJob(contentType(m), m.Body)
		return j.Link
	}
	a, _ := bucket.DecodeAnnouncement(contentType(m), m.Body)
	return a.Link
}

// refusalReason is a refusal's own sentence, with the version that it is about.
func refusalReason(err error) string {
	r, ok := errors.AsType[*bucket.Refusal](err)
	if !ok {
		return err.Error()
	}
	reason := r.Reason
	if !r.Link.IsZero() {
		reason = fmt.Sprintf("version %s: %s", r.Link, reason)
	}
	if o, ok := errors.AsType[*otherHead](err); ok {
		reason = fmt.Sprintf("head %s, named beside the announced one: %s", o.link, reason)
	}
	return reason
}

// contentType returns the message's Content-Type, whatever the case of the header's name.
func contentType(m Message) string {
	for _, name := range []string{"Content-Type", "content-type"} {
		if v := m.Header[name]; len(v) > 0 {
			return v[0]
		}
	}
	return ""
}
