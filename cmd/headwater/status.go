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
	"headwater/peer/local"
)

func (a *app) statusCommand() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use: "status [BUCKET]", Short: "How the buckets of a peer stand",
		Long: `How the buckets of a peer stand, running or not, with or without a broker. A bucket is
named by its id, the beginning of it, or its name. States: in_sync, behind,
catching_up, fetching, uploading, offline, not_running, blocked, diverged, not_shared.`,
		Example: "  headwater status\n  headwater status --json | jq '.buckets[] | select(.state != \"in_sync\")'",
		Args:    usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAnswers(cmd, t, func(ctx context.Context, from answers) error {
				return a.runStatus(ctx, from, args)
			})
		},
	}
	t.bind(cmd)
	return cmd
}

func (a *app) runStatus(ctx context.Context, from answers, args []string) error {
	var id bucket.ID
	var err error
	if len(args) > 0 {
		if id, err = from.Find(ctx, args[0]); err != nil {
			return err
		}
	}
	answer, err := from.Status(ctx, id)
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

func (a *app) printStatus(s local.Status) error {
	fmt.Fprintf(a.out, "peer %s\n", s.PeerID)
	a.printBroker(s)
	for _, kind := range []consumer.Kind{consumer.KindHeads, consumer.KindPins} {
		if len(s.Outcomes[kind]) > 0 {
			fmt.Fprintf(a.out, "%s since start: %s\n", kind, countsText(s.Outcomes[kind]))
		}
	}
	for name, d := range s.Damage {
		fmt.Fprintf(a.out, "damage in %s: %d blobs were wrong and are fetched again\n", name, d.Small+d.Large)
	}
	if len(s.Buckets) == 0 {
		fmt.Fprintln(a.out, "no buckets yet; make one with 'headwater create NAME'")
		return nil
	}
	fmt.Fprintln(a.out)
	err := table(a.out, func(row func(...any)) {
		row("BUCKET", "NAME", "STATE", "HEIGHT", "HEAD", "COMPLETE", "BEHIND", "PINS", "HELD", "FORKS", "DEAD")
		for _, b := range s.Buckets {
			row(b.BucketID, clipName(b.Name), b.State, height(b.Known), shortHead(b.Known), height(b.Complete), b.Behind,
				fmt.Sprintf("%d/%d", b.Pins.Held, b.Pins.Needed), byteSize(b.Pins.BytesHeld), b.Forks, b.Dead)
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

// printBroker says how the peer hears.
func (a *app) printBroker(s local.Status) {
	since := ""
	if s.Broker.Since != nil {
		since = ", since " + ago(*s.Broker.Since, time.Now())
	}
	switch {
	case !s.Broker.Connected:
		fmt.Fprintf(a.out, "offline: %s%s\n", s.Broker.Error, since)
	case !s.Running:
		fmt.Fprintf(a.out, "no peer runs; the broker answers at %s\n", s.Broker.URL)
	}
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
