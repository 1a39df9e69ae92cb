package jetstream_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headwater/jetstream"
	"headwater/test/natstest"

	"github.com/google/go-cmp/cmp"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

func TestEnsureMakesWhatTheContractSays(t *testing.T) {
	s := natstest.Start(t)
	c := ensured(t, s.URL(), peer(1))
	_, js := plain(t, s.URL())
	ctx := within(t)
	for stream, check := range map[string]func(natsjs.StreamConfig) bool{
		"HEADWATER_HEADS": func(c natsjs.StreamConfig) bool {
			return c.Retention == natsjs.LimitsPolicy && c.MaxMsgsPerSubject == 1 && c.AllowDirect && c.Duplicates == 10*time.Second && c.MaxAge == 0
		},
		"HEADWATER_PINS": func(c natsjs.StreamConfig) bool {
			return c.Retention == natsjs.WorkQueuePolicy && c.MaxMsgsPerSubject == -1 && c.Duplicates > 0
		},
		"HEADWATER_DEAD": func(c natsjs.StreamConfig) bool {
			return c.Retention == natsjs.LimitsPolicy && c.AllowDirect && c.MaxAge == 30*24*time.Hour
		},
	} {
		st, err := js.Stream(ctx, stream)
		noErr(t, stream, err)
		if cfg := st.CachedInfo().Config; !check(cfg) || cfg.Storage != natsjs.FileStorage || cfg.Description == "" {
			t.Errorf("%s: got %+v", stream, cfg)
		}
	}
	for stream, durable := range map[string]string{"HEADWATER_HEADS": "heads-" + peerText, "HEADWATER_PINS": "pins-" + peerText} {
		d, err := js.Consumer(ctx, stream, durable)
		noErr(t, durable, err)
		cfg := d.CachedInfo().Config
		if cfg.AckPolicy != natsjs.AckExplicitPolicy || cfg.MaxDeliver != -1 || cfg.AckWait != 30*time.Second || cfg.MaxAckPending != 1000 || cfg.DeliverPolicy != natsjs.DeliverAllPolicy {
			t.Errorf("%s: got %+v", durable, cfg)
		}
	}
	// A second time nothing is to be done.
	d, err := c.Ensure(ctx, jetstream.EnsureConfig{Peer: peer(1), BindOnly: true})
	if err != nil || len(d) > 0 {
		t.Errorf("ensure again: got %v, %v", d, err)
	}
}

func TestObjectStoresAreMadeAsEveryClientMakesThem(t *testing.T) {
	s := natstest.Start(t)
	ensured(t, s.URL(), peer(1))
	_, js := plain(t, s.URL())
	_, err := js.CreateObjectStore(within(t), natsjs.ObjectStoreConfig{Bucket: "twin", Storage: natsjs.FileStorage})
	noErr(t, "create", err)
	config := func(name string) natsjs.StreamConfig {
		st, err := js.Stream(within(t), "OBJ_"+name)
		noErr(t, name, err)
		cfg := st.CachedInfo().Config
		cfg.Name, cfg.Description, cfg.Metadata = "", "", nil
		for i, subject := range cfg.Subjects {
			cfg.Subjects[i] = strings.ReplaceAll(subject, name, "NAME")
		}
		return cfg
	}
	want := config("twin")
	want.AllowAtomicPublish = true // which is all that is ours
	if d := cmp.Diff(want, config("headwater-blobs")); d != "" {
		t.Errorf("object store differs from one made by the client's library (-theirs +ours):\n%s", d)
	}
}

func TestEnsureSurvivesRaces(t *testing.T) {
	s := natstest.Start(t)
	var wg sync.WaitGroup
	for range 6 {
		c := dial(t, s.URL())
		wg.Go(func() {
			if d, err := c.Ensure(t.Context(), jetstream.EnsureConfig{Peer: peer(1)}); err != nil || len(d) > 0 {
				t.Errorf("ensure: got %v, %v", d, err)
			}
		})
	}
	wg.Wait()
}

