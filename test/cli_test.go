package test_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/jetstream"
	"headwater/test/natstest"
)

// unknownBucket is the id of a bucket that nobody has.
const unknownBucket = "00000000-1111-4222-8333-444444444444"

// What scripts branch on: the exit code, and with --json the same reason as one object.
func TestCLI_ExitCodesWithoutAPeer(t *testing.T) {
	t.Parallel()
	garbage := writeFile(t, "garbage", []byte("no manifest at all"))
	for _, tt := range []struct {
		args string
		code int
	}{
		{"nonsense", 2},
		{"status --nonsense", 2},
		{"status one two", 2},
		{"log", 2},
		{"inspect", 2},
		{"init extra", 2},
		{"run --log-level loud", 2},
		{"run --manifest-store a.b", 2},
		{"status --timeout soon", 2},
		{"status --config " + filepath.Join(t.TempDir(), "none.toml"), 2},
		{"get nonsense --nats nats://127.0.0.1:1", 5},
		{"id", 3},
		{"inspect " + filepath.Join(t.TempDir(), "none"), 3},
		{"put " + filepath.Join(t.TempDir(), "none"), 5},
		{"inspect " + garbage, 4},
		{"status", 5},
		{"log " + unknownBucket, 5},
		{"watch", 5},
		{"dead ls", 5},
		{"announce " + unknownBucket, 3},
		{"status --nats nats://127.0.0.1:1", 5},
	} {
		t.Run(tt.args, func(t *testing.T) {
			h := newHeadwater(t, "--dir", filepath.Join(t.TempDir(), "none"))
			args := strings.Fields(tt.args)
			h.fails(tt.code, args...)
			o := h.fails(tt.code, append([]string{"--json"}, args...)...)
			// A failed verification is an answer; all else is a complaint.
			said := o.stderr
			if tt.code == 4 {
				said = o.stdout
			}
			reason := decoded[struct {
				Error, Class string
				Exit         int
			}](t, said)
			if reason.Error == "" || reason.Exit != tt.code || (reason.Class == "malformed") != (tt.code == 4) {
				t.Errorf("got %+v, want a reason, exit %d, and a class where something was verified", reason, tt.code)
			}
		})
	}
}

func TestCLI_ExitCodesWithAPeer(t *testing.T) {
	t.Parallel()
	p := startOwnPeer(t, filepath.Join(t.TempDir(), "peer"))
	link := bucket.ManifestLink([]byte("unknown"))
	for _, tt := range []struct {
		args string
		code int
	}{
		{"status", 0},
		{"status --peer " + p.id, 0},
		{"dead ls", 0},
		{"version", 0},
		{"--help", 0},
		{"status --peer nonsense", 2},
		{"announce " + unknownBucket + " nonsense", 2},
		{"announce " + unknownBucket + " " + bucket.RawLink(nil).String(), 2},
		{"get nonsense", 2},
		{"watch --kind nonsense", 2},
		{"status " + unknownBucket, 3},
		{"status nonsense", 3},
		{"log " + unknownBucket, 3},
		{"log nonsense", 3},
		{"watch nonsense", 3},
		{"announce " + unknownBucket, 3},
		{"inspect " + link.String(), 3},
		{"get " + link.Hash().String(), 3},
		{"put " + filepath.Join(t.TempDir(), "none"), 3},
		{"get " + link.Hash().String() + " --store nobody/none", 5},
		{"status --peer " + announcer(t, 1).String(), 5},
	} {
		p.fails(tt.code, strings.Fields(tt.args)...)
	}
	if help := p.run("--help"); !strings.Contains(help, "Exit codes: 0 done; 1 failed; 2 wrong use;") {
		t.Errorf("got help %q, want it to list the exit codes", help)
	}
}

