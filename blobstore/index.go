package blobstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"sync"

	"github.com/zeebo/blake3"

	"headwater/bucket"
)

// word is the last thing that a segment says about a hash.
type word struct {
	offset uint32 // of the record
	length uint32 // of the blob, held or buried
	origin uint32
	gone   bool // a tombstone
}

// size returns the bytes of the record that the word stands in.
func (w word) size() int64 {
	if w.gone {
		return headerSize
	}
	return blobRecordSize(w.length)
}

// entry is a word and whom it is about.
type entry struct {
	hash bucket.Hash
	word
}

func compareEntries(a, b entry) int { return bytes.Compare(a.hash[:], b.hash[:]) }

// An index file holds the words of a sealed segment, sorted by hash:
//
//	0  8  magic
//	8  4  segment
//	12 4  number of entries
//	16 8  bytes of the segment that it covers: all, or the index is stale
//	24    entries of 44 bytes: hash, offset, length (highest bit: a tombstone), origin
//	end   BLAKE3 of the store's salt and all bytes before
//
// It says nothing that a scan of the segment would not, so a damaged one is made anew.
const (
	indexMagic    = "HWIDX\x00\x00\x01"
	indexHeadSize = 24
	entrySize     = 44
	goneBit       = 1 << 31
	// maxRecords is how many records a segment takes before it is full, whatever its size: it bounds the index of the active
	// segment in memory to some 8 MiB, and so the time a sealing takes.
	maxRecords = 64 << 10
	fanBits    = 10
	fanSize    = 1 << fanBits
)

// errStale marks an index file that is missing, damaged, or not that of its segment.
var errStale = errors.New("index is not usable")

// index finds the words of a sealed segment: a fan-out table and a filter in memory, the entries on disk. Safe for
// concurrent use.
type index struct {
	file   file
	count  uint32
	fan    [fanSize + 1]uint32 // fan[i] is the first entry whose hash begins with i or more, as fanBits bits
	filter filter
}

func appendEntry(b []byte, e entry) []byte {
	b = append(b, e.hash[:]...)
	b = binary.LittleEndian.AppendUint32(b, e.offset)
	length := e.length
	if e.gone {
		length |= goneBit
	}
	b = binary.LittleEndian.AppendUint32(b, length)
	return binary.LittleEndian.AppendUint32(b, e.origin)
}

func parseEntry(b []byte) entry {
	length := binary.LittleEndian.Uint32(b[36:])
	return entry{bucket.Hash(b[:32]), word{
		offset: binary.LittleEndian.Uint32(b[32:]),
		length: length &^ goneBit,
		origin: binary.LittleEndian.Uint32(b[40:]),
		gone:   length&goneBit != 0,
	}}
}

// writeIndex writes the index file of the segment of s, which is covered bytes long. entries are sorted.
func writeIndex(w io.Writer, s stamp, covered int64, entries []entry) error {
	b := make([]byte, 0, indexHeadSize+len(entries)*entrySize+len(bucket.Hash{}))
	b = append(b, indexMagic...)
	b = binary.LittleEndian.AppendUint32(b, s.segment)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(entries)))
	b = binary.LittleEndian.AppendUint64(b, uint64(covered))
	for _, e := range entries {
		b = appendEntry(b, e)
	}
	hasher := blake3.New()
	hasher.Write(s.salt[:])
	hasher.Write(b)
	_, err := w.Write(hasher.Sum(b))
	return err
}

// readIndex reads and checks the index file f, of size bytes, of the segment of s, which is covered bytes long, and calls
// each with every entry. Anything wrong with it is errStale. Beside the index it allocates one small buffer.
func readIndex(f file, size int64, s stamp, covered int64, each func(entry)) (*index, error) {
	head := make([]byte, indexHeadSize)
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, fmt.Errorf("%w: %w", errStale, err)
	}
	count := binary.LittleEndian.Uint32(head[12:])
	want := indexHeadSize + int64(count)*entrySize + int64(len(bucket.Hash{}))
	if string(head[:8]) != indexMagic || binary.LittleEndian.Uint32(head[8:]) != s.segment || size != want ||
		binary.LittleEndian.Uint64(head[16:]) != uint64(covered) {
		return nil, fmt.Errorf("%w: it is not that of the segment", errStale)
	}
	hasher := blake3.New()
	hasher.Write(s.salt[:])
	hasher.Write(head)
	x := newIndex(f, count)
	if err := x.load(hasher, covered, each); err != nil {
		return nil, fmt.Errorf("%w: %w", errStale, err)
	}
	var sum, got bucket.Hash
	if _, err := f.ReadAt(sum[:], size-int64(len(sum))); err != nil {
		return nil, fmt.Errorf("%w: %w", errStale, err)
	}
	if hasher.Sum(got[:0]); got != sum {
		return nil, fmt.Errorf("%w: its checksum does not hold", errStale)
	}
	return x, nil
}

