package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"headwater/bucket"
	"headwater/jetstream"
)

func (a *app) demoCommand() *cobra.Command {
	var keep string
	cmd := &cobra.Command{
		Use: "demo", Short: "Two peers and a sample directory, shown step by step",
		Long: `Run two peers on an embedded NATS server and take a sample directory through all of it:
commit, share, sync, check out, change, fork, merge. Every command is shown as you
would type it. All is done in a temporary directory and removed at the end.`,
		Example: "  headwater demo\n  headwater demo --keep /tmp/headwater-demo",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.runDemo(cmd.Context(), keep) },
	}
	cmd.Flags().StringVar(&keep, "keep", "", "do it in this directory, which must not exist, and leave it there")
	return cmd
}

// demo is the stage: a directory, and two peers that run in it.
type demo struct {
	app  *app
	dir  string
	next int // step
}

func (a *app) runDemo(ctx context.Context, keep string) (err error) {
	d := &demo{app: a, dir: keep}
	if keep == "" {
		if d.dir, err = os.MkdirTemp("", "headwater-demo-*"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(d.dir)) }()
	} else if err := os.Mkdir(keep, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(d.path("config.toml"), nil, 0o600); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	peers, ctx := errgroup.WithContext(ctx)
	err = d.play(ctx, peers)
	stop()
	if waitErr := peers.Wait(); err == nil && !errors.Is(waitErr, context.Canceled) {
		err = waitErr
	}
	return err
}

func (d *demo) path(parts ...string) string {
	return filepath.Join(append([]string{d.dir}, parts...)...)
}

// play is the whole of it, one scene after another.
func (d *demo) play(ctx context.Context, peers *errgroup.Group) error {
	for _, scene := range []func(context.Context, *errgroup.Group) error{
		d.startPeers, d.firstVersion, d.shareIt, d.changeIt, d.forkIt, d.mergeIt,
	} {
		if err := scene(ctx, peers); err != nil {
			return err
		}
	}
	d.say("That is all. The same works between any two machines that reach one NATS system:\n" +
		"headwater run --nats nats://host:4222 on each of them, and nothing else.")
	return nil
}

// say explains what comes next.
func (d *demo) say(text string) {
	d.next++
	fmt.Fprintf(d.app.out, "\n%d. %s\n\n", d.next, text)
}

// indent writes what commands say, set off from the explanations.
type indent struct {
	w       io.Writer
	midline bool
}

func (i *indent) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		text := "   " + string(line)
		if i.midline {
			text = string(line)
		}
		if _, err := io.WriteString(i.w, text); err != nil {
			return 0, err
		}
		i.midline = !bytes.HasSuffix(line, []byte("\n"))
	}
	return len(b), nil
}

// as is a person at a peer.
func (d *demo) as(who string, out io.Writer) *app {
	b := newApp(strings.NewReader(""), out, out, func(string) (string, bool) { return "", false })
	b.dir = d.path(who)
	return b
}

// args completes a command line.
func (d *demo) args(who string, args ...string) []string {
	return append(args, "--dir", d.path(who), "--config", d.path("config.toml"), "--log-level", "error")
}

// does shows a command, and runs it.
func (d *demo) does(ctx context.Context, who string, args ...string) error {
	d.show(who, args...)
	if code := d.as(who, &indent{w: d.app.out}).run(ctx, d.args(who, args...)); code != exitDone {
		return fmt.Errorf("headwater %s: exit code %d", strings.Join(args, " "), code)
	}
	return nil
}

func (d *demo) show(who string, args ...string) {
	fmt.Fprintf(d.app.out, "   %s$ headwater %s\n", who, strings.ReplaceAll(strings.Join(args, " "), d.dir+string(filepath.Separator), ""))
}

func (d *demo) startPeers(ctx context.Context, peers *errgroup.Group) error {
	d.say("Two peers, alice and bob, each with an identity, a log and a store of its own.\n" +
		"Alice's starts a NATS server in the same process; bob's connects to it.")
	if err := d.start(ctx, peers, "alice", "run", "--listen", "127.0.0.1:0"); err != nil {
		return err
	}
	url, err := os.ReadFile(d.as("alice", d.app.out).urlFile())
	if err != nil {
		return err
	}
	return d.start(ctx, peers, "bob", "run", "--nats", string(url))
}

// start runs a peer, and returns when it is ready.
func (d *demo) start(ctx context.Context, peers *errgroup.Group, who string, args ...string) error {
	d.show(who, args...)
	r, w := io.Pipe()
	peers.Go(func() error {
		code := d.as(who, w).run(ctx, d.args(who, args...))
		_ = w.CloseWithError(fmt.Errorf("the peer of %s ended with exit code %d", who, code))
		return nil
	})
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		fmt.Fprintf(d.app.out, "   %s", line)
		if strings.HasPrefix(line, "ready") {
			break
		}
	}
	peers.Go(func() error {
		_, _ = io.Copy(io.Discard, lines) // what it says later; it ends with the peer
		return nil
	})
	return nil
}

// sample is what alice has.
func sample() map[string]string {
	return map[string]string{
		"alice-files/readme.txt":         "Letters, and what belongs to them.\n",
		"alice-files/letters/spring.txt": "Dear Bob,\nthe ice is gone.\n",
		"alice-files/letters/summer.txt": "Dear Bob,\ncome and swim.\n",
	}
}

