package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"

	"headwater/bucket"
	"headwater/jetstream"
	"headwater/peer"
)

// app is what all commands share: where they read and write, and the values of flags. Flags that several commands have are bound
// in app.go and session.go.
type app struct {
	in  io.Reader
	out *output
	err io.Writer
	env func(string) (string, bool)

	cfg    peer.Config // of the peer, and how to reach the broker
	json   bool
	config string
	level  string
	peer   string // id of the peer to ask
	noWait bool   // for the announcement of a version
	at     string // version to read
}

func newApp(in io.Reader, out, err io.Writer, env func(string) (string, bool)) *app {
	return &app{in: in, out: &output{w: out}, err: err, env: env}
}

// run carries out one command line and returns its exit code.
func (a *app) run(ctx context.Context, args []string) int {
	a.in, a.out.w = interruptible{ctx: ctx, r: a.in}, a.interruptibleOut(ctx)
	root := a.root()
	root.SetArgs(args)
	err := cmp.Or(root.ExecuteContext(ctx), a.out.err)
	if err != nil && ctx.Err() != nil && !errors.Is(err, context.Canceled) {
		err = fmt.Errorf("%w: %w", context.Canceled, err)
	}
	// With --json a failed verification is an answer, and goes where answers go.
	if a.json && bucket.ClassOf(err) != "" {
		return report(a.out, true, err)
	}
	return report(a.err, a.json, err)
}

// interruptibleOut returns the output of answers, writes to which end with ctx. A regular file or a writer in memory is returned
// as it is: it does not block.
func (a *app) interruptibleOut(ctx context.Context) io.Writer {
	f, ok := a.out.w.(*os.File)
	if !ok {
		return a.out.w
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		return f
	}
	return interruptible{ctx: ctx, w: f}
}

const rootHelp = `Headwater keeps versioned, encrypted buckets in sync between peers over NATS
JetStream. Start a peer, and ask it how things stand:

  headwater run                  a peer with an embedded NATS server
  headwater status               how its buckets stand
  headwater log BUCKET           the versions of one

Every flag can be set in the environment (--dir is HEADWATER_DIR) and in the
config file; flags win over the environment, the environment over the file.

` + exitHelp

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "headwater", Short: "Keep encrypted buckets in sync over NATS JetStream", Long: rootHelp,
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.settle(cmd.Context(), cmd) },
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Args:              usageArgs(cobra.NoArgs),
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	a.bind(root)
	root.AddCommand(
		a.runCommand(), a.initCommand(), a.idCommand(), a.statusCommand(), a.logCommand(), a.inspectCommand(),
		a.announceCommand(), a.watchCommand(), a.deadCommand(), a.putCommand(), a.getCommand(), a.versionCommand(),
		a.createCommand(), a.commitCommand(), a.checkoutCommand(), a.lsCommand(), a.catCommand(), a.diffCommand(),
		a.shareCommand(), a.unshareCommand(), a.publishCommand(), a.mergeCommand(),
	)
	return root
}

// bind adds the flags that every command takes.
func (a *app) bind(root *cobra.Command) {
	f, nats := root.PersistentFlags(), &a.cfg.NATS
	f.BoolVar(&a.json, "json", false, "write JSON: one object, or one object per line")
	f.StringVar(&a.cfg.Dir, "dir", a.dataDir(), "the peer's directory")
	f.StringVar(&a.config, "config", "", "config file, TOML (default: headwater/config.toml in the user's config directory)")
	f.DurationVar(&nats.RequestLimit, "timeout", jetstream.DefaultRequestLimit, "how long one request to the broker may take")
	f.StringVar(&a.level, "log-level", "info", "what is logged to standard error: debug, info, warn or error")
	f.StringVar(&nats.URL, "nats", "", "NATS server, or several separated by commas (default: that of the peer running on --dir)")
	f.StringVar(&nats.Context, "context", "", "context of the nats command to connect with")
	f.StringVar(&nats.Creds, "creds", "", "file with a NATS user's credentials")
	f.StringVar(&nats.NKey, "nkey", "", "file with a NATS user's nkey seed")
	f.StringVar(&nats.TLS.CA, "tls-ca", "", "file with the certificates that the server's is checked against")
	f.StringVar(&nats.TLS.Cert, "tls-cert", "", "file with this client's certificate")
	f.StringVar(&nats.TLS.Key, "tls-key", "", "file with this client's key")
	f.BoolVar(&nats.TLS.First, "tls-first", false, "do the TLS handshake before the server's greeting")
	f.StringVar(&nats.Domain, "domain", "", "JetStream domain")
	f.StringVar(&nats.Prefix, "prefix", "", "first token of all subjects; streams and stores are named after it (default: that of the last run, or headwater)")
}

// logger returns the program's log: lines for people on a terminal, JSON objects with --json.
func (a *app) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.level)); err != nil {
		return nil, usagef("--log-level: %q is none of debug, info, warn, error", a.level)
	}
	if a.json {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})), nil
	}
	return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !isTerminal(a.err)})), nil
}

// withClient connects to the broker that the settings name, or the one that the last run on the directory used, calls f, and closes
// the connection.
func (a *app) withClient(ctx context.Context, f func(*jetstream.Client) error) error {
	cfg, err := peer.Broker(a.cfg.Dir, a.cfg.NATS)
	if err != nil {
		return err
	}
	c, err := jetstream.Dial(ctx, cfg)
	if err != nil {
		return err
	}
	err = f(c)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.RequestLimit)
	defer cancel()
	return errors.Join(err, c.Close(ctx))
}

// onBroker makes a command from f, which speaks with the broker itself.
func (a *app) onBroker(f func(context.Context, *jetstream.Client, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return a.withClient(cmd.Context(), func(c *jetstream.Client) error { return f(cmd.Context(), c, args) })
	}
}

// usageArgs makes the complaints of an argument check exit with the code for wrong use.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%w; see '%s --help'", err, cmd.CommandPath())
		}
		return nil
	}
}