func TestCLI_IdentityIsNeverReplaced(t *testing.T) {
	t.Parallel()
	type idJSON struct {
		PeerID string `json:"peer_id"`
	}
	dir := filepath.Join(t.TempDir(), "peer")
	h := newHeadwater(t, "--dir", dir)
	made := decoded[idJSON](t, h.run("init", "--json"))
	check := func(when string) {
		t.Helper()
		if got := decoded[idJSON](t, h.run("id", "--json")); got != made {
			t.Errorf("got id %v %s, want %v", got, when, made)
		}
	}
	check("at first")
	if got := strings.TrimSpace(h.run("id")); got != made.PeerID {
		t.Errorf("got %q without --json, want %s", got, made.PeerID)
	}
	info, err := os.Stat(filepath.Join(dir, "identity.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v (%v), want a file that its owner alone may read", info.Mode(), err)
	}
	h.fails(1, "init")
	check("after another init")
	h.fails(1, "init", "--import", identityFile(t, buckettest.Identity(t, 5).Seed()))
	check("after an import of another identity")
	h.run("init", "--import", filepath.Join(dir, "identity.pem"))
	check("after an import of the same identity")
	h.fails(2, "init", "--import", writeFile(t, "seed", []byte("nonsense")))

	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	_, raw, err := nkeys.DecodeSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	want, err := bucket.NewIdentity(raw)
	if err != nil {
		t.Fatal(err)
	}
	other := newHeadwater(t, "--dir", filepath.Join(t.TempDir(), "peer")).withInput(append(seed, '\n'))
	if got := decoded[idJSON](t, other.run("init", "--import", "-", "--json")); got.PeerID != want.PublicKey().String() {
		t.Errorf("got id %v of an nkeys seed, want %s", got, want.PublicKey())
	}
}

func TestCLI_SettingsPrecedence(t *testing.T) {
	t.Parallel()
	h := newHeadwater(t)
	id := func(h headwater, args ...string) string {
		t.Helper()
		return strings.TrimSpace(h.run(append([]string{"id"}, args...)...))
	}
	ids, dirs := map[string]string{}, map[string]string{}
	for _, from := range []string{"flag", "environment", "file", "default"} {
		dirs[from] = filepath.Join(t.TempDir(), from)
		if from == "default" {
			dirs[from] = filepath.Join(h.home, ".local", "share", "headwater")
		}
		ids[from] = strings.TrimSpace(h.run("init", "--dir", dirs[from]))
	}
	check := func(want, got string) {
		t.Helper()
		if got != ids[want] {
			t.Errorf("got the identity %s, want %s of the directory that the %s names", got, ids[want], want)
		}
	}
	check("default", id(h))
	config := filepath.Join(h.home, ".config", "headwater", "config.toml")
	write := func(text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(config), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(fmt.Sprintf("dir = %q\nlisten = \"127.0.0.1:0\"\nfetches = 4\nblob-store = [\"one\", \"two\"]\n", dirs["file"]))
	check("file", id(h))
	env := h.withEnv("HEADWATER_DIR=" + dirs["environment"])
	check("environment", id(env))
	check("flag", id(env, "--dir", dirs["flag"]))
	check("file", id(h.withEnv("HEADWATER_DIR=")))

	elsewhere := writeFile(t, "other.toml", fmt.Appendf(nil, "dir = %q\n", dirs["flag"]))
	check("flag", id(h, "--config", elsewhere))
	check("flag", id(h.withEnv("HEADWATER_CONFIG="+elsewhere)))

	// A peer that has all its settings from the file, and the commands that find it so.
	p := launchPeer(t, h)
	p.awaitReady()
	if p.id != ids["file"] {
		t.Errorf("got a peer %s, want %s", p.id, ids["file"])
	}
	p.status()

	for text, code := range map[string]int{"dirs = \"x\"\n": 2, "fetches = \"many\"\n": 2, "dir = \n": 2} {
		write(text)
		if o := h.fails(code, "run"); !strings.Contains(o.stderr, "config.toml") {
			t.Errorf("got %v, want it to name the file", o)
		}
	}
}

func TestCLI_HeldDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "peer")
	p := startOwnPeer(t, dir)
	o := p.fails(1, "run", "--listen", "127.0.0.1:0")
	if !strings.Contains(o.stderr, dir) || !strings.Contains(o.stderr, "held by another process") {
		t.Errorf("got %v, want it to say that the directory is held by another process", o)
	}
	p.status()

	// Another peer on the same address.
	_, address, _ := strings.Cut(p.url, "://")
	o = newHeadwater(t, "--dir", filepath.Join(t.TempDir(), "other")).fails(1, "run", "--listen", address)
	if !strings.Contains(o.stderr, "--listen") || !strings.Contains(o.stderr, address) {
		t.Errorf("got %v, want it to name the address and what to do", o)
	}
	p.status()
}

