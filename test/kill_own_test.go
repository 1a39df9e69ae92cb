package test_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"headwater/bucket"
	"headwater/test/natstest"
)

// Size of what is committed again and again while processes are killed.
const (
	ownFiles   = 120 // at first
	ownChanged = 12  // files in each version
	ownLarge   = 3 << 20
	ownMany    = 600 // files at once, now and then

	// ownAgain is how many objects a kill may make somebody put again, on average: far less than one batch has.
	ownAgain = 64
)

// Processes of a peer that makes versions, and of one that gets them, are killed at any moment: what was reported is there, what
// is announced can be had, nobody makes a second fork, and the last checkout is what was committed.
func TestNothingAcknowledgedIsLost_KilledWhileVersionsAreMade(t *testing.T) {
	t.Parallel()
	o := newOwnKilling(t)
	phases := []ownPhase{
		{"command that commits, no peer runs", o.killLoneCommit},
		{"command that commits, its peer runs", o.killCommit},
		{"peer of a command that commits", o.killPeerOfCommit},
		{"peer that uploads and announces", o.killUploader},
		{"peer that catches up", o.killReceiver},
		{"command that checks out", o.killCheckout},
	}
	counts := map[string]int{}
	for n := range kills() {
		p := phases[rand.IntN(len(phases))]
		if p.kill() {
			counts[p.name]++
		} else {
			counts[p.name+" (had ended before)"]++
		}
		o.checkAnnounced()
		if n%20 == 19 {
			o.settle()
		}
	}
	o.settle()
	o.checkPuts(kills())
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("killed %3d times: %s", counts[name], name)
	}
	t.Logf("%d versions were reported, %d announced, %d objects put twice", len(o.reported), len(o.checked), o.putAgain())
}

// ownPhase is something that is killed at a random moment; kill reports whether it was not done by then.
type ownPhase struct {
	name string
	kill func() bool
}

// ownKilling is two peers of one bucket, of which alice writes, and what must hold for them.
type ownKilling struct {
	t          *testing.T
	nc         *nats.Conn
	js         nats.JetStreamContext
	alice, bob headwater
	peers      map[string]*cliPeer // that run, by directory
	id         string
	src        string
	target     string // bob's
	edits      int
	took       map[string]time.Duration // how long what is killed takes when it is not
	reported   []headJSON

	mu        sync.Mutex
	announced []bucket.Announcement
	checked   map[bucket.Link]bool
	held      map[string]bool // blobs that were seen in the store
}

func newOwnKilling(t *testing.T) *ownKilling {
	t.Helper()
	s := natstest.Start(t)
	o := &ownKilling{
		t: t, src: sourceTree(t, 61, ownFiles), target: newTarget(t), peers: map[string]*cliPeer{}, took: map[string]time.Duration{},
		checked: map[bucket.Link]bool{}, held: map[string]bool{},
	}
	var bob string
	o.alice, _ = newDesk(t, s.URL())
	o.bob, bob = newDesk(t, s.URL())
	var err error
	if o.nc, err = nats.Connect(s.URL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.nc.Close)
	if o.js, err = o.nc.JetStream(); err != nil {
		t.Fatal(err)
	}
	if _, err = o.nc.Subscribe("headwater.heads.*.*", o.hear); err != nil {
		t.Fatal(err)
	}
	o.up(o.alice)
	o.up(o.bob)
	o.id = o.alice.made("create", "photos").BucketID
	o.report(o.alice.made("commit", "photos", o.src))
	o.report(o.alice.made("share", o.id, bob))
	o.settle()
	return o
}

func (o *ownKilling) hear(m *nats.Msg) {
	a, err := bucket.DecodeAnnouncement(m.Header.Get("Content-Type"), m.Data)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.t.Errorf("got an announcement that cannot be read: %v", err)
		return
	}
	o.announced = append(o.announced, a)
}

// up has a peer run on a directory, if none does.
func (o *ownKilling) up(h headwater) *cliPeer {
	o.t.Helper()
	dir := h.args[1]
	if p := o.peers[dir]; p != nil && p.running() {
		return p
	}
	p := launchPeer(o.t, h)
	p.awaitReady()
	o.peers[dir] = p
	return p
}

// down has none run.
func (o *ownKilling) down(h headwater) {
	o.t.Helper()
	if p := o.peers[h.args[1]]; p != nil {
		p.stop()
		delete(o.peers, h.args[1])
	}
}

func (o *ownKilling) report(m madeJSON) { o.reported = append(o.reported, m.head()) }

