package tree_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/tree"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/blake3"
	"go.uber.org/goleak"
	"golang.org/x/crypto/chacha20poly1305"
)

// into makes any store a Writer.
type into struct{ blobs }

type blobs interface {
	blobstore.Store
	blobstore.Adder
}

func (w into) Put(ctx context.Context, h bucket.Hash, size int64, r io.Reader) error {
	n, err := w.blobs.Put(ctx, h, r)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes instead of %d", n, size)
	}
	return err
}

// restore is Restore into memory.
func restore(ctx context.Context, r blobstore.Reader, d tree.Data) ([]byte, error) {
	var f memoryFile
	size, _, err := tree.Restore(ctx, r, d, &f)
	if err == nil && size != int64(len(f.b)) {
		err = fmt.Errorf("%d bytes were written, not %d", len(f.b), size)
	}
	return f.b, err
}

// fileSizes are of small and of large files.
var fileSizes = []int{0, 1, 100, tree.SmallFile - 1, tree.SmallFile, tree.SmallFile + 1, tree.SmallFile + tree.ChunkSize}

func TestFileComesBack(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, n := range fileSizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			store, plain := &blobstore.Memory{}, noise(n)
			given := tree.Attributes{Perm: 0o640, Symlink: n == 100, Size: 12345}
			d, err := tree.PutFile(t.Context(), into{store}, "notes.txt", given, sourceOf(plain))
			if err != nil {
				t.Fatal(err)
			}
			want := tree.Attributes{Perm: 0o640, Symlink: n == 100, Size: uint64(n), Hash: bucket.Sum(plain)}
			if got, ok := d.Attributes(); got != want || !ok {
				t.Errorf("got attributes %+v, %v, want %+v", got, ok, want)
			}
			if diff := cmp.Diff(new("text/plain"), d.Mime); diff != "" {
				t.Error(diff)
			}
			through := throughNode(t, d)
			var f memoryFile
			if size, hash, err := tree.Restore(t.Context(), store, through, &f); err != nil || size != int64(n) || hash != want.Hash || !bytes.Equal(f.b, plain) {
				t.Errorf("Restore wrote %d bytes, size %d, hash %s, %v", len(f.b), size, hash, err)
			}
			if size, hash, err := tree.Verify(t.Context(), store, through); err != nil || size != int64(n) || hash != want.Hash {
				t.Errorf("Verify got size %d, hash %s, %v", size, hash, err)
			}
			if got, err := tree.ReadFile(t.Context(), store, d, int64(n)); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("ReadFile got %d bytes, %v", len(got), err)
			}
		})
	}
}

func TestEveryPutHasASecretOfItsOwn(t *testing.T) {
	for _, n := range []int{5, tree.SmallFile + 1} {
		store, src := &blobstore.Memory{}, sourceOf(noise(n))
		a, errA := tree.PutFile(t.Context(), into{store}, "a", tree.Attributes{}, src)
		b, errB := tree.PutFile(t.Context(), into{store}, "a", tree.Attributes{}, src)
		if errA != nil || errB != nil || a.Secret == b.Secret || a.Link == b.Link || a.Secret == (bucket.Secret{}) {
			t.Errorf("%d bytes: got the same secret or link twice, %v, %v", n, errA, errB)
		}
	}
}

// A file is put again under another secret without its plain bytes in a file, as when secrets are rotated.
func TestFileOfAVersionIsASource(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, n := range []int{5, tree.SmallFile + 1} {
		store, plain := &blobstore.Memory{}, noise(n)
		a, err := tree.PutFile(t.Context(), into{store}, "a", tree.Attributes{}, sourceOf(plain))
		if err != nil {
			t.Fatal(err)
		}
		size, hash, err := tree.Verify(t.Context(), store, a)
		if err != nil {
			t.Fatal(err)
		}
		b, err := tree.PutFile(t.Context(), into{store}, "a", tree.Attributes{Hash: hash}, tree.SourceOf(t.Context(), store, a, size))
		if err != nil || b.Secret == a.Secret {
			t.Fatalf("got the same secret, or %v", err)
		}
		if got, err := tree.ReadFile(t.Context(), store, b, int64(n)); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
	}
}

