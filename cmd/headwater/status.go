package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/consumer"
	"headwater/peer/local"
)

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status [BUCKET]", Short: "How the buckets of a peer stand",
		Long: `How the buckets of a peer stand, running or not, with or without a broker. A bucket is
named by its id, the beginning of it, or its name. States: in_sync, behind,
catching_up, fetching, uploading, offline, not_running, blocked, diverged, not_shared.`,
		Example: "  headwater status\n  headwater status --json | jq '.buckets[] | select(.state != \"in_sync\")'",
		Args:    usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAnswers(cmd, func(ctx context.Context, from answers) error {
				return a.runStatus(ctx, from, args)
			})
		},
	}
	a.bindPeer(cmd)
	a.bindStores(cmd)
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
	if !id.IsZero() {
		fmt.Fprintf(a.out, "bucket %s\n", id)
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
		row("BUCKET", "NAME", "STATE", "HEIGHT", "COMPLETE", "PINS", "HELD")
		for _, b := range s.Buckets {
			row(shortID(b.BucketID), clip(b.Name, 13), b.State, height(b.Known), height(b.Complete),
				fmt.Sprintf("%d/%d", b.Pins.Held, b.Pins.Needed), byteSize(b.Pins.BytesHeld))
		}
	})
	for _, b := range s.Buckets {
		if b.LastError == s.Broker.Error {
			b.LastError = "" // said above
		}
		if text := bucketText(b); text != "" {
			fmt.Fprint(a.out, "\n", wrap(shortID(b.BucketID)+": "+text))
		}
	}
	return err
}

// printBroker says that the broker does not answer, and why, or that no peer runs.
func (a *app) printBroker(s local.Status) {
	switch {
	case !s.Broker.Connected:
		fmt.Fprint(a.out, wrap("offline: "+s.Broker.Error+"; since "+ago(s.Broker.Since)))
	case !s.Running:
		fmt.Fprintf(a.out, "no peer runs; the broker answers at %s\n", s.Broker.URL)
	}
}

// bucketText is what a bucket's line does not say, and why the bucket is not in sync.
func bucketText(b consumer.Status) string {
	var parts []string
	say := func(is bool, format string, args ...any) {
		if is {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	say(b.Behind > 0, "%d versions behind", b.Behind)
	say(b.Forks > 0, "%d branches are not merged", b.Forks)
	say(b.Dead > 0, "%d dead letters", b.Dead)
	say(b.CatchUp.Total > 1, "catching up: %s", progressText(b.CatchUp))
	say(b.LastError != "", "%s", b.LastError)
	say(b.LastError != "" && b.Since != nil, "since %s", ago(b.Since))
	say(b.LastError != "" && b.NextTry != nil, "next try %s", ago(b.NextTry))
	return strings.Join(parts, "; ")
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
