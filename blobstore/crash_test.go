package blobstore_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"headwater/blobstore"
	"headwater/blobstore/blobtest"
	"headwater/bucket"
)

// childEnv tells the test binary to be the process that is killed.
const childEnv = "BLOBSTORE_TEST_PUT_INTO"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := putForever(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	flag.Set("rapid.checks", "25") // the default, which the command line can raise
	os.Exit(m.Run())
}

// putForever puts, deletes and rewrites until it is killed, and prints the hash of each blob once it is acknowledged.
func putForever(dir string) error {
	d, err := blobstore.OpenDisk(blobstore.Config{Dir: dir, SegmentSize: 256 << 10})
	if err != nil {
		return err
	}
	ctx := context.Background()
	start := uint64(os.Getpid()) << 32
	fmt.Println("open")
	failed := make(chan error)
	for w := range uint64(4) {
		go func() {
			for i := start + w<<24; ; i++ {
				n := 200 + int(i%1500)
				if i%16 < 8 && i%4 < 2 {
					n += blobstore.SmallSize
				}
				b := blobtest.Bytes(i, n)
				h := bucket.Sum(b)
				var err error
				if i%8 < 4 {
					_, err = d.Put(ctx, h, bytes.NewReader(b))
				} else {
					h, err = d.Add(ctx, int64(n), bytes.NewReader(b))
				}
				if err != nil {
					failed <- err
					return
				}
				if i%4 != 0 { // most, so that segments get more than half dead and are rewritten
					if err := d.Delete(ctx, h); err != nil {
						failed <- err
						return
					}
					continue
				}
				fmt.Println(h)
			}
		}()
	}
	return <-failed
}

func TestKilledAtAnyMomentNothingAcknowledgedIsLost(t *testing.T) {
	dir := t.TempDir()
	acknowledged := make(map[bucket.Hash]bool)
	for round := range 20 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		fresh := make(map[bucket.Hash]bool)
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if h, err := bucket.ParseHash(lines.Text()); err == nil {
				acknowledged[h], fresh[h] = true, true
			}
			if n == 10+round*8 {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		if round == 19 {
			fresh = acknowledged // the last round reads everything, the others what is new
		}
		verifyKilled(t, dir, acknowledged, fresh)
	}
	if _, err := os.Lstat(filepath.Join(dir, "small", "00000001.seg")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the first segment: got %v, want it rewritten meanwhile", err)
	}
	if len(acknowledged) < 1000 {
		t.Fatalf("acknowledged in all rounds: got %d, want many", len(acknowledged))
	}
}

// verifyKilled opens the store, checks that all acknowledged blobs are held, and reads the fresh ones and those that are held
// though nobody was told.
func verifyKilled(t *testing.T, dir string, acknowledged, fresh map[bucket.Hash]bool) {
	t.Helper()
	d := openDisk(t, blobstore.Config{Dir: dir, SegmentSize: 256 << 10})
	defer closeDisk(t, d)
	for h := range acknowledged {
		if ok, err := d.Has(t.Context(), h); err != nil || !ok {
			t.Fatalf("has %s, acknowledged before the kill: got %v, %v", h, ok, err)
		}
	}
	for info, err := range d.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if acknowledged[info.Hash] && !fresh[info.Hash] {
			continue
		}
		if b, err := blobstore.ReadAll(t.Context(), d, info.Hash, 1<<20); err != nil || int64(len(b)) != info.Size {
			t.Fatalf("listed as %d bytes: got %d, %v", info.Size, len(b), err)
		}
	}
	if got := d.Damage(); got.Small+got.Large+got.Bytes != 0 {
		t.Fatalf("damage after a kill: got %+v, want none", got)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
		t.Fatalf("temporary files left: got %v, %v", left, err)
	}
}

// filled makes a store with some small blobs in one segment, and returns its directory, the blobs and the segment's file.
func filled(t *testing.T, n int) (dir string, blobs []blobstore.Small, segment string) {
	t.Helper()
	dir = t.TempDir()
	d := openDisk(t, blobstore.Config{Dir: dir})
	for i := range n {
		b := blobtest.Bytes(uint64(i), 40+i)
		blobs = append(blobs, blobstore.Small{Hash: bucket.Sum(b), Data: b})
		mustPut(t, d, b)
	}
	closeDisk(t, d)
	return dir, blobs, filepath.Join(dir, "small", "00000001.seg")
}