func TestEnsureChangesNothingAndNamesTheDifferences(t *testing.T) {
	s := natstest.Start(t)
	_, js := plain(t, s.URL())
	ctx := within(t)
	_, err := js.CreateStream(ctx, natsjs.StreamConfig{Name: "HEADWATER_HEADS", Subjects: []string{"headwater.heads.>"}, Duplicates: time.Second})
	noErr(t, "create", err)
	_, err = js.CreateStream(ctx, natsjs.StreamConfig{Name: "HEADWATER_PINS", Subjects: []string{"headwater.pins.x.y"}, MaxMsgsPerSubject: 5})
	noErr(t, "create", err)
	_, err = js.CreateConsumer(ctx, "HEADWATER_HEADS", natsjs.ConsumerConfig{Durable: "heads-" + peerText, AckPolicy: natsjs.AckExplicitPolicy,
		AckWait: time.Second, MaxDeliver: 3, MaxAckPending: 1})
	noErr(t, "create", err)
	c := dial(t, s.URL())
	got, err := c.Ensure(ctx, jetstream.EnsureConfig{Peer: peer(1)})
	noErr(t, "ensure", err)
	var settings []string
	for _, d := range got {
		settings = append(settings, d.Asset+" "+d.Setting)
		if d.Fix == "" || d.Want == d.Have {
			t.Errorf("difference without use: %+v", d)
		}
	}
	want := []string{
		"stream HEADWATER_HEADS allow_direct", "stream HEADWATER_HEADS duplicate_window", "stream HEADWATER_HEADS max_msgs_per_subject",
		"stream HEADWATER_PINS retention", "stream HEADWATER_PINS subjects", "stream HEADWATER_PINS duplicate_window",
		"stream HEADWATER_PINS max_msgs_per_subject",
		"durable heads-" + peerText + " on HEADWATER_HEADS filter_subject", "durable heads-" + peerText + " on HEADWATER_HEADS max_deliver",
		"durable heads-" + peerText + " on HEADWATER_HEADS ack_wait", "durable heads-" + peerText + " on HEADWATER_HEADS max_ack_pending",
	}
	if d := cmp.Diff(want, settings); d != "" {
		t.Errorf("differences (-want +got):\n%s", d)
	}
	st, err := js.Stream(ctx, "HEADWATER_HEADS")
	noErr(t, "stream", err)
	if cfg := st.CachedInfo().Config; cfg.AllowDirect || cfg.Duplicates != time.Second {
		t.Errorf("ensure changed the stream: %+v", cfg)
	}
}

// The commands are what a person types: they are run as they are printed.
func TestCommandsThatMendAndMakeDoSo(t *testing.T) {
	s := natstest.Start(t)
	cli := natstest.NewCLI(t, s.URL())
	c := dial(t, s.URL())
	cfg := jetstream.EnsureConfig{Peer: peer(1), BindOnly: true}
	_, err := c.Ensure(within(t), cfg)
	wantErr(t, "bind to nothing", err, jetstream.ErrMissing)
	lines := strings.Split(err.Error(), "\n\t")[1:]
	if len(lines) != 7 {
		t.Fatalf("got %d commands, want one for each of 3 streams, 2 stores, 2 durables:\n%s", len(lines), err)
	}
	for _, line := range lines {
		runLine(t, cli, line)
	}
	d, err := c.Ensure(within(t), cfg)
	if err != nil || len(d) > 0 {
		t.Fatalf("ensure after the commands: got %v, %v", d, err)
	}
	for _, line := range []string{
		"nats stream edit HEADWATER_HEADS --no-allow-direct --max-msgs-per-subject=7 --dupe-window=1s --force",
		"nats stream edit HEADWATER_DEAD --max-age=1h --force --dupe-window=1s",
		"nats consumer pause HEADWATER_PINS pins-" + peerText + " 1h --force",
		"nats consumer edit HEADWATER_HEADS heads-" + peerText + " --max-deliver=3 --wait=1s --max-pending=5 --force",
	} {
		runLine(t, cli, line)
	}
	d, err = c.Ensure(within(t), cfg)
	if err != nil || len(d) != 9 {
		t.Fatalf("ensure after changes: got %d differences %v, error %v, want 9", len(d), d, err)
	}
	for _, diff := range d {
		runLine(t, cli, diff.Fix)
	}
	if d, err = c.Ensure(within(t), cfg); err != nil || len(d) > 0 {
		t.Fatalf("ensure after the fixes: got %v, %v", d, err)
	}
}

// runLine runs one printed command, whose words are quoted at most with single quotes.
func runLine(t *testing.T, cli *natstest.CLI, line string) {
	t.Helper()
	words := strings.Fields(line)
	if words[0] != "nats" || slices.Contains(words, "&&") {
		t.Fatalf("command %q cannot be run here", line)
	}
	for i, w := range words {
		words[i] = strings.ReplaceAll(w, "'", "")
	}
	cli.Run(words[1:]...)
}

func TestEnsureWorksOnAClusterThatHasJustComeUp(t *testing.T) {
	cl := natstest.StartCluster(t, 3)
	c := dial(t, cl.URL())
	cfg := jetstream.EnsureConfig{Peer: peer(1), Replicas: 3}
	d, err := c.Ensure(within(t), cfg)
	if err != nil || len(d) > 0 {
		t.Fatalf("ensure: got %v, %v", d, err)
	}
	cfg.Replicas = 1
	if d, err = c.Ensure(within(t), cfg); err != nil || len(d) > 0 {
		t.Errorf("more replicas than asked for: got %v, %v, want no difference", d, err)
	}
}

func TestPrefixesDoNotMeet(t *testing.T) {
	s := natstest.Start(t)
	ensured(t, s.URL(), peer(1))
	other := dial(t, s.URL(), func(c *jetstream.Config) { c.Prefix = "acme" })
	if d, err := other.Ensure(within(t), jetstream.EnsureConfig{Peer: peer(1)}); err != nil || len(d) > 0 {
		t.Fatalf("ensure: got %v, %v", d, err)
	}
	_, js := plain(t, s.URL())
	for _, name := range []string{"ACME_HEADS", "ACME_PINS", "ACME_DEAD", "OBJ_acme-manifests", "OBJ_acme-blobs"} {
		if _, err := js.Stream(within(t), name); err != nil {
			t.Errorf("stream %s: %v", name, err)
		}
	}
}
