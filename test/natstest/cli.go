package natstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// CLIVariable names the environment variable that holds the path of the nats program. If it is not set, the program is
// bin/nats at the root of the module, where make puts it.
const CLIVariable = "HEADWATER_TEST_NATS_CLI"

// cliLimit bounds one run of the nats program.
const cliLimit = time.Minute

// CLI runs the nats command line program against one server or cluster, with an empty home directory, so that the contexts
// and settings of whoever runs the tests play no part. Safe for concurrent use.
type CLI struct {
	tb  testing.TB
	bin string
	url string
	env []string
}

// NewCLI returns the nats program for the servers at url. It fails the test if there is no such program: a test that
// needs it never passes without it.
func NewCLI(tb testing.TB, url string) *CLI {
	tb.Helper()
	bin, err := findCLI()
	if err != nil {
		tb.Fatalf("find the nats program: %v: run `make tools`, or set %s to its path", err, CLIVariable)
	}
	return &CLI{tb: tb, bin: bin, url: url, env: bareEnv(tb.TempDir())}
}

// findCLI returns the absolute path of the nats program.
func findCLI() (string, error) { return findProgram(CLIVariable, "nats") }

// findProgram returns the absolute path of a program: what an environment variable says, or where make puts it.
func findProgram(variable, name string) (bin string, err error) {
	if bin = os.Getenv(variable); bin == "" {
		root, err := moduleRoot()
		if err != nil {
			return "", err
		}
		bin = filepath.Join(root, "bin", name)
	}
	if bin, err = filepath.Abs(bin); err == nil {
		_, err = os.Stat(bin)
	}
	return bin, err
}

// moduleRoot is the directory of the go.mod here or above.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod here or above")
		}
		dir = up
	}
}

// bareEnv is this process's environment without what would lead the nats program to somebody's settings.
func bareEnv(home string) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "NATS_") || strings.HasPrefix(kv, "XDG_") || strings.HasPrefix(kv, "HOME=")
	})
	return append(env, "HOME="+home, "XDG_CONFIG_HOME="+filepath.Join(home, ".config"), "NO_COLOR=1")
}

// Run runs the program with args and returns what it wrote to standard output. The test fails if the program does.
func (c *CLI) Run(args ...string) string {
	c.tb.Helper()
	return c.RunInput(nil, args...)
}

// RunInput is [CLI.Run] with input on the program's standard input.
func (c *CLI) RunInput(input []byte, args ...string) string {
	c.tb.Helper()
	out, err := c.Try(input, args...)
	if err != nil {
		c.tb.Fatalf("%v", err)
	}
	return out
}

// Try runs the program with args and input on its standard input, and returns what it wrote to standard output. If it
// fails, the error holds what it wrote to standard error too.
//
// In about one of twenty runs the program cannot read an object and says "context canceled", which is a fault of its own.
// Such a read is tried again; give it --force if it writes a file.
func (c *CLI) Try(input []byte, args ...string) (string, error) {
	c.tb.Helper()
	const tries = 6
	for n := 1; ; n++ {
		out, err := c.once(input, args)
		if err == nil || n == tries || !isObjectGet(args) || !strings.Contains(err.Error(), context.Canceled.Error()) {
			return out, err
		}
	}
}

func isObjectGet(args []string) bool {
	return len(args) > 1 && (args[0] == "object" || args[0] == "obj") && args[1] == "get"
}

func (c *CLI) once(input []byte, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), cliLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.bin, append([]string{"--server", c.url}, args...)...)
	cmd.Env = c.env
	if input != nil {
		cmd.Stdin = bytes.NewReader(input)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("nats %s: %w: %s%s", strings.Join(args, " "), err, &stderr, &stdout)
	}
	return stdout.String(), nil
}
