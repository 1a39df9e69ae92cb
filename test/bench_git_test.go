package test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headwater/bucket/buckettest"
)

// Catching up with a history, against git fetch from a git daemon, both over loopback and until all of it is on disk.
//
// What travels is alike: for each version its manifest of some 800 bytes, and for each commit an object that takes as many in a
// pack, its message being random; all commits have the empty tree. What is done with it differs: git checks hashes and
// connectivity; we check every signature, and that the author was allowed to write.

const (
	gitBefore   = 10                 // versions that the other side has, if it is not empty
	gitVersions = 10_000 + gitBefore // in all
	gitRuns     = 3                  // of which the fastest counts
)

func BenchmarkRatioGitFetch(b *testing.B) {
	for range b.N {
		size := len(buckettest.New(b, buckettest.Identity(b, 1), buckettest.Identity(b, 200).PublicKey()).Grow(b, 2).Head().Encoded())
		g := newGit(b, gitVersions, size)
		var ours, theirs [2][]time.Duration
		for range gitRuns {
			for i, before := range []int{0, gitBefore} {
				theirs[i] = append(theirs[i], g.fetch(b, before))
				_, _, took := hintedCatchUp(b, before, gitVersions-before)
				ours[i] = append(ours[i], took)
			}
		}
		all, further := slices.Min(theirs[0]).Seconds()/slices.Min(ours[0]).Seconds(), slices.Min(theirs[1]).Seconds()/slices.Min(ours[1]).Seconds()
		b.ReportMetric(all, "ratio-all")
		b.ReportMetric(further, "ratio-further")
		b.ReportMetric(rate(gitVersions, slices.Min(ours[0])), "versions/s")
		b.ReportMetric(rate(gitVersions, slices.Min(theirs[0])), "git-commits/s")
		b.Logf("%d versions, speed as a multiple of git fetch: %.2f into nothing, %v against %v of git; %.2f where the first %d are there, "+
			"%v against %v. A manifest has %d bytes, a commit %d in git's pack. The fastest of %d runs each; git checks no signatures",
			gitVersions, all, round1(ours[0]), round1(theirs[0]), further, gitBefore, round1(ours[1]), round1(theirs[1]),
			size, g.packed/gitVersions, gitRuns)
	}
}

// round1 is the shortest of some times, as it is printed.
func round1(d []time.Duration) time.Duration { return slices.Min(d).Round(time.Millisecond) }

// git is the program, without anybody's settings, and a repository that it serves.
type git struct {
	bin, daemon string
	home        string
	url         string // of the repository
	packed      int    // bytes that its commits take in a pack
}

// newGit makes a repository of n commits whose objects take so many bytes in a pack, and serves it until the test ends.
func newGit(tb testing.TB, n, size int) *git {
	tb.Helper()
	g := &git{home: tb.TempDir()}
	var err error
	if g.bin, err = exec.LookPath("git"); err != nil {
		tb.Fatal("git not found: apt-get install git")
	}
	g.daemon = filepath.Join(strings.TrimSpace(g.run(tb, nil, "--exec-path")), "git-daemon")
	if _, err := os.Stat(g.daemon); err != nil {
		tb.Fatalf("git has no daemon, which the package git of Debian comes with: %v", err)
	}
	repo := filepath.Join(g.home, "served")
	g.run(tb, nil, "init", "--quiet", "--bare", "--initial-branch=main", repo)
	g.run(tb, commits(n, size), "-C", repo, "fast-import", "--quiet")
	g.run(tb, nil, "-C", repo, "repack", "-a", "-d", "-b", "-q") // as servers keep it
	packs, err := filepath.Glob(filepath.Join(repo, "objects", "pack", "*.pack"))
	if err != nil || len(packs) != 1 {
		tb.Fatalf("got packs %v (%v), want one", packs, err)
	}
	info, err := os.Stat(packs[0])
	if err != nil {
		tb.Fatal(err)
	}
	g.packed = int(info.Size())
	g.url = "git://" + g.serve(tb) + "/served"
	return g
}

// commits is a history as git fast-import reads it: the branch main, and at its commit number gitBefore the branch before.
func commits(n, size int) []byte {
	const others = 214 // bytes of a packed commit beside the message: tree, parent, author and committer, and what hex leaves
	random := rand.NewChaCha8([32]byte{1})
	message := make([]byte, size-others)
	var b bytes.Buffer
	for i := 1; i <= n; i++ {
		_, _ = random.Read(message)
		text := hex.EncodeToString(message)
		fmt.Fprintf(&b, "commit refs/heads/main\nmark :%d\ncommitter bench <bench@localhost> %d +0000\ndata %d\n%s\n", i, 1_700_000_000+i, len(text), text)
		if i == gitBefore {
			fmt.Fprintf(&b, "reset refs/heads/before\nfrom :%d\n\n", i)
		}
	}
	return b.Bytes()
}

// command is git in its own home, and with nothing done in the background.
func (g *git) command(ctx context.Context, bin string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "GIT_") || strings.HasPrefix(kv, "HOME=") || strings.HasPrefix(kv, "XDG_")
	})
	cmd.Env = append(cmd.Env, "HOME="+g.home, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_TERMINAL_PROMPT=0",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=gc.auto", "GIT_CONFIG_VALUE_0=0")
	return cmd
}

func (g *git) run(tb testing.TB, in []byte, args ...string) string {
	tb.Helper()
	cmd := g.command(tb.Context(), g.bin, args...)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// serve answers connections, each with a git daemon of its own, as inetd does, and returns its address.
func (g *git) serve(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				if err := g.answer(conn.(*net.TCPConn)); err != nil {
					tb.Errorf("git daemon: %v", err)
				}
			})
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	return l.Addr().String()
}

func (g *git) answer(conn *net.TCPConn) error {
	f, err := conn.File() // so that the daemon has the socket itself, with nobody in between
	if err = errors.Join(err, conn.Close()); err != nil {
		return err
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := g.command(ctx, g.daemon, "--inetd", "--export-all", "--base-path="+g.home)
	cmd.Stdin, cmd.Stdout = f, f
	return cmd.Run()
}

// fetch returns how long it takes to fetch the branch main into a new repository that has so many of its commits: none, or
// gitBefore.
func (g *git) fetch(tb testing.TB, before int) time.Duration {
	tb.Helper()
	repo := filepath.Join(tb.TempDir(), "fetched")
	g.run(tb, nil, "init", "--quiet", "--bare", "--initial-branch=main", repo)
	if before > 0 {
		g.run(tb, nil, "-C", repo, "fetch", "--quiet", g.url, "refs/heads/before:refs/heads/main")
	}
	start := time.Now()
	g.run(tb, nil, "-C", repo, "fetch", "--quiet", g.url, "refs/heads/main:refs/heads/main")
	took := time.Since(start)
	if got := strings.TrimSpace(g.run(tb, nil, "-C", repo, "rev-list", "--count", "main")); got != fmt.Sprint(gitVersions) {
		tb.Fatalf("got %s commits, want %d", got, gitVersions)
	}
	return took
}