func TestCLI_StopsAndGoesOn(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "peer")
	p := startOwnPeer(t, dir)
	cli := natstest.NewCLI(t, p.url)
	chain := buckettest.New(t, buckettest.Identity(t, 1), p.publicKey()).Grow(t, 3)
	putWithCLI(t, cli, "headwater-manifests", objectsOf(chain.Versions...)...)
	putWithCLI(t, cli, "headwater-blobs", buckettest.Object{Link: bucket.RawLink(nil)})
	announceWithCLI(t, cli, chain.ID, announcer(t, 1), chain.Head().Link)
	inSync := func(p *cliPeer) {
		t.Helper()
		await(t, "the bucket in sync", func() (bool, any) { s := p.status()[chain.ID.String()]; return s.State == "in_sync", s }, p)
		checkLog(t, p.versions(chain.ID), chain.Versions...)
	}
	inSync(p)
	began := time.Now()
	if code := p.stop(); code != 0 {
		t.Errorf("got exit %d, want 0", code)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("got %s until the peer had stopped, want seconds", took)
	}
	if s := p.status()[chain.ID.String()]; s.State != "offline" { // the broker was in the peer
		t.Errorf("got %+v of a peer that is stopped, want it offline", s)
	}
	inSync(startOwnPeer(t, dir))
}

func TestCLI_PutAndGet(t *testing.T) {
	t.Parallel()
	p := startOwnPeer(t, filepath.Join(t.TempDir(), "peer"))
	cli := natstest.NewCLI(t, p.url)
	dir := t.TempDir()
	read := func(name string) []byte {
		t.Helper()
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, size := range []int{0, 1, 3 << 20} {
		ours, theirs := make([]byte, size), make([]byte, size)
		rand.Read(ours)
		rand.Read(theirs)
		put := decoded[struct {
			Link, Hash string
			Size       int64
		}](t, p.run("put", writeFile(t, "ours", ours), "--json"))
		if put.Link != bucket.RawLink(ours).String() || put.Hash != bucket.Sum(ours).String() || put.Size != int64(size) {
			t.Errorf("got %+v, want %s and %d bytes", put, bucket.RawLink(ours), size)
		}
		out := filepath.Join(dir, fmt.Sprint("nats-", size))
		cli.Run("object", "get", "headwater-blobs", bucket.Sum(ours).String(), "--output", out, "--no-progress", "--force")
		if !bytes.Equal(read(out), ours) {
			t.Errorf("got other bytes with the nats program than the %d that were put", size)
		}

		putWithCLI(t, cli, "headwater-blobs", buckettest.Object{Link: bucket.RawLink(theirs), Bytes: theirs})
		out = filepath.Join(dir, fmt.Sprint("ours-", size))
		p.run("get", bucket.RawLink(theirs).String(), "-o", out)
		if !bytes.Equal(read(out), theirs) {
			t.Errorf("got other bytes than the %d that the nats program put", size)
		}
		if got := p.run("get", bucket.Sum(theirs).String()); got != string(theirs) {
			t.Errorf("got %d other bytes on standard output than the %d that the nats program put", len(got), size)
		}
		p.fails(1, "get", bucket.Sum(ours).String(), "-o", out)
		if !bytes.Equal(read(out), theirs) {
			t.Error("got a file replaced that was there already")
		}
	}
	if got := strings.TrimSpace(p.withInput([]byte("piped")).run("put", "-")); got != bucket.RawLink([]byte("piped")).String() {
		t.Errorf("got link %q of standard input, want %s", got, bucket.RawLink([]byte("piped")))
	}
	chain := buckettest.New(t, buckettest.Identity(t, 1)).Grow(t, 1)
	manifest := writeFile(t, "manifest", chain.Head().Encoded())
	if got := strings.TrimSpace(p.run("put", "--manifest", manifest)); got != chain.Head().Link.String() {
		t.Errorf("got link %q of a manifest, want %s", got, chain.Head().Link)
	}
	checkInspection(t, decoded[inspectJSON](t, p.run("inspect", manifest, "--json")), chain.Head())
	checkInspection(t, decoded[inspectJSON](t, p.run("inspect", chain.Head().Link.String(), "--json")), chain.Head())
	p.fails(4, "put", "--manifest", writeFile(t, "garbage", []byte("garbage")))

	// An object under another one's name.
	putWithCLI(t, cli, "headwater-blobs", buckettest.Object{Link: bucket.RawLink([]byte("right")), Bytes: []byte("wrong")})
	out := filepath.Join(dir, "wrong")
	p.fails(4, "get", bucket.RawLink([]byte("right")).String(), "-o", out)
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want no file with wrong bytes", err)
	}
}