func mustPut(t *testing.T, store blobstore.Store, b []byte) bucket.Hash {
	t.Helper()
	h := bucket.Sum(b)
	if _, err := store.Put(t.Context(), h, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	return h
}

// wantOnly checks which of some blobs are held, and that the others can be put again.
func wantOnly(t *testing.T, d *blobstore.Disk, blobs []blobstore.Small, held func(i int) bool) {
	t.Helper()
	for i, b := range blobs {
		ok, err := d.Has(t.Context(), b.Hash)
		if err != nil || ok != held(i) {
			t.Fatalf("has blob %d of %d: got %v, %v, want %v", i, len(blobs), ok, err, held(i))
		}
		mustPut(t, d, b.Data)
		if got, err := blobstore.ReadAll(t.Context(), d, b.Hash, 1<<20); err != nil || !bytes.Equal(got, b.Data) {
			t.Fatalf("get blob %d: %v", i, err)
		}
	}
}

func TestTornTailIsCutOffAndNothingElse(t *testing.T) {
	dir, blobs, segment := filled(t, 3)
	whole := read(t, segment)
	last := len(whole) - 56 - len(blobs[2].Data)
	for cut := last; cut < len(whole); cut++ {
		write(t, segment, whole[:cut])
		d := openDisk(t, blobstore.Config{Dir: dir})
		if got, want := d.Damage(), (blobstore.Damage{Tail: int64(cut - last)}); got != want {
			t.Fatalf("cut at %d: damage: got %+v, want %+v", cut, got, want)
		}
		wantOnly(t, d, blobs, func(i int) bool { return i < 2 })
		closeDisk(t, d)
	}
}

func TestDamagedByteCostsOneBlobAtMost(t *testing.T) {
	dir, blobs, segment := filled(t, 3)
	whole := read(t, segment)
	starts := []int{32, 32 + 56 + 40, 32 + 56 + 40 + 56 + 41, len(whole)}
	for at := range whole {
		bad := bytes.Clone(whole)
		bad[at] ^= 0x10
		write(t, segment, bad)
		d := openDisk(t, blobstore.Config{Dir: dir})
		wantOnly(t, d, blobs, func(i int) bool { return at < starts[i] || at >= starts[i+1] })
		closeDisk(t, d)
	}
}

func TestDamagedStretchCostsOnlyWhatItCovers(t *testing.T) {
	dir, blobs, segment := filled(t, 40)
	whole := read(t, segment)
	for at := range whole[100 : len(whole)-300] {
		if at%97 != 0 {
			continue
		}
		bad := bytes.Clone(whole)
		clear(bad[at+100 : at+300])
		write(t, segment, bad)
		d := openDisk(t, blobstore.Config{Dir: dir})
		start := 32
		wantOnly(t, d, blobs, func(i int) bool {
			from := start
			start += 56 + len(blobs[i].Data)
			return start <= at+100 || from >= at+300
		})
		if got := d.Damage(); got.Bytes == 0 {
			t.Fatalf("bytes %d to %d zeroed: damage: got %+v", at+100, at+300, got)
		}
		closeDisk(t, d)
	}
}

func TestBytesThatLookLikeARecordAreNotTakenForOne(t *testing.T) {
	dir, blobs, segment := filled(t, 2)
	d := openDisk(t, blobstore.Config{Dir: dir})
	if err := d.Delete(t.Context(), blobs[1].Hash); err != nil {
		t.Fatal(err)
	}
	mustPut(t, d, blobs[1].Data)
	closeDisk(t, d)
	// A blob that holds this store's own records, a tombstone among them; then the header before it is destroyed, so that the
	// scan searches for its way through these bytes.
	hostile := read(t, segment)
	before := len(hostile)
	d = openDisk(t, blobstore.Config{Dir: dir})
	h := mustPut(t, d, hostile)
	closeDisk(t, d)
	bad := read(t, segment)
	clear(bad[before : before+56])
	write(t, segment, bad)
	d = openDisk(t, blobstore.Config{Dir: dir})
	defer closeDisk(t, d)
	wantOnly(t, d, blobs, func(int) bool { return true })
	if ok, err := d.Has(t.Context(), h); err != nil || ok {
		t.Fatalf("has the blob without a header: got %v, %v", ok, err)
	}
}

func TestDamageFoundOnReadingMakesRoomForAGoodCopy(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, blobstore.Config{Dir: dir, SegmentSize: 500})
	small, large := blobtest.Bytes(1, 900), blobtest.Bytes(2, 200<<10)
	hs, hl := mustPut(t, d, small), mustPut(t, d, large)
	mustPut(t, d, blobtest.Bytes(3, 900)) // seals the segment of the first
	closeDisk(t, d)
	flip(t, filepath.Join(dir, "small", "00000001.seg"), 500)
	flip(t, filepath.Join(dir, "large", hl.String()[:2], hl.String()), 200<<10-1)

	d = openDisk(t, blobstore.Config{Dir: dir, SegmentSize: 500})
	defer func() { closeDisk(t, d) }()
	for _, h := range []bucket.Hash{hs, hl} {
		if ok, err := d.Has(t.Context(), h); err != nil || !ok {
			t.Fatalf("has before anybody has read it: got %v, %v", ok, err)
		}
		if _, err := blobstore.ReadAll(t.Context(), d, h, 1<<20); !errors.Is(err, blobstore.ErrCorrupt) {
			t.Fatalf("read damaged blob: got %v, want %v", err, blobstore.ErrCorrupt)
		}
		if ok, err := d.Has(t.Context(), h); err != nil || ok {
			t.Fatalf("has after the damage was found: got %v, %v", ok, err)
		}
	}
	if got := d.Damage(); got.Small != 1 || got.Large != 1 {
		t.Fatalf("damage: got %+v, want one of each", got)
	}
	closeDisk(t, d)
	d = openDisk(t, blobstore.Config{Dir: dir, SegmentSize: 500})
	wantOnly(t, d, []blobstore.Small{{Hash: hs, Data: small}, {Hash: hl, Data: large}}, func(int) bool { return false })
	if left, err := os.ReadDir(filepath.Join(dir, "damaged")); err != nil || len(left) > 0 {
		t.Fatalf("damaged copies left beside the good one: got %v, %v", left, err)
	}
}

