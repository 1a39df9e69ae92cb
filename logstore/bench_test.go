package logstore_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"headwater/logstore"
	"headwater/logstore/logtest"
)

func BenchmarkMemory(b *testing.B) {
	logtest.Bench(b, func(testing.TB) logtest.Opened { return logtest.Opened{Store: logstore.NewMemory()} })
}

func BenchmarkBadger(b *testing.B) { logtest.Bench(b, openBadger) }

// BenchmarkBadgerLoad catches a fresh log up with 300,000 versions in stretches of 1000. Run alone (-bench Load) it tells the
// most memory that the process had resident.
func BenchmarkBadgerLoad(b *testing.B) {
	for b.Loop() {
		s := openBadger(b).Store
		logtest.Load(b, s, 300_000, 1000)
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(peakRSS(b), "peak-MiB")
}

// peakRSS returns the process's VmHWM in MiB, 0 where the system has no such file.
func peakRSS(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kib); n == 1 {
			return kib / 1024
		}
	}
	b.Error("no VmHWM in /proc/self/status")
	return 0
}
