package logstore_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/logstore"
)

const (
	crashes      = 30
	crashBuckets = 4     // of one round
	crashHeight  = 8_000 // where a bucket ends
)

// TestNoCrashLeavesAGap kills a process that appends long stretches with jobs, versions made here and branches, again and again,
// on one directory. Whatever moment it dies at: every bucket is an unbroken chain, the head of each has a job unless it is
// complete, what was made here has its upload, the tips are where the branches end, and what the process had been told was
// durable is there.
func TestNoCrashLeavesAGap(t *testing.T) {
	dir := t.TempDir() + "/log"
	var unclean, stretches int
	for round := range crashes {
		acks := killChild(t, dir, round)
		s, err := logstore.OpenSmall(logstore.Config{Dir: dir})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if len(acks.heights) > 0 {
			unclean++
		}
		stretches += acks.stretches
		for n := max(0, (round-1)*crashBuckets); n < (round+1)*crashBuckets; n++ {
			checkBucket(t, s, n, acks)
		}
		checkForked(t, s)
		if round%2 == 0 { // every other crash meets a log that was not closed before either
			err = s.Close()
		} else {
			err = s.Kill()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of %d processes were killed after a durable stretch; %d stretches in all", unclean, crashes, stretches)
	if unclean < crashes/2 {
		t.Errorf("got %d rounds that did any work, want most of %d", unclean, crashes)
	}
}

// promises are what a child was told was durable: by bucket, the greatest appended and completed height.
type promises struct {
	heights, completed map[int]uint64
	made               map[bucket.Link]bool // own versions whose upload was not being removed
	stretches          int
}

// acknowledgements are a child's output.
type acknowledgements struct {
	text  bytes.Buffer
	first func() // called when it begins
}

func (a *acknowledgements) Write(b []byte) (int, error) {
	if a.text.Len() == 0 {
		a.first()
	}
	return a.text.Write(b)
}

// killChild runs a child until a random moment: of its start in some rounds, of its work in most.
func killChild(t *testing.T, dir string, round int) promises {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, errs := acknowledgements{first: func() { time.AfterFunc(rand.N(400*time.Millisecond), cancel) }}, bytes.Buffer{}
	if round%5 == 4 {
		time.AfterFunc(rand.N(300*time.Millisecond), cancel)
	}
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=append", "DIR="+dir, fmt.Sprintf("ROUND=%d", round))
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err == nil || ctx.Err() == nil {
		t.Fatalf("round %d: the child ended by itself: %v\n%s", round, err, &errs)
	}
	p := promises{make(map[int]uint64), make(map[int]uint64), make(map[bucket.Link]bool), 0}
	lines := bufio.NewScanner(&out.text)
	for lines.Scan() {
		var what string
		var n int
		var height uint64
		if _, err := fmt.Sscanf(lines.Text(), "%s %d %d.", &what, &n, &height); err != nil {
			continue // the last line, cut
		}
		switch what {
		case "appended":
			p.heights[n] = max(p.heights[n], height)
			p.stretches++
		case "completed":
			p.completed[n] = max(p.completed[n], height)
		case "made":
			p.made[version(n, height).Link] = true
		case "uploading":
			delete(p.made, version(n, height).Link)
		}
	}
	return p
}

// checkBucket checks a bucket against what was promised.
func checkBucket(t *testing.T, s *logstore.Badger, n int, acks promises) {
	t.Helper()
	id, promised := version(n, 0).Bucket, acks.heights[n]
	b, err := s.Bucket(t.Context(), id)
	if errors.Is(err, logstore.ErrNotFound) {
		if _, ok := acks.heights[n]; ok {
			t.Fatalf("bucket %d is gone, want height %d", n, promised)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if b.Known.Height < promised || b.Complete.Height < acks.completed[n] {
		t.Fatalf("bucket %d: got heights %d and %d, want %d and %d", n, b.Known.Height, b.Complete.Height, promised,
			acks.completed[n])
	}
	want := b.Known.Height
	for e, err := range s.Walk(t.Context(), id, bucket.Head{}) {
		if err != nil {
			t.Fatal(err)
		}
		if v := version(n, want); e.Head() != v.Head() || e.Previous != v.Previous || e.Pins != v.Pins {
			t.Fatalf("bucket %d: got %v, want %v", n, e, v)
		}
		want--
	}
	if want != ^uint64(0) || b.Versions != b.Known.Height+1 || b.Forks != 0 {
		t.Fatalf("bucket %d: the walk ended above height %d; %d versions, %d forks, head at %d", n, want+1, b.Versions,
			b.Forks, b.Known.Height)
	}
	checkJobs(t, s, n, b)
	wantTips(t, s, id, b.Known)
	owed := make(map[bucket.Link]bool)
	for u, err := range s.Uploads(t.Context(), id) {
		ok(t, err)
		owed[u.Link] = true
	}
	for h := range b.Versions {
		if link := version(n, h).Link; acks.made[link] && !owed[link] {
			t.Fatalf("bucket %d: the version made at height %d has no upload", n, h)
		}
	}
}

// checkForked compares the tips of the bucket with branches with what a walk finds.
func checkForked(t *testing.T, s *logstore.Badger) {
	t.Helper()
	var want []bucket.Head
	followed := make(map[bucket.Link]bool)
	for e, err := range s.Walk(t.Context(), forked.Bucket, bucket.Head{}) {
		ok(t, err)
		if !followed[e.Link] {
			want = append(want, e.Head())
		}
		followed[e.Previous] = true
	}
	if len(want) == 0 {
		return
	}
	wantTips(t, s, forked.Bucket, want...)
	if b, err := s.Bucket(t.Context(), forked.Bucket); err != nil || b.Forks+1 != uint64(len(want)) {
		t.Fatalf("got %d forks, %v, want %d", b.Forks, err, len(want)-1)
	}
}

// checkJobs checks that the head has a job where it is not complete.
func checkJobs(t *testing.T, s *logstore.Badger, n int, b logstore.Bucket) {
	t.Helper()
	j, err := s.Job(t.Context(), b.ID, b.Known)
	switch complete := b.Complete == b.Known; {
	case complete && !errors.Is(err, logstore.ErrNotFound):
		t.Fatalf("bucket %d: got job %v, %v, want none for a complete head", n, j, err)
	case !complete && (err != nil || j.Height != b.Known.Height || j.Pins != version(n, j.Height).Pins || len(j.Stores) != 1):
		t.Fatalf("bucket %d: got job %v, %v, want one for the head at %d", n, j, err, b.Known.Height)
	}
}

// childOutput runs the test binary as another process and returns what it wrote.
func childOutput(t *testing.T, what, dir string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+what, "DIR="+dir)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