func TestCLI_WatchShowsWhatHappens(t *testing.T) {
	t.Parallel()
	p := startOwnPeer(t, filepath.Join(t.TempDir(), "peer"))
	cli := natstest.NewCLI(t, p.url)
	chain := buckettest.New(t, buckettest.Identity(t, 1), p.publicKey()).Grow(t, 1)
	putWithCLI(t, cli, "headwater-blobs", buckettest.Object{Link: bucket.RawLink(nil)})
	watch := p.command(context.Background(), "watch", "--json")
	var out lockedBuffer
	watch.Stdout, watch.Stderr = &out, &out
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	seen := func(kind string, v *bucket.Version) bool {
		for line := range strings.Lines(out.String()) {
			var e eventJSON
			if json.Unmarshal([]byte(line), &e) == nil && e.Kind == kind && e.Link == v.Link.String() && e.Height == v.Height &&
				e.BucketID == chain.ID.String() && !e.At.IsZero() {
				return true
			}
		}
		return false
	}
	// Nothing says when it has begun to watch: announce new heads until one is seen.
	await(t, "the events of a new head", func() (bool, any) {
		v := chain.Add(t, nil)
		putWithCLI(t, cli, "headwater-manifests", objectsOf(chain.Versions[max(0, len(chain.Versions)-2):]...)...)
		announceWithCLI(t, cli, chain.ID, announcer(t, 1), v.Link)
		return seen("applied", chain.Versions[len(chain.Versions)-2]) && seen("complete", chain.Versions[len(chain.Versions)-2]), out.String()
	}, p)
	await(t, "the events of the last head", func() (bool, any) {
		return seen("applied", chain.Head()) && seen("complete", chain.Head()), out.String()
	}, p)
	announceWithCLI(t, cli, chain.ID, announcer(t, 2), chain.Head().Link)
	await(t, "the duplicate", func() (bool, any) { return seen("duplicate", chain.Head()), out.String() }, p)

	if err := watch.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := watch.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 130 {
		t.Errorf("got %v of an interrupted watch, want exit 130", err)
	}
}

// The bus drops what it was told within the last ten seconds as a repetition, even if another head was announced since.
func TestCLI_AnnouncedIsSaidOfWhatStandsOnTheBus(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t).URL()
	h, id := newDesk(t, url)
	first := h.made("create", "photos")
	second := h.made("publish", "photos")
	photos, err := bucket.ParseID(first.BucketID)
	if err != nil {
		t.Fatal(err)
	}
	client, err := jetstream.Dial(t.Context(), jetstream.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close(context.Background()) })
	stands := func() string {
		t.Helper()
		heads, err := client.Heads(t.Context(), photos)
		if err != nil || len(heads) != 1 || heads[0].Peer.String() != id {
			t.Fatalf("got %v, %v as announced, want one head, by the peer", heads, err)
		}
		a, err := bucket.DecodeAnnouncement(heads[0].ContentType, heads[0].Body)
		if err != nil {
			t.Fatal(err)
		}
		return a.Link.String()
	}
	for _, step := range []struct {
		link      string
		duplicate bool
	}{{first.Link, false}, {first.Link, true}, {second.Link, false}, {first.Link, false}} {
		got := decoded[struct{ Duplicate bool }](t, h.run("announce", "photos", step.link, "--json"))
		if got.Duplicate != step.duplicate || stands() != step.link {
			t.Errorf("got duplicate %v and %s announced, want %v and %s", got.Duplicate, stands(), step.duplicate, step.link)
		}
	}
}