// edit changes what the next version holds.
func (o *ownKilling) edit() {
	o.t.Helper()
	o.edits++
	r := newRand(uint64(1000 + o.edits))
	for i := range ownChanged {
		writeTree(o.t, o.src, fmt.Sprintf("edited/%d/f%d", o.edits%7, r.IntN(40)), markedBytes(r, 100+r.IntN(20<<10)+i), 0o644)
	}
	switch o.edits % 10 {
	case 3:
		writeTree(o.t, o.src, "large", markedBytes(r, ownLarge), 0o600)
	case 6:
		for i := range ownMany {
			writeTree(o.t, o.src, fmt.Sprintf("many/%d", i), markedBytes(r, 1000), 0o644)
		}
	}
}

// moment is a random time within what something takes when nobody kills it, and a quarter more.
func (o *ownKilling) moment(what string) time.Duration {
	whole := o.took[what]
	if whole == 0 {
		whole = time.Second
	}
	return rand.N(whole * 5 / 4)
}

// commit starts a commit, calls kill at a random moment, and takes note of what was reported. It reports whether kill came
// before the command had ended.
func (o *ownKilling) commit(what string, kill func(*exec.Cmd), args ...string) bool {
	o.t.Helper()
	o.edit()
	cmd := o.alice.command(o.t.Context(), append([]string{"commit", "photos", o.src, "--json"}, args...)...)
	var stdout, stderr lockedBuffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	var once sync.Once
	killed := make(chan bool, 1)
	timer := time.AfterFunc(o.moment(what), func() { once.Do(func() { kill(cmd); killed <- true }) })
	_ = cmd.Wait()
	took := time.Since(start)
	timer.Stop()
	once.Do(func() { killed <- false })
	inTime := <-killed
	switch code := cmd.ProcessState.ExitCode(); {
	case code == 0:
		m := decoded[madeJSON](o.t, stdout.String())
		o.report(m)
		if !inTime {
			o.took[what] = took
		}
	case code == -1 && inTime: // killed
	case !inTime:
		o.t.Errorf("got exit %d of a commit that nobody disturbed: %s", code, stderr.String())
	}
	return inTime
}

func killCommand(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

func (o *ownKilling) killLoneCommit() bool {
	o.down(o.alice)
	return o.commit("lone commit", killCommand)
}

func (o *ownKilling) killCommit() bool {
	o.up(o.alice)
	return o.commit("commit", killCommand)
}

func (o *ownKilling) killPeerOfCommit() bool {
	p := o.up(o.alice)
	return o.commit("commit", func(*exec.Cmd) { p.kill() })
}

// killUploader kills the peer after the command has reported the version.
func (o *ownKilling) killUploader() bool {
	p := o.up(o.alice)
	o.edit()
	m := o.alice.made("commit", "photos", o.src, "--no-wait")
	o.report(m)
	if start := time.Now(); o.took["upload"] == 0 {
		o.awaitAnnounced(m.head())
		o.took["upload"] = time.Since(start)
		return false
	}
	timer := time.NewTimer(o.moment("upload"))
	defer timer.Stop()
	<-timer.C
	p.kill()
	return !o.isAnnounced(m.head())
}

func (o *ownKilling) killReceiver() bool {
	p := o.up(o.bob)
	o.up(o.alice)
	o.edit()
	start := time.Now()
	m := o.alice.made("commit", "photos", o.src, "--no-wait")
	o.report(m)
	if o.took["receive"] == 0 {
		o.awaitReceived(m.head())
		o.took["receive"] = time.Since(start)
		return false
	}
	timer := time.NewTimer(o.moment("receive"))
	defer timer.Stop()
	<-timer.C
	p.kill()
	return true
}

func (o *ownKilling) killCheckout() bool {
	if rand.IntN(2) == 0 {
		o.down(o.bob)
	} else {
		o.up(o.bob)
	}
	if rand.IntN(3) == 0 {
		if err := os.RemoveAll(o.target); err != nil {
			o.t.Fatal(err)
		}
	}
	start := time.Now()
	out, ended := o.bob.killedAfter(o.moment("checkout"), "checkout", "photos", o.target, "--json")
	if ended && out.code != 0 {
		o.t.Errorf("got %v of a checkout that nobody disturbed", out)
	}
	if ended {
		o.took["checkout"] = time.Since(start)
	}
	return !ended
}

// isAnnounced reports whether the bus was told of a version.
func (o *ownKilling) isAnnounced(h headJSON) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.ContainsFunc(o.announced, func(a bucket.Announcement) bool { return a.Link.String() == h.Link })
}

func (o *ownKilling) awaitAnnounced(h headJSON) {
	o.t.Helper()
	await(o.t, "the announcement", func() (bool, any) { return o.isAnnounced(h), h })
}

