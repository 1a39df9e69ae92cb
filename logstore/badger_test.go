package logstore_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"headwater/bucket"
	"headwater/logstore"
	"headwater/logstore/logtest"
)

// childEnv says what the test binary shall do where a test started it as a process of its own.
const childEnv = "HEADWATER_LOGSTORE_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		// Badger leaves these behind where it refuses to open; a log that was not closed would leave many others.
		goleak.VerifyTestMain(m,
			goleak.IgnoreTopFunction("github.com/dgraph-io/badger/v4.(*DB).monitorCache"),
			goleak.IgnoreTopFunction("github.com/dgraph-io/ristretto/v2/z.(*AllocatorPool).freeupAllocators"))
	case "append":
		os.Exit(appendForEver())
	case "die while opening":
		os.Exit(dieWhileOpening())
	case "open":
		os.Exit(openOnce())
	}
}

// openBadger opens a log in a directory of the test.
func openBadger(tb testing.TB) logtest.Opened {
	dir := tb.TempDir() + "/log"
	open := func() (logstore.Store, error) { return logstore.OpenBadger(logstore.Config{Dir: dir}) }
	s, err := open()
	if err != nil {
		tb.Fatal(err)
	}
	return logtest.Opened{Store: s, Reopen: open}
}

func TestBadgerKeepsTheContract(t *testing.T) { logtest.Run(t, openBadger) }

// A small log cuts stretches into many transactions and writes tables all the time.
func TestSmallBadgerKeepsTheContract(t *testing.T) {
	logtest.Run(t, func(tb testing.TB) logtest.Opened {
		dir := tb.TempDir() + "/log"
		open := func() (logstore.Store, error) { return logstore.OpenSmall(logstore.Config{Dir: dir}) }
		s, err := open()
		if err != nil {
			tb.Fatal(err)
		}
		return logtest.Opened{Store: s, Reopen: open}
	})
}

// version is the only version of the nth bucket at a height, in all processes of these tests.
func version(n int, height uint64) logstore.Entry {
	e := logstore.Entry{Bucket: bucket.ID{byte(n >> 8), byte(n), 1}, Height: height, Link: versionLink(n, height), Name: "v"}
	e.Pins = bucket.RawLink(e.Link[:])
	if height > 0 {
		e.Previous = versionLink(n, height-1)
	}
	return e
}

func versionLink(n int, height uint64) bucket.Link {
	return bucket.ManifestLink([]byte{byte(n >> 8), byte(n), byte(height >> 16), byte(height >> 8), byte(height)})
}

// versions are those of the nth bucket from a height up to another, which is not among them.
func versions(n int, from, to uint64) []logstore.Entry {
	var stretch []logstore.Entry
	for h := from; h < to; h++ {
		stretch = append(stretch, version(n, h))
	}
	return stretch
}

func jobFor(e logstore.Entry) *logstore.Job {
	return &logstore.Job{PinJob: bucket.PinJob{Bucket: e.Bucket, Link: e.Link, Stores: []string{"blobs"}}}
}
