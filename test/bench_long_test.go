//go:build linux

package test_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"headwater/bucket/buckettest"
	"headwater/consumer"
)

// A history of a million versions: resident memory of the whole peer, which is the real program, with its log and its
// stores; the rate, beside that of a tenth of the history; and what is fetched twice if the peer is killed in the middle.
func BenchmarkRatioLongHistory(b *testing.B) {
	const limit = 256 << 20 // bytes of memory
	for range b.N {
		tenth, _ := newLong(b, 100_000, 1)[0].catchUp(b, false)
		peers := newLong(b, 1_000_000, 2)
		whole, peak := peers[0].catchUp(b, false)
		_, killed := peers[1].catchUp(b, true)
		b.ReportMetric(whole/tenth, "rate/rate-of-100000")
		b.ReportMetric(float64(peak)/limit, "peak/256MiB")
		b.ReportMetric(float64(killed)/limit, "killed-peak/256MiB")
	}
}

// catchUp starts the peer, kills it in the middle if kill is set, and returns how many versions a second it took,
// and the most memory that any of its processes had.
func (p *longPeer) catchUp(b *testing.B, kill bool) (rate float64, peak int64) {
	b.Helper()
	const every = 250 * time.Millisecond
	n := uint64(p.history.versions)
	verify := buckettest.VerifyRate(b, p.history.some)
	prepareMachine(b, int64(n)*3<<10) // manifests twice, and the log
	start := time.Now()
	p.start()
	what := fmt.Sprintf("%d versions", n)
	if kill {
		s := p.waitState(b, every, func(s consumer.Status) bool { return s.CatchUp.Fetched >= n/2 })
		peak = p.peak()
		p.kill()
		p.start()
		what = fmt.Sprintf("%d versions, killed after %d", n, s.CatchUp.Fetched)
	}
	p.waitState(b, every, func(s consumer.Status) bool { return s.Known != nil && s.Known.Height+1 == n })
	took := time.Since(start)
	_, received := p.proxy.Bytes()
	peak = max(peak, p.peak())
	p.stop()
	rate = float64(n) / took.Seconds()
	fmt.Printf("%s in %.1f s: %.0f versions/s, %.2f of the rate at which crypto/ed25519 only checks the signatures (%.0f/s on %d cores); "+
		"peak %d MiB resident; %.2f times the bytes of the packs received\n", what, took.Seconds(), rate, rate/verify, verify,
		runtime.GOMAXPROCS(0), peak>>20, float64(received)/float64(p.history.size))
	return rate, peak
}
