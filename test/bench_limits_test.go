package test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/logstore"

	"golang.org/x/sync/errgroup"
)

// (d) The log.

func BenchmarkRatioLog(b *testing.B) {
	for range b.N {
		benchLog(b)
	}
}

func benchLog(b *testing.B) {
	const singles, stretches, stretch, lookups = 300, 20, 1000, 100_000
	dir := b.TempDir()
	log, err := logstore.OpenBadger(logstore.Config{Dir: filepath.Join(dir, "log")})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	entries := logEntries(singles + stretches*stretch)
	appendAll := func(entries []logstore.Entry, n int) float64 {
		start := time.Now()
		for part := range slices.Chunk(entries, n) {
			if _, err := log.Append(b.Context(), part, nil, false); err != nil {
				b.Fatal(err)
			}
		}
		return rate(len(entries), time.Since(start))
	}
	single := appendAll(entries[:singles], 1)
	synced := syncedWrites(b, filepath.Join(dir, "raw"), singles)
	long := appendAll(entries[singles:], stretch)
	start := time.Now()
	for i := range lookups {
		e := entries[i*7919%len(entries)]
		if _, err := log.Entry(b.Context(), e.Bucket, e.Head()); err != nil {
			b.Fatal(err)
		}
	}
	found := rate(lookups, time.Since(start))
	b.ReportMetric(single, "appends/s")
	b.ReportMetric(single/synced, "ratio-to-fsync")
	b.ReportMetric(long, "versions/s")
	b.ReportMetric(long/single, "ratio-of-stretches")
	b.ReportMetric(found, "lookups/s")
	b.Logf("log: %.0f appends/s of one version, %.0f synced writes/s of a bare file: ratio %.2f; %.0f versions/s in stretches of %d: ratio %.0f; %.0f look-ups/s",
		single, synced, single/synced, long, stretch, long/single, found)
}

// logEntries is a chain as the log sees it.
func logEntries(n int) []logstore.Entry {
	id := bucket.NewID()
	entries := make([]logstore.Entry, n)
	var prev bucket.Link
	for i := range entries {
		link := bucket.ManifestLink(fmt.Append(id[:], i))
		entries[i] = logstore.Entry{
			Bucket: id, Link: link, Height: uint64(i), Previous: prev, Pins: bucket.RawLink(nil), Name: "test", Author: bucket.PublicKey{1},
		}
		prev = link
	}
	return entries
}

// syncedWrites returns how often a second a file takes 400 bytes and syncs them.
func syncedWrites(b *testing.B, name string, n int) float64 {
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	start := time.Now()
	for range n {
		_, err := f.Write(make([]byte, 400))
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	return rate(n, time.Since(start))
}

// (e) Signatures: the limit that the machine sets for catching up.

func BenchmarkRatioSignatures(b *testing.B) {
	const versions = 5_000
	chain := buckettest.New(b, buckettest.Identity(b, 1), buckettest.Identity(b, 2).PublicKey()).Grow(b, versions)
	for range b.N {
		verified := verifyAll(b, chain.Versions)
		opened, took := reopen(b, chain.Versions)
		whole := verifyAll(b, opened)
		b.ReportMetric(verified, "signatures/s")
		b.ReportMetric(rate(versions, took), "opened/s")
		b.Logf("signatures: %.0f/s on %d cores (again: %.0f/s); hashing and decoding: %.0f manifests/s on one",
			verified, runtime.GOMAXPROCS(0), whole, rate(versions, took))
	}
}

// verifyAll returns how many signatures a second all cores check.
func verifyAll(b *testing.B, versions []*bucket.Version) float64 {
	var g errgroup.Group
	var mu sync.Mutex
	next := 0
	take := func() *bucket.Version {
		mu.Lock()
		defer mu.Unlock()
		if next++; next > len(versions) {
			return nil
		}
		return versions[next-1]
	}
	start := time.Now()
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			for v := take(); v != nil; v = take() {
				if err := v.VerifySignature(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	return rate(len(versions), time.Since(start))
}

// reopen hashes and decodes manifests anew, so that no verdict is remembered.
func reopen(b *testing.B, versions []*bucket.Version) (opened []*bucket.Version, took time.Duration) {
	start := time.Now()
	for _, v := range versions {
		o, err := bucket.Open(v.Link, v.Encoded())
		if err != nil {
			b.Fatal(err)
		}
		opened = append(opened, o)
	}
	return opened, time.Since(start)
}