func (o *ownKilling) awaitReceived(h headJSON) {
	o.t.Helper()
	o.up(o.bob).awaitStanding("the version received", o.id, pollLimit, func(s standingJSON) bool {
		return s.State == "in_sync" && s.Complete != nil && *s.Complete == h
	})
}

// settle lets both peers finish, and checks everything.
func (o *ownKilling) settle() {
	o.t.Helper()
	a, b := o.up(o.alice), o.up(o.bob)
	o.edit()
	last := a.made("commit", "photos", o.src)
	o.report(last)
	if !last.Announced {
		o.t.Errorf("got %+v of a commit that nobody disturbed, want it announced", last)
	}
	o.awaitReceived(last.head())
	ours, theirs := a.chainOf(o.id), b.chainOf(o.id)
	if !slices.Equal(ours, theirs) {
		o.t.Errorf("got logs of %d and %d versions, want the same", len(ours), len(theirs))
	}
	if len(ours) != int(last.Height)+1 {
		o.t.Errorf("got %d versions up to height %d, want one at each: a fork", len(ours), last.Height)
	}
	for _, r := range o.reported {
		if !slices.Contains(ours, r) {
			o.t.Fatalf("version %+v was reported, and is lost", r)
		}
	}
	b.checksOut("photos", o.target, "--force", "--delete")
	if diff := cmp.Diff(withoutDirModes(snapshot(o.t, o.src)), withoutDirModes(snapshot(o.t, o.target))); diff != "" {
		o.t.Errorf("the other directory differs (-want +got):\n%.4000s", diff)
	}
	if s := a.standing(o.id); s.Announced == nil || *s.Announced != last.head() || s.Forks != 0 {
		o.t.Errorf("got %+v at the end, want %+v announced, and no fork", s, last.head())
	}
	o.checkAnnounced()
}

// withoutDirModes is a snapshot without the permissions of directories, as diff -r compares: a checkout that is killed may
// leave a directory closed to others.
func withoutDirModes(all map[string]string) map[string]string {
	for path, said := range all {
		if strings.HasPrefix(said, "d") {
			all[path] = "directory"
		}
	}
	return all
}

// checkAnnounced demands of everything that was announced so far that the object stores have it.
func (o *ownKilling) checkAnnounced() {
	o.t.Helper()
	if err := o.nc.Flush(); err != nil {
		o.t.Fatal(err)
	}
	o.mu.Lock()
	all := slices.Clone(o.announced)
	o.mu.Unlock()
	for _, a := range all {
		if !o.checked[a.Link] {
			o.checked[a.Link] = true
			o.checkThere(a.Link)
		}
	}
}

// checkThere demands that a version and all that it needs are in the object stores.
func (o *ownKilling) checkThere(link bucket.Link) {
	o.t.Helper()
	manifests, err := o.js.ObjectStore("headwater-manifests")
	if err != nil {
		o.t.Fatal(err)
	}
	blobs, err := o.js.ObjectStore("headwater-blobs")
	if err != nil {
		o.t.Fatal(err)
	}
	b, err := manifests.GetBytes(link.Hash().String())
	if err != nil {
		o.t.Fatalf("version %s is announced, and its manifest is not there: %v", link, err)
	}
	v, err := bucket.Open(link, b)
	if err != nil {
		o.t.Fatal(err)
	}
	list, err := blobs.GetBytes(v.Pins.Hash().String())
	if err != nil {
		o.t.Fatalf("version %d is announced, and its pins list is not there: %v", v.Height, err)
	}
	pins, err := bucket.ParsePins(list)
	if err != nil {
		o.t.Fatal(err)
	}
	for _, h := range pins {
		name := h.String()
		if o.held[name] {
			continue
		}
		if _, err := blobs.GetInfo(name); err != nil {
			if _, err := manifests.GetInfo(name); err != nil {
				o.t.Fatalf("version %d is announced, and %s, which it pins, is not there: %v", v.Height, name, err)
			}
		}
		o.held[name] = true
	}
}

// putAgain counts the objects that were put although they were there: messages that others have replaced, of which an object
// has two, or one if it is empty.
func (o *ownKilling) putAgain() (n int) {
	o.t.Helper()
	for _, name := range []string{"OBJ_headwater-blobs", "OBJ_headwater-manifests"} {
		s, err := o.js.StreamInfo(name)
		if err != nil {
			o.t.Fatal(err)
		}
		n += int(s.State.LastSeq-s.State.Msgs) / 2
	}
	return n
}

// checkPuts demands that kills made nobody put more again than was under way.
func (o *ownKilling) checkPuts(kills int) {
	o.t.Helper()
	if n := o.putAgain(); n > kills*ownAgain {
		o.t.Errorf("%d objects were put twice with %d kills, want at most %d for each", n, kills, ownAgain)
	}
}
