package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
)

func (a *app) deadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dead", Short: "Dead letters: messages that were set aside for a person",
		Long: `Dead letters: messages that were set aside, with the reason and the original bytes.
Replaying one publishes it on its subject again and removes the letter.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.deadListCommand(), a.deadShowCommand(), a.deadReplayCommand(), a.deadDropCommand())
	return cmd
}

// letterLine is one dead letter as dead ls tells it.
type letterLine struct {
	Sequence   uint64           `json:"sequence"`
	Subject    string           `json:"subject"`
	Kind       consumer.Kind    `json:"kind"`
	BucketID   bucket.ID        `json:"bucket_id"`
	Class      string           `json:"class"`
	Reason     string           `json:"reason"`
	Deliveries uint64           `json:"deliveries"`
	At         time.Time        `json:"at"`
	PeerID     bucket.PublicKey `json:"peer_id"` // the peer that set it aside
}

func lineOfLetter(l jetstream.Letter) letterLine {
	return letterLine{l.Letter, l.Subject, l.Kind, l.Bucket, l.Class, l.Reason, l.Deliveries, l.At, l.Owner}
}

func (a *app) deadListCommand() *cobra.Command {
	var all bool
	var kind, in string
	cmd := &cobra.Command{
		Use: "ls", Short: "List dead letters, oldest first", Args: usageArgs(cobra.NoArgs),
		Example: "  headwater dead ls\n  headwater dead ls --bucket 550e8400-e29b-41d4-a716-446655440000 --json",
		RunE: a.onBroker(func(ctx context.Context, c *jetstream.Client, _ []string) (err error) {
			f := jetstream.LetterFilter{Kind: consumer.Kind(kind)}
			if !slices.Contains([]consumer.Kind{"", consumer.KindHeads, consumer.KindPins}, f.Kind) {
				return usagef("--kind: %q is neither heads nor pins", kind)
			}
			if in != "" {
				f.Bucket, err = bucket.ParseID(in)
			}
			if err == nil && !all {
				f.Owner, err = a.target(ctx, c)
			}
			if err != nil {
				return err
			}
			return a.runDeadList(ctx, c, f)
		}),
	}
	a.bindPeer(cmd)
	cmd.Flags().BoolVar(&all, "all-peers", false, "the letters of every peer")
	cmd.Flags().StringVar(&kind, "kind", "", "only heads (announcements) or pins (jobs)")
	cmd.Flags().StringVar(&in, "bucket", "", "only those of a bucket, by its id")
	return cmd
}

func (a *app) runDeadList(ctx context.Context, c *jetstream.Client, f jetstream.LetterFilter) error {
	var lines []letterLine
	for l, err := range c.Letters(ctx, f) {
		if err != nil {
			return err
		}
		if !a.json {
			lines = append(lines, lineOfLetter(l))
		} else if err := writeJSON(a.out, lineOfLetter(l)); err != nil {
			return err
		}
	}
	if a.json {
		return nil
	}
	if len(lines) == 0 {
		_, err := fmt.Fprintln(a.out, "no dead letters")
		return err
	}
	return table(a.out, func(row func(...any)) {
		row("LETTER", "AT", "KIND", "BUCKET", "CLASS", "REASON")
		for _, l := range lines {
			row(l.Sequence, timeText(l.At), l.Kind, l.BucketID, l.Class, clipText(l.Reason))
		}
	})
}

// letterCommand makes a command that works on letters by their sequences.
func (a *app) letterCommand(use, short, example string, do func(context.Context, *jetstream.Client, uint64) error) *cobra.Command {
	return &cobra.Command{
		Use: use + " LETTER...", Short: short, Example: example, Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: a.onBroker(func(ctx context.Context, c *jetstream.Client, args []string) error {
			for _, arg := range args {
				n, err := strconv.ParseUint(arg, 10, 64)
				if err != nil {
					return usagef("%q is no letter; 'headwater dead ls' shows their numbers", arg)
				}
				if err := do(ctx, c, n); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func (a *app) deadShowCommand() *cobra.Command {
	var raw bool
	cmd := a.letterCommand("show", "Show dead letters with their headers and bodies", "  headwater dead show 7\n  headwater dead show 7 --raw > body",
		func(ctx context.Context, c *jetstream.Client, n uint64) error {
			l, err := c.Letter(ctx, n)
			if err != nil {
				return err
			}
			if raw {
				_, err := a.out.Write(l.Body)
				return err
			}
			return a.printLetter(l)
		})
	cmd.Flags().BoolVar(&raw, "raw", false, "write the original bytes and nothing else")
	return cmd
}

func (a *app) printLetter(l jetstream.Letter) error {
	if a.json {
		return writeJSON(a.out, struct {
			letterLine
			MessageSequence uint64              `json:"message_sequence"`
			Headers         map[string][]string `json:"headers"`
			Body            []byte              `json:"body"` // base64
			Truncated       int                 `json:"truncated,omitempty"`
		}{lineOfLetter(l), l.Sequence, l.Header, l.Body, l.Truncated})
	}
	err := table(a.out, func(row func(...any)) {
		row("letter", l.Letter)
		row("set aside", timeText(l.At)+" by "+l.Owner.String())
		row("class", l.Class)
		row("reason", printable(l.Reason))
		row("subject", printable(l.Subject))
		row("sequence", l.Sequence)
		row("deliveries", l.Deliveries)
		for _, name := range slices.Sorted(maps.Keys(l.Header)) {
			for _, v := range l.Header[name] {
				row("header", printable(name+": "+v))
			}
		}
	})
	if err != nil {
		return err
	}
	if !utf8.Valid(l.Body) {
		_, err = fmt.Fprintf(a.out, "\n%x\n", l.Body)
		return err
	}
	_, err = fmt.Fprintf(a.out, "\n%s\n", printable(string(l.Body)))
	return err
}

func (a *app) deadReplayCommand() *cobra.Command {
	var force bool
	cmd := a.letterCommand("replay", "Publish messages again, and remove their letters", "  headwater dead replay 7",
		func(ctx context.Context, c *jetstream.Client, n uint64) error {
			if err := c.ReplayLetter(ctx, n, force); err != nil {
				return err
			}
			return a.printDone("replayed", n)
		})
	cmd.Flags().BoolVar(&force, "force", false, "also where a newer announcement stands on the subject")
	return cmd
}

func (a *app) deadDropCommand() *cobra.Command {
	return a.letterCommand("drop", "Remove dead letters", "  headwater dead drop 7 8 9",
		func(ctx context.Context, c *jetstream.Client, n uint64) error {
			if err := c.DropLetter(ctx, n); err != nil {
				return err
			}
			return a.printDone("dropped", n)
		})
}

func (a *app) printDone(what string, letter uint64) error {
	return a.answer(map[string]uint64{what: letter}, "%s %d\n", what, letter)
}
