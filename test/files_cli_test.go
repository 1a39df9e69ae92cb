package test_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"headwater/test/natstest"
)

// objectsIn counts the objects of a store, as the broker sees them: each is a description and chunks, all of one subject.
func objectsIn(tb testing.TB, cli *natstest.CLI, store string) int {
	tb.Helper()
	return decodedWhole[struct {
		State struct {
			Subjects int `json:"num_subjects"`
		}
	}](tb, cli.Run("stream", "info", "OBJ_"+store, "--json")).State.Subjects / 2
}

func TestFiles_CheckoutElsewhereIsWhatWasCommittedAndOnlyChangesTravel(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	alice := startPeerOn(t, server.URL(), filepath.Join(t.TempDir(), "alice"))
	bob := startPeerOn(t, server.URL(), filepath.Join(t.TempDir(), "bob"))
	cli := natstest.NewCLI(t, server.URL())
	src, target := sourceTree(t, 1, 2000), newTarget(t)
	files := countFiles(snapshot(t, src))

	const name = "Name-Of-A-Bucket"
	alice.makes("create", name)
	first := alice.makes("commit", name, src)
	if first.Height != 1 || first.Added != files || first.Modified+first.Removed != 0 {
		t.Errorf("got %+v of a first commit, want all %d files added in version 1", first, files)
	}
	shared := alice.makes("share", name, bob.id)
	out := bob.checksOut(name, target)
	if out.Link != shared.Link || out.Written != files || out.Unchanged+out.Removed+len(out.Left)+len(out.Skipped) != 0 {
		t.Errorf("got %+v of a first checkout, want %d files written of version %s", out, files, shared.Link)
	}
	checkSame(t, target, src)
	if again := alice.makes("commit", name, src); !again.Unchanged || again.Objects != 0 || again.Link != shared.Link {
		t.Errorf("got %+v of a commit without changes, want nothing put", again)
	}

	// Three files, one of them streamed, one that was empty.
	changed := []string{}
	for _, i := range []int{100, 1000, 1999} {
		changed = append(changed, fmt.Sprintf("d%02d/e%d/f%d %s.txt", i%17, i%5, i, nameMarker))
	}
	r := newRand(2)
	for i, p := range changed {
		writeTree(t, src, p, markedBytes(r, 1000+i*3<<20), 0o644)
	}
	before := objectsIn(t, cli, "headwater-blobs")
	second := alice.makes("commit", name, src)
	nodes := map[string]bool{}
	for _, p := range changed {
		for p != "." {
			p = path.Dir(p)
			nodes[p] = true
		}
	}
	want := len(changed) + len(nodes) + 3 // and the operation log, the pins list, the manifest
	if second.Modified != 3 || second.Added+second.Removed != 0 || second.Objects != want {
		t.Errorf("got %+v of a commit of three changed files, want %d objects put", second, want)
	}
	if put := objectsIn(t, cli, "headwater-blobs") - before; put != want-1 {
		t.Errorf("got %d more blobs in the store, want %d", put, want-1)
	}
	out = bob.checksOut(name, target)
	if out.Written != 3 || out.Unchanged != files-3 || out.Removed+out.Modes != 0 {
		t.Errorf("got %+v of the next checkout, want exactly 3 files written and %d left alone", out, files-3)
	}
	checkSame(t, target, src)

	// Permissions alone, a file less, and a directory less.
	for name, perm := range map[string]os.FileMode{changed[0]: 0o400, "d04": 0o711} {
		if err := os.Chmod(filepath.Join(src, name), perm); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{changed[1], "empty too"} {
		if err := os.RemoveAll(filepath.Join(src, name)); err != nil {
			t.Fatal(err)
		}
	}
	last := alice.makes("commit", name, src)
	out = bob.checksOut(name, target)
	if out.Written != 0 || out.Modes != 1 || out.Removed != 1 {
		t.Errorf("got %+v after a change of permissions and a removal, want nothing written", out)
	}
	checkSame(t, target, src)
	old := newTarget(t)
	if out := bob.checksOut(name, old, "--at", strconv.FormatUint(second.Height, 10), "--path", changed[1]); out.Written != 1 {
		t.Errorf("got %+v of one file of an old version, want it written", out)
	}

	for _, p := range []*cliPeer{alice, bob} {
		p.awaitComplete(last)
		p.stop()
	}
	server.Stop()
	for _, dir := range []string{server.Dir(), alice.dir, bob.dir} {
		if found := filesWith(t, dir, plainMarker); len(found) > 0 {
			t.Errorf("got bytes of files in clear in %s: %q", dir, found)
		}
		// What was read and written on this machine is on record here, and nowhere else.
		found := slices.DeleteFunc(filesWith(t, dir, nameMarker), func(f string) bool { return strings.HasPrefix(f, "worktrees/") })
		if len(found) > 0 {
			t.Errorf("got names of files in clear in %s: %q", dir, found)
		}
		if found := filesWith(t, dir, name); len(found) == 0 {
			t.Errorf("got no bucket's name in %s, want it to be found: it stands in manifests in clear", dir)
		}
	}
}

// measured runs a command that has to succeed, and returns the most memory that was resident, in bytes. What the system
// counts for a process that has ended includes its parent's memory, so its own is watched while it runs.
func (h headwater) measured(args ...string) (peak int64) {
	h.tb.Helper()
	ctx, cancel := context.WithTimeout(h.tb.Context(), commandLimit)
	defer cancel()
	cmd := h.command(ctx, args...)
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		h.tb.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil || peak == 0 {
				h.tb.Fatalf("got %v, %d bytes resident, of %v: %s", err, peak, cmd.Args, out.String())
			}
			return peak
		case <-ticker.C:
			peak = max(peak, residentPeak(cmd.Process.Pid, h.bin))
		}
	}
}

