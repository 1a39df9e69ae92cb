package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"headwater/consumer"
	"headwater/jetstream"
	"headwater/peer"
)

// eventKinds are the kinds of events, for the help and for checking --kind.
var eventKinds = []consumer.EventKind{
	consumer.EventApplied, consumer.EventComplete, consumer.EventDuplicate, consumer.EventForked, consumer.EventDiverged,
	consumer.EventRejected, consumer.EventRetrying, consumer.EventDead, consumer.EventProgress,
	consumer.EventAnnounced,
}

func (a *app) watchCommand() *cobra.Command {
	var all bool
	var kind string
	cmd := &cobra.Command{
		Use: "watch [BUCKET]", Short: "Events as they happen",
		Long:    "Write events as they happen, until interrupted. Kinds: " + kindsText() + ".",
		Example: "  headwater watch\n  headwater watch photos --kind applied --json\n  headwater watch --all-peers",
		Args:    usageArgs(cobra.MaximumNArgs(1)),
		RunE: a.onBroker(func(ctx context.Context, c *jetstream.Client, args []string) error {
			return a.runWatch(ctx, c, all, kind, args)
		}),
	}
	a.bindPeer(cmd)
	cmd.Flags().BoolVar(&all, "all-peers", false, "the events of every peer")
	cmd.Flags().StringVar(&kind, "kind", "", "only events of this kind")
	return cmd
}

func kindsText() string {
	names := make([]string, len(eventKinds))
	for i, k := range eventKinds {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

func (a *app) runWatch(ctx context.Context, c *jetstream.Client, all bool, kind string, args []string) (err error) {
	f := jetstream.EventFilter{Kind: consumer.EventKind(kind)}
	if kind != "" && !slices.Contains(eventKinds, f.Kind) {
		return usagef("--kind: there is no %q; kinds are %s", kind, kindsText())
	}
	from, err := a.target(ctx, c)
	if err != nil && (!all || len(args) > 0) {
		return err
	}
	if !all {
		f.Peer = from
	}
	if len(args) > 0 {
		if f.Bucket, err = (peer.Remote{Client: c, Peer: from}).Find(ctx, args[0]); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err = c.Watch(ctx, f, a.printWatching, func(b []byte) {
		if a.printEvent(b) != nil {
			cancel()
		}
	})
	return cmp.Or(a.out.err, err)
}

// printWatching tells a person at a terminal that nothing is missed from now on.
func (a *app) printWatching() {
	if isTerminal(a.err) {
		fmt.Fprintln(a.err, "watching; interrupt to stop")
	}
}

func (a *app) printEvent(b []byte) error {
	var e consumer.Event
	if err := json.Unmarshal(b, &e); err != nil {
		fmt.Fprintf(a.err, "headwater: an event that cannot be read was left out: %v\n", err)
		return nil
	}
	return a.answer(e, "%s  %s  %-9s  %s  %s%s\n", timeText(e.At), shortKey(e.PeerID), e.Kind, e.BucketID, short(e.Link), eventText(e))
}

// eventText is the part of an event's line that depends on its kind.
func eventText(e consumer.Event) string {
	switch e.Kind {
	case consumer.EventApplied:
		return fmt.Sprintf("  height %d, %d new", e.Height, e.Versions)
	case consumer.EventComplete:
		return fmt.Sprintf("  height %d, %d pins, %s", e.Height, e.Pins, byteSize(e.Bytes))
	case consumer.EventForked:
		heads := make([]string, len(e.Heads))
		for i, h := range e.Heads {
			heads[i] = short(h)
		}
		authors := make([]string, len(e.Authors))
		for i, k := range e.Authors {
			authors[i] = shortKey(k)
		}
		return fmt.Sprintf("  from %s: heads %s by %s", short(e.Ancestor), strings.Join(heads, " and "), strings.Join(authors, " and "))
	case consumer.EventRetrying:
		return fmt.Sprintf("  failure %d, again in %s: %s", e.Attempt, e.RetryIn, clipText(e.Reason))
	case consumer.EventProgress:
		if e.Progress != nil {
			return "  " + progressText(*e.Progress)
		}
	case consumer.EventRejected, consumer.EventDead, consumer.EventDiverged:
		return "  " + strings.TrimSpace(e.Class+" "+clipText(e.Reason))
	}
	return ""
}
