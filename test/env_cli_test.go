package test_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/jetstream"
	"headwater/test/natstest"
)

// Limits of these tests, generous because machines are busy; nothing waits for one that is idle.
const (
	commandLimit = time.Minute      // one run of the program
	readyLimit   = time.Minute      // a peer coming up
	stopLimit    = 20 * time.Second // a peer asked to stop
	pollLimit    = time.Minute      // anything waited for
	pollInterval = 20 * time.Millisecond
)

// buildHeadwater builds the program, once per run of the tests and without the race detector, beside the test binary: go
// test removes both.
var buildHeadwater = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(filepath.Dir(self), "headwater-under-test")
	if out, err := exec.Command("go", "build", "-o", bin, "headwater/cmd/headwater").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build headwater: %w: %s", err, out)
	}
	return bin, nil
})

// headwater is the program, run as a person or a script would: in a home directory of its own, so that nobody's settings
// play a part. Safe for concurrent use, as far as [testing.TB] is.
type headwater struct {
	tb   testing.TB
	bin  string
	home string
	env  []string // beside the bare environment
	args []string // of every command
	in   []byte   // on standard input
}

func newHeadwater(tb testing.TB, args ...string) headwater {
	tb.Helper()
	bin, err := buildHeadwater()
	if err != nil {
		tb.Fatal(err)
	}
	return headwater{tb: tb, bin: bin, home: tb.TempDir(), args: args}
}

// withEnv returns the program with more environment.
func (h headwater) withEnv(env ...string) headwater {
	h.env = slices.Concat(h.env, env)
	return h
}

// withInput returns the program with something on its standard input.
func (h headwater) withInput(in []byte) headwater {
	h.in = in
	return h
}

func (h headwater) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, h.bin, slices.Concat(args, h.args)...)
	bare := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return name == "HOME" || strings.HasPrefix(name, "XDG_") || strings.HasPrefix(name, "NATS_") || strings.HasPrefix(name, "HEADWATER_")
	})
	cmd.Env = slices.Concat(bare, []string{"HOME=" + h.home}, h.env)
	return cmd
}

// outcome is how a command ended.
type outcome struct {
	args           []string
	stdout, stderr string
	code           int
}

func (o outcome) String() string {
	return fmt.Sprintf("headwater %s: exit %d, stdout %q, stderr %q", strings.Join(o.args, " "), o.code, o.stdout, o.stderr)
}

// try runs a command to its end, whatever its exit code.
func (h headwater) try(args ...string) outcome {
	h.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd := h.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(h.in), &stdout, &stderr
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		h.tb.Errorf("run %v: %v", cmd.Args, err)
	}
	return outcome{cmd.Args[1:], stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// run runs a command that has to succeed, and returns its standard output.
func (h headwater) run(args ...string) string {
	h.tb.Helper()
	o := h.try(args...)
	if o.code != 0 {
		h.tb.Fatalf("got %v, want exit 0", o)
	}
	return o.stdout
}

// fails runs a command that has to end with an exit code, and to write something.
func (h headwater) fails(code int, args ...string) outcome {
	h.tb.Helper()
	o := h.try(args...)
	if o.code != code {
		h.tb.Errorf("got %v, want exit %d", o, code)
	}
	if o.stdout == "" && o.stderr == "" {
		h.tb.Errorf("got nothing said by %v, want the reason", o)
	}
	return o
}

// decoded reads the one JSON object that a command wrote.
func decoded[T any](tb testing.TB, out string) T {
	tb.Helper()
	all := decodedLines[T](tb, out)
	if len(all) != 1 {
		tb.Fatalf("got %d JSON objects in %q, want one", len(all), out)
	}
	return all[0]
}

// decodedLines reads a command's JSON, one object per line.
func decodedLines[T any](tb testing.TB, out string) []T {
	tb.Helper()
	var all []T
	for line := range strings.Lines(out) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			tb.Fatalf("%v in the line %q", err, line)
		}
		all = append(all, v)
	}
	return all
}

// decodedWhole reads JSON that stands on many lines, as the nats program writes it.
func decodedWhole[T any](tb testing.TB, out string) (v T) {
	tb.Helper()
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		tb.Fatalf("%v in %q", err, out)
	}
	return v
}