func (d *demo) write(name, content string) error {
	if err := os.MkdirAll(filepath.Dir(d.path(name)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(d.path(name), []byte(content), 0o644)
}

func (d *demo) firstVersion(ctx context.Context, _ *errgroup.Group) error {
	for name, content := range sample() {
		if err := d.write(name, content); err != nil {
			return err
		}
	}
	d.say("Alice makes a bucket and commits a directory: each file is encrypted and put into an\n" +
		"object store, the version is signed, and its head announced on a subject.")
	if err := d.does(ctx, "alice", "create", "letters"); err != nil {
		return err
	}
	return d.does(ctx, "alice", "commit", "letters", d.path("alice-files"))
}

func (d *demo) shareIt(ctx context.Context, _ *errgroup.Group) error {
	d.say("So far bob hears of a bucket that is not his, and keeps nothing of it. Alice shares it:\n" +
		"a new version, whose secret is wrapped for both. Bob's peer verifies the whole chain,\n" +
		"logs it, and downloads what it needs.")
	id, err := d.as("bob", d.app.out).readIdentity()
	if err != nil {
		return err
	}
	if err := d.does(ctx, "alice", "share", "letters", id.PublicKey().String()); err != nil {
		return err
	}
	if err := d.inSync(ctx, "bob", 2, 0); err != nil {
		return err
	}
	if err := d.does(ctx, "bob", "status"); err != nil {
		return err
	}
	if err := d.does(ctx, "bob", "checkout", "letters", d.path("bob-files")); err != nil {
		return err
	}
	return d.does(ctx, "bob", "ls", "letters", "-R")
}

// inSync waits until a peer holds everything up to a height, and knows of so many forks.
func (d *demo) inSync(ctx context.Context, who string, height, forks uint64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, fmt.Errorf("the peer of %s is not in sync after a minute", who))
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var answer bytes.Buffer
		var status struct {
			Buckets []struct {
				Complete *bucket.Head `json:"complete"`
				Forks    uint64       `json:"forks"`
			} `json:"buckets"`
		}
		if code := d.as(who, &answer).run(ctx, d.args(who, "status", "--json")); code == exitDone {
			if err := json.Unmarshal(answer.Bytes(), &status); err != nil {
				return err
			}
		}
		if b := status.Buckets; len(b) == 1 && b[0].Complete != nil && b[0].Complete.Height >= height && b[0].Forks >= forks {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (d *demo) changeIt(ctx context.Context, _ *errgroup.Group) error {
	d.say("Bob changes a file and commits. Only what changed is put, and only what differs is\nwritten at alice's.")
	if err := d.write("bob-files/letters/summer.txt", "Dear Bob,\ncome and swim.\n\nDear Alice, I am on my way.\n"); err != nil {
		return err
	}
	if err := d.does(ctx, "bob", "commit", "letters", d.path("bob-files")); err != nil {
		return err
	}
	return d.does(ctx, "alice", "checkout", "letters", d.path("alice-files"))
}

func (d *demo) forkIt(ctx context.Context, _ *errgroup.Group) error {
	d.say("Now both change the same letter, and commit at the same moment, so neither has heard of\n" +
		"the other's version: a fork. Nothing is lost, and all peers pick the same head.")
	if err := errors.Join(
		d.write("alice-files/letters/spring.txt", "Dear Bob,\nthe ice is gone, and so is the snow.\n"),
		d.write("bob-files/letters/spring.txt", "Dear Bob,\nthe ice is gone.\nWhat ice? - B.\n"),
	); err != nil {
		return err
	}
	if err := d.commitAtOnce(ctx); err != nil {
		return err
	}
	if err := d.inSync(ctx, "alice", 4, 1); err != nil {
		return err
	}
	return d.does(ctx, "alice", "log", "letters")
}

// commitAtOnce lets both begin before either is done.
func (d *demo) commitAtOnce(ctx context.Context) error {
	var finish []func() error
	for _, who := range []string{"alice", "bob"} {
		out := &indent{w: d.app.out}
		b := d.as(who, out)
		b.level, b.timeout, b.nats.Prefix = "error", jetstream.DefaultRequestLimit, jetstream.DefaultPrefix
		id, err := b.readIdentity()
		if err != nil {
			return err
		}
		client, err := b.connect(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = client.Close(ctx) }()
		desk, err := b.openDesk(client, id, deskOptions{})
		if err != nil {
			return err
		}
		e, err := desk.edition(ctx, "letters", d.path(who+"-files"), false)
		if err != nil {
			return err
		}
		finish = append(finish, func() error {
			d.show(who, "commit", "letters", who+"-files")
			return desk.finishCommit(ctx, "letters", e, commitOptions{})
		})
	}
	return errors.Join(finish[0](), finish[1]())
}

func (d *demo) mergeIt(ctx context.Context, _ *errgroup.Group) error {
	d.say("Either of them brings the branches together. What only one side changed is taken; where\n" +
		"both changed a file, both files are kept.")
	for _, step := range [][]string{
		{"bob", "merge", "letters"},
		{"alice", "checkout", "letters", d.path("alice-files")},
		{"bob", "checkout", "letters", d.path("bob-files")},
		{"bob", "ls", "letters", "letters"},
	} {
		if err := d.does(ctx, step[0], step[1:]...); err != nil {
			return err
		}
	}
	return nil
}
