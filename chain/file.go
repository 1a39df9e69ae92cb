package chain

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"headwater/bucket"
)

// runFile is the file of a run: blocks, one after another, oldest first in a run that goes up, newest first in one that goes
// down. A block begins with a head: the bytes of its content and the number of its versions, 4 bytes each, the height of its
// oldest version, 8 bytes, all big-endian, the BLAKE3 hash of the rest of the head and of the content, and the hash of the version
// before its oldest one, zero before a genesis. The content is the hashes of its versions, oldest first, and then for each
// manifest its size as 4 bytes and its bytes.
//
// Nothing is synced: what a crash tears is cut off when a process first opens the file, and fetched again.
type runFile struct {
	kept   *kept
	opener *bucket.Opener
	up     bool
	file   *os.File
	size   int64
	blocks []block // in the order of the file

	cached int // block whose hashes are at hand; -1 for none
	hashes []byte
}

// block is what is remembered of a block: 32 bytes for up to 1,024 versions.
type block struct {
	offset int64
	first  uint64 // height of its oldest version
	count  int
	size   int // of its content
}

const (
	hashSize  = len(bucket.Hash{})
	blockHead = 4 + 4 + 8 + hashSize + hashSize
	sumAt     = 4 + 4 + 8
	beforeAt  = sumAt + hashSize
	// maxBlock is the most bytes of a block's content.
	maxBlock = batchBytes + bucket.MaxManifestSize + batchVersions*(hashSize+4)
)

// errTorn: a block is not what was written.
var errTorn = errors.New("the file of a long catch-up is damaged; what is missing is fetched again")

// scan reads the heads of the blocks that are sound and follow on each other, and cuts off the rest. It hashes what this process
// has not written or hashed before.
func (f *runFile) scan(ctx context.Context) error {
	var edge bucket.Hash // of the version that the next block has to begin behind, or to end with
	head := make([]byte, blockHead)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := f.head(f.size, head)
		if err == nil && f.size >= f.kept.sound {
			var content []byte
			if content, err = f.content(b); err == nil && sumOf(head, content) != bucket.Hash(head[sumAt:]) {
				err = errTorn
			}
		}
		if err == nil {
			edge, err = f.follow(b, head, edge)
		}
		if errors.Is(err, errTorn) {
			break
		}
		if err != nil {
			return fmt.Errorf("read a run: %w", err)
		}
		f.blocks = append(f.blocks, b)
		f.size += int64(blockHead + b.size)
		f.kept.sound = max(f.kept.sound, f.size)
	}
	return f.truncate()
}

// follow checks that a block follows on the one before it, and returns what the next one has to follow on.
func (f *runFile) follow(b block, head []byte, edge bucket.Hash) (bucket.Hash, error) {
	before := bucket.Hash(head[beforeAt:])
	var newest bucket.Hash
	if err := f.readAt(newest[:], b.offset+int64(blockHead+(b.count-1)*hashSize)); err != nil {
		return edge, err
	}
	if (b.first == 0) != (before == bucket.Hash{}) {
		return edge, errTorn
	}
	if n := len(f.blocks); n > 0 {
		last := f.blocks[n-1]
		switch {
		case f.up && (b.first != last.first+uint64(last.count) || before != edge):
			return edge, errTorn
		case !f.up && (b.first+uint64(b.count) != last.first || newest != edge):
			return edge, errTorn
		}
	}
	if f.up {
		return newest, nil
	}
	return before, nil
}

// head reads the head of the block at an offset. errTorn if there is none.
func (f *runFile) head(offset int64, head []byte) (block, error) {
	if err := f.readAt(head, offset); err != nil {
		return block{}, err
	}
	size, count := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[4:])
	if size > uint32(maxBlock) || count == 0 || count > batchVersions || count*uint32(hashSize) > size {
		return block{}, errTorn
	}
	return block{offset, binary.BigEndian.Uint64(head[8:]), int(count), int(size)}, nil
}

func (f *runFile) content(b block) ([]byte, error) {
	content := make([]byte, b.size)
	return content, f.readAt(content, b.offset+int64(blockHead))
}

// sumOf is the hash of a block: its head without that hash, and its content.
func sumOf(head, content []byte) bucket.Hash {
	h := bucket.Sum(content)
	return bucket.Sum(append(append(append([]byte(nil), head[:sumAt]...), head[beforeAt:]...), h[:]...))
}

func (f *runFile) readAt(b []byte, offset int64) error {
	_, err := f.file.ReadAt(b, offset)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errTorn
	}
	return err
}

// put writes a block of versions, which ascend.
func (f *runFile) put(versions []*bucket.Version) error {
	size := 0
	for _, v := range versions {
		size += hashSize + 4 + len(v.Encoded())
	}
	b := make([]byte, blockHead, blockHead+size)
	for _, v := range versions {
		h := v.Link.Hash()
		b = append(b, h[:]...)
	}
	for _, v := range versions {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(v.Encoded()))), v.Encoded()...)
	}
	binary.BigEndian.PutUint32(b, uint32(size))
	binary.BigEndian.PutUint32(b[4:], uint32(len(versions)))
	binary.BigEndian.PutUint64(b[8:], versions[0].Height)
	if !versions[0].Previous.IsZero() {
		before := versions[0].Previous.Hash()
		copy(b[beforeAt:], before[:])
	}
	sum := sumOf(b[:blockHead], b[blockHead:])
	copy(b[sumAt:], sum[:])
	if err := f.kept.account(int64(len(b))); err != nil {
		return err
	}
	if _, err := f.file.WriteAt(b, f.size); err != nil {
		return errors.Join(fmt.Errorf("write a run: %w", err), f.file.Truncate(f.size), f.kept.account(-int64(len(b))))
	}
	f.blocks = append(f.blocks, block{f.size, versions[0].Height, len(versions), size})
	if f.kept.sound == f.size {
		f.kept.sound += int64(len(b))
	}
	f.size += int64(len(b))
	return nil
}