// What the commands say with --json, as a script reads it: by the names that the contract fixes.
type (
	headJSON struct {
		Link   string
		Height uint64
	}
	statusJSON struct {
		PeerID  string       `json:"peer_id"`
		Buckets []bucketJSON `json:"buckets"`
	}
	bucketJSON struct {
		BucketID  string    `json:"bucket_id"`
		Name      string    `json:"name"`
		State     string    `json:"state"`
		Known     *headJSON `json:"known"`
		Complete  *headJSON `json:"complete"`
		Announced *headJSON `json:"announced"`
		Behind    uint64    `json:"behind"`
		Pins      struct {
			Needed      uint64 `json:"needed"`
			Held        uint64 `json:"held"`
			BytesNeeded uint64 `json:"bytes_needed"`
			BytesHeld   uint64 `json:"bytes_held"`
		} `json:"pins"`
		Forks     uint64 `json:"forks"`
		Dead      uint64 `json:"dead"`
		LastError string `json:"last_error"`
	}
	logJSON struct {
		BucketID  string  `json:"bucket_id"`
		Link      string  `json:"link"`
		Height    uint64  `json:"height"`
		Previous  *string `json:"previous"`
		Author    *string `json:"author"`
		Published bool    `json:"published"`
		Head      bool    `json:"head"`
	}
	inspectJSON struct {
		Link           string      `json:"link"`
		Hash           string      `json:"hash"`
		BucketID       string      `json:"bucket_id"`
		Name           string      `json:"name"`
		Height         uint64      `json:"height"`
		Previous       *string     `json:"previous"`
		Entry          string      `json:"entry"`
		Pins           string      `json:"pins"`
		Author         *string     `json:"author"`
		Signed         bool        `json:"signed"`
		SignatureValid bool        `json:"signature_valid"`
		Published      bool        `json:"published"`
		Shares         []shareJSON `json:"shares"`
	}
	shareJSON struct {
		PeerID string `json:"peer_id"`
		Role   string `json:"role"`
	}
	letterJSON struct {
		Sequence   uint64    `json:"sequence"`
		Subject    string    `json:"subject"`
		Kind       string    `json:"kind"`
		BucketID   string    `json:"bucket_id"`
		Class      string    `json:"class"`
		Reason     string    `json:"reason"`
		Deliveries uint64    `json:"deliveries"`
		At         time.Time `json:"at"`
	}
	eventJSON struct {
		At       time.Time `json:"at"`
		Kind     string    `json:"kind"`
		BucketID string    `json:"bucket_id"`
		Link     string    `json:"link"`
		Height   uint64    `json:"height"`
	}
)

// cliPeer is a peer in a process of its own.
type cliPeer struct {
	headwater // with the peer's --dir, and its --nats if it has no server of its own

	dir, url, id string
	process      *exec.Cmd
	log          *lockedBuffer
	ready        chan string   // gets the first line of standard output; closed if there is none
	exited       chan struct{} // closed when the process is gone
}

// startOwnPeer starts a peer with an embedded server on any port.
func startOwnPeer(tb testing.TB, dir string, args ...string) *cliPeer {
	tb.Helper()
	p := launchPeer(tb, newHeadwater(tb, "--dir", dir), append([]string{"--listen", "127.0.0.1:0"}, args...)...)
	p.awaitReady()
	return p
}

// startPeerOn starts a peer on somebody else's server.
func startPeerOn(tb testing.TB, url, dir string, args ...string) *cliPeer {
	tb.Helper()
	p := launchPeer(tb, newHeadwater(tb, "--dir", dir, "--nats", url), args...)
	p.awaitReady()
	return p
}

