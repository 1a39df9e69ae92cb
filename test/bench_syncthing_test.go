//go:build linux

package test_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"headwater/test/natstest"
)

// A directory goes from one peer to another, from the start of commit to the end of the other one's checkout, against two
// instances of Syncthing on the same machine, which are asked to scan and so wait for nothing. In the same run, on the same
// disk. Both sync every file before it gets its name; the broker syncs before it acknowledges. Syncthing encrypts only the
// connection, has no history, and writes a file once; we have four copies: see BenchmarkRatioSyncthingLargeFile.

const (
	benchSmallFiles = 10_000
	benchSmallSize  = 4 << 10
	benchGiB        = 1 << 30

	// anonymousLimit is what a process without a server in it may take for itself.
	anonymousLimit = 128 << 20
)

// smallRatio and largeRatio are how many times as long as Syncthing ours should take at most.
const (
	smallRatio = 0.6
	largeRatio = 2.5
)

func BenchmarkRatioSyncthingSmallFiles(b *testing.B) {
	for range b.N {
		benchSyncthing(b, smallFiles(b), smallRatio)
	}
}

func BenchmarkRatioSyncthingSourceTree(b *testing.B) {
	for range b.N {
		benchSyncthing(b, goSources(b), smallRatio)
	}
}

// The copies of a file that is committed, and what is synced: it is read where it is (1), written encrypted to the peer's own
// blobs (2, synced), read there and put into the object store (3, synced), fetched from it into the other peer's blobs (4,
// synced), read there and written to the other directory (5, synced). On the disk that is four writes.
const largeCopies = 4

func BenchmarkRatioSyncthingLargeFile(b *testing.B) {
	for range b.N {
		c := randomFile(b, benchGiB)
		ours := benchSyncthing(b, c, largeRatio)
		disk := diskAlone(b, c, largeCopies)
		r := ours.Seconds() / disk.Seconds()
		b.ReportMetric(r, "time/disk")
		fmt.Printf("%-44s %7.2f s: %.2f times it\n", fmt.Sprintf("%d copies with fsync, the disk alone", largeCopies), disk.Seconds(), r)
	}
}

// benchSyncthing measures both, and returns what ours took.
func benchSyncthing(b *testing.B, c corpus, limit float64) time.Duration {
	b.Helper()
	theirs := syncthingTime(b, c)
	ours, lines := headwaterTime(b, c)
	r := ours.Seconds() / theirs.Seconds()
	b.ReportMetric(r, "time/syncthing")
	fmt.Printf("\n%d files, %d MiB, from here to the other directory\n%-44s %7.2f s\n%-44s %7.2f s: %.2f of it (want at most %.2f)\n%s\n",
		c.files, c.size>>20, "syncthing", theirs.Seconds(), "headwater, commit to checkout", ours.Seconds(), r, limit,
		strings.Join(lines, "\n"))
	return ours
}