// changing is a source whose readings are given one by one, and that counts what is open.
type changing struct {
	readings [][]byte
	opened   int
	open     int
}

func (c *changing) Open() (io.ReadCloser, error) {
	b := c.readings[min(c.opened, len(c.readings)-1)]
	c.opened++
	c.open++
	return struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(b), closer(func() { c.open-- })}, nil
}

type closer func()

func (c closer) Close() error { c(); return nil }

func TestFileThatChangesIsNotPut(t *testing.T) {
	defer goleak.VerifyNone(t)
	const large = 4*tree.ChunkSize + 7
	altered := func(b []byte, at int) []byte { b = slices.Clone(b); b[at] ^= 1; return b }
	for _, n := range []int{100, large + tree.SmallFile} {
		was := noise(n)
		last := altered(was, n-1)
		cases := map[string]struct {
			readings [][]byte
			want     bucket.Hash
			small    bool // seen with a small file too, which is read once
		}{
			"shorter":                   {[][]byte{was[:n-1]}, bucket.Hash{}, true},
			"longer":                    {[][]byte{append(slices.Clone(was), 0)}, bucket.Hash{}, true},
			"gone":                      {[][]byte{nil}, bucket.Hash{}, true},
			"not what was scanned":      {[][]byte{last}, bucket.Sum(was), true},
			"not in the second reading": {[][]byte{was, altered(was, 50)}, bucket.Hash{}, false},
			"shorter, second reading":   {[][]byte{was, was[:n-1]}, bucket.Hash{}, false},
			"longer, second reading":    {[][]byte{was, append(slices.Clone(was), 1)}, bucket.Hash{}, false},
		}
		for name, c := range cases {
			if n == 100 && !c.small {
				continue
			}
			t.Run(fmt.Sprintf("%d %s", n, name), func(t *testing.T) {
				src, store := &changing{readings: c.readings}, &blobstore.Memory{}
				a := tree.Attributes{Hash: c.want}
				_, err := tree.PutFile(t.Context(), into{store}, "f", a, tree.Source{Size: int64(n), Open: src.Open})
				if !errors.Is(err, tree.ErrChanged) {
					t.Errorf("got %v, want ErrChanged", err)
				}
				for info := range store.All(t.Context()) {
					t.Errorf("got blob %s of %d bytes", info.Hash, info.Size)
				}
				if src.open != 0 {
					t.Errorf("got %d readings that were not closed", src.open)
				}
			})
		}
	}
}

// A file that changes is encrypted once all the same, and its writer is never told that it has all of it.
func TestNoNonceHasTwoCiphertexts(t *testing.T) {
	const n = 6 * tree.ChunkSize
	was := noise(n)
	for _, at := range []int{0, 1, tree.ChunkSize, 3 * tree.ChunkSize, n - 1} {
		is := slices.Clone(was)
		is[at] ^= 0x80
		src, w := &changing{readings: [][]byte{was, is}}, &capture{}
		_, _, err := tree.PutStreamed(t.Context(), w, streamSecret, streamNonce, bucket.Hash{}, tree.Source{Size: n, Open: src.Open})
		if !errors.Is(err, tree.ErrChanged) {
			t.Errorf("byte %d: got %v, want ErrChanged", at, err)
		}
		if w.calls != 1 || !errors.Is(w.err, tree.ErrChanged) || src.opened != 2 {
			t.Errorf("byte %d: got %d writings, the last with %v, and %d readings; want one, ErrChanged, and 2", at, w.calls, w.err, src.opened)
		}
	}
}

