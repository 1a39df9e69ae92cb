package logtest

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"headwater/bucket"
	"headwater/logstore"
)

// Bench measures a store: appending one version at a time, from one goroutine and from 32 on different buckets, and stretches
// of 1000; completing; and reading from short and long histories, which should cost the same.
func Bench(b *testing.B, open func(tb testing.TB) Opened) {
	b.Run("append 1", func(b *testing.B) { benchAppend(b, opened(b, open), 1) })
	b.Run("append 1 with job, 32 goroutines", func(b *testing.B) { benchAppendParallel(b, opened(b, open)) })
	b.Run("append 1000", func(b *testing.B) { benchAppend(b, opened(b, open), 1000) })
	b.Run("publish and complete, 32 goroutines", func(b *testing.B) { benchComplete(b, opened(b, open)) })
	for _, versions := range []int{1_000, 100_000} {
		b.Run(fmt.Sprintf("of %d versions", versions), func(b *testing.B) { benchReads(b, opened(b, open), versions) })
	}
}

func opened(b *testing.B, open func(tb testing.TB) Opened) logstore.Store {
	s := open(b).Store
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// must fails the benchmark.
func must(b *testing.B, err error) {
	if err != nil {
		b.Helper()
		b.Fatal(err)
	}
}

// benchAppend appends to one bucket, n versions at a time.
func benchAppend(b *testing.B, s logstore.Store, n int) {
	var prev *logstore.Entry
	total := 0
	for b.Loop() {
		b.StopTimer()
		stretch := chain(id(1), prev, n, "a")
		prev = &stretch[n-1]
		job := jobOf(*prev)
		b.StartTimer()
		added, err := s.Append(b.Context(), stretch, &job, true)
		must(b, err)
		total += len(added)
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "versions/s")
}

// goroutines has RunParallel use 32.
func goroutines(b *testing.B) { b.SetParallelism(max(1, 32/runtime.GOMAXPROCS(0))) }

// benchAppendParallel has each goroutine make new buckets of one version.
func benchAppendParallel(b *testing.B, s logstore.Store) {
	var next atomic.Int64
	goroutines(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			stretch := chain(id(int(next.Add(1))), nil, 1, "a")
			job := jobOf(stretch[0])
			if _, err := s.Append(b.Context(), stretch, &job, true); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "versions/s")
}

// benchComplete takes jobs of different buckets to their end.
func benchComplete(b *testing.B, s logstore.Store) {
	entries := make([]logstore.Entry, b.N)
	for i := range entries {
		entries[i] = successor(id(i), nil, "a")
	}
	var made, next atomic.Int64
	goroutines(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			e := entries[made.Add(1)-1]
			job := jobOf(e)
			if _, err := s.Append(b.Context(), []logstore.Entry{e}, &job, true); err != nil {
				b.Error(err)
			}
		}
	})
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			e := entries[next.Add(1)-1]
			err := s.SetJob(b.Context(), e.Bucket, e.Head(), logstore.JobPublished)
			if err == nil {
				err = s.Complete(b.Context(), e.Bucket, e.Head(), logstore.PinCount{Needed: 1}, false)
			}
			if err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
}

// benchReads reads from one bucket with so many versions.
func benchReads(b *testing.B, s logstore.Store, versions int) {
	c := chain(id(1), nil, versions, "a")
	_, err := s.Append(b.Context(), c, nil, false)
	must(b, err)
	ctx, n := b.Context(), 0
	some := func() logstore.Entry { n += 7919; return c[n%versions] }
	for _, read := range []struct {
		name string
		call func() error
	}{
		{"entry hit", func() error { _, err := s.Entry(ctx, id(1), some().Head()); return err }},
		{"entry miss", func() error {
			h := some().Head()
			h.Link[9]++
			if _, err := s.Entry(ctx, id(1), h); err == nil {
				return fmt.Errorf("found %s", h.Link)
			}
			return nil
		}},
		{"bucket", func() error { _, err := s.Bucket(ctx, id(1)); return err }},
		{"heads", func() error { _, err := s.Heads(ctx, id(1), some().Height); return err }},
		{"tips", func() error { _, err := s.Tips(ctx, id(1)); return err }},
		{"uploads of all", func() error {
			for _, err := range s.Uploads(ctx, bucket.ID{}) {
				return err
			}
			return nil
		}},
		{"walk 100", func() error {
			left := 100
			for _, err := range s.Walk(ctx, id(1), bucket.Head{}) {
				if left--; err != nil || left == 0 {
					return err
				}
			}
			return nil
		}},
	} {
		b.Run(read.name, func(b *testing.B) {
			for b.Loop() {
				must(b, read.call())
			}
		})
	}
}

// Load appends a chain of so many versions to a bucket, in stretches, each with its job.
func Load(b *testing.B, s logstore.Store, versions, stretch int) {
	var prev *logstore.Entry
	for left := versions; left > 0; left -= stretch {
		c := chain(id(1), prev, min(left, stretch), "a")
		prev = &c[len(c)-1]
		job := jobOf(*prev)
		_, err := s.Append(b.Context(), c, &job, true)
		must(b, err)
	}
}
