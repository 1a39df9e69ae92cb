//go:build linux

package test_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"headwater/test/natstest"
)

// Making and reading versions here, against the disk alone: cp with every file synced, in the same run.

// heldRatio and madeRatio are how many times as long as cp ours should take at most.
const (
	heldRatio  = 2.0
	madeRatio  = 2.5
	heldNoise  = 64 << 10 // bytes that a broker sends while nobody asks it for anything: pings, and one question how things stand
	localTimes = 3        // of which the fastest counts
)

// BenchmarkRatioLocalLargeFile makes and reads one file of 1 GiB, with no other peer involved.
func BenchmarkRatioLocalLargeFile(b *testing.B) {
	for range b.N {
		benchLocal(b, randomFile(b, benchGiB))
	}
}

// BenchmarkRatioLocalSmallFiles does the same with many small files. The ratios that it prints as wanted are meant for the large
// one.
func BenchmarkRatioLocalSmallFiles(b *testing.B) {
	for range b.N {
		benchLocal(b, smallFiles(b))
	}
}

func benchLocal(b *testing.B, c corpus) {
	b.Helper()
	broker := natstest.StartWith(b, natstest.Config{SyncAlways: true})
	var disk, commit, checkout, lone time.Duration
	var peaks [4]int64
	fastest := func(best *time.Duration, took time.Duration) {
		if *best == 0 || took < *best {
			*best = took
		}
	}
	var sent int64
	for range localTimes {
		p := startPeerOn(b, broker.URL(), filepath.Join(b.TempDir(), "peer"))
		memory := watchAnonymous(p.process.Process.Pid)
		id := p.made("create", "bench").BucketID
		fastest(&disk, diskAlone(b, c, 1))

		took, peak := p.timed(b, c.size, "commit", id, c.dir, "--no-wait", "--json")
		fastest(&commit, took)
		peaks[0] = max(peaks[0], peak)
		p.awaitStanding("uploaded", id, 10*time.Minute, func(s standingJSON) bool { return s.State == "in_sync" })

		before := broker.OutBytes()
		took, peak = p.timed(b, c.size, "checkout", id, filepath.Join(b.TempDir(), "target"), "--json")
		fastest(&checkout, took)
		peaks[1] = max(peaks[1], peak)
		peaks[2] = max(peaks[2], memory())
		p.stop()
		target := filepath.Join(b.TempDir(), "target")
		took, peak = p.timed(b, c.size, "checkout", id, target, "--json")
		sent = max(sent, broker.OutBytes()-before)
		fastest(&lone, took)
		peaks[3] = max(peaks[3], peak)
		checkSame(b, target, c.dir)
	}
	report := func(what string, took time.Duration, limit float64) {
		r := took.Seconds() / disk.Seconds()
		b.ReportMetric(r, what+"/cp")
		fmt.Printf("%-44s %7.2f s: %.2f of cp with fsync (want at most %.2f)\n", what, took.Seconds(), r, limit)
	}
	fmt.Printf("\n%d files, %d MiB, the fastest of %d runs each\n%-44s %7.2f s\n", c.files, c.size>>20, localTimes, "cp with fsync", disk.Seconds())
	report("commit-until-durable", commit, madeRatio)
	report("checkout-held", checkout, heldRatio)
	report("checkout-held-no-peer", lone, heldRatio)
	fmt.Printf("%-44s %7d bytes during both checkouts\n", "the broker sent", sent)
	if sent > heldNoise {
		b.Errorf("the broker sent %d bytes during checkouts of what is held, want none", sent)
	}
	for i, what := range []string{"commit", "checkout", "peer", "checkout without a peer"} {
		fmt.Printf("%-44s %7d MiB of anonymous memory\n", what, peaks[i]>>20)
		if peaks[i] > anonymousLimit {
			b.Errorf("%s took %d MiB of anonymous memory, want at most %d", what, peaks[i]>>20, anonymousLimit>>20)
		}
	}
}

// timed runs a command that writes so many bytes to its end, and returns how long it took, and its peak of anonymous memory.
func (h headwater) timed(b *testing.B, bytes int64, args ...string) (took time.Duration, peak int64) {
	b.Helper()
	prepareMachine(b, bytes)
	m := startMeasured(b, h.command(b.Context(), args...))
	m.wait(b)
	fmt.Printf("%-44s %7.2f s, %.2f s of a processor\n", args[0], m.took.Seconds(), m.processor().Seconds())
	return m.took, m.peak()
}