// headwaterTime commits at one peer, and checks out at another as soon as that has everything.
func headwaterTime(b *testing.B, c corpus) (took time.Duration, lines []string) {
	b.Helper()
	broker := natstest.StartWith(b, natstest.Config{SyncAlways: true})
	alice := startPeerOn(b, broker.URL(), filepath.Join(b.TempDir(), "alice"))
	bob := startPeerOn(b, broker.URL(), filepath.Join(b.TempDir(), "bob"))
	id := alice.made("create", "bench").BucketID
	shared := alice.made("share", id, bob.id)
	bob.awaitComplete(shared.versionJSON)
	nc, err := nats.Connect(broker.URL())
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	received := awaitAnyEvent(b, nc, bob.id, id, "complete")
	memory := map[string]func() int64{
		"alice's peer": watchAnonymous(alice.process.Process.Pid), "bob's peer": watchAnonymous(bob.process.Process.Pid),
	}
	target := filepath.Join(b.TempDir(), "target")
	prepareMachine(b, (largeCopies+2)*c.size) // and what is read
	used := func() [2]time.Duration {
		return [2]time.Duration{processorOf(b, alice.process.Process.Pid), processorOf(b, bob.process.Process.Pid)}
	}
	before, start := used(), time.Now()
	commit := startMeasured(b, alice.command(b.Context(), "commit", id, c.dir, "--json"))
	received()
	complete := time.Since(start)
	checkout := startMeasured(b, bob.command(b.Context(), "checkout", id, target, "--json"))
	checkout.wait(b)
	took = time.Since(start)
	commit.wait(b)
	after := used()
	lines = append(lines, fmt.Sprintf("  processor time: commit %.2f s, alice's peer %.2f s, bob's peer %.2f s, checkout %.2f s",
		commit.processor().Seconds(), (after[0]-before[0]).Seconds(), (after[1]-before[1]).Seconds(), checkout.processor().Seconds()))
	lines = append(lines,
		fmt.Sprintf("  commit %.2f s, complete at the other peer after %.2f s, checkout %.2f s", commit.took.Seconds(), complete.Seconds(), checkout.took.Seconds()))
	memory["commit"], memory["checkout"] = commit.peak, checkout.peak
	for _, what := range []string{"alice's peer", "bob's peer", "commit", "checkout"} {
		peak := memory[what]()
		lines = append(lines, fmt.Sprintf("  anonymous memory of %-20s %4d MiB", what, peak>>20))
		if peak > anonymousLimit {
			b.Errorf("%s took %d MiB of anonymous memory, want at most %d", what, peak>>20, anonymousLimit>>20)
		}
	}
	checkSame(b, target, c.dir)
	alice.stop()
	bob.stop()
	return took, lines
}

// awaitAnyEvent returns a function that waits for the next event of a kind.
func awaitAnyEvent(b *testing.B, nc *nats.Conn, peer, id, kind string) (wait func()) {
	b.Helper()
	events := make(chan *nats.Msg, 1024)
	sub, err := nc.ChanSubscribe(fmt.Sprintf("headwater.events.%s.%s.%s", peer, id, kind), events)
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		b.Fatal(err)
	}
	return func() {
		b.Helper()
		select {
		case <-events:
		case <-time.After(10 * time.Minute):
			b.Fatalf("no event %q of bucket %s", kind, id)
		}
		_ = sub.Unsubscribe()
	}
}

// measured is a command that is under way.
type measured struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	ended  chan error
	took   time.Duration
	peak   func() int64 // of anonymous memory
}

func startMeasured(b *testing.B, cmd *exec.Cmd) *measured {
	b.Helper()
	m := &measured{cmd: cmd, ended: make(chan error, 1)}
	cmd.Stderr = &m.stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	m.peak = watchAnonymous(cmd.Process.Pid)
	go func() {
		err := cmd.Wait()
		m.took = time.Since(start)
		m.ended <- err
	}()
	return m
}

func (m *measured) wait(b *testing.B) {
	b.Helper()
	if err := <-m.ended; err != nil {
		b.Fatalf("%v: %v: %s", m.cmd.Args, err, m.stderr.String())
	}
}

// processor is the processor time that a command took, once it has ended.
func (m *measured) processor() time.Duration {
	return m.cmd.ProcessState.UserTime() + m.cmd.ProcessState.SystemTime()
}

