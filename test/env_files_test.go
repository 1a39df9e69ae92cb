package test_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/blake3"

	"headwater/bucket"
)

// What the commands that make and read versions of buckets say with --json.
type (
	versionJSON struct {
		BucketID  string     `json:"bucket_id"`
		Name      string     `json:"name"`
		Link      string     `json:"link"`
		Height    uint64     `json:"height"`
		Author    string     `json:"author"`
		Published bool       `json:"published"`
		Unchanged bool       `json:"unchanged"`
		Behind    bool       `json:"behind"`
		Added     int        `json:"added"`
		Modified  int        `json:"modified"`
		Removed   int        `json:"removed"`
		Objects   int        `json:"objects"`
		Bytes     int64      `json:"bytes"`
		Conflicts []string   `json:"conflicts"`
		Forks     []forkJSON `json:"forks"`
		Merged    []string   `json:"merged"`
	}
	checkoutJSON struct {
		BucketID  string     `json:"bucket_id"`
		Link      string     `json:"link"`
		Height    uint64     `json:"height"`
		Written   int        `json:"written"`
		Bytes     int64      `json:"bytes"`
		Unchanged int        `json:"unchanged"`
		Modes     int        `json:"modes"`
		Removed   int        `json:"removed"`
		Left      []string   `json:"left"`
		Skipped   []skipJSON `json:"skipped"`
		Forks     []forkJSON `json:"forks"`
	}
	skipJSON struct{ Path, Reason string }
	forkJSON struct {
		Link     string
		Height   uint64
		Author   string
		Ancestor headJSON
	}
	entryJSON struct{ Path, Type, Mode, Link string }
)

// makes runs a command that makes a version, and returns what it says.
func (h headwater) makes(args ...string) versionJSON {
	h.tb.Helper()
	return decoded[versionJSON](h.tb, h.run(append(args, "--json")...))
}

// checksOut runs a checkout that has to succeed.
func (h headwater) checksOut(args ...string) checkoutJSON {
	h.tb.Helper()
	return decoded[checkoutJSON](h.tb, h.run(append([]string{"checkout", "--json"}, args...)...))
}

// failsSaying runs a command that has to end with an exit code, and with a sentence that has some words in it.
func (h headwater) failsSaying(code int, words string, args ...string) {
	h.tb.Helper()
	if o := h.fails(code, args...); !strings.Contains(o.stderr, words) {
		h.tb.Errorf("got %v, want it to say %q", o, words)
	}
}

// newDesk returns the program with a directory that has an identity, and no peer.
func newDesk(tb testing.TB, url string) (h headwater, id string) {
	tb.Helper()
	h = newHeadwater(tb, "--dir", filepath.Join(tb.TempDir(), "peer"), "--nats", url)
	return h, decoded[statusJSON](tb, h.run("init", "--json")).PeerID
}

// awaitComplete waits until a peer has a version and all that it needs.
func (p *cliPeer) awaitComplete(v versionJSON) (s bucketJSON) {
	p.tb.Helper()
	want := headJSON{v.Link, v.Height}
	await(p.tb, fmt.Sprintf("version %d in sync", v.Height), func() (bool, any) {
		s = p.status()[v.BucketID]
		return s.State == "in_sync" && s.Complete != nil && *s.Complete == want, s
	}, p)
	if s.Pins.Held != s.Pins.Needed || s.Pins.BytesHeld != s.Pins.BytesNeeded || s.Pins.Needed == 0 {
		p.tb.Errorf("got pins %+v of a version in sync, want all held", s.Pins)
	}
	return s
}

// Markers that stand in every file with room for them, and in names: neither may be found where only ciphertext belongs.
const (
	plainMarker = "Plain-Bytes-Of-A-File"
	nameMarker  = "Name-Of-A-File"
)

