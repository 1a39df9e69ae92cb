package consumer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"sort"

	"headwater/bucket"
)

// A spool is the verified beginning of a chain in a file, genesis first: where a long stretch of a bucket that is new to us waits
// until it is known that the announced head leads to it. The next catch-up of the bucket goes on behind what an interrupted
// one has left. It is used by the bucket's one worker.
//
// The file is blocks, one after another: the octets of its content and the number of its versions, 4 octets each, big-endian; the
// BLAKE3 of the content; and the content, which is for each manifest its size as 4 octets and its octets. A block is written
// once its versions are verified. Nothing is synced: what a crash tears is cut off when the spool is opened, and fetched again.
type spool struct {
	path   string
	opener *bucket.Opener

	file   *os.File // nil until there is something in it
	blocks []spoolBlock
	size   int64           // octets of all blocks
	last   *bucket.Version // the newest; nil for none
	found  []uint64        // how the links begin that an earlier catch-up left, ascending

	cached int // block whose links are at hand; -1 for none
	links  []bucket.Link
}

type spoolBlock struct {
	offset int64
	first  uint64 // height of its first version
	count  int
}

const (
	spoolHead = 4 + 4 + 32
	// maxSpoolBlock is the most octets of a block's content: the batch, with one manifest more than what it is measured by.
	maxSpoolBlock = batchSize + bucket.MaxManifestSize + 4*batchVersions
)

// errSpoolTorn says that a block is not what was written.
var errSpoolTorn = errors.New("the file of a long catch-up is damaged from here on; what is missing is fetched again")

// openSpool opens the spool at path, where there is one, and cuts off what is not sound.
func openSpool(path string, opener *bucket.Opener) (*spool, error) {
	s := &spool{path: path, opener: opener, cached: -1}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	s.file = f
	if err := s.scan(); err != nil {
		return nil, errors.Join(fmt.Errorf("read spool: %w", err), f.Close())
	}
	return s, nil
}

// scan reads what an earlier catch-up has left.
func (s *spool) scan() error {
	var newest []byte
	for {
		b, content, err := s.readBlock(s.size)
		if err == nil {
			err = eachManifest(content, b.count, func(m []byte) {
				hash := bucket.Sum(m)
				s.found, newest = append(s.found, prefixOf(hash)), m
			})
		}
		if errors.Is(err, errSpoolTorn) {
			break
		}
		if err != nil {
			return err
		}
		b.first = s.count()
		s.blocks, s.size = append(s.blocks, b), s.size+spoolHead+int64(len(content))
	}
	if len(s.blocks) > 0 {
		v, err := s.opener.Open(bucket.ManifestLink(newest), newest)
		if err != nil || v.Height+1 != s.count() {
			s.blocks, s.size, s.found = nil, 0, nil
		} else {
			s.last = v
		}
	}
	slices.Sort(s.found)
	return s.file.Truncate(s.size)
}

// count is how many versions there are: the height of the next one.
func (s *spool) count() uint64 {
	if len(s.blocks) == 0 {
		return 0
	}
	b := s.blocks[len(s.blocks)-1]
	return b.first + uint64(b.count)
}

// readBlock reads the block at an offset. Its first height is left zero. errSpoolTorn where there is none that is sound.
func (s *spool) readBlock(offset int64) (spoolBlock, []byte, error) {
	var head [spoolHead]byte
	if err := s.readAt(head[:], offset); err != nil {
		return spoolBlock{}, nil, err
	}
	size, count := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
	if size == 0 || size > maxSpoolBlock || count == 0 || count > batchVersions {
		return spoolBlock{}, nil, errSpoolTorn
	}
	content := make([]byte, size)
	if err := s.readAt(content, offset+spoolHead); err != nil {
		return spoolBlock{}, nil, err
	}
	if bucket.Sum(content) != bucket.Hash(head[8:]) {
		return spoolBlock{}, nil, errSpoolTorn
	}
	return spoolBlock{offset: offset, count: int(count)}, content, nil
}

func (s *spool) readAt(b []byte, offset int64) error {
	_, err := s.file.ReadAt(b, offset)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errSpoolTorn
	}
	return err
}

// eachManifest calls f with the manifests in a block's content, of which there are to be count.
func eachManifest(content []byte, count int, f func(m []byte)) error {
	for ; len(content) > 0; count-- {
		if len(content) < 4 || uint64(binary.BigEndian.Uint32(content)) > uint64(len(content)-4) {
			return errSpoolTorn
		}
		end := 4 + int(binary.BigEndian.Uint32(content))
		f(content[4:end:end])
		content = content[end:]
	}
	if count != 0 {
		return errSpoolTorn
	}
	return nil
}

// prefixOf is enough of a hash to find it by. Whoever makes another hash begin alike gains that we fetch link by link.
func prefixOf(h bucket.Hash) uint64 { return binary.BigEndian.Uint64(h[:]) }