func TestPutFileRefusesSizes(t *testing.T) {
	unopened := func() (io.ReadCloser, error) { return nil, errors.New("was opened") }
	_, err := tree.PutFile(t.Context(), &capture{}, "f", tree.Attributes{}, tree.Source{Size: tree.MaxPlainSize + 1, Open: unopened})
	if got := bucket.ClassOf(err); got != bucket.TooLarge {
		t.Errorf("too large: got %v", err)
	}
	_, err = tree.PutFile(t.Context(), &capture{}, "f", tree.Attributes{}, tree.Source{Size: -1, Open: unopened})
	if !errors.Is(err, os.ErrInvalid) {
		t.Errorf("below zero: got %v", err)
	}
}

// writerFunc is a Writer of one function.
type writerFunc func(ctx context.Context, size int64, r io.Reader) error

func (f writerFunc) Put(ctx context.Context, _ bucket.Hash, size int64, r io.Reader) error {
	return f(ctx, size, r)
}

func (f writerFunc) Add(ctx context.Context, size int64, r io.Reader) (bucket.Hash, error) {
	return bucket.Hash{}, f(ctx, size, r)
}

func TestPutFileEndsWithItsWriter(t *testing.T) {
	defer goleak.VerifyNone(t)
	full := errors.New("disk full")
	for name, c := range map[string]struct {
		put  writerFunc
		want error
	}{
		"does not read": {func(context.Context, int64, io.Reader) error { return full }, full},
		"fails half way": {func(_ context.Context, size int64, r io.Reader) error {
			io.CopyN(io.Discard, r, size/2)
			return full
		}, full},
	} {
		for _, n := range []int{100, tree.SmallFile + 3*tree.ChunkSize} {
			_, err := tree.PutFile(t.Context(), c.put, "f", tree.Attributes{}, sourceOf(noise(n)))
			if !errors.Is(err, c.want) {
				t.Errorf("%s, %d bytes: got %v, want %v", name, n, err, c.want)
			}
		}
	}
}

func TestABlobThatItsWriterDidNotReadIsNoBlob(t *testing.T) {
	defer goleak.VerifyNone(t)
	idle := writerFunc(func(context.Context, int64, io.Reader) error { return nil })
	if _, err := tree.PutFile(t.Context(), idle, "f", tree.Attributes{}, sourceOf(noise(2*tree.SmallFile))); err == nil {
		t.Error("got no error")
	}
	if _, err := tree.PutFile(t.Context(), idle, "f", tree.Attributes{}, sourceOf(noise(100))); err != nil {
		t.Errorf("a blob that is held already: got %v", err)
	}
}

func TestPutFileEndsWithItsSource(t *testing.T) {
	defer goleak.VerifyNone(t)
	broken := errors.New("bad sector")
	for _, n := range []int{100, tree.SmallFile + 3*tree.ChunkSize} {
		for fails := 1; fails <= 3; fails++ { // the reading that fails, or 3: it cannot be opened
			var opened int
			src := tree.Source{Size: int64(n), Open: func() (io.ReadCloser, error) {
				opened++
				switch {
				case fails == 3:
					return nil, broken
				case opened < fails && n > tree.SmallFile:
					return io.NopCloser(bytes.NewReader(noise(n))), nil
				}
				return io.NopCloser(io.MultiReader(bytes.NewReader(noise(n)[:n/2]), failingReader{broken})), nil
			}}
			if _, err := tree.PutFile(t.Context(), &capture{}, "f", tree.Attributes{}, src); !errors.Is(err, broken) {
				t.Errorf("%d bytes, reading %d: got %v, want %v", n, fails, err, broken)
			}
		}
	}
}

