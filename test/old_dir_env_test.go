package test_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/bucket/buckettest"
	"headwater/test/natstest"
)

// oldCommit is the program whose directories and peers this one must work with.
const oldCommit = "5491d83"

// oldDirs has directories that it left, and what is in them.
var oldDirs = filepath.Join("testdata", "dirs-"+oldCommit)

// oldFacts is what an old directory holds, as the old program told it.
type oldFacts struct {
	PeerID   string `json:"peer_id"`
	BucketID string `json:"bucket_id"`
	Name     string
	Held     bool
	Status   *bucketJSON
	Log      []logJSON
	Files    map[string]string
}

func (f oldFacts) head() headJSON { return headJSON{f.Log[0].Link, f.Log[0].Height} }

// factsOf reads what is known of an old directory.
func factsOf(tb testing.TB, name string) oldFacts {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(oldDirs, "facts.json"))
	if err != nil {
		tb.Fatal(err)
	}
	facts, ok := decodedWhole[map[string]oldFacts](tb, string(b))[name]
	if !ok {
		tb.Fatalf("no facts of the old directory %q", name)
	}
	return facts
}

// unpackOld brings an old directory back, as it was.
func unpackOld(tb testing.TB, name string) (dir string) {
	tb.Helper()
	dir = filepath.Join(tb.TempDir(), "peer")
	f, err := os.Open(filepath.Join(oldDirs, name+".tar.gz"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err == nil {
		err = unpackTar(z, dir)
	}
	if err != nil {
		tb.Fatalf("unpack %s: %v", name, err)
	}
	return dir
}

// unpackTar unpacks directories and regular files; zeros at the end of a file become a hole.
func unpackTar(r io.Reader, dir string) error {
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		path := filepath.Join(dir, h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, h.FileInfo().Mode().Perm())
		case tar.TypeReg, tar.TypeGNUSparse:
			var b []byte
			if b, err = io.ReadAll(archive); err == nil {
				if err = os.WriteFile(path, bytes.TrimRight(b, "\x00"), h.FileInfo().Mode().Perm()); err == nil {
					err = os.Truncate(path, int64(len(b)))
				}
			}
		}
		if err != nil {
			return err
		}
	}
}

// described is what a directory holds, in the words of facts.json.
func described(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		rel = filepath.ToSlash(rel)
		if target, err := os.Readlink(path); err == nil {
			all[rel] = "-> " + target
			return nil
		}
		b, err := os.ReadFile(path)
		info, statErr := d.Info()
		if err = errors.Join(err, statErr); err == nil {
			all[rel] = fmt.Sprintf("%04o %d sha256:%x", info.Mode().Perm(), len(b), sha256.Sum256(b))
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

// checkHolds demands that a directory is, to all commands, what the old program left.
func (h headwater) checkHolds(f oldFacts, state ...string) {
	h.tb.Helper()
	if id := decoded[statusJSON](h.tb, h.run("id", "--json")).PeerID; id != f.PeerID {
		h.tb.Errorf("got peer id %s, want %s", id, f.PeerID)
	}
	s := h.standing(f.BucketID)
	if !slices.Contains(state, s.State) {
		h.tb.Errorf("got state %q, want one of %q", s.State, state)
	}
	if f.Status != nil {
		// After a merge the old program did not know how many forks were left.
		diff := cmp.Diff(*f.Status, s.bucketJSON, cmpopts.IgnoreFields(bucketJSON{}, "State", "LastError", "Forks"))
		if diff != "" {
			h.tb.Errorf("status (-want +got):\n%s", diff)
		}
	}
	if diff := cmp.Diff(f.Log, decodedLines[logJSON](h.tb, h.run("log", f.Name, "--json"))); diff != "" {
		h.tb.Errorf("log (-want +got):\n%s", diff)
	}
	if f.Held {
		h.checkFiles(f)
	}
}

// checkFiles demands that a checkout of the head gives the files that the old program put in.
func (h headwater) checkFiles(f oldFacts) (dir string) {
	h.tb.Helper()
	dir = newTarget(h.tb)
	h.checksOut(f.BucketID, dir)
	if diff := cmp.Diff(f.Files, described(h.tb, dir)); diff != "" {
		h.tb.Errorf("files (-want +got):\n%s", diff)
	}
	return dir
}

// putOld puts what the stores of an old directory hold into the broker's object stores.
func putOld(tb testing.TB, url, name string) {
	tb.Helper()
	dir, cli := unpackOld(tb, name), natstest.NewCLI(tb, url)
	for _, store := range []string{"manifests", "blobs"} {
		held := filesOf
		if _, err := os.Stat(filepath.Join(dir, store, "format")); err == nil {
			held = blobsOf
		}
		var objects []buckettest.Object
		for _, b := range held(tb, filepath.Join(dir, store)) {
			objects = append(objects, buckettest.Object{Link: bucket.ManifestLink(b), Bytes: b})
		}
		putWithCLI(tb, cli, "headwater-"+store, objects...)
	}
}

// filesOf reads the files of a directory.
func filesOf(tb testing.TB, dir string) (all [][]byte) {
	tb.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		tb.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, []byte(readTree(tb, dir, e.Name())))
	}
	return all
}

// blobsOf reads the blobs of a store.
func blobsOf(tb testing.TB, dir string) (all [][]byte) {
	tb.Helper()
	s, err := blobstore.OpenDisk(blobstore.Config{Dir: dir})
	if err != nil {
		tb.Fatal(err)
	}
	defer s.Close()
	for info, err := range s.All(tb.Context()) {
		if err != nil {
			tb.Fatal(err)
		}
		b, err := blobstore.ReadAll(tb.Context(), s, info.Hash, bucket.MaxManifestSize)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// buildOld builds the old program from the repository, once per run of the tests.
var buildOld = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	src, err := os.MkdirTemp(filepath.Dir(self), "headwater-"+oldCommit)
	if err != nil {
		return "", err
	}
	archive := exec.Command("git", "archive", oldCommit, "--format=tar")
	if archive.Dir, err = filepath.Abs(".."); err != nil {
		return "", err
	}
	var out, stderr bytes.Buffer
	archive.Stdout, archive.Stderr = &out, &stderr
	if err := archive.Run(); err != nil {
		return "", fmt.Errorf("git archive %s: %w: %s (the repository must have that commit: clone it whole)", oldCommit, err, &stderr)
	}
	if err := unpackTar(&out, src); err != nil {
		return "", err
	}
	bin := filepath.Join(filepath.Dir(self), "headwater-"+oldCommit+"-under-test")
	if out, err := exec.Command("go", "build", "-C", src, "-buildvcs=false", "-o", bin, "./cmd/headwater").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build headwater of %s: %w: %s", oldCommit, err, out)
	}
	return bin, nil
})

// newOldHeadwater is newHeadwater with the old program.
func newOldHeadwater(tb testing.TB, args ...string) headwater {
	tb.Helper()
	h := newHeadwater(tb, args...)
	bin, err := buildOld()
	if err != nil {
		tb.Fatal(err)
	}
	h.bin = bin
	return h
}

// startOldPeerOn starts a peer of the old program.
func startOldPeerOn(tb testing.TB, url, dir string) *cliPeer {
	tb.Helper()
	p := launchPeer(tb, newOldHeadwater(tb, "--dir", dir, "--nats", url))
	p.awaitReady()
	return p
}
