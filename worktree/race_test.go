//go:build unix

package worktree_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/tree"
	"headwater/worktree"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(dieAt) != "" {
		dyingCheckout()
	}
	goleak.VerifyTestMain(m)
}

// meanwhile returns options of a checkout during which something happens, after all was looked at and before anything is
// changed.
func meanwhile(do func()) worktree.CheckoutOptions {
	return worktree.CheckoutOptions{Origin: origin(1), Save: func(*worktree.Record) error { do(); return nil }}
}

func TestWhatAppearsOrChangesMeanwhileIsNotOverwritten(t *testing.T) {
	m, dir := &memory{}, t.TempDir()
	_, rec := checkout(t, dir, listing(t, m, map[string]string{"a": "1", "d/b": "1", "gone": "1"}), nil, m, worktree.CheckoutOptions{})
	l := listing(t, m, map[string]string{"a": "2", "d/b": "2", "d/new": "2", "other": "2"})
	mine := map[string]string{"a": "mine", "d/new": "mine", "gone": "mine"}
	res, rec, err := worktree.Checkout(t.Context(), dir, l, rec, m, meanwhile(func() { write(t, dir, mine) }))
	if got := conflicts(t, err); !slices.Equal(got, []string{"a", "d/new"}) || !strings.Contains(err.Error(), "all else was done") {
		t.Errorf("got conflicts %q: %v", got, err)
	}
	if res.Written != 2 || res.Removed != 0 || !slices.Equal(res.Left, []string{"gone"}) {
		t.Errorf("got %+v", res)
	}
	want := map[string]string{
		"a 644": "mine", "d/ 755": "", "d/b 644": "2", "d/new 644": "mine", "gone 644": "mine", "other 644": "2",
	}
	if diff := cmp.Diff(want, read(t, dir)); diff != "" {
		t.Error(diff)
	}
	_, _, err = worktree.Checkout(t.Context(), dir, l, rec, m, worktree.CheckoutOptions{Origin: origin(1)})
	if got := conflicts(t, err); !slices.Equal(got, []string{"a", "d/new"}) {
		t.Errorf("the next time: got conflicts %q", got)
	}
}

func TestADirectorySwappedForALinkIsNotFollowed(t *testing.T) {
	for name, target := range map[string]string{"out of the root": "outside", "to another directory": "other"} {
		for _, step := range []string{"write", "remove", "replace"} {
			t.Run(name+", "+step, func(t *testing.T) {
				m, base := &memory{}, t.TempDir()
				dir := filepath.Join(base, "dir")
				before := map[string]string{"d/deep/a": "1", "other/deep/a": "1"}
				_, rec := checkout(t, dir, listing(t, m, before), nil, m, worktree.CheckoutOptions{})
				outside := map[string]string{"outside/deep/a": "1"}
				write(t, base, outside)
				after := map[string]string{"d/deep/a": "1", "other/deep/a": "1"}
				switch step {
				case "write":
					after["d/deep/new"] = "2"
				case "replace":
					after["d/deep/a"] = "2"
				case "remove":
					delete(after, "d/deep/a")
				}
				to := filepath.Join(dir, target)
				if target == "outside" {
					to = filepath.Join(base, target)
				}
				_, _, err := worktree.Checkout(t.Context(), dir, listing(t, m, after), rec, m, meanwhile(func() {
					if err := os.Rename(filepath.Join(dir, "d"), filepath.Join(base, "moved")); err != nil {
						t.Error(err)
					}
					if err := os.Symlink(to, filepath.Join(dir, "d")); err != nil {
						t.Error(err)
					}
				}))
				if !errors.Is(err, worktree.ErrChanged) {
					t.Errorf("got %v, want ErrChanged", err)
				}
				want := map[string]string{"deep/ 755": "", "deep/a 644": "1"}
				for _, d := range []string{filepath.Join(base, "outside"), filepath.Join(dir, "other"), filepath.Join(base, "moved")} {
					if diff := cmp.Diff(want, read(t, d)); diff != "" {
						t.Errorf("%s was changed:\n%s", d, diff)
					}
				}
			})
		}
	}
}