// processorOf is the processor time that a running process has taken so far.
func processorOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // behind the name, which may hold anything
	fields := strings.Fields(rest)
	var user, system int64 // hundredths of a second
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		b.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// watchAnonymous looks at the anonymous memory of a process every few milliseconds, until the function it returns is called,
// which returns the peak.
func watchAnonymous(pid int) (peak func() int64) {
	done, seen := make(chan struct{}), make(chan int64)
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		var most int64
		for {
			if now, err := memoryOf(pid, "RssAnon:"); err == nil {
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

// prepareMachine waits until the disk is idle, and touches as much memory as a step that writes so many bytes is about to fill. A
// virtual machine may give unused memory back to its host, and take seconds to get a GiB of it again. That time would count as the
// step's, or as that of the step before, which it is compared with.
func prepareMachine(b *testing.B, bytes int64) {
	b.Helper()
	syscall.Sync()
	memory, err := syscall.Mmap(-1, 0, int(bytes)+1<<30, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < len(memory); i += os.Getpagesize() {
		memory[i] = 1
	}
	if err := syscall.Munmap(memory); err != nil {
		b.Fatal(err)
	}
}

// diskAlone is how long it takes to write a corpus so many times, each file synced.
func diskAlone(b *testing.B, c corpus, times int) time.Duration {
	b.Helper()
	dir := b.TempDir()
	prepareMachine(b, int64(times)*c.size)
	start := time.Now()
	for i := range times {
		copySynced(b, c.dir, filepath.Join(dir, fmt.Sprint(i)))
	}
	return time.Since(start)
}

// copySynced is cp, with each file synced.
func copySynced(b *testing.B, from, to string) {
	b.Helper()
	for path := range regularFiles(b, from) {
		name := filepath.Join(to, path)
		err := os.MkdirAll(filepath.Dir(name), 0o755)
		if err == nil {
			err = copyFileSynced(filepath.Join(from, path), name)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func copyFileSynced(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(struct{ io.Writer }{out}, struct{ io.Reader }{in}) // as cp does: no clone of the file system
	return errors.Join(err, out.Sync(), out.Close())
}

// smallFiles makes many small files of bytes that do not compress.
func smallFiles(b *testing.B) corpus {
	b.Helper()
	c := corpus{dir: b.TempDir()}
	random := rand.NewChaCha8([32]byte{2})
	text := make([]byte, benchSmallSize)
	for i := range benchSmallFiles {
		_, _ = random.Read(text)
		writeTree(b, c.dir, fmt.Sprintf("d%03d/f%05d", i%100, i), text, 0o644)
		c.files++
		c.size += benchSmallSize
	}
	return c
}

// goSources copies the sources of Go.
func goSources(b *testing.B) corpus {
	b.Helper()
	out, err := exec.CommandContext(b.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		b.Fatalf("go env: %v", err)
	}
	c := corpus{dir: b.TempDir()}
	c.add(b, filepath.Join(strings.TrimSpace(string(out)), "src"), "std", 1)
	return c
}

// randomFile makes one file of bytes that do not compress.
func randomFile(b *testing.B, size int64) corpus {
	b.Helper()
	c := corpus{dir: b.TempDir(), files: 1, size: size}
	f, err := os.Create(filepath.Join(c.dir, "large"))
	if err == nil {
		_, err = io.CopyN(f, rand.NewChaCha8([32]byte{3}), size)
		err = errors.Join(err, f.Chmod(0o644), f.Close())
	}
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// syncthingTime has one instance scan a copy of the files, and waits until the other one has them all.
func syncthingTime(b *testing.B, c corpus) time.Duration {
	b.Helper()
	x, y := newSyncthing(b), newSyncthing(b)
	x.start(x, y)
	y.start(x, y)
	await(b, "the two instances of Syncthing to be connected", func() (bool, any) {
		var seen struct {
			Connections map[string]struct{ Connected bool }
		}
		err := x.get("system/connections", &seen)
		return err == nil && seen.Connections[y.id].Connected, err
	})
	if out, err := exec.CommandContext(b.Context(), "cp", "-a", c.dir+"/.", x.folder).CombinedOutput(); err != nil {
		b.Fatalf("copy files: %v: %s", err, out)
	}
	prepareMachine(b, c.size)
	start := time.Now()
	scanned := make(chan error, 1)
	go func() { scanned <- x.post("db/scan?folder=bench") }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var s struct {
		State                              string
		LocalFiles, GlobalFiles, NeedFiles int
		NeedBytes                          int64
	}
	for limit := start.Add(10 * time.Minute); ; <-tick.C {
		if err := y.get("db/status?folder=bench", &s); err != nil {
			b.Fatal(err)
		}
		if s.LocalFiles == c.files && s.GlobalFiles == c.files && s.NeedFiles == 0 && s.NeedBytes == 0 && s.State == "idle" {
			break
		}
		if time.Now().After(limit) {
			b.Fatalf("Syncthing has not brought the files over: %+v", s)
		}
	}
	took := time.Since(start)
	if err := <-scanned; err != nil {
		b.Fatal(err)
	}
	x.stop()
	y.stop()
	if out, err := exec.CommandContext(b.Context(), "diff", "-r", "--exclude=.stfolder", c.dir, y.folder).CombinedOutput(); err != nil {
		b.Fatalf("what Syncthing brought over: %v: %.1000s", err, out)
	}
	return took
}

// syncthing is an instance of it, on loopback and with nobody else to talk to.
type syncthing struct {
	b           *testing.B
	bin, home   string
	id          string
	api, listen string // addresses
	folder      string
	cmd         *exec.Cmd
	log         lockedBuffer
}

// syncthingKey is the key of its API.
const syncthingKey = "bench"

func newSyncthing(b *testing.B) *syncthing {
	b.Helper()
	bin, err := exec.LookPath("syncthing")
	if err != nil {
		b.Fatal("syncthing not found: apt-get install syncthing")
	}
	s := &syncthing{b: b, bin: bin, home: b.TempDir(), folder: b.TempDir(), api: freeAddress(b), listen: freeAddress(b)}
	s.run("generate", "--home="+s.home, "--no-default-folder", "--skip-port-probing")
	s.id = strings.TrimSpace(s.run("--home="+s.home, "--device-id"))
	if err := os.MkdirAll(filepath.Join(s.folder, ".stfolder"), 0o755); err != nil {
		b.Fatal(err)
	}
	return s
}

func freeAddress(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (s *syncthing) command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.bin, args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "HOME=") }),
		"HOME="+s.home, "STNOUPGRADE=1", "STNODEFAULTFOLDER=1")
	return cmd
}

func (s *syncthing) run(args ...string) string {
	s.b.Helper()
	cmd := s.command(args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.b.Fatalf("syncthing %v: %v: %s%s", args, err, out, &stderr)
	}
	return string(out)
}

// start starts an instance that shares its folder with all of them.
func (s *syncthing) start(all ...*syncthing) {
	s.b.Helper()
	var devices, members strings.Builder
	for _, d := range all {
		fmt.Fprintf(&devices, `<device id=%q name="bench" compression="metadata"><address>tcp://%s</address></device>`, d.id, d.listen)
		fmt.Fprintf(&members, `<device id=%q></device>`, d.id)
	}
	config := fmt.Sprintf(`<configuration version="36">
<folder id="bench" label="bench" path=%q type="sendreceive" rescanIntervalS="3600" fsWatcherEnabled="true" fsWatcherDelayS="1" ignorePerms="false" autoNormalize="true">
%s<minDiskFree unit="%%">0</minDiskFree></folder>
%s
<gui enabled="true" tls="false"><address>%s</address><apikey>%s</apikey></gui>
<options><listenAddress>tcp://%s</listenAddress><globalAnnounceEnabled>false</globalAnnounceEnabled>
<localAnnounceEnabled>false</localAnnounceEnabled><relaysEnabled>false</relaysEnabled><natEnabled>false</natEnabled>
<reconnectionIntervalS>1</reconnectionIntervalS><startBrowser>false</startBrowser><urAccepted>-1</urAccepted>
<autoUpgradeIntervalH>0</autoUpgradeIntervalH><crashReportingEnabled>false</crashReportingEnabled>
<setLowPriority>false</setLowPriority><stunServer></stunServer></options></configuration>`,
		s.folder, members.String(), devices.String(), s.api, syncthingKey, s.listen)
	if err := os.WriteFile(filepath.Join(s.home, "config.xml"), []byte(config), 0o600); err != nil {
		s.b.Fatal(err)
	}
	s.cmd = s.command("serve", "--home="+s.home, "--no-browser", "--no-restart", "--no-upgrade")
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		s.b.Fatal(err)
	}
	s.b.Cleanup(s.stop)
	await(s.b, "Syncthing to answer", func() (bool, any) {
		var pong struct{ Ping string }
		err := s.get("system/ping", &pong)
		return err == nil, s.log.tail()
	})
}

func (s *syncthing) stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
	s.cmd = nil
}

func (s *syncthing) get(path string, into any) error { return s.ask(http.MethodGet, path, into) }

func (s *syncthing) post(path string) error { return s.ask(http.MethodPost, path, nil) }

func (s *syncthing) ask(method, path string, into any) error {
	req, err := http.NewRequestWithContext(s.b.Context(), method, "http://"+s.api+"/rest/"+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-API-Key", syncthingKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %.200s", method, path, resp.Status, body)
	}
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(body, into)
}