// Whoever reads as many bytes as the store has on record, and not on to the end, finds out too.
func TestALargeBlobCutShortIsNotHeldOnceItWasRead(t *testing.T) {
	for _, left := range []int64{0, 1, 28, 100 << 10} {
		dir := t.TempDir()
		d := openDisk(t, blobstore.Config{Dir: dir})
		h := mustPut(t, d, blobtest.Bytes(1, 200<<10))
		if err := os.Truncate(filepath.Join(dir, "large", h.String()[:2], h.String()), left); err != nil {
			t.Fatal(err)
		}
		blob, err := d.Get(t.Context(), h)
		if err == nil {
			_, err = io.ReadFull(blob, make([]byte, blob.Size()))
			err = errors.Join(err, blob.Close())
		}
		if !errors.Is(err, blobstore.ErrCorrupt) {
			t.Errorf("%d bytes left: got %v, want %v", left, err, blobstore.ErrCorrupt)
		}
		if ok, err := d.Has(t.Context(), h); err != nil || ok {
			t.Errorf("%d bytes left: has it after that: got %v, %v", left, ok, err)
		}
		closeDisk(t, d)
	}
}

func TestLeftoversAreSweptOnOpen(t *testing.T) {
	dir, blobs, _ := filled(t, 3)
	for _, name := range []string{"tmp/1", "tmp/other", "small/00000099.idx"} {
		write(t, filepath.Join(dir, name), []byte("left by a crash"))
	}
	d := openDisk(t, blobstore.Config{Dir: dir})
	defer closeDisk(t, d)
	wantOnly(t, d, blobs, func(int) bool { return true })
	for _, name := range []string{"tmp/1", "tmp/other", "small/00000099.idx"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %v, want it gone", name, err)
		}
	}
}

