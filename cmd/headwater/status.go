package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/consumer"
	"headwater/jetstream"
)

func (a *app) statusCommand() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use: "status [BUCKET]", Short: "How the buckets of a running peer stand",
		Long: `How the buckets of a running peer stand. A bucket is named by its id, the beginning of
it, or its name. States: in_sync, behind, catching_up, fetching, blocked, diverged,
not_shared.`,
		Example: "  headwater status\n  headwater status --json | jq '.buckets[] | select(.state != \"in_sync\")'",
		Args:    usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *jetstream.Client) error {
				return a.runStatus(cmd.Context(), c, t, args)
			})
		},
	}
	t.bind(cmd)
	return cmd
}

func (a *app) runStatus(ctx context.Context, c *jetstream.Client, t target, args []string) error {
	peer, err := t.resolve(ctx, a, c)
	if err != nil {
		return err
	}
	var answer statusAnswer
	if len(args) == 0 {
		answer, err = askStatuses(ctx, c, peer)
	} else {
		var id bucket.ID
		if id, err = findBucket(ctx, c, peer, args[0]); err == nil {
			answer, err = ask[statusAnswer](ctx, c, peer, questionStatus, statusRequest{Bucket: &id})
		}
	}
	if err != nil {
		return err
	}
	if a.json {
		if answer.Buckets == nil {
			answer.Buckets = []consumer.Status{}
		}
		return writeJSON(a.out, answer)
	}
	return a.printStatus(answer)
}

func (a *app) printStatus(s statusAnswer) error {
	fmt.Fprintf(a.out, "peer %s\n", s.PeerID)
	for _, kind := range []consumer.Kind{consumer.KindHeads, consumer.KindPins} {
		if len(s.Outcomes[kind]) > 0 {
			fmt.Fprintf(a.out, "%s since start: %s\n", kind, countsText(s.Outcomes[kind]))
		}
	}
	for name, d := range s.Damage {
		fmt.Fprintf(a.out, "damage in %s: %d blobs were wrong and are fetched again\n", name, d.Small+d.Large)
	}
	if len(s.Buckets) == 0 {
		fmt.Fprintln(a.out, "no buckets yet; announce one with 'headwater announce'")
		return nil
	}
	fmt.Fprintln(a.out)
	err := table(a.out, func(row func(...any)) {
		row("BUCKET", "NAME", "STATE", "HEIGHT", "HEAD", "COMPLETE", "BEHIND", "PINS", "HELD", "FORKS", "DEAD")
		for _, b := range s.Buckets {
			row(b.BucketID, clipName(b.Name), b.State, height(b.Known), shortHead(b.Known), height(b.Complete), b.Behind,
				fmt.Sprintf("%d/%d", b.Pins.Held, b.Pins.Needed), octets(b.Pins.BytesHeld), b.Forks, b.Dead)
		}
	})
	for _, b := range s.Buckets {
		if b.CatchUp.Total > 1 {
			fmt.Fprintf(a.out, "\n%s  catching up: %s\n", b.BucketID, progressText(b.CatchUp))
		}
		if b.LastError != "" {
			a.printTrouble(b)
		}
	}
	return err
}

// printTrouble says why a bucket is not in sync.
func (a *app) printTrouble(b consumer.Status) {
	now := time.Now()
	fmt.Fprintf(a.out, "\n%s  %s", b.BucketID, b.LastError)
	if b.Since != nil {
		fmt.Fprintf(a.out, "\n  since %s", ago(*b.Since, now))
	}
	if b.NextTry != nil {
		fmt.Fprintf(a.out, ", next try %s", ago(*b.NextTry, now))
	}
	fmt.Fprintln(a.out)
}

func countsText(counts map[consumer.Outcome]uint64) string {
	parts := make([]string, 0, len(counts))
	for _, class := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[class], class))
	}
	return strings.Join(parts, ", ")
}

func height(h *bucket.Head) string {
	if h == nil {
		return "-"
	}
	return fmt.Sprint(h.Height)
}

func shortHead(h *bucket.Head) string {
	if h == nil {
		return "-"
	}
	return short(h.Link)
}

// clipName makes a name fit a column; it comes from outside and may hold anything.
func clipName(s string) string { return clip(s, 24) }

// clip makes text from outside printable, and cuts it to n characters.
func clip(s string, n int) string {
	s = printable(s)
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// printable makes text from outside safe for a terminal: what would move the cursor, or show nothing, becomes a question mark.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
