package test_test

import (
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/test/natstest"
)

// What the program at oldCommit left in a directory opens with this one, which converts it.

func TestOldDirectory_IsReadAndWrittenWithoutABroker(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"owner", "killed", "replica", "commands-ran", "forked", "merged"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := factsOf(t, name)
			h := newHeadwater(t, "--dir", unpackOld(t, name), "--nats", nobodyListens)
			h.checkHolds(f, "offline")
			h.checkHolds(f, "offline") // converted by now

			dir := h.checkFiles(f)
			writeTree(t, dir, "new.txt", []byte("by the next program\n"), 0o644)
			made := h.madeOffline("commit", f.Name, dir)
			if made.Height != f.head().Height+1 || made.Added != 1 || made.Modified+made.Removed != 0 {
				t.Errorf("got %+v of a commit, want one file added on version %d", made, f.head().Height)
			}
			if got := h.chainOf(f.BucketID); got[0] != made.head() || got[1] != f.head() || len(got) != len(f.Log)+1 {
				t.Errorf("got the log %+v, want version %+v after those that were there", got, made.head())
			}
		})
	}
}

// A fork that an old directory knows is still one, and a person can still merge it; one that was merged is none.
func TestOldDirectory_KnowsItsForks(t *testing.T) {
	t.Parallel()
	forked, merged := factsOf(t, "forked"), factsOf(t, "merged")
	// The old program held the content of the head alone; that of the other branch was the broker's.
	url := natstest.Start(t).URL()
	startPeerOn(t, url, filepath.Join(t.TempDir(), "maker")).stop()
	putOld(t, url, "forked-objects")
	h := newHeadwater(t, "--dir", unpackOld(t, "forked"), "--nats", url)
	if s := h.standing(forked.BucketID); s.Forks != 1 {
		t.Errorf("got %d forks of an unmerged one, want 1", s.Forks)
	}
	made := h.made("merge", forked.Name)
	if len(made.Merged) != 1 || made.Height != forked.head().Height+1 {
		t.Errorf("got %+v of a merge, want the branch merged in the next version", made)
	}
	dir := newTarget(t)
	h.checksOut(forked.Name, dir)
	for _, name := range []string{"by alice.txt", "by bob.txt"} {
		readTree(t, dir, name)
	}
	h = newHeadwater(t, "--dir", unpackOld(t, "merged"), "--nats", nobodyListens)
	if again := h.made("merge", merged.Name); !again.Unchanged || len(again.Merged)+len(again.Forks) > 0 {
		t.Errorf("got %+v of a merge of what was merged, want nothing to do", again)
	}
}

func TestOldDirectory_PendingPinJobIsDone(t *testing.T) {
	t.Parallel()
	f := factsOf(t, "job")
	url := natstest.Start(t).URL()
	startPeerOn(t, url, filepath.Join(t.TempDir(), "maker")).stop() // makes streams and stores
	putOld(t, url, "job-owner")
	h := newHeadwater(t, "--dir", unpackOld(t, "job"), "--nats", nobodyListens)
	h.checkHolds(f, "offline")
	if s := h.standing(f.BucketID); s.Complete != nil {
		t.Errorf("got %+v as complete, want none: no blob is held", s.Complete)
	}
	if o := h.try("checkout", f.Name, newTarget(t)); o.code == 0 {
		t.Errorf("got %v of a checkout of what is not held, without a broker", o)
	}
	p := startPeerOn(t, url, h.args[1])
	p.awaitStanding("all pins held", f.BucketID, pollLimit, func(b standingJSON) bool {
		return b.State == "in_sync" && b.Complete != nil && *b.Complete == f.head()
	})
	p.checkFiles(f)
}

// commandsOnly is a directory that only commands have used, on a broker that has all objects of its bucket.
func commandsOnly(t *testing.T) (h headwater, f oldFacts, cli *natstest.CLI, id bucket.ID) {
	t.Helper()
	f = factsOf(t, "commands")
	url := natstest.Start(t).URL()
	startPeerOn(t, url, filepath.Join(t.TempDir(), "maker")).stop()
	putOld(t, url, "commands-ran")
	id, err := bucket.ParseID(f.BucketID)
	if err != nil {
		t.Fatal(err)
	}
	return newHeadwater(t, "--dir", unpackOld(t, "commands"), "--nats", url), f, natstest.NewCLI(t, url), id
}

func TestOldDirectory_OfCommandsAloneGetsItsLog(t *testing.T) {
	t.Parallel()
	h, f, cli, id := commandsOnly(t)
	offline := h.with("--nats", nobodyListens)
	for _, args := range [][]string{{"log", f.BucketID}, {"ls", f.BucketID}, {"commit", f.BucketID, t.TempDir()}} {
		if o := offline.try(args...); o.code == 0 || o.stderr == "" {
			t.Errorf("got %v without a broker, want it refused, and why: nothing is held", o)
		}
	}
	// Somebody announced an old version last. What was verified before is newer, and the next version follows on that.
	old := f.Log[1]
	link, err := bucket.ParseLink(old.Link)
	if err != nil {
		t.Fatal(err)
	}
	stranger := newIdentity(t).PublicKey()
	announceWithCLI(t, cli, id, stranger, link)
	h.checkFiles(f)
	if got := h.chainOf(f.BucketID); len(got) != len(f.Log) || got[0] != f.head() {
		t.Errorf("got the log %+v, want up to %+v, which was verified here before", got, f.head())
	}
	dir := h.checkFiles(f)
	writeTree(t, dir, "new.txt", []byte("by the next program\n"), 0o644)
	if made := h.made("commit", f.Name, dir); made.Height != f.head().Height+1 || !made.Announced {
		t.Errorf("got %+v of a commit, want it announced after version %d", made, f.head().Height)
	}
	// From now on everything is held.
	offline.checkReads(f.BucketID, dir)
}