// residentPeak is the most memory that a process had so far; 0 if it has gone, or does not run the program yet.
func residentPeak(pid int, bin string) int64 {
	proc := fmt.Sprintf("/proc/%d/", pid)
	if exe, err := os.Readlink(proc + "exe"); err != nil || exe != bin {
		return 0
	}
	b, err := os.ReadFile(proc + "status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	line, _, _ := strings.Cut(rest, "kB")
	kib, _ := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	return kib << 10
}

func TestFiles_LargeFileTakesLittleMemory(t *testing.T) {
	t.Parallel()
	const size, most = 300 << 20, 128 << 20
	// A peer that the bucket is not shared with: it has the server.
	h, _ := newDesk(t, startOwnPeer(t, filepath.Join(t.TempDir(), "broker")).url)
	src, target := t.TempDir(), newTarget(t)
	f, err := os.Create(filepath.Join(src, "large"))
	if err != nil {
		t.Fatal(err)
	}
	r := newRand(3)
	for at := int64(0); at < size; at += 8 << 20 { // the rest are holes
		if _, err := f.WriteAt(markedBytes(r, 1<<20), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	h.run("create", "films")
	for _, args := range [][]string{{"commit", "films", src}, {"checkout", "films", target}} {
		peak := h.measured(args...)
		t.Logf("%s of %d MiB: %d MiB resident", args[0], size>>20, peak>>20)
		if peak > most {
			t.Errorf("got %d MiB resident in %s of a file of %d MiB, want at most %d", peak>>20, args[0], size>>20, most>>20)
		}
	}
	checkSame(t, target, src)
}

// kill starts a command and kills it at a moment, unless it has ended by then.
func kill[T any](h headwater, moment <-chan T, args ...string) {
	h.tb.Helper()
	cmd := h.command(context.Background(), args...)
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		h.tb.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ended:
	case <-moment:
		_ = cmd.Process.Kill()
		<-ended
	}
	if code := cmd.ProcessState.ExitCode(); code > 0 {
		h.tb.Errorf("got exit %d of %v, want it done or killed: %s", code, cmd.Args, out.String())
	}
}

// once returns a channel that is closed when something holds. It looks every millisecond until the test ends.
func once(tb testing.TB, holds func() bool) <-chan struct{} {
	done, ctx := make(chan struct{}), tb.Context()
	var looking sync.WaitGroup
	tb.Cleanup(looking.Wait)
	looking.Go(func() {
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for !holds() {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
		close(done)
	})
	return done
}

const interruptions = 5

func TestFiles_InterruptedCommitEndsRight(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	h, _ := newDesk(t, server.URL())
	src := sourceTree(t, 4, 150)
	h.run("create", "photos")
	began := time.Now()
	h.run("commit", "photos", src)
	whole := time.Since(began)
	r := newRand(5)
	for i := range interruptions {
		for j := range 40 {
			writeTree(t, src, fmt.Sprintf("new %d/%d", i, j), markedBytes(r, 20<<10), 0o644)
			writeTree(t, src, fmt.Sprintf("d01/again %d", j), markedBytes(r, 20<<10), 0o644)
		}
		kill(h, time.After(rand.N(whole)), "commit", "photos", src)
	}
	h.run("commit", "photos", src)
	last := h.makes("commit", "photos", src)
	if !last.Unchanged || len(last.Forks) > 0 {
		t.Errorf("got %+v of a commit after the last, want nothing to do, and no fork", last)
	}
	target := newTarget(t)
	h.checksOut("photos", target)
	checkSame(t, target, src)
	p := launchPeer(t, h)
	p.awaitReady()
	if s := p.awaitComplete(last); s.Forks != 0 || s.Dead != 0 {
		t.Errorf("got %+v, want one chain", s)
	}
}

// The worst moments for a commit to die: its version is there, and nothing on this machine says that the directory holds it;
// or its manifest is there, and nobody will ever hear of it.
func TestFiles_CommitKilledAroundItsAnnouncementMakesNoConflict(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t).URL()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	h, _ := newDesk(t, url)
	src := sourceTree(t, 8, 40)
	h.run("create", "photos")
	h.run("commit", "photos", src)
	h.run("publish", "photos") // the directory is behind its own bucket
	for round, subject := range []string{"headwater.heads.>", "$O.headwater-manifests.M.>", "headwater.heads.>"} {
		seen := make(chan *nats.Msg, 16)
		sub, err := nc.ChanSubscribe(subject, seen)
		if err == nil {
			err = nc.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		writeTree(t, src, "notes", fmt.Appendf(nil, "killed in round %d", round), 0o644)
		kill(h, seen, "commit", "photos", src)
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
		writeTree(t, src, "notes", fmt.Appendf(nil, "written after round %d", round), 0o644)
		if made := h.makes("commit", "photos", src); made.Added+made.Modified != 1 || made.Removed+len(made.Conflicts) != 0 {
			t.Errorf("got %+v of the commit after one that was killed, want one file written", made)
		}
		target := newTarget(t)
		h.checksOut("photos", target)
		checkSame(t, target, src)
	}
}

func TestFiles_InterruptedCheckoutEndsRight(t *testing.T) {
	t.Parallel()
	h, _ := newDesk(t, natstest.Start(t).URL())
	src := sourceTree(t, 6, 400)
	h.run("create", "photos")
	h.run("commit", "photos", src)
	versions := []map[string]string{snapshot(t, src)}
	r := newRand(7)
	for i := range 400 {
		if i%2 == 0 {
			writeTree(t, src, fmt.Sprintf("d%02d/e%d/f%d %s.txt", i%17, i%5, i, nameMarker), markedBytes(r, r.IntN(30<<10)), 0o644)
		}
	}
	h.run("commit", "photos", src)
	versions = append(versions, snapshot(t, src))
	began := time.Now()
	h.checksOut("photos", newTarget(t))
	whole := time.Since(began)

	target := newTarget(t)
	for i := range interruptions {
		args := []string{"checkout", "photos", target, "--at", strconv.Itoa(i%2 + 1)}
		if i == 0 {
			kill(h, once(t, func() bool { // in the middle of the first one that there is
				begun, _ := filepath.Glob(filepath.Join(target, "d*", "e*", "*"))
				return len(begun) > 0
			}), args...)
		} else {
			kill(h, time.After(rand.N(whole)), args...)
		}
		if _, err := os.Stat(target); err != nil {
			continue
		}
		for path, said := range snapshot(t, target) {
			_, named := versions[0][path]
			if named && !strings.HasPrefix(said, "d") && said != versions[0][path] && said != versions[1][path] {
				t.Errorf("after a killed checkout %q is %s, want the whole file of version 1 or 2, or none", path, said)
			}
		}
	}
	h.checksOut("photos", target)
	checkSame(t, target, src)
}

func TestFiles_CommitNeedsNoPeerAndOneStartedLaterLearnsOfIt(t *testing.T) {
	t.Parallel()
	h, id := newDesk(t, natstest.Start(t).URL())
	src := t.TempDir()
	for path, text := range map[string]string{
		".headwaterignore": "*.log\n/build/\n!keep.log\n", "a.txt": "a", "a.log": "no", "keep.log": "yes", "build/x": "no",
		"sub/.headwaterignore": "local\n", "sub/local": "no", "sub/build/x": "yes", "local": "yes",
	} {
		writeTree(t, src, path, []byte(text), 0o644)
	}
	made := h.makes("create", "photos")
	if made.Author != id || made.Height != 0 || made.Name != "photos" {
		t.Errorf("got %+v, want version 0 of photos by %s", made, id)
	}
	if s := decoded[statusJSON](t, h.run("status", "--json")).Buckets[0]; s.State != "not_running" || s.Announced == nil || s.Announced.Height != 0 {
		t.Errorf("got %+v without a peer, want it not running, and version 0 announced", s)
	}
	var last versionJSON
	for i, name := range []string{made.BucketID, made.BucketID[:7], "photos"} {
		writeTree(t, src, "named", []byte(name), 0o644)
		if last = h.makes("commit", name, src); last.BucketID != made.BucketID || last.Height != uint64(i+1) {
			t.Errorf("got %+v of a commit to %s, want version %d of %s", last, name, i+1, made.BucketID)
		}
	}
	var paths []string
	for _, e := range decodedLines[entryJSON](t, h.run("ls", "photos", "-R", "--json")) {
		paths = append(paths, e.Path)
	}
	want := []string{".headwaterignore", "a.txt", "keep.log", "local", "named", "sub", "sub/.headwaterignore", "sub/build", "sub/build/x"}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	if got := h.run("cat", "photos", "sub/build/x"); got != "yes" {
		t.Errorf("got %q of a file, want %q", got, "yes")
	}
	if got := h.run("cat", "photos", "named", "--at", "1"); got != made.BucketID {
		t.Errorf("got %q of a file in version 1, want %q", got, made.BucketID)
	}
	if got, want := h.run("diff", "photos", "1"), "M named\n"; got != want {
		t.Errorf("got difference %q since version 1, want %q", got, want)
	}
	p := launchPeer(t, h)
	p.awaitReady()
	p.awaitComplete(last)
	if n := len(decodedLines[logJSON](t, p.run("log", "photos", "--json"))); n != 4 {
		t.Errorf("got %d versions in the log of a peer that started later, want 4", n)
	}
	for _, args := range [][]string{{"commit", "none", src}, {"commit", unknownBucket, src}, {"checkout", unknownBucket, src}, {"ls", "none"}} {
		p.fails(3, args...)
	}
	p.fails(3, "cat", "photos", "none")
	p.fails(3, "checkout", "photos", newTarget(t), "--at", "77")
	p.fails(2, "checkout", "photos", newTarget(t), "--at", "soon")
}

func TestFiles_CheckoutNeitherOverwritesNorDeletesWhatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	h, _ := newDesk(t, natstest.Start(t).URL())
	src, target := t.TempDir(), newTarget(t)
	for _, path := range []string{"a", "b", "dir/c"} {
		writeTree(t, src, path, []byte("first "+path), 0o644)
	}
	h.run("create", "photos")
	h.run("commit", "photos", src)

	// Unknown ones, of the same names: the whole checkout is refused before anything is written.
	writeTree(t, target, "b", []byte("mine"), 0o644)
	writeTree(t, target, "dir/own", []byte("mine"), 0o644)
	mine := snapshot(t, target)
	h.failsSaying(1, "check out with --force", "checkout", "photos", target)
	if diff := cmp.Diff(mine, snapshot(t, target)); diff != "" {
		t.Errorf("a refused checkout changed the directory (-before +after):\n%s", diff)
	}
	out := h.checksOut("photos", target, "--force")
	if diff := cmp.Diff([]string{"dir/own"}, out.Left); diff != "" || out.Written != 3 {
		t.Errorf("got %+v, want 3 files written and the one left that the bucket does not have (-want +got):\n%s", out, diff)
	}

	// One that checkout wrote and somebody changed since is not ours any more; one that is as it was goes with the bucket.
	writeTree(t, target, "a", []byte("mine now"), 0o644)
	for _, path := range []string{"a", "b", "dir/c"} {
		if err := os.Remove(filepath.Join(src, path)); err != nil {
			t.Fatal(err)
		}
	}
	writeTree(t, src, "a", []byte("second a"), 0o644)
	h.run("commit", "photos", src)
	h.failsSaying(1, "a", "checkout", "photos", target)
	want := maps.Clone(snapshot(t, target))
	h.failsSaying(1, "check out with --force", "checkout", "photos", target)
	if diff := cmp.Diff(want, snapshot(t, target)); diff != "" {
		t.Errorf("a refused checkout changed the directory (-before +after):\n%s", diff)
	}
	writeTree(t, target, "a", []byte("second a"), 0o644)
	out = h.checksOut("photos", target)
	if out.Written != 0 || out.Removed != 2 || !slices.Equal(out.Left, []string{"dir/own"}) {
		t.Errorf("got %+v, want two removed, none written, and the unknown file left", out)
	}
	if out = h.checksOut("photos", target, "--delete"); out.Removed != 1 || len(out.Left) != 0 {
		t.Errorf("got %+v with --delete, want the unknown file removed", out)
	}
	checkSame(t, target, src)
	h.makes("create", "others")
	h.failsSaying(1, "belongs to", "checkout", "others", target)
	h.failsSaying(1, "belongs to", "commit", "others", src)

	// The peer's own directory is no content, wherever it stands.
	own := t.TempDir()
	inside := newHeadwater(t, append(slices.Clone(h.args), "--dir", filepath.Join(own, "peer"))...)
	inside.run("create", "home")
	writeTree(t, own, "file", nil, 0o644)
	inside.run("commit", "home", own)
	if got := inside.run("ls", "home", "-R"); strings.Contains(got, "peer") || !strings.Contains(got, "file") {
		t.Errorf("got %q of a directory that the peer's own is in, want the file alone", got)
	}
}
