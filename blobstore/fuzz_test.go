package blobstore

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/zeebo/blake3"

	"headwater/bucket"
)

// testStamp is that of segment 7 of a store with some salt.
func testStamp() stamp { return stamp{salt: [saltSize]byte{1, 2, 3}, segment: 7} }

// encode returns a segment of blobs and of tombstones (for a nil one).
func encode(s stamp, blobs ...[]byte) []byte {
	b := preamble(s.salt)
	for _, data := range blobs {
		r := record{kind: kindBlob, length: uint32(len(data)), hash: bucket.Sum(data)}
		if data == nil {
			r.kind = kindTomb
		}
		b = append(s.append(b, int64(len(b)), r), data...)
	}
	return b
}

func FuzzScanSegment(f *testing.F) {
	s := testStamp()
	whole := encode(s, []byte("one"), nil, bytes.Repeat([]byte("two"), 1000), []byte{}, []byte(recordMagic))
	f.Add(whole, 0, []byte(nil))
	f.Add(whole[:len(whole)-1], 40, []byte("spoilt"))
	f.Add(whole, len(whole)-70, []byte(recordMagic+recordMagic))
	f.Add([]byte{}, 0, []byte(nil))
	f.Fuzz(func(t *testing.T, b []byte, at int, spoil []byte) {
		b = slices.Clone(b)
		if at >= 0 && at < len(b) {
			copy(b[at:], spoil)
		}
		end, size := int64(preambleSize), int64(0)
		found, err := scan(bytes.NewReader(b), int64(len(b)), s, func(offset int64, r record) {
			if offset < end || offset+r.size() > int64(len(b)) {
				t.Fatalf("record at %d of %d bytes: got it outside of what is left", offset, r.size())
			}
			if r.kind == kindBlob && bucket.Sum(b[offset+headerSize:offset+r.size()]) != r.hash {
				t.Fatalf("record at %d: its bytes do not hash right", offset)
			}
			end = offset + r.size()
			size += r.size()
		})
		if err != nil {
			t.Fatal(err)
		}
		if found.end != end || found.lost != end-int64(preambleSize)-size {
			t.Fatalf("got %+v, want end %d and %d bytes in records", found, end, size)
		}
	})
}

// TestScanFindsItsWay puts damage across the edges of the window.
func TestScanFindsItsWay(t *testing.T) {
	s := testStamp()
	var blobs [][]byte
	for i := range 40 {
		blobs = append(blobs, bytes.Repeat([]byte{byte(i + 1)}, 20_000+i))
	}
	whole := encode(s, blobs...)
	for at := preambleSize; at < len(whole)-120_000; at += 15_013 {
		b := slices.Clone(whole)
		clear(b[at : at+100_000])
		var hit, want int
		start := preambleSize
		for _, blob := range blobs {
			end := start + headerSize + len(blob)
			if end <= at || start >= at+100_000 {
				want++
			}
			start = end
		}
		found, err := scan(bytes.NewReader(b), int64(len(b)), s, func(int64, record) { hit++ })
		if err != nil || hit != want || found.end != int64(len(b)) {
			t.Fatalf("damage at %d: got %d records, %+v, %v, want %d", at, hit, found, err, want)
		}
	}
}

// memoryFile is a file of fixed bytes.
type memoryFile struct{ *bytes.Reader }

func (memoryFile) WriteAt([]byte, int64) (int, error) { return 0, os.ErrPermission }
func (memoryFile) Close() error                       { return nil }
func (memoryFile) Sync() error                        { return nil }
func (memoryFile) Truncate(int64) error               { return os.ErrPermission }
func (memoryFile) Stat() (os.FileInfo, error)         { return nil, os.ErrPermission }

func indexFile(s stamp, covered int64, n int) ([]byte, []entry) {
	var list []entry
	for i := range n {
		list = append(list, entry{bucket.Sum([]byte{byte(i), byte(i >> 8)}), word{offset: uint32(preambleSize + i), gone: i%3 == 0}})
	}
	slices.SortFunc(list, compareEntries)
	var b bytes.Buffer
	writeIndex(&b, s, covered, list)
	return b.Bytes(), list
}

func FuzzReadIndex(f *testing.F) {
	s, sum := testStamp(), len(bucket.Hash{})
	for _, n := range []int{0, 1, 5, 300} {
		b, _ := indexFile(s, 1<<20, n)
		f.Add(b[:len(b)-sum], uint16(0), byte(0))
		f.Add(b[:len(b)-sum], uint16(40), byte(0x80))
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint16, flip byte) {
		b = slices.Clone(b)
		if int(at) < len(b) {
			b[at] ^= flip
		}
		hasher := blake3.New() // a right checksum: what is behind it must hold out on its own
		hasher.Write(s.salt[:])
		hasher.Write(b)
		b = hasher.Sum(b)
		var list []entry
		x, err := readIndex(memoryFile{bytes.NewReader(b)}, int64(len(b)), s, 1<<20, func(e entry) { list = append(list, e) })
		if err != nil {
			return
		}
		buffers := &sync.Pool{New: func() any { return new([]byte) }}
		for _, e := range list {
			w, ok, err := x.find(e.hash, buffers)
			if err != nil || !ok || w != e.word {
				t.Fatalf("find %s: got %+v, %v, %v, want %+v", e.hash, w, ok, err, e.word)
			}
			if w.length > SmallSize || int64(w.offset)+w.size() > 1<<20 {
				t.Fatalf("find %s: got %+v, which is outside of the segment", e.hash, w)
			}
		}
	})
}

func TestIndexFindsWhatIsThereAndNothingElse(t *testing.T) {
	s := testStamp()
	buffers := &sync.Pool{New: func() any { return new([]byte) }}
	for name, same := range map[string]bool{"spread": false, "crowded under one prefix": true} {
		b, list := indexFile(s, 1<<20, 2000)
		if same {
			for i := range list {
				list[i].hash = bucket.Hash{0: 0xab, 10: byte(i >> 8), 11: byte(i)}
			}
			var out bytes.Buffer
			writeIndex(&out, s, 1<<20, list)
			b = out.Bytes()
		}
		x, err := readIndex(memoryFile{bytes.NewReader(b)}, int64(len(b)), s, 1<<20, func(entry) {})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if w, ok, err := x.find(e.hash, buffers); err != nil || !ok || w != e.word {
				t.Fatalf("%s: find %s: got %+v, %v, %v, want %+v", name, e.hash, w, ok, err, e.word)
			}
			e.hash[31] ^= 1
			if _, ok, err := x.find(e.hash, buffers); err != nil || ok {
				t.Fatalf("%s: find %s, which is absent: got %v, %v", name, e.hash, ok, err)
			}
		}
	}
}

// TestFormatIsFrozen compares with files written by the first version: a change of format must be a change of version.
func TestFormatIsFrozen(t *testing.T) {
	s := testStamp()
	index, _ := indexFile(s, 4096, 3)
	for name, got := range map[string][]byte{"segment.golden": encode(s, []byte("blob"), nil, []byte{}), "index.golden": index} {
		want, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: got\n%x\nwant\n%x", name, got, want)
		}
	}
}

var _ io.ReaderAt = memoryFile{}
