//go:build linux

package test_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// commit and checkout of real files, against other ways to keep directories encrypted: a tar of them through age, which is the
// least that can be done, and restic. All on the same disk, in the same run, everything durable at the end of each. Nothing is
// removed in between: file systems such as ext4 are slow to create files just after as many were removed.

const (
	benchFiles = 20_000
	benchLarge = 2 << 30 // bytes
	// memoryLimit is what a commit or checkout may take, however large the file.
	memoryLimit = 128 << 20
)

func BenchmarkRatioFiles(b *testing.B) {
	for range b.N {
		benchTree(b, realFiles(b), 3)
	}
}

func BenchmarkRatioLargeFile(b *testing.B) {
	for range b.N {
		ours := benchTree(b, largeFile(b), 0)
		for _, u := range []usage{ours.commit, ours.checkout} {
			if u.peak > memoryLimit {
				b.Errorf("%s took %d MiB, want at most %d", u.what, u.peak>>20, memoryLimit>>20)
			}
		}
	}
}

// usage is what one run of a program took.
type usage struct {
	what       string
	wall, cpu  time.Duration
	peak       int64 // bytes of memory
	files      int
	size       int64
	alongPeers int64 // bytes of memory that the peer has taken by then, with its server; 0 for no peer
}

func (u usage) String() string {
	mib := float64(u.size) / (1 << 20)
	s := fmt.Sprintf("%-24s %7.2f s %6.2f s CPU %8.1f MiB/s %8.0f files/s %5d MiB", u.what, u.wall.Seconds(), u.cpu.Seconds(),
		mib/u.wall.Seconds(), rateOf(u.files, u.wall), u.peak>>20)
	if u.alongPeers > 0 {
		s += fmt.Sprintf(", peer and server %d MiB so far", u.alongPeers>>20)
	}
	return s
}

func rateOf(n int, took time.Duration) float64 { return float64(n) / took.Seconds() }

// measure runs a program until all that it has written is on disk. It begins when earlier writes are on disk. If the program does
// not sync what it writes, the time for that counts too.
func (c corpus) measure(b *testing.B, what string, cmd *exec.Cmd, synced bool) usage {
	b.Helper()
	prepareMachine(b, 2*c.size)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatalf("%s: %v", what, err)
	}
	peak := watchPeak(cmd.Process.Pid)
	err := cmd.Wait()
	if !synced { // else only the peer is at work, on what it uploads
		syscall.Sync()
	}
	wall := time.Since(start)
	u := usage{what: what, wall: wall, peak: peak(), files: c.files, size: c.size}
	if err != nil {
		b.Fatalf("%s: %v: %s", what, err, stderr.String())
	}
	u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return u
}

// watchPeak watches the peak memory of a process until the function it returns is called, which returns that peak. What the
// system reports after the process has ended is of no use: it counts the memory of the process's parent too.
func watchPeak(pid int) (peak func() int64) {
	done, seen := make(chan struct{}), make(chan int64)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		var most int64
		for {
			if now, err := peakOf(pid); err == nil {
				most = max(most, now)
			}
			select {
			case <-tick.C:
			case <-done:
				seen <- most
				return
			}
		}
	}()
	return func() int64 { close(done); return <-seen }
}

// peakOf is the most bytes of memory that a running process has taken since it began its program.
func peakOf(pid int) (int64, error) { return memoryOf(pid, "VmHWM:") }

// memoryOf reads one of the sizes that Linux reports of a process.
func memoryOf(pid int, field string) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), field)
	var kib int64
	_, err = fmt.Sscan(rest, &kib)
	return kib << 10, err
}

// kept is what it took to keep a directory and to bring it back.
type kept struct{ commit, checkout usage }