func TestFormatAndIndexesAreMadeAnewWhereLost(t *testing.T) {
	dir := t.TempDir()
	cfg := blobstore.Config{Dir: dir, SegmentSize: 2000}
	d := openDisk(t, cfg)
	var blobs []blobstore.Small
	for i := range 20 {
		b := blobtest.Bytes(uint64(i), 500)
		blobs = append(blobs, blobstore.Small{Hash: mustPut(t, d, b), Data: b})
	}
	closeDisk(t, d)
	index := filepath.Join(dir, "small", "00000001.idx")
	for name, spoil := range map[string]func(){
		"format missing":    func() { os.Remove(filepath.Join(dir, "format")) },
		"format empty":      func() { write(t, filepath.Join(dir, "format"), nil) },
		"format damaged":    func() { flip(t, filepath.Join(dir, "format"), 20) },
		"preamble damaged":  func() { flip(t, filepath.Join(dir, "small", "00000001.seg"), 3) },
		"index missing":     func() { os.Remove(index) },
		"index empty":       func() { write(t, index, nil) },
		"index damaged":     func() { flip(t, index, 50) },
		"index cut":         func() { b := read(t, index); write(t, index, b[:len(b)-1]) },
		"index of another":  func() { write(t, index, read(t, filepath.Join(dir, "small", "00000002.idx"))) },
		"newest seg. empty": func() { write(t, filepath.Join(dir, "small", "00000099.seg"), nil) },
	} {
		t.Run(name, func(t *testing.T) {
			spoil()
			d := openDisk(t, cfg)
			wantOnly(t, d, blobs, func(int) bool { return true })
			closeDisk(t, d)
			d = openDisk(t, cfg)
			defer closeDisk(t, d)
			if got := d.Damage(); got != (blobstore.Damage{}) {
				t.Errorf("damage after it was mended: got %+v", got)
			}
		})
	}
}

func TestOneProcessHoldsTheDirectory(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, blobstore.Config{Dir: dir})
	if _, err := blobstore.OpenDisk(blobstore.Config{Dir: dir}); !errors.Is(err, blobstore.ErrLocked) {
		t.Fatalf("second open: got %v, want %v", err, blobstore.ErrLocked)
	}
	closeDisk(t, d)
	d = openDisk(t, blobstore.Config{Dir: dir})
	closeDisk(t, d)
	if _, err := d.Has(t.Context(), bucket.Hash{}); !errors.Is(err, blobstore.ErrClosed) {
		t.Fatalf("has after close: got %v, want %v", err, blobstore.ErrClosed)
	}
	if err := d.Close(); !errors.Is(err, blobstore.ErrClosed) {
		t.Fatalf("close again: got %v, want %v", err, blobstore.ErrClosed)
	}
}

func TestBlobsCanBeReadOnAfterClose(t *testing.T) {
	d := openDisk(t, blobstore.Config{Dir: t.TempDir()})
	b := blobtest.Bytes(1, 200<<10)
	blob, err := d.Get(t.Context(), mustPut(t, d, b))
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	closeDisk(t, d)
	if got, err := io.ReadAll(blob); err != nil || !bytes.Equal(got, b) {
		t.Fatalf("read after close: got %d bytes, %v", len(got), err)
	}
}

func TestBadConfigurationFailsInOpen(t *testing.T) {
	dir := t.TempDir()
	for _, cfg := range []blobstore.Config{
		{}, {Dir: dir, MaxBlobSize: -1}, {Dir: dir, SegmentSize: -1}, {Dir: dir, SegmentSize: 2 << 30}, {Dir: dir + "/a/b"},
	} {
		if _, err := blobstore.OpenDisk(cfg); err == nil {
			t.Errorf("open %+v: got no error", cfg)
		}
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, name string, at int) {
	t.Helper()
	b := read(t, name)
	b[at] ^= 1
	write(t, name, b)
}