// launchPeer starts a peer and does not wait for it. The test's end stops it, if nobody did before.
func launchPeer(tb testing.TB, h headwater, args ...string) *cliPeer {
	tb.Helper()
	p := &cliPeer{
		headwater: h, log: new(lockedBuffer), ready: make(chan string, 1), exited: make(chan struct{}),
		process: h.command(context.Background(), append([]string{"run", "--json"}, args...)...),
	}
	if i := slices.Index(h.args, "--dir"); i >= 0 {
		p.dir = h.args[i+1]
	}
	p.process.Stderr = p.log
	stdout, err := p.process.StdoutPipe()
	if err == nil {
		err = p.process.Start()
	}
	if err != nil {
		tb.Fatalf("start peer: %v", err)
	}
	go func() {
		defer close(p.exited)
		r := bufio.NewReader(stdout)
		if line, err := r.ReadString('\n'); err == nil {
			p.ready <- line
		}
		close(p.ready)
		_, _ = io.Copy(io.Discard, r)
		_ = p.process.Wait()
	}()
	tb.Cleanup(func() {
		p.stop()
		if tb.Failed() {
			tb.Logf("the peer on %s: %v; its log:\n%s", p.dir, p.process.ProcessState, p.log.tail())
		}
	})
	return p
}

// awaitReady returns once the peer has said that it is ready, and takes note of what it says.
func (p *cliPeer) awaitReady() {
	p.tb.Helper()
	timer := time.NewTimer(readyLimit)
	defer timer.Stop()
	select {
	case line, ok := <-p.ready:
		if !ok {
			<-p.exited
			p.tb.Fatalf("the peer on %s ended (%v) before it was ready; its log:\n%s", p.dir, p.process.ProcessState, p.log.tail())
		}
		p.noteReady(line)
	case <-timer.C:
		p.tb.Fatalf("the peer on %s was not ready within %s; its log:\n%s", p.dir, readyLimit, p.log.tail())
	}
}

func (p *cliPeer) noteReady(line string) {
	p.tb.Helper()
	ready := decoded[struct {
		Ready  bool
		NATS   string
		PeerID string `json:"peer_id"`
	}](p.tb, line)
	if !ready.Ready || ready.NATS == "" || ready.PeerID == "" {
		p.tb.Fatalf("got the first line %q, want ready, the server's URL and the peer's id", line)
	}
	p.url, p.id = ready.NATS, ready.PeerID
}

// stop asks the peer to stop, and returns its exit code when it is gone. A peer that does not stop in time is killed, and fails
// the test.
func (p *cliPeer) stop() int {
	p.tb.Helper()
	_ = p.process.Process.Signal(syscall.SIGTERM) // gone already is fine
	timer := time.NewTimer(stopLimit)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
		p.tb.Errorf("the peer on %s did not stop within %s of SIGTERM", p.dir, stopLimit)
		p.kill()
	}
	return p.process.ProcessState.ExitCode()
}

// kill ends the peer as a crash does, and returns when it is gone.
func (p *cliPeer) kill() {
	p.tb.Helper()
	_ = p.process.Process.Kill()
	<-p.exited
}

// running reports whether the process lives.
func (p *cliPeer) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// publicKey is the peer's id.
func (p *cliPeer) publicKey() bucket.PublicKey {
	p.tb.Helper()
	k, err := bucket.ParsePublicKey(p.id)
	if err != nil {
		p.tb.Fatal(err)
	}
	return k
}

// status asks the peer how all its buckets stand, by id.
func (p *cliPeer) status() map[string]bucketJSON {
	p.tb.Helper()
	s := decoded[statusJSON](p.tb, p.run("status", "--json"))
	if s.PeerID != p.id {
		p.tb.Errorf("got status of peer %q, want %q", s.PeerID, p.id)
	}
	buckets := map[string]bucketJSON{}
	for _, b := range s.Buckets {
		buckets[b.BucketID] = b
	}
	return buckets
}

// versions asks the peer for a bucket's log.
func (p *cliPeer) versions(id bucket.ID) []logJSON {
	p.tb.Helper()
	return decodedLines[logJSON](p.tb, p.run("log", id.String(), "--json"))
}

// letters asks for the peer's dead letters.
func (p *cliPeer) letters(args ...string) []letterJSON {
	p.tb.Helper()
	return decodedLines[letterJSON](p.tb, p.run(append([]string{"dead", "ls", "--json"}, args...)...))
}

