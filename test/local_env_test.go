package test_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
)

// secondsLimit is what "within seconds" means once a broker is back, on a busy machine too.
const secondsLimit = 20 * time.Second

// nobodyListens is the URL of a broker that does not run: connections are refused.
const nobodyListens = "nats://127.0.0.1:1"

// What commands say with --json of versions that may not have been announced yet.
type (
	madeJSON struct {
		versionJSON
		Announced bool   `json:"announced"`
		Waiting   string `json:"waiting"` // why it is not announced
	}
	standingJSON struct {
		bucketJSON
		Announced *headJSON `json:"announced"`
	}
)

func (m madeJSON) head() headJSON { return headJSON{m.Link, m.Height} }

// without returns the program without some of its flags and their values.
func (h headwater) without(flags ...string) headwater {
	h.args = slices.Clone(h.args)
	for _, f := range flags {
		if i := slices.Index(h.args, f); i >= 0 {
			h.args = slices.Delete(h.args, i, i+2)
		}
	}
	return h
}

// with returns the program with another value of a flag.
func (h headwater) with(flag, value string) headwater {
	h = h.without(flag)
	h.args = append(h.args, flag, value)
	return h
}

// made runs a command that makes a version, whether or not it is announced.
func (h headwater) made(args ...string) madeJSON {
	h.tb.Helper()
	return decoded[madeJSON](h.tb, h.run(append(args, "--json")...))
}

// madeOffline is made without a broker that answers: the version is there, and reported as not announced.
func (h headwater) madeOffline(args ...string) madeJSON {
	h.tb.Helper()
	m := h.made(args...)
	if m.Announced || m.Waiting == "" {
		h.tb.Errorf("got %+v of %v without a broker, want it not announced, and why", m, args)
	}
	return m
}

// standing asks how a bucket stands.
func (h headwater) standing(id string) standingJSON {
	h.tb.Helper()
	return h.standingIn(id, h.run("status", id, "--json"))
}

func (h headwater) standingIn(id, out string) standingJSON {
	h.tb.Helper()
	s := decoded[struct{ Buckets []standingJSON }](h.tb, out)
	if len(s.Buckets) != 1 {
		h.tb.Fatalf("got %d buckets in status of %s, want one", len(s.Buckets), id)
	}
	return s.Buckets[0]
}

// awaitStanding polls status until a bucket stands as it should, for at most limit, and returns how long that took.
func (h headwater) awaitStanding(what, id string, limit time.Duration, holds func(standingJSON) bool) time.Duration {
	h.tb.Helper()
	start := time.Now()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		o := h.try("status", id, "--json")
		switch {
		case o.code == 0 && holds(h.standingIn(id, o.stdout)):
			return time.Since(start)
		case o.code != 0 && o.code != 3: // a bucket that was just announced may not be known yet
			h.tb.Fatalf("got %v, want exit 0", o)
		case time.Since(start) > limit:
			h.tb.Fatalf("waited %s for %s; got %v", limit, what, o)
		}
		<-ticker.C
	}
}

// chainOf is the log of a bucket as links, newest first.
func (h headwater) chainOf(id string) []headJSON {
	h.tb.Helper()
	var heads []headJSON
	for _, l := range decodedLines[logJSON](h.tb, h.run("log", id, "--json")) {
		heads = append(heads, headJSON{l.Link, l.Height})
	}
	return heads
}

// listed returns the paths that ls lists in a bucket, without directories.
func (h headwater) listed(id string) []string {
	h.tb.Helper()
	var paths []string
	for _, e := range decodedLines[entryJSON](h.tb, h.run("ls", id, "-R", "--json")) {
		if e.Type != "dir" && e.Type != "directory" {
			paths = append(paths, e.Path)
		}
	}
	slices.Sort(paths)
	return paths
}

// pathsIn are the paths below dir, without directories.
func pathsIn(tb testing.TB, dir string) []string {
	tb.Helper()
	var paths []string
	for path, said := range snapshot(tb, dir) {
		if !strings.HasPrefix(said, "d") {
			paths = append(paths, filepath.ToSlash(path))
		}
	}
	slices.Sort(paths)
	return paths
}

// checkReads demands that what a bucket holds, read in every way, is what a directory holds.
func (h headwater) checkReads(id, dir string) {
	h.tb.Helper()
	if diff := cmp.Diff(pathsIn(h.tb, dir), h.listed(id)); diff != "" {
		h.tb.Errorf("ls (-want +got):\n%s", diff)
	}
	for _, path := range pathsIn(h.tb, dir) {
		if info, err := os.Lstat(filepath.Join(dir, path)); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
			if got, want := h.run("cat", id, path), readTree(h.tb, dir, path); got != want {
				h.tb.Errorf("got %d bytes of cat %q, want %d others", len(got), path, len(want))
			}
			break
		}
	}
	target := newTarget(h.tb)
	h.checksOut(id, target)
	checkSame(h.tb, target, dir)
}

// requests counts what is asked of the object stores.
type requests struct {
	tb testing.TB
	nc *nats.Conn

	mu    sync.Mutex
	asked map[string]int // by store
}

// countRequests begins to count.
func countRequests(tb testing.TB, url string) *requests {
	tb.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	r := &requests{tb: tb, nc: nc, asked: map[string]int{}}
	for _, store := range []string{"headwater-manifests", "headwater-blobs"} {
		for _, subject := range []string{"DIRECT.GET.OBJ_" + store, "DIRECT.GET.OBJ_" + store + ".>", "STREAM.MSG.GET.OBJ_" + store} {
			_, err := nc.Subscribe("$JS.API."+subject, func(*nats.Msg) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.asked[store]++
			})
			if err != nil {
				tb.Fatal(err)
			}
		}
	}
	if err := nc.Flush(); err != nil {
		tb.Fatal(err)
	}
	return r
}

// during counts the requests that are made while do runs.
func (r *requests) during(do func()) map[string]int {
	r.tb.Helper()
	r.flush()
	r.mu.Lock()
	r.asked = map[string]int{}
	r.mu.Unlock()
	do()
	r.flush()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

// flush returns once what the server has taken so far is counted.
func (r *requests) flush() {
	r.tb.Helper()
	seen := make(chan struct{})
	inbox := nats.NewInbox()
	sub, err := r.nc.Subscribe(inbox, func(*nats.Msg) { close(seen) })
	if err == nil {
		err = r.nc.Publish(inbox, nil)
	}
	if err != nil {
		r.tb.Fatal(err)
	}
	select {
	case <-seen:
	case <-time.After(pollLimit):
		r.tb.Fatalf("the broker did not answer within %s", pollLimit)
	}
	_ = sub.Unsubscribe()
}