func TestOnce_TwoPeersLearnFromAnnouncements(t *testing.T) {
	t.Parallel()
	first := startOwnPeer(t, filepath.Join(t.TempDir(), "first"))
	second := startPeerOn(t, first.url, filepath.Join(t.TempDir(), "second"))
	cli := natstest.NewCLI(t, first.url)
	chain := buckettest.New(t, buckettest.Identity(t, 1), first.publicKey(), second.publicKey()).Grow(t, 5)
	putWithCLI(t, cli, "headwater-manifests", objectsOf(chain.Versions...)...)
	putWithCLI(t, cli, "headwater-blobs", buckettest.Object{Link: bucket.RawLink(nil)})

	type announced struct {
		BucketID  string `json:"bucket_id"`
		PeerID    string `json:"peer_id"`
		Link      string `json:"link"`
		Duplicate bool   `json:"duplicate"`
	}
	id := chain.ID.String()
	announce := func(p *cliPeer, duplicate bool, args ...string) {
		t.Helper()
		want := announced{id, p.id, chain.Head().Link.String(), duplicate}
		if got := decoded[announced](t, p.run(append([]string{"announce", "--json"}, args...)...)); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	announce(second, false, id, chain.Head().Link.String())
	for _, p := range []*cliPeer{first, second} {
		await(t, "both peers in sync", func() (bool, any) { s := p.status()[id]; return s.State == "in_sync", s }, first, second)
		checkLog(t, p.versions(chain.ID), chain.Versions...)
	}
	announce(second, true, id)
	announce(second, true, "test") // the bucket's name
	announce(first, false, id[:8])
	outcomes := func(p *cliPeer) (o struct{ Heads, Pins map[string]int }) {
		t.Helper()
		return decoded[struct {
			Outcomes struct{ Heads, Pins map[string]int }
		}](t, p.run("status", "--json")).Outcomes
	}
	for _, p := range []*cliPeer{first, second} {
		await(t, "the second announcement to be known", func() (bool, any) { o := outcomes(p); return o.Heads["duplicate"] > 0, o }, first, second)
		o := outcomes(p)
		if o.Heads["applied"] != 1 || o.Heads["duplicate"] != 1 || o.Pins["applied"] != 1 || len(o.Heads)+len(o.Pins) != 3 {
			t.Errorf("got outcomes %+v of peer %s, want one announcement applied, one a duplicate, and one job", o, p.id)
		}
		checkLog(t, p.versions(chain.ID), chain.Versions...)
	}
	jobs := decodedWhole[struct {
		State struct {
			LastSeq uint64 `json:"last_seq"`
		}
	}](t, cli.Run("stream", "info", "HEADWATER_PINS", "--json"))
	if jobs.State.LastSeq != 2 {
		t.Errorf("got %d jobs, want one for each peer", jobs.State.LastSeq)
	}

	// Each peer answers for itself, whoever asks.
	stranger := newHeadwater(t, "--dir", filepath.Join(t.TempDir(), "none"), "--nats", first.url)
	for _, p := range []*cliPeer{first, second} {
		if got := decoded[statusJSON](t, stranger.run("status", "--json", "--peer", p.id)); got.PeerID != p.id || len(got.Buckets) != 1 {
			t.Errorf("got status %+v, want that of peer %s", got, p.id)
		}
	}
	if o := stranger.fails(2, "status"); !strings.Contains(o.stderr, first.id) || !strings.Contains(o.stderr, second.id) {
		t.Errorf("got %v, want it to list the peers to choose from", o)
	}
}