func TestPutFileAndRestoreEndWithTheirContext(t *testing.T) {
	defer goleak.VerifyNone(t)
	plain := noise(tree.SmallFile + 3*tree.ChunkSize)
	ctx, cancel := context.WithCancel(t.Context())
	half := writerFunc(func(ctx context.Context, size int64, r io.Reader) error {
		io.CopyN(io.Discard, r, size/2)
		cancel()
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if _, err := tree.PutFile(ctx, half, "f", tree.Attributes{}, sourceOf(plain)); !errors.Is(err, context.Canceled) {
		t.Errorf("PutFile: got %v, want context.Canceled", err)
	}
	store := &blobstore.Memory{}
	d, err := tree.PutFile(t.Context(), into{store}, "f", tree.Attributes{}, sourceOf(plain))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	if _, _, err = tree.Restore(ctx, store, d, &failingFile{then: cancel}); !errors.Is(err, context.Canceled) {
		t.Errorf("Restore: got %v, want context.Canceled", err)
	}
	src, err := tree.SourceOf(t.Context(), store, d, int64(len(plain))).Open()
	if err != nil {
		t.Fatal(err)
	}
	io.CopyN(io.Discard, src, 1000)
	src.Close()
}

// putBlob keeps a blob as it is and returns an entry for it that promises nothing.
func putBlob(t testing.TB, store blobstore.Store, blob []byte) tree.Data {
	t.Helper()
	h := bucket.Sum(blob)
	if _, err := store.Put(t.Context(), h, bytes.NewReader(blob)); err != nil {
		t.Fatal(err)
	}
	return tree.Data{Link: bucket.NewLink(bucket.CodecRaw, h), Secret: streamSecret}
}

// Owners who write wrong blobs on purpose give them a link that is right, so that the secret alone finds them out.
func TestForgedBlobGivesNoFile(t *testing.T) {
	for _, n := range []int{100, tree.SmallFile + tree.ChunkSize} {
		_, blob := sealedNoise(t, n)
		for _, at := range []int{0, 11, 12, 43, 44, len(blob) / 2, len(blob) - 17, len(blob) - 16, len(blob) - 1} {
			bad := slices.Clone(blob)
			bad[at] ^= 1
			store := &blobstore.Memory{}
			d := putBlob(t, store, bad)
			if b, err := restore(t.Context(), store, d); !errors.Is(err, tree.ErrUnreadable) || len(b) >= n {
				t.Errorf("byte %d of %d: Restore got %d bytes, %v, want ErrUnreadable", at, len(blob), len(b), err)
			}
			if _, _, err := tree.Verify(t.Context(), store, d); !errors.Is(err, tree.ErrUnreadable) {
				t.Errorf("byte %d of %d: Verify got %v, want ErrUnreadable", at, len(blob), err)
			}
			if b, err := tree.ReadFile(t.Context(), store, d, 1<<30); !errors.Is(err, tree.ErrUnreadable) || b != nil {
				t.Errorf("byte %d of %d: ReadFile got %v, want ErrUnreadable", at, len(blob), err)
			}
		}
		store := &blobstore.Memory{}
		d := putBlob(t, store, blob)
		d.Secret[5] ^= 1
		if _, err := restore(t.Context(), store, d); !errors.Is(err, tree.ErrUnreadable) {
			t.Errorf("another secret: got %v, want ErrUnreadable", err)
		}
	}
	for _, n := range []int{0, 1, tree.Overhead - 1} {
		store := &blobstore.Memory{}
		d := putBlob(t, store, noise(n))
		if _, err := restore(t.Context(), store, d); !errors.Is(err, tree.ErrUnreadable) {
			t.Errorf("a blob of %d bytes: got %v, want ErrUnreadable", n, err)
		}
	}
}

// A blob with a right tag over a wrong hash is found out by its end, and its last bytes never come.
func TestWrongHashInsideIsFoundByTheEnd(t *testing.T) {
	plain := noise(tree.SmallFile + 2*tree.ChunkSize)
	aead, err := chacha20poly1305.New(streamSecret[:])
	if err != nil {
		t.Fatal(err)
	}
	store := &blobstore.Memory{}
	d := putBlob(t, store, aead.Seal(streamNonce[:], streamNonce[:], append(make([]byte, 32), plain...), nil))
	if b, err := restore(t.Context(), store, d); !errors.Is(err, tree.ErrUnreadable) || len(b) >= len(plain) {
		t.Errorf("Restore: got %d bytes, %v, want ErrUnreadable", len(b), err)
	}
	src, err := tree.SourceOf(t.Context(), store, d, int64(len(plain))).Open()
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if b, err := io.ReadAll(src); !errors.Is(err, tree.ErrUnreadable) || len(b) >= len(plain) {
		t.Errorf("SourceOf: got %d bytes, %v, want ErrUnreadable", len(b), err)
	}
	if n, err := src.Read(make([]byte, 1)); n != 0 || !errors.Is(err, tree.ErrUnreadable) {
		t.Errorf("SourceOf again: got %d, %v, want ErrUnreadable", n, err)
	}
}

func TestFileThatCannotBeWrittenEndsRestore(t *testing.T) {
	defer goleak.VerifyNone(t)
	store, full := &blobstore.Memory{}, errors.New("disk full")
	for _, n := range []int{100, tree.SmallFile + 2*tree.ChunkSize} {
		_, blob := sealedNoise(t, n)
		if _, _, err := tree.Restore(t.Context(), store, putBlob(t, store, blob), &failingFile{err: full}); !errors.Is(err, full) {
			t.Errorf("%d bytes: got %v, want %v", n, err, full)
		}
	}
}

// failingFile fails, or calls a function, when it is written.
type failingFile struct {
	err  error
	then func()
}

func (f *failingFile) WriteAt(p []byte, _ int64) (int, error) {
	if f.then != nil {
		f.then()
	}
	return len(p), f.err
}

func (f *failingFile) Truncate(int64) error { return f.err }

// A store that has wrong bytes is asked once more, and what it gave before is gone.
func TestFileComesFromTheStoreThatHasIt(t *testing.T) {
	plain, blob := sealedNoise(t, tree.SmallFile+2*tree.ChunkSize)
	longer := &shelfOf{b: append(slices.Clone(blob), 0), size: int64(len(blob)) + 1}
	store := &blobstore.Memory{}
	d := putBlob(t, store, blob)
	if b, err := restore(t.Context(), &inTurn{stores: []blobstore.Reader{longer, store}}, d); err != nil || !bytes.Equal(b, plain) {
		t.Errorf("got %d bytes, %v, want %d", len(b), err, len(plain))
	}
}

// inTurn asks one store after the other, and then the last one.
type inTurn struct {
	blobstore.Memory
	stores []blobstore.Reader
}

func (s *inTurn) Get(ctx context.Context, h bucket.Hash) (*blobstore.Blob, error) {
	first := s.stores[0]
	if len(s.stores) > 1 {
		s.stores = s.stores[1:]
	}
	return first.Get(ctx, h)
}

// shelfOf hands out one blob whatever is asked for, with bytes and a size that need not be the blob's.
type shelfOf struct {
	blobstore.Memory
	b    []byte
	size int64
}

func (s *shelfOf) Get(_ context.Context, h bucket.Hash) (*blobstore.Blob, error) {
	return blobstore.NewBlob(h, s.size, io.NopCloser(bytes.NewReader(s.b))), nil
}

func TestWrongBytesFromAStoreAreCorrupt(t *testing.T) {
	for _, n := range []int{100, tree.SmallFile + tree.ChunkSize} {
		_, blob := sealedNoise(t, n)
		d := putBlob(t, &blobstore.Memory{}, blob)
		flipped := slices.Clone(blob)
		flipped[n/2] ^= 1
		for name, s := range map[string]*shelfOf{
			"one byte":       {b: flipped, size: int64(len(blob))},
			"one too few":    {b: blob[1:], size: int64(len(blob))},
			"one too many":   {b: append(slices.Clone(blob), 0), size: int64(len(blob))},
			"cut to nothing": {},
			"cut too short":  {b: blob[:10], size: 10},
			"size too low":   {b: blob, size: int64(len(blob)) - 1},
			"size too high":  {b: blob, size: int64(len(blob)) + 1},
		} {
			if b, err := restore(t.Context(), s, d); !errors.Is(err, blobstore.ErrCorrupt) || len(b) >= n {
				t.Errorf("%d bytes, %s: got %d bytes, %v, want ErrCorrupt", n, name, len(b), err)
			}
		}
	}
	if _, err := restore(t.Context(), &blobstore.Memory{}, tree.Data{}); !errors.Is(err, blobstore.ErrNotFound) {
		t.Errorf("no blob: got %v, want ErrNotFound", err)
	}
	if _, err := tree.ReadFile(t.Context(), &blobstore.Memory{}, tree.Data{}, 1); !errors.Is(err, blobstore.ErrNotFound) {
		t.Errorf("no blob: got %v, want ErrNotFound", err)
	}
}

func TestFileMustBeWhatItsEntryPromises(t *testing.T) {
	for _, n := range []int{100, tree.SmallFile + tree.ChunkSize} {
		store := &blobstore.Memory{}
		plain, blob := sealedNoise(t, n)
		d := putBlob(t, store, blob)
		right := tree.Attributes{Size: uint64(n), Hash: bucket.Sum(plain)}
		for name, a := range map[string]tree.Attributes{
			"size": {Size: right.Size - 1, Hash: right.Hash}, "hash": {Size: right.Size, Hash: bucket.Hash{1}},
		} {
			d.Metadata = a.Metadata()
			if _, err := restore(t.Context(), store, d); bucket.ClassOf(err) != bucket.Malformed {
				t.Errorf("%d bytes, another %s: Restore got %v, want a refusal", n, name, err)
			}
			if _, err := tree.ReadFile(t.Context(), store, d, int64(n)); bucket.ClassOf(err) != bucket.Malformed {
				t.Errorf("%d bytes, another %s: ReadFile got %v, want a refusal", n, name, err)
			}
		}
		d.Metadata = right.Metadata()
		if _, err := restore(t.Context(), store, d); err != nil {
			t.Errorf("%d bytes: Restore got %v", n, err)
		}
	}
}

func TestBounded_FileAboveALimitIsNotRead(t *testing.T) {
	_, blob := sealedNoise(t, 100)
	store := &blobstore.Memory{}
	d := putBlob(t, store, blob)
	for _, limit := range []int64{-1, 0, 99} {
		if _, err := tree.ReadFile(t.Context(), store, d, limit); bucket.ClassOf(err) != bucket.TooLarge {
			t.Errorf("limit %d: got %v, want a refusal", limit, err)
		}
	}
	d.Metadata = tree.Attributes{Size: 1 << 30}.Metadata()
	if _, err := tree.ReadFile(t.Context(), store, d, 99); bucket.ClassOf(err) != bucket.TooLarge {
		t.Errorf("promised more: got %v, want a refusal", err)
	}
	huge := &shelfOf{b: blob, size: tree.MaxPlainSize + tree.Overhead + 1}
	if _, err := restore(t.Context(), huge, d); bucket.ClassOf(err) != bucket.TooLarge {
		t.Errorf("a blob above every limit: got %v, want a refusal", err)
	}
	huge.size = tree.MaxPlainSize + tree.Overhead
	d.Metadata = nil
	var err error
	used := allocated(func() { _, err = restore(t.Context(), huge, d) })
	if !errors.Is(err, blobstore.ErrCorrupt) || used > 16<<20 {
		t.Errorf("a blob that is not so large: got %v and %d bytes of memory", err, used)
	}
}

// generated is a file of any size that takes no room: a block of noise over and over.
type generated struct {
	block     []byte
	off, size int64
}

func generatedSource(size int64) tree.Source {
	block := noise(1<<20 + 1)
	return tree.Source{Size: size, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(&generated{block: block, size: size}), nil
	}}
}

func (g *generated) Read(p []byte) (int, error) {
	if g.off == g.size {
		return 0, io.EOF
	}
	n := copy(p[:min(int64(len(p)), g.size-g.off)], g.block[g.off%int64(len(g.block)):])
	g.off += int64(n)
	return n, nil
}

// A file of 256 MiB goes into a store on disk and out of it again with less than 16 MiB allocated each way, garbage included.
func TestBounded_LargeFileTakesLittleMemory(t *testing.T) {
	const most = 16 << 20
	size := int64(256 << 20)
	if raceDetector { // as much again to see, at a tenth of the speed
		size = 64 << 20
	}
	store, err := blobstore.OpenDisk(blobstore.Config{Dir: filepath.Join(t.TempDir(), "blobs")})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	src := generatedSource(size)
	var d tree.Data
	used := allocated(func() { d, err = tree.PutFile(t.Context(), into{store}, "f", tree.Attributes{}, src) })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("PutFile allocated %d bytes", used)
	if used > most {
		t.Errorf("PutFile allocated %d bytes for one of %d, want at most %d", used, size, most)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "plain"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	used = allocated(func() { _, _, err = tree.Restore(t.Context(), store, d, f) })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("Restore allocated %d bytes", used)
	if used > most {
		t.Errorf("Restore allocated %d bytes for one of %d, want at most %d", used, size, most)
	}
	want, err := src.Open()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hashOf(t, io.NewSectionReader(f, 0, size+1)), hashOf(t, want); got != want {
		t.Errorf("got a file of hash %s, want %s", got, want)
	}
}

func hashOf(t testing.TB, r io.Reader) (h bucket.Hash) {
	t.Helper()
	hasher := blake3.New()
	if _, err := io.Copy(hasher, r); err != nil {
		t.Fatal(err)
	}
	hasher.Sum(h[:0])
	return h
}

// FuzzRestore opens anything as a stream and in memory: both find the same bytes, or neither any.
func FuzzRestore(f *testing.F) {
	_, blob := sealedNoise(f, 100)
	f.Add(streamSecret[:], blob)
	f.Add(streamSecret[:], blob[:tree.Overhead])
	f.Add([]byte{1}, blob)
	f.Fuzz(func(t *testing.T, key, blob []byte) {
		var secret bucket.Secret
		copy(secret[:], key)
		want, wantErr := tree.Open(secret, blob)
		if len(blob) < tree.Overhead {
			return
		}
		var out bytes.Buffer
		_, err := tree.RestoreStreamed(t.Context(), blobOf(blob), secret, &out)
		if got := out.Bytes(); err == nil && !bytes.Equal(got, want) || (err == nil) != (wantErr == nil) || err != nil && !errors.Is(err, tree.ErrUnreadable) {
			t.Fatalf("got %x, %v, want %x, %v", out.Bytes(), err, want, wantErr)
		}
	})
}

// discard is a Writer that reads and forgets.
type discard struct{}

func (discard) Add(_ context.Context, _ int64, r io.Reader) (bucket.Hash, error) {
	_, err := io.Copy(io.Discard, r)
	return bucket.Hash{}, err
}

func (discard) Put(_ context.Context, _ bucket.Hash, _ int64, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// Sizes of a usual source file, of the largest small file and of a large one.
var benchSizes = []struct {
	name string
	size int64
}{{"8KiB", 8 << 10}, {"4MiB", tree.SmallFile}, {"5MiB", 5 << 20}, {"128MiB", 128 << 20}}

// BenchmarkPutFile is what a commit pays for the bytes of files, without hashing them for the scan and without the store.
func BenchmarkPutFile(b *testing.B) {
	for _, c := range benchSizes {
		b.Run(c.name, func(b *testing.B) {
			src := generatedSource(c.size)
			r, err := src.Open()
			if err != nil {
				b.Fatal(err)
			}
			a := tree.Attributes{Hash: hashOf(b, r)}
			b.SetBytes(c.size)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tree.PutFile(b.Context(), discard{}, "f", a, src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRestore is what a checkout pays, the file written included: blobs from memory.
func BenchmarkRestore(b *testing.B) {
	for _, c := range benchSizes {
		b.Run(c.name, func(b *testing.B) {
			store := &blobstore.Memory{}
			d, err := tree.PutFile(b.Context(), into{store}, "f", tree.Attributes{}, generatedSource(c.size))
			if err != nil {
				b.Fatal(err)
			}
			f, err := os.Create(filepath.Join(b.TempDir(), "f"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			b.SetBytes(c.size)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := tree.Restore(b.Context(), store, d, f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
