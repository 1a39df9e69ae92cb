package buckettest

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"headwater/bucket"
)

// VerifyRate returns how many of the versions' signatures all processors check in a second, doing nothing else.
func VerifyRate(tb testing.TB, versions []*bucket.Version) float64 {
	tb.Helper()
	fresh := make([]*bucket.Version, len(versions))
	var o bucket.Opener
	for i, v := range versions { // a version remembers its verdict
		var err error
		if fresh[i], err = o.Open(v.Link, v.Encoded()); err != nil {
			tb.Fatal(err)
		}
	}
	start := time.Now()
	var g errgroup.Group
	n := runtime.GOMAXPROCS(0)
	for worker := range n {
		g.Go(func() error {
			for i := worker; i < len(fresh); i += n {
				if err := fresh[i].VerifySignature(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		tb.Fatal(err)
	}
	return float64(len(versions)) / time.Since(start).Seconds()
}