func newIndex(f file, count uint32) *index {
	return &index{file: f, count: count, filter: newFilter(count)}
}

// load reads all entries, checks that they are in order and inside the segment, and fills the fan-out table and the filter.
func (x *index) load(hasher io.Writer, covered int64, each func(entry)) error {
	var last entry
	chunk := make([]byte, 512*entrySize)
	for i := uint32(0); i < x.count; {
		b := chunk[:min(len(chunk), int(x.count-i)*entrySize)]
		if _, err := x.file.ReadAt(b, x.offset(i)); err != nil {
			return err
		}
		if _, err := hasher.Write(b); err != nil {
			return err
		}
		for ; len(b) > 0; b = b[entrySize:] {
			e := parseEntry(b)
			if i > 0 && compareEntries(last, e) >= 0 {
				return errors.New("entries out of order")
			}
			if e.length > SmallSize || int64(e.offset) < int64(preambleSize) || int64(e.offset)+e.size() > covered {
				return errors.New("an entry outside of the segment")
			}
			x.add(e.hash)
			each(e)
			last = e
			i++
		}
	}
	x.sumFan()
	return nil
}

// fill does what load does for entries that are in memory.
func (x *index) fill(entries []entry) {
	for _, e := range entries {
		x.add(e.hash)
	}
	x.sumFan()
}

// add counts a hash; sumFan makes the table of the counts.
func (x *index) add(h bucket.Hash) {
	x.fan[fanOf(h)+1]++
	x.filter.add(h)
}

func (x *index) sumFan() {
	for i := range fanSize {
		x.fan[i+1] += x.fan[i]
	}
}

func fanOf(h bucket.Hash) int { return int(binary.BigEndian.Uint16(h[:]) >> (16 - fanBits)) }

func (x *index) offset(i uint32) int64 { return indexHeadSize + int64(i)*entrySize }

// read returns the entries [from, to) as they stand on disk, in buf if they fit.
func (x *index) read(from, to uint32, buf []byte) ([]byte, error) {
	buf = slices.Grow(buf[:0], int(to-from)*entrySize)[:int(to-from)*entrySize]
	if _, err := x.file.ReadAt(buf, x.offset(from)); err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	return buf, nil
}

// find returns the segment's word about h.
func (x *index) find(h bucket.Hash, buffers *sync.Pool) (word, bool, error) {
	if !x.filter.mayHave(h) {
		return word{}, false, nil
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	lo, hi := x.fan[fanOf(h)], x.fan[fanOf(h)+1]
	for hi-lo > 128 { // hashes made to share a prefix: halve until one read will do
		mid := lo + (hi-lo)/2
		b, err := x.read(mid, mid+1, *buf)
		if err != nil {
			return word{}, false, err
		}
		if bytes.Compare(b[:32], h[:]) <= 0 {
			lo = mid
		} else {
			hi = mid
		}
	}
	b, err := x.read(lo, hi, *buf)
	if err != nil {
		return word{}, false, err
	}
	*buf = b
	i, ok := sort.Find(int(hi-lo), func(i int) int { return bytes.Compare(h[:], b[i*entrySize:i*entrySize+32]) })
	if !ok {
		return word{}, false, nil
	}
	return parseEntry(b[i*entrySize:]).word, true, nil
}

// filter is a Bloom filter with 16 to 32 bits for an entry, so that a segment that does not know a hash costs no read: about
// one look-up in 400 goes on to disk for nothing.
type filter []uint64

func newFilter(count uint32) filter {
	bits := uint64(64)
	for bits < uint64(count)*16 {
		bits *= 2
	}
	return make(filter, bits/64)
}

// bits returns the four bits of a hash. They come from its middle: its beginning is what the fan-out table uses.
func (f filter) bits(h bucket.Hash) (bits [4]uint64) {
	for i := range bits {
		bits[i] = uint64(binary.LittleEndian.Uint32(h[8+4*i:])) % (uint64(len(f)) * 64)
	}
	return bits
}

func (f filter) add(h bucket.Hash) {
	for _, b := range f.bits(h) {
		f[b/64] |= 1 << (b % 64)
	}
}

func (f filter) mayHave(h bucket.Hash) bool {
	for _, b := range f.bits(h) {
		if f[b/64]&(1<<(b%64)) == 0 {
			return false
		}
	}
	return true
}
