package jetstream

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"headwater/bucket"
	"headwater/consumer"

	"github.com/nats-io/nats.go"
)

// LetterFilter says which dead letters are meant. Zero fields match any.
type LetterFilter struct {
	Owner  bucket.PublicKey // the peer that set them aside
	Kind   consumer.Kind
	Bucket bucket.ID
}

// Letters yields dead letters, oldest first, until there are no more or an error, which ends it. Those that come in
// meanwhile may be among them. [ErrNotFound] if there is no stream of dead letters.
func (c *Client) Letters(ctx context.Context, f LetterFilter) iter.Seq2[Letter, error] {
	return func(yield func(Letter, error) bool) {
		for m, err := range c.scan(ctx, c.at(c.names.DeadStream()), c.names.DeadOf(f.Owner, f.Kind, f.Bucket)) {
			if err != nil {
				yield(Letter{}, fmt.Errorf("list dead letters: %w", err))
				return
			}
			if l, ok := c.readLetter(m); ok && !yield(l, nil) {
				return
			}
		}
	}
}

// Letter returns one dead letter, or [ErrNotFound].
func (c *Client) Letter(ctx context.Context, letter uint64) (Letter, error) {
	m, err := c.get(ctx, c.at(c.names.DeadStream()), getRequest{Seq: letter}, false)
	if errors.Is(err, errAbsent) {
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err != nil {
		return Letter{}, fmt.Errorf("read dead letter %d: %w", letter, err)
	}
	l, ok := c.readLetter(m)
	if !ok {
		return Letter{}, fmt.Errorf("read dead letter %d: %w: the message of that number is no dead letter", letter, ErrNotFound)
	}
	return l, nil
}

// ReplayLetter publishes the message of a dead letter on its subject again, and then removes the letter. Dying in between
// leaves the letter; replaying it again shortly after is a repetition that the stream drops.
//
// An announcement replaces the one that stands on its subject. If that is newer than the letter, replaying would hide it
// from the peers that have not read it: without force that is [ErrSuperseded]. Other errors: [ErrNotFound], [ErrPayload]
// if the letter holds only the beginning of the body, and those of [Client.Announce].
func (c *Client) ReplayLetter(ctx context.Context, letter uint64, force bool) error {
	l, err := c.Letter(ctx, letter)
	if err != nil {
		return err
	}
	if err := c.replay(ctx, l, force); err != nil {
		return fmt.Errorf("replay dead letter %d: %w", letter, err)
	}
	return c.DropLetter(ctx, letter)
}

func (c *Client) replay(ctx context.Context, l Letter, force bool) error {
	if l.Truncated > 0 {
		return fmt.Errorf("%w: the letter does not hold the whole body", ErrPayload)
	}
	// The subject stands in a header, which anybody may have written: it must be one of the letter's own kind.
	if !c.replayable(l) {
		return fmt.Errorf("%w: %.100q is no subject of %s", ErrPayload, l.Subject, l.Kind)
	}
	in := c.at(c.names.StreamOf(l.Kind))
	m := &nats.Msg{Subject: l.Subject, Header: l.replayHeaders(), Data: l.Body}
	if l.Kind == consumer.KindHeads && !force {
		last, err := c.get(ctx, in, getRequest{LastFor: l.Subject}, true)
		switch {
		case errors.Is(err, errAbsent):
			expectSequence(m, 0)
		case err != nil:
			return err
		case sequenceOf(last) > l.Sequence:
			return fmt.Errorf("%w: message %d", ErrSuperseded, sequenceOf(last))
		default:
			expectSequence(m, sequenceOf(last))
		}
	}
	_, err := c.store(ctx, in, m)
	if sequenceTaken(err) {
		return fmt.Errorf("%w: %w", ErrSuperseded, err)
	}
	return err
}

// replayable reports whether the subject of a letter is within what the stream of its kind takes, and no wildcard.
func (c *Client) replayable(l Letter) bool {
	what := "heads"
	if l.Kind == consumer.KindPins {
		what = "pins"
	}
	t, ok := c.names.tokens(l.Subject, what, 2)
	return ok && validSubjectToken(t[0]) && validSubjectToken(t[1])
}

// DropLetter removes a dead letter. One that is not there is [ErrNotFound].
func (c *Client) DropLetter(ctx context.Context, letter uint64) error {
	req := map[string]any{"seq": letter, "no_erase": true}
	err := c.apiCall(ctx, c.api, "STREAM.MSG.DELETE."+c.names.DeadStream(), req, nil)
	if hasCode(err, codeSequenceNotFound, codeDeleteFailed) {
		// The codes say no more than that it did not work.
		_, getErr := c.get(ctx, c.at(c.names.DeadStream()), getRequest{Seq: letter}, true)
		if errors.Is(getErr, errAbsent) {
			err = fmt.Errorf("%w: %w", ErrNotFound, err)
		}
	}
	if err != nil {
		return fmt.Errorf("drop dead letter %d: %w", letter, noJetStream(err))
	}
	return nil
}

// CountLetters counts the dead letters of a peer by bucket. Those whose subject named no bucket count for the zero one.
func (c *Client) CountLetters(ctx context.Context, owner bucket.PublicKey) (map[bucket.ID]uint64, error) {
	of := c.names.DeadOf(owner, "", bucket.ID{})
	counts, err := c.bucketCounts(ctx, c.names.DeadStream(), of, func(s string) (bucket.ID, bool) {
		_, _, id, ok := c.names.ParseDead(s)
		return id, ok
	})
	if err != nil {
		return nil, fmt.Errorf("count dead letters: %w", err)
	}
	return counts, nil
}