func (f *runFile) heights() (first, end uint64) {
	if len(f.blocks) == 0 {
		return 0, 0
	}
	oldest, newest := f.blocks[0], f.blocks[len(f.blocks)-1]
	if !f.up {
		oldest, newest = newest, oldest
	}
	return oldest.first, newest.first + uint64(newest.count)
}

func (f *runFile) blockOf(height uint64) int {
	if f.up {
		return sort.Search(len(f.blocks), func(i int) bool { return f.blocks[i].first > height }) - 1
	}
	return sort.Search(len(f.blocks), func(i int) bool { return f.blocks[i].first <= height })
}

// link returns the link at a height. Reading heights one after another reads each block's hashes once.
func (f *runFile) link(height uint64) (bucket.Link, error) {
	i := f.blockOf(height)
	if err := f.cache(i); err != nil {
		return bucket.Link{}, err
	}
	at := int(height-f.blocks[i].first) * hashSize
	return bucket.NewLink(bucket.CodecDagCBOR, bucket.Hash(f.hashes[at:])), nil
}

func (f *runFile) cache(i int) error {
	if i == f.cached {
		return nil
	}
	f.cached = -1
	b := f.blocks[i]
	f.hashes = append(f.hashes[:0], make([]byte, b.count*hashSize)...)
	if err := f.readAt(f.hashes, b.offset+int64(blockHead)); err != nil {
		return fmt.Errorf("read a run: %w", err)
	}
	f.cached = i
	return nil
}

// newestOf returns the index of the newest of links that is in the file, -1 for none.
func (f *runFile) newestOf(links []bucket.Link) (newest int, err error) {
	wanted := make(map[bucket.Hash]int, len(links))
	for i, l := range links {
		wanted[l.Hash()] = i
	}
	newest = -1
	for i := range f.blocks {
		if err := f.cache(i); err != nil {
			return -1, err
		}
		for at := 0; at < len(f.hashes); at += hashSize {
			if i, ok := wanted[bucket.Hash(f.hashes[at:])]; ok {
				newest = max(newest, i)
			}
		}
	}
	return newest, nil
}

func (f *runFile) before() (bucket.Link, error) {
	oldest := f.blocks[0]
	if !f.up {
		oldest = f.blocks[len(f.blocks)-1]
	}
	var before bucket.Hash
	err := f.readAt(before[:], oldest.offset+int64(beforeAt))
	return bucket.NewLink(bucket.CodecDagCBOR, before), err
}

// versions returns the versions of the block that has a height, and the height of the first of them. Each is hashed against its
// link. If the block is not what was written, the next catch-up that opens the file hashes all of it.
func (f *runFile) versions(height uint64) (_ []*bucket.Version, first uint64, err error) {
	defer func() {
		if errors.Is(err, errTorn) {
			f.kept.sound = 0
		}
	}()
	b := f.blocks[f.blockOf(height)]
	content, err := f.content(b)
	if err != nil {
		return nil, 0, fmt.Errorf("read a run: %w", err)
	}
	versions := make([]*bucket.Version, 0, b.count)
	hashes, rest := content[:b.count*hashSize], content[b.count*hashSize:]
	for ; len(hashes) > 0; hashes = hashes[hashSize:] {
		if len(rest) < 4 || uint64(binary.BigEndian.Uint32(rest)) > uint64(len(rest)-4) {
			return nil, 0, errTorn
		}
		end := 4 + int(binary.BigEndian.Uint32(rest))
		v, err := f.opener.Open(bucket.NewLink(bucket.CodecDagCBOR, bucket.Hash(hashes)), rest[4:end:end])
		if err != nil {
			return nil, 0, fmt.Errorf("%w: %w", errTorn, err)
		}
		versions, rest = append(versions, v), rest[end:]
	}
	return versions, b.first, nil
}

// cut removes the block that has a height, and those behind it, and returns the versions of that block below the height.
func (f *runFile) cut(height uint64) ([]*bucket.Version, error) {
	versions, first, err := f.versions(height)
	if err != nil {
		return nil, err
	}
	i := f.blockOf(height)
	f.size, f.blocks, f.cached = f.blocks[i].offset, f.blocks[:i], -1
	return versions[:height-first], f.truncate()
}

func (f *runFile) truncate() error {
	f.kept.sound = min(f.kept.sound, f.size)
	if f.size == f.kept.size {
		return nil
	}
	if err := f.file.Truncate(f.size); err != nil {
		return fmt.Errorf("cut a run: %w", err)
	}
	return f.kept.account(f.size - f.kept.size)
}
