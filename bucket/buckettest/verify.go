package buckettest

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"headwater/bucket"
)

// VerifyRate returns how many of the versions' signatures all processors check in a second, doing nothing else: by
// crypto/ed25519, one by one.
func VerifyRate(tb testing.TB, versions []*bucket.Version) float64 {
	tb.Helper()
	return verifyRate(tb, versions, bucket.Open)
}

// OpenerVerifyRate is [VerifyRate] by an opener, which remembers who signs.
func OpenerVerifyRate(tb testing.TB, versions []*bucket.Version) float64 {
	tb.Helper()
	return verifyRate(tb, versions, new(bucket.Opener).Open)
}

func verifyRate(tb testing.TB, versions []*bucket.Version, open func(bucket.Link, []byte) (*bucket.Version, error)) float64 {
	tb.Helper()
	fresh := make([]*bucket.Version, len(versions))
	for i, v := range versions { // a version remembers its verdict
		var err error
		if fresh[i], err = open(v.Link, v.Encoded()); err != nil {
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
