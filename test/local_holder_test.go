package test_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"headwater/test/natstest"
)

// One process holds a directory, and all others that work on it speak with that one.

// hungLimit is how long a command may take to find out that the holder does not answer.
const hungLimit = 20 * time.Second

func TestLocalFirst_PeerThatHangsIsNamed(t *testing.T) {
	t.Parallel()
	p := startPeerOn(t, natstest.Start(t).URL(), filepath.Join(t.TempDir(), "peer"))
	p.made("create", "photos")
	pid := p.process.Process.Pid
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	start := time.Now()
	o := p.fails(5, "status")
	if took := time.Since(start); took > hungLimit {
		t.Errorf("status took %s beside a peer that hangs, want at most %s", took, hungLimit)
	}
	if !strings.Contains(o.stderr, strconv.Itoa(pid)) {
		t.Errorf("got %v, want the process %d named", o, pid)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	p.run("status")
}

func TestLocalFirst_BrokerOtherThanThePeersIsWrongUse(t *testing.T) {
	t.Parallel()
	p := startPeerOn(t, natstest.Start(t).URL(), filepath.Join(t.TempDir(), "peer"))
	p.made("create", "photos")
	other := p.with("--nats", natstest.Start(t).URL())
	for _, h := range []headwater{other, p.with("--prefix", "other"), p.with("--domain", "other"), p.without("--nats").with("--prefix", "other")} {
		for _, args := range [][]string{{"status"}, {"create", "another"}} {
			if o := h.fails(2, args...); !strings.Contains(o.stderr, "--nats") {
				t.Errorf("got %v, want it to name --nats", o)
			}
		}
	}
	p.run("status") // the peer's own one is fine
}

// Other commands know what run was told of the broker, also after it has ended; only its credentials are kept nowhere.
func TestLocalFirst_CommandsKnowTheBrokerOfTheLastRun(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t).URL()
	dir := filepath.Join(t.TempDir(), "peer")
	p := launchPeer(t, newHeadwater(t, "--dir", dir, "--nats", url, "--prefix", "other"))
	p.awaitReady()
	bare := newHeadwater(t, "--dir", dir)
	if m := bare.made("create", "photos"); !m.Announced {
		t.Errorf("got %+v of create beside the peer, want it announced", m)
	}
	p.stop()
	if m := bare.made("create", "more"); !m.Announced {
		t.Errorf("got %+v of create after the peer, want it announced where the peer did", m)
	}
}

// Settings that can never work end a run, and are not left for the commands.
func TestLocalFirst_RunWithSettingsThatCannotWorkIsWrongUse(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t).URL()
	h := newHeadwater(t, "--dir", filepath.Join(t.TempDir(), "peer"))
	for _, args := range [][]string{{"--context", "nowhere"}, {"--nats", url, "--creds", "/nowhere"}, {"--nats", url, "--tls-ca", "/nowhere"}} {
		if o := h.fails(2, append([]string{"run"}, args...)...); !strings.Contains(o.stderr, "nowhere") {
			t.Errorf("got %v of %v, want it to name what is wrong", o, args)
		}
	}
	if m := h.madeOffline("create", "photos"); strings.Contains(m.Waiting, "nowhere") {
		t.Errorf("got %q as what it waits for, want no broker that was mistyped", m.Waiting)
	}
}

// A directory that has lost its identity gets no new one, which could read nothing of it.
func TestLocalFirst_LostIdentityIsNotReplaced(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "peer")
	h := newHeadwater(t, "--dir", dir)
	h.madeOffline("create", "photos")
	name := filepath.Join(dir, "identity.pem")
	key, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	remove(t, dir, "identity.pem")
	for _, args := range [][]string{{"run"}, {"init"}, {"create", "more"}} {
		if o := h.fails(3, args...); !strings.Contains(o.stderr, "identity") {
			t.Errorf("got %v of %v, want it to say that the identity is missing", o, args)
		}
	}
	h.withInput(key).run("init", "--import", "-")
	h.run("log", "photos")
}

// A peer that starts takes over from a command that is at work, and the command ends as if nothing had happened.
func TestLocalFirst_RunTakesOverFromACommand(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t).URL()
	h, _ := newDesk(t, url)
	src := t.TempDir()
	for i := range 3000 {
		writeTree(t, src, fmt.Sprintf("d%d/f%d", i%30, i), markedBytes(newRand(uint64(i)), 2000), 0o644)
	}
	id := h.made("create", "photos").BucketID
	cmd := h.command(t.Context(), "commit", "photos", src, "--json")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the command to hold the directory", func() (bool, any) {
		entries, err := os.ReadDir(filepath.Join(h.args[1], "blobs", "small"))
		return err == nil && len(entries) > 0, err
	})
	p := launchPeer(t, h)
	p.awaitReady()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("got %v of a commit while a peer started: %s", err, stderr.String())
	}
	made := decoded[madeJSON](t, stdout.String())
	if !made.Announced || made.Added != 3000 {
		t.Errorf("got %+v of a commit while a peer started, want all files in it, announced", made)
	}
	p.awaitComplete(made.versionJSON)
	p.checkReads(id, src)
}

// Commands beside each other wait for each other, or speak with each other: none fails, and none forks.
func TestLocalFirst_CommandsAtTheSameTime(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{true, false} {
		t.Run(map[bool]string{true: "with a running peer", false: "without"}[running], func(t *testing.T) {
			t.Parallel()
			h, _ := newDesk(t, natstest.Start(t).URL())
			if running {
				launchPeer(t, h).awaitReady()
			}
			const n = 8
			id := h.made("create", "photos").BucketID
			results := make(chan outcome, n)
			for range n {
				with := newIdentity(t).PublicKey().String()
				go func() { results <- h.try("share", "photos", with, "--json") }()
			}
			for range n {
				if o := <-results; o.code != 0 {
					t.Errorf("got %v beside others, want exit 0", o)
				}
			}
			if got := h.chainOf(id); len(got) != n+1 || got[0].Height != n {
				t.Errorf("got the log %+v, want %d versions, one at each height", got, n+1)
			}
		})
	}
}

// A holder can be reached even if the path of its directory is longer than that of a socket may be.
func TestLocalFirst_DirectoryWithALongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("a long directory/", 14), "peer")
	p := startPeerOn(t, natstest.Start(t).URL(), dir)
	p.without("--nats").made("create", "photos")
	if s := p.status(); len(s) != 1 {
		t.Errorf("got %d buckets, want 1", len(s))
	}
}

func TestLocalFirst_SocketIsTheOwnersAlone(t *testing.T) {
	t.Parallel()
	p := startPeerOn(t, natstest.Start(t).URL(), filepath.Join(t.TempDir(), "peer"))
	info, err := os.Stat(filepath.Join(p.dir, "control"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("got mode %s of the directory with the socket, want 0700", info.Mode())
	}
}