// sourceTree makes a directory of n files and more, as people have them: of all sizes and permissions, nested, and with what
// is rare. The same seed makes the same tree.
func sourceTree(tb testing.TB, seed uint64, n int) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "source")
	r := newRand(seed)
	perms := []os.FileMode{0o644, 0o755, 0o444, 0o600}
	for i := range n {
		size := r.IntN(8 << 10)
		switch {
		case i%50 == 0:
			size = 0
		case i%100 == 1:
			size = 100<<10 + r.IntN(200<<10)
		case i == n/2:
			size = 5<<20 + 1 // streamed
		}
		path := fmt.Sprintf("d%02d/e%d/f%d %s.txt", i%17, i%5, i, nameMarker)
		writeTree(tb, dir, path, markedBytes(r, size), perms[i%len(perms)])
	}
	for i, name := range []string{
		"with spaces and 'quotes'.txt", "Käse ☃ 日本語.md", "new\nline", "-rf", "e\u0301 decomposed", ".hidden", "aux.c",
		"deep/" + strings.Repeat("d/", 30) + "file", strings.Repeat("n", 255),
	} {
		writeTree(tb, dir, "rare/"+name, markedBytes(r, 100*i), 0o640)
	}
	for link, target := range map[string]string{"here": "aux.c", "up": "../d01/e1", "dangling": "none"} {
		if err := os.Symlink(target, filepath.Join(dir, "rare", link)); err != nil {
			tb.Fatal(err)
		}
	}
	for _, name := range []string{"empty", "empty too/inner"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	for name, perm := range map[string]os.FileMode{"d03/e2": 0o555, "d04": 0o700, "empty": 0o700, "rare": 0o555} {
		if err := os.Chmod(filepath.Join(dir, name), perm); err != nil {
			tb.Fatal(err)
		}
	}
	makeRemovable(tb, dir)
	return dir
}

func newRand(seed uint64) *rand.Rand {
	var s [32]byte
	binary.BigEndian.PutUint64(s[:], seed)
	return rand.New(rand.NewChaCha8(s))
}

// markedBytes are random but for a marker at both ends.
func markedBytes(r *rand.Rand, size int) []byte {
	b := make([]byte, 0, size+8)
	for len(b) < size {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	b = b[:size]
	copy(b, plainMarker)
	copy(b[max(0, size-len(plainMarker)):], plainMarker)
	return b
}

// writeTree writes a file below dir, and the directories on the way. An existing one is written anew.
func writeTree(tb testing.TB, dir, path string, b []byte, perm os.FileMode) {
	tb.Helper()
	name := filepath.Join(dir, filepath.FromSlash(path))
	err := os.MkdirAll(filepath.Dir(name), 0o755)
	if err == nil {
		if err = os.Remove(name); os.IsNotExist(err) {
			err = nil
		}
	}
	if err == nil {
		err = os.WriteFile(name, b, 0o600)
	}
	if err == nil {
		err = os.Chmod(name, perm)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// makeRemovable lets the test's end remove a directory whatever its permissions are.
func makeRemovable(tb testing.TB, dir string) {
	tb.Cleanup(func() {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				err = os.Chmod(path, 0o700)
			}
			return err
		})
	})
}

// newTarget is a directory that does not exist yet.
func newTarget(tb testing.TB) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "target")
	makeRemovable(tb, dir)
	return dir
}

// snapshot says what a directory holds, path by path: permissions, and the hash of the bytes or the target of a link.
func snapshot(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		said := info.Mode().String()
		switch {
		case info.Mode().IsRegular():
			sum, err := hashFile(path)
			if err != nil {
				return err
			}
			said += fmt.Sprintf(" %d bytes %s", info.Size(), sum)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			said += " to " + target
		}
		all[name] = said
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

func hashFile(path string) (h bucket.Hash, err error) {
	f, err := os.Open(path)
	if err != nil {
		return h, err
	}
	defer f.Close()
	sum := blake3.New()
	if _, err := io.Copy(sum, f); err != nil {
		return h, err
	}
	sum.Sum(h[:0])
	return h, nil
}

// countFiles counts the entries of a snapshot that are no directories.
func countFiles(all map[string]string) (n int) {
	for _, said := range all {
		if !strings.HasPrefix(said, "d") {
			n++
		}
	}
	return n
}

// checkSame demands that a directory holds what another does, path by path.
func checkSame(tb testing.TB, got, want string) {
	tb.Helper()
	if diff := cmp.Diff(snapshot(tb, want), snapshot(tb, got)); diff != "" {
		tb.Errorf("%s is not as %s (-want +got):\n%.4000s", got, want, diff)
	}
}

// filesWith lists the files below dir that have a word in their bytes or in their name.
func filesWith(tb testing.TB, dir, word string) (found []string) {
	tb.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		if bytes.Contains(b, []byte(word)) || strings.Contains(name, word) {
			found = append(found, name)
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	slices.Sort(found)
	return found
}