// benchTree measures all ways, and prints the ratios before the numbers. changes is how many files change before a second
// commit and checkout; 0: there is no second one.
func benchTree(b *testing.B, c corpus, changes int) kept {
	ours, again, lines := benchHeadwater(b, c, changes)
	age := benchAge(b, c)
	restic, resticAgain := benchRestic(b, c, again != kept{})
	ratio := func(unit string, theirs, ours usage) {
		r := theirs.wall.Seconds() / ours.wall.Seconds()
		b.ReportMetric(r, unit)
		lines = append([]string{fmt.Sprintf("%-32s %.2f", unit, r)}, lines...)
	}
	if again != (kept{}) {
		ratio("next-checkout/restic", resticAgain.checkout, again.checkout)
		ratio("next-commit/restic", resticAgain.commit, again.commit)
	}
	ratio("checkout/age", age.checkout, ours.checkout)
	ratio("commit/age", age.commit, ours.commit)
	ratio("checkout/restic", restic.checkout, ours.checkout)
	ratio("commit/restic", restic.commit, ours.commit)
	for _, u := range []usage{age.commit, age.checkout, restic.commit, restic.checkout, resticAgain.commit, resticAgain.checkout} {
		if u.what != "" {
			lines = append(lines, u.String())
		}
	}
	// Not through b.Logf, which cuts a benchmark's log after ten lines.
	fmt.Printf("\n%d files, %d MiB; speed of headwater, as a multiple of theirs, then what each took:\n%s\n", c.files, c.size>>20,
		strings.Join(lines, "\n"))
	return ours
}

// benchHeadwater commits to a peer with a server of its own, which syncs every message, until the version is durable here, as a
// backup into a local repository is; how long it takes until the server has it too is reported separately. Then it checks out.
func benchHeadwater(b *testing.B, c corpus, changes int) (first, again kept, lines []string) {
	work := b.TempDir()
	p := startOwnPeer(b, filepath.Join(work, "peer"))
	defer p.stop()
	id := p.makes("create", "bench").BucketID
	out := filepath.Join(work, "out")
	both := func(which string) (k kept) {
		run := func(what, dir string, more ...string) usage {
			args := append([]string{what, id, dir, "--json"}, more...)
			u := c.measure(b, "headwater "+what+which, p.command(b.Context(), args...), true)
			u.alongPeers = p.peak()
			lines = append(lines, u.String())
			return u
		}
		start := time.Now()
		k.commit = run("commit", c.dir, "--no-wait")
		p.awaitInSync(id)
		lines = append(lines, fmt.Sprintf("%-24s %7.2f s, peer and server %d MiB so far", "until announced"+which, time.Since(start).Seconds(), p.peak()>>20))
		k.checkout = run("checkout", out)
		return k
	}
	first = both("")
	checkSame(b, out, c.dir)
	if changes > 0 {
		c.change(b, changes)
		again = both(" again")
		checkSame(b, out, c.dir)
	}
	return first, again, lines
}

// awaitInSync waits until the broker has all that the peer owes it.
func (p *cliPeer) awaitInSync(id string) {
	p.tb.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(10 * time.Minute)
	for p.status()[id].State != "in_sync" {
		select {
		case <-tick.C:
		case <-limit:
			p.tb.Fatalf("the broker has not got everything: %+v", p.status()[id])
		}
	}
}

// peak is the most memory that the peer has taken so far.
func (p *cliPeer) peak() int64 {
	p.tb.Helper()
	size, err := peakOf(p.process.Process.Pid)
	if err != nil {
		p.tb.Fatalf("peak memory of the peer: %v", err)
	}
	return size
}

// benchRestic keeps the directory in a local repository.
func benchRestic(b *testing.B, c corpus, twice bool) (first, again kept) {
	b.Helper()
	bin, err := exec.LookPath("restic")
	if err != nil {
		b.Fatal("restic not found: apt-get install restic")
	}
	work := b.TempDir()
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(b.Context(), bin, append(args, "--repo", filepath.Join(work, "repo"), "--quiet")...)
		cmd.Env = append(os.Environ(), "RESTIC_PASSWORD=bench", "RESTIC_CACHE_DIR="+filepath.Join(work, "cache"))
		cmd.Dir = c.dir
		return cmd
	}
	c.measure(b, "restic init", command("init"), true)
	// Like headwater, restic restores into what is there.
	both := func(which string) kept {
		return kept{
			c.measure(b, "restic backup"+which, command("backup", "."), true),
			c.measure(b, "restic restore"+which, command("restore", "latest", "--target", filepath.Join(work, "out")), false),
		}
	}
	if first = both(""); twice {
		c.change(b, 3)
		again = both(" again")
	}
	return first, again
}