// The genesis that commands have trusted is trusted still: another one of the same bucket id is never taken.
func TestOldDirectory_KeepsTheGenesisThatWasTrusted(t *testing.T) {
	t.Parallel()
	h, f, cli, id := commandsOnly(t)
	mallory := newIdentity(t)
	me, err := bucket.ParsePublicKey(f.PeerID)
	if err != nil {
		t.Fatal(err)
	}
	rival := buckettest.New(t, mallory, me)
	rival.ID = id
	rival.Grow(t, 9)
	putWithCLI(t, cli, "headwater-manifests", objectsOf(rival.Versions...)...)
	announceWithCLI(t, cli, id, mallory.PublicKey(), rival.Head().Link)
	link, err := bucket.ParseLink(f.Log[0].Link)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // with the rival alone, then beside the true one
		h.checkFiles(f)
		for _, l := range decodedLines[logJSON](t, h.run("log", f.BucketID, "--json")) {
			if l.Author != nil && *l.Author != f.PeerID {
				t.Fatalf("got version %+v in the log, which follows on another genesis than was trusted", l)
			}
		}
		announceWithCLI(t, cli, id, me, link)
	}
	h.checkHolds(f, "not_running", "diverged") // the rival is announced, and not taken
}

// A process that is killed while it converts a directory leaves one that the next process converts.
func TestOldDirectory_KilledWhileItIsConverted(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"owner", "forked", "killed"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := factsOf(t, name)
			start := time.Now()
			newHeadwater(t, "--dir", unpackOld(t, name), "--nats", nobodyListens).standing(f.BucketID)
			whole := time.Since(start)
			h := newHeadwater(t, "--dir", unpackOld(t, name), "--nats", nobodyListens)
			for range kills() / 3 {
				h.killedAfter(rand.N(whole), "status", f.BucketID, "--json")
			}
			h.checkHolds(f, "offline")
		})
	}
}

// killedAfter starts a command and kills it at a moment, if it has not ended by then. It reports whether it had.
func (h headwater) killedAfter(moment time.Duration, args ...string) (o outcome, ended bool) {
	h.tb.Helper()
	cmd := h.command(h.tb.Context(), args...)
	var stdout, stderr lockedBuffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		h.tb.Fatal(err)
	}
	timer := time.AfterFunc(moment, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait()
	code := cmd.ProcessState.ExitCode()
	return outcome{cmd.Args[1:], stdout.String(), stderr.String(), code}, code != -1
}

// Directories that people have checked out know, after the program was replaced, what they had in common with the bucket.
func TestOldPeers_ProgramIsReplacedInPlace(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t).URL()
	dir, src := filepath.Join(t.TempDir(), "alice"), sourceTree(t, 51, 60)
	old := startOldPeerOn(t, url, dir)
	id := old.makes("create", "photos").BucketID
	first := old.makes("commit", "photos", src)
	old.awaitComplete(first)
	old.stop()
	h := newHeadwater(t, "--dir", dir, "--nats", url)
	if again := h.made("commit", "photos", src); !again.Unchanged || again.Link != first.Link {
		t.Errorf("got %+v of a directory without changes, want nothing to do", again)
	}
	remove(t, src, "d00/e0/f0 "+nameMarker+".txt")
	if made := h.made("commit", "photos", src); made.Removed != 1 || made.Added+made.Modified != 0 || !made.Announced {
		t.Errorf("got %+v of a commit, want one file removed, and announced", made)
	}
	if got := h.chainOf(id); len(got) != 3 {
		t.Errorf("got the log %+v, want three versions", got)
	}
	// An old program does not open what a new one has converted, and does no harm.
	o := newOldHeadwater(t, "--dir", dir, "--nats", url).try("run", "--json")
	if o.code == 0 {
		t.Errorf("got %v of an old peer on a converted directory, want it refused", o)
	}
	h.checkReads(id, src)
}

func TestOldPeers_SyncWithNewOnesBothWays(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t).URL()
	old, other := startOldPeerOn(t, url, filepath.Join(t.TempDir(), "old")), startOldPeerOn(t, url, filepath.Join(t.TempDir(), "other"))
	now := startPeerOn(t, url, filepath.Join(t.TempDir(), "now"))
	for _, tt := range []struct {
		name        string
		maker, with *cliPeer
	}{{"old to new", old, now}, {"new to old", now, old}} {
		t.Run(tt.name, func(t *testing.T) {
			src, target := sourceTree(t, 52, 60), newTarget(t)
			id := tt.maker.makes("create", tt.name).BucketID
			tt.maker.makes("commit", id, src)
			tt.maker.makes("share", id, other.id)
			shared := tt.maker.makes("share", id, tt.with.id)
			for _, p := range []*cliPeer{tt.with, other} {
				p.awaitComplete(shared)
			}
			tt.with.checksOut(id, target)
			checkSame(t, target, src)
			writeTree(t, target, "back", markedBytes(newRand(53), 300<<10), 0o644)
			back := tt.with.makes("commit", id, target)
			for _, p := range []*cliPeer{tt.maker, tt.with, other} {
				p.awaitComplete(back)
			}
			tt.maker.checksOut(id, src)
			checkSame(t, src, target)
			if got, want := tt.maker.chainOf(id), tt.with.chainOf(id); !slices.Equal(got, want) {
				t.Errorf("got logs %+v and %+v, want the same", got, want)
			}
		})
	}
	for _, p := range []*cliPeer{old, now, other} {
		if l := p.letters(); len(l) > 0 {
			t.Errorf("got dead letters %+v, want none", l)
		}
	}
}