// await polls until done returns true. If that takes too long, it fails with what done saw last. It fails at once if one of the
// peers is gone.
func await(tb testing.TB, what string, done func() (ok bool, seen any), peers ...*cliPeer) {
	tb.Helper()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	end := time.NewTimer(pollLimit)
	defer end.Stop()
	for {
		ok, seen := done()
		if ok {
			return
		}
		for _, p := range peers {
			if !p.running() {
				tb.Fatalf("the peer on %s is gone (%v) while waiting for %s", p.dir, p.process.ProcessState, what)
			}
		}
		select {
		case <-ticker.C:
		case <-end.C:
			tb.Fatalf("waited %s for %s; saw %+v", pollLimit, what, seen)
		}
	}
}

// lockedBuffer keeps what a process writes.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// tail is the end of it, for a failed test's log.
func (b *lockedBuffer) tail() string {
	s := b.String()
	return s[max(0, len(s)-4000):]
}

// identityFile writes an identity as the original does: a PEM file whose body is the bare seed.
func identityFile(tb testing.TB, seed []byte) string {
	tb.Helper()
	return writeFile(tb, "identity.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: seed}))
}

// writeFile writes a file into a directory of its own.
func writeFile(tb testing.TB, name string, b []byte) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// importedDir makes a peer's directory that holds an identity.
func importedDir(tb testing.TB, id bucket.Identity) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "peer")
	out := newHeadwater(tb, "--dir", dir).run("init", "--import", identityFile(tb, id.Seed()), "--json")
	if got := decoded[statusJSON](tb, out).PeerID; got != id.PublicKey().String() {
		tb.Fatalf("got peer id %s of an imported identity, want %s", got, id.PublicKey())
	}
	return dir
}

// objectsOf are the manifests of versions, under their links.
func objectsOf(versions ...*bucket.Version) []buckettest.Object {
	objects := make([]buckettest.Object, len(versions))
	for i, v := range versions {
		objects[i] = buckettest.Object{Link: v.Link, Bytes: v.Encoded()}
	}
	return objects
}

// putWithCLI exports objects to files, and puts them with the plain nats program, each named by the hash of its link.
func putWithCLI(tb testing.TB, cli *natstest.CLI, store string, objects ...buckettest.Object) {
	tb.Helper()
	dir := tb.TempDir()
	var g errgroup.Group
	g.SetLimit(2 * runtime.NumCPU())
	for _, o := range objects {
		g.Go(func() error {
			name := o.Link.Hash().String()
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, o.Bytes, 0o600); err != nil {
				return err
			}
			_, err := cli.Try(nil, "object", "put", store, file, "--name", name, "--no-progress", "--force")
			return err
		})
	}
	if err := g.Wait(); err != nil {
		tb.Fatal(err)
	}
}

// plainAnnouncement is the shortest whole announcement.
func plainAnnouncement(link bucket.Link) string { return fmt.Sprintf(`{"link":"%s"}`, link) }

// headSubject is the subject on which a peer announces a bucket's head.
func headSubject(id bucket.ID, announcer bucket.PublicKey) string {
	return jetstream.Names{}.Head(id, announcer)
}

// announceWithCLI announces with the plain nats program.
func announceWithCLI(tb testing.TB, cli *natstest.CLI, id bucket.ID, announcer bucket.PublicKey, link bucket.Link) {
	tb.Helper()
	cli.Run("pub", headSubject(id, announcer), plainAnnouncement(link))
}

// checkLog compares what log says of a bucket with the versions that it must hold, oldest first.
func checkLog(tb testing.TB, got []logJSON, want ...*bucket.Version) {
	tb.Helper()
	var lines []logJSON
	for i, v := range slices.Backward(want) {
		lines = append(lines, logJSON{
			BucketID: v.Bucket.String(), Link: v.Link.String(), Height: v.Height, Previous: textOf(v.Previous, v.Previous.IsZero()),
			Author: textOf(v.Author, v.Author == nil), Published: v.Published(), Head: i == len(want)-1,
		})
	}
	if diff := cmp.Diff(lines, got); diff != "" {
		tb.Errorf("log (-want +got):\n%s", diff)
	}
}

// textOf is a value's text as JSON has it, nil if the value is absent.
func textOf(v fmt.Stringer, absent bool) *string {
	if absent {
		return nil
	}
	return new(v.String())
}