// left says whether an earlier catch-up has left the version here, and so all below it.
func (s *spool) left(link bucket.Link) bool {
	_, ok := slices.BinarySearch(s.found, prefixOf(link.Hash()))
	return ok
}

// put adds verified versions behind the last one: a batch, no more.
func (s *spool) put(versions []*bucket.Version) error {
	if s.file == nil {
		f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("make spool: %w", err)
		}
		s.file = f
	}
	b := make([]byte, spoolHead, spoolHead+batchSize/8)
	for _, v := range versions {
		m := v.Encoded()
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(m))), m...)
	}
	sum := bucket.Sum(b[spoolHead:])
	binary.BigEndian.PutUint32(b, uint32(len(b)-spoolHead))
	binary.BigEndian.PutUint32(b[4:], uint32(len(versions)))
	copy(b[8:], sum[:])
	if _, err := s.file.WriteAt(b, s.size); err != nil {
		return fmt.Errorf("write spool: %w", err)
	}
	s.blocks = append(s.blocks, spoolBlock{s.size, versions[0].Height, len(versions)})
	s.size += int64(len(b))
	s.last = versions[len(versions)-1]
	return nil
}

// cut leaves the versions below a height, which is at most count.
func (s *spool) cut(height uint64) error {
	if height == s.count() {
		return nil
	}
	i := s.blockOf(height)
	versions, err := s.block(i)
	if err != nil {
		return err
	}
	kept := versions[:height-s.blocks[i].first]
	s.size, s.blocks, s.last, s.cached = s.blocks[i].offset, s.blocks[:i], nil, -1
	if err := s.file.Truncate(s.size); err != nil {
		return fmt.Errorf("cut spool: %w", err)
	}
	if len(kept) > 0 {
		return s.put(kept)
	}
	if i == 0 {
		return nil
	}
	before, err := s.block(i - 1)
	if err == nil {
		s.last = before[len(before)-1]
	}
	return err
}

// blockOf returns the index of the block that holds a height, which is less than count.
func (s *spool) blockOf(height uint64) int {
	return sort.Search(len(s.blocks), func(i int) bool { return s.blocks[i].first > height }) - 1
}

// link returns the link at a height, which is less than count. Reading heights downwards reads each block once.
func (s *spool) link(height uint64) (bucket.Link, error) {
	i := s.blockOf(height)
	if i != s.cached {
		b, content, err := s.readBlock(s.blocks[i].offset)
		if err != nil {
			return bucket.Link{}, fmt.Errorf("read spool: %w", err)
		}
		s.cached, s.links = -1, s.links[:0]
		if err := eachManifest(content, b.count, func(m []byte) {
			s.links = append(s.links, bucket.ManifestLink(m))
		}); err != nil {
			return bucket.Link{}, fmt.Errorf("read spool: %w", err)
		}
		s.cached = i
	}
	return s.links[height-s.blocks[i].first], nil
}

// holds says whether the spool has the version at its height.
func (s *spool) holds(link bucket.Link, height uint64) (bool, error) {
	if height >= s.count() {
		return false, nil
	}
	if height == s.last.Height {
		return link == s.last.Link, nil
	}
	l, err := s.link(height)
	return l == link, err
}

// version returns the version at a height, which is less than count.
func (s *spool) version(height uint64) (*bucket.Version, error) {
	if height == s.last.Height {
		return s.last, nil
	}
	i := s.blockOf(height)
	versions, err := s.block(i)
	if err != nil {
		return nil, err
	}
	return versions[height-s.blocks[i].first], nil
}

// block reads the versions of a block.
func (s *spool) block(i int) ([]*bucket.Version, error) {
	b, content, err := s.readBlock(s.blocks[i].offset)
	if err != nil {
		return nil, fmt.Errorf("read spool: %w", err)
	}
	versions := make([]*bucket.Version, 0, b.count)
	var bad error
	err = eachManifest(content, b.count, func(m []byte) {
		v, err := s.opener.Open(bucket.ManifestLink(m), m)
		if err != nil {
			bad = err
			return
		}
		versions = append(versions, v)
	})
	if err := errors.Join(err, bad); err != nil {
		return nil, fmt.Errorf("read spool: %w", err)
	}
	return versions, nil
}

// batches yields the versions of the heights from up to to, a block at a time. An error ends it.
func (s *spool) batches(ctx context.Context, from, to uint64) iter.Seq2[[]*bucket.Version, error] {
	return func(yield func([]*bucket.Version, error) bool) {
		for from < to {
			i := s.blockOf(from)
			versions, err := s.block(i)
			if err = errors.Join(err, ctx.Err()); err != nil {
				yield(nil, err)
				return
			}
			first := s.blocks[i].first
			versions = versions[from-first : min(to-first, uint64(len(versions)))]
			from += uint64(len(versions))
			if !yield(versions, nil) {
				return
			}
		}
	}
}

func (s *spool) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