// changing is a writer of blobs during whose calls something happens.
type changing struct {
	*memory
	do func()
}

func (c *changing) Put(ctx context.Context, h bucket.Hash, size int64, r io.Reader) error {
	c.do()
	return c.memory.Put(ctx, h, size, r)
}

func (c *changing) Add(ctx context.Context, size int64, r io.Reader) (bucket.Hash, error) {
	c.do()
	return c.memory.Add(ctx, size, r)
}

func TestAFileThatChangedAfterTheScanIsStoredAsItIsThen(t *testing.T) {
	m, dir := &memory{}, t.TempDir()
	write(t, dir, map[string]string{"a": "1", "b": "2", "c": "2", "same": "1"})
	s := scan(t, dir, nil)
	write(t, dir, map[string]string{"a": "another", "b": "3"})
	l, _ := store(t, s, m, worktree.StoreOptions{})
	out := t.TempDir()
	checkout(t, out, l, nil, m, worktree.CheckoutOptions{})
	same(t, dir, out)
	rec := worktree.NewRecord(origin(1), s, l)
	if res, _ := checkout(t, dir, l, rec, m, worktree.CheckoutOptions{}); res.Unchanged != 4 {
		t.Errorf("got %+v, want the record to know what was stored", res)
	}
	if err := os.Remove(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := worktree.Store(t.Context(), s, m, worktree.StoreOptions{}); !errors.Is(err, worktree.ErrChanged) {
		t.Errorf("a file that is gone: got %v, want ErrChanged", err)
	}
}

func TestAFileThatNeverRestsIsAnError(t *testing.T) {
	m, dir := &memory{}, t.TempDir()
	write(t, dir, map[string]string{"log": strings.Repeat("x", 5<<20), "a": "1"})
	s := scan(t, dir, nil)
	n := 0
	name := filepath.Join(dir, "log")
	delete(s.Files, "a")
	w := &changing{m, func() {
		n++
		if err := os.WriteFile(name, []byte(strings.Repeat(strconv.Itoa(n%10), 5<<20)), 0o644); err != nil {
			t.Error(err)
		}
	}}
	_, _, err := worktree.Store(t.Context(), s, w, worktree.StoreOptions{})
	if !errors.Is(err, worktree.ErrChanged) || !strings.Contains(err.Error(), "log") {
		t.Errorf("got %v, want ErrChanged and the path", err)
	}
}

func TestAChangeOfTheSameSizeAndTimeIsSeen(t *testing.T) {
	m, dir := &memory{}, t.TempDir()
	write(t, dir, map[string]string{"a": "1111"})
	name := filepath.Join(dir, "a")
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
	s := scan(t, dir, nil)
	l, _ := store(t, s, m, worktree.StoreOptions{})
	rec := worktree.NewRecord(origin(1), s, l)
	write(t, dir, map[string]string{"a": "2222"}) // at once: perhaps within the same tick of the clock
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
	if s := scan(t, dir, rec); s.Files["a"].Attributes.Hash != bucket.Sum([]byte("2222")) {
		t.Error("the scan believed the time of the file")
	}
}

func TestFilesThatRestAreNotReadAgain(t *testing.T) {
	m, dir := &memory{}, t.TempDir()
	write(t, dir, map[string]string{"a": "1", "b/c": "2"})
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for s := scan(t, dir, nil); ; s = scan(t, dir, nil) {
		l, _ := store(t, s, m, worktree.StoreOptions{})
		if scan(t, dir, worktree.NewRecord(origin(1), s, l)).Read == 0 {
			return // the files are older than a tick of the clock by now
		}
		select {
		case <-ticker.C:
		case <-t.Context().Done():
			t.Fatal("files are read each time")
		}
	}
}

func TestAScanAndACheckoutDoNotMeet(t *testing.T) {
	m, dir := &memory{}, t.TempDir()
	l := listing(t, m, map[string]string{"a": "1"})
	_, _, err := worktree.Checkout(t.Context(), dir, l, nil, m, meanwhile(func() {
		if _, err := worktree.Scan(t.Context(), dir, worktree.ScanOptions{}); !errors.Is(err, worktree.ErrBusy) {
			t.Errorf("scan: got %v, want ErrBusy", err)
		}
		if _, _, err := worktree.Checkout(t.Context(), dir, l, nil, m, worktree.CheckoutOptions{}); !errors.Is(err, worktree.ErrBusy) {
			t.Errorf("checkout: got %v, want ErrBusy", err)
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsNoFileIsSkipped(t *testing.T) {
	dir := t.TempDir()
	peer := filepath.Join(dir, "peer")
	write(t, dir, map[string]string{"a": "1", "peer/identity": "secret", "back\\slash": "", ".headwater-dirs": "", "sub/.headwater-dirs": ""})
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "\xff"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := worktree.Scan(t.Context(), dir, worktree.ScanOptions{Exclude: []string{peer, filepath.Join(dir, "nowhere")}})
	if err != nil {
		t.Fatal(err)
	}
	var skipped []string
	for _, s := range s.Skipped {
		skipped = append(skipped, s.Path)
	}
	if want := []string{".headwater-dirs", "back\\slash", "fifo", "peer", "\xff"}; !slices.Equal(skipped, want) {
		t.Errorf("got skipped %q, want %q", skipped, want)
	}
	if len(s.Files) != 2 || len(s.Dirs) != 1 {
		t.Errorf("got files %v, directories %v", s.Files, s.Dirs)
	}
}

const dieAt = "HEADWATER_TEST_DIE_AT"

// stages returns three versions of a tree.
func stages(seed uint64) (out [3]map[string]string) {
	r := rand.New(rand.NewPCG(seed, 7))
	for i := range out {
		out[i] = randomFiles(r)
		for j := range 20 { // enough to be settled together
			out[i][fmt.Sprintf("many/%d", j)] = fmt.Sprint(i, j)
		}
	}
	return out
}

// dying is a reader of blobs that ends the process at a given call.
type dying struct {
	blobstore.Reader
	calls counter
	at    int
}

func (d *dying) step() {
	if d.calls.next() == d.at {
		os.Exit(3)
	}
}

func (d *dying) Get(ctx context.Context, h bucket.Hash) (*blobstore.Blob, error) {
	d.step()
	return d.Reader.Get(ctx, h)
}

// dyingCheckout is the child of the test below: it makes the first version, keeps the record, and dies while it makes the
// second one.
func dyingCheckout() {
	at, _ := strconv.Atoi(os.Getenv(dieAt))
	dir, from, peer := os.Args[1], os.Args[2], os.Args[3]
	m, records := &memory{}, worktree.OpenRecords(peer)
	ctx := context.Background()
	try := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	var lists [2]*tree.Listing
	for i := range lists {
		s, err := worktree.Scan(ctx, filepath.Join(from, strconv.Itoa(i)), worktree.ScanOptions{})
		try(err)
		lists[i], _, err = worktree.Store(ctx, s, m, worktree.StoreOptions{})
		try(err)
	}
	_, rec, err := worktree.Checkout(ctx, dir, lists[0], nil, m, worktree.CheckoutOptions{Origin: origin(1)})
	try(err)
	try(records.Save(ctx, dir, rec))
	d := &dying{Reader: m, at: at}
	_, _, err = worktree.Checkout(ctx, dir, lists[1], rec, d, worktree.CheckoutOptions{
		Origin:   origin(2),
		Save:     func(r *worktree.Record) error { d.step(); defer d.step(); return records.Save(ctx, dir, r) },
		Progress: func(int64, int64) { d.step() },
	})
	try(err)
	os.Exit(0)
}

func TestACheckoutThatWasKilledAnywhereIsGoodToRunAgain(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	from := t.TempDir()
	versions := stages(1)
	for i, files := range versions {
		write(t, filepath.Join(from, strconv.Itoa(i)), files)
	}
	died := 0
	for at := 1; ; at += 3 {
		dir, peer := t.TempDir(), t.TempDir()
		cmd := exec.Command(exe, dir, from, peer)
		cmd.Env = append(os.Environ(), dieAt+"="+strconv.Itoa(at))
		out, err := cmd.CombinedOutput()
		if err == nil {
			break // it was done before it could die
		}
		if cmd.ProcessState.ExitCode() != 3 {
			t.Fatalf("%v: %s", err, out)
		}
		died++
		rec, err := worktree.OpenRecords(peer).Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		m := &memory{}
		checkout(t, dir, listing(t, m, versions[2]), rec, m, worktree.CheckoutOptions{})
		same(t, filepath.Join(from, "2"), dir)
	}
	if died < 10 {
		t.Errorf("died %d times only", died)
	}
}

func TestReadOnlyFilesAndDirectoriesAsAnOrdinaryUser(t *testing.T) {
	if os.Getuid() == 0 {
		runAsNobody(t)
		return
	}
	m, from, dir := &memory{}, t.TempDir(), t.TempDir()
	t.Cleanup(func() { // or else they cannot be removed
		for _, d := range []string{from, dir} {
			_ = filepath.WalkDir(d, func(name string, e os.DirEntry, _ error) error { return os.Chmod(name, 0o700) })
		}
	})
	write(t, from, map[string]string{"ro/a": "1", "ro/sub/b": "2", "ro/sub/gone/c": "3", "f": "4", "x/d": "5"})
	for path, perm := range map[string]os.FileMode{"ro/a": 0o444, "ro/sub/b": 0o400, "f": 0o444, "ro/sub": 0o555, "ro": 0o555, "x": 0o500} {
		chmod(t, perm, from, path)
	}
	one, _ := store(t, scan(t, from, nil), m, worktree.StoreOptions{})
	_, rec := checkout(t, dir, one, nil, m, worktree.CheckoutOptions{})
	same(t, from, dir)
	for _, path := range []string{"ro", "ro/sub", "ro/sub/b", "x"} {
		chmod(t, 0o755, from, path)
	}
	write(t, from, map[string]string{"ro/sub/b": "changed", "ro/new/e": "6"})
	if err := os.RemoveAll(filepath.Join(from, "ro/sub/gone")); err != nil {
		t.Fatal(err)
	}
	chmod(t, 0o555, from, "ro/sub")
	chmod(t, 0o555, from, "ro")
	two, _ := store(t, scan(t, from, nil), m, worktree.StoreOptions{})
	_, _, err := worktree.Checkout(t.Context(), dir, two, rec, &failing{Reader: m}, worktree.CheckoutOptions{Origin: origin(1)})
	if !errors.Is(err, errFailing) {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "ro/sub")); err != nil || info.Mode().Perm() != 0o555 {
		t.Errorf("after a failure: got %v, %v", info, err)
	}
	res, _ := checkout(t, dir, two, rec, m, worktree.CheckoutOptions{})
	same(t, from, dir)
	if res.Written != 2 || res.Removed != 1 {
		t.Errorf("got %+v", res)
	}
}

// runAsNobody runs the test in a process of its own without root's powers.
func runAsNobody(t *testing.T) {
	t.Helper()
	const nobody = 65534
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	copied := filepath.Join(dir, "test")
	if err := os.WriteFile(copied, b, 0o755); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		chmod(t, 0o755, d)
	}
	tmp := filepath.Join(dir, "tmp")
	if err := errors.Join(os.Mkdir(tmp, 0o755), os.Chown(tmp, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(copied, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir, cmd.Env = tmp, append(os.Environ(), "TMPDIR="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v:\n%s", err, out)
	}
}
