package blobstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"headwater/bucket"
)

// openSegments opens all segments: the newest as the active one, the others with their indexes.
func (d *Disk) openSegments() error {
	ids, err := d.segmentIDs()
	if err != nil {
		return err
	}
	for _, id := range ids {
		f, err := d.open(d.segmentName(id)+segmentExt, os.O_RDWR)
		if err != nil {
			return err
		}
		d.list(newSegment(id, d.segmentName(id), f)) // all are known before any is read: see account
	}
	buried := make(map[uint32]int64)
	for _, s := range d.sealed {
		if err := d.loadSealed(s, buried); err != nil {
			return fmt.Errorf("segment %d: %w", s.id, err)
		}
	}
	if d.active == nil {
		s, err := d.createSegment(1)
		if err != nil {
			return err
		}
		d.list(s)
	} else if err := d.loadActive(d.active, buried); err != nil {
		return fmt.Errorf("segment %d: %w", d.active.id, err)
	}
	for id, size := range buried {
		if s := d.segments[id]; s != nil {
			s.live = max(0, s.live-size)
		}
	}
	return d.sweepIndexes()
}

// learn counts a word that was read, and what it buries in other segments.
func (d *Disk) learn(s *segment, e entry, buried map[uint32]int64) {
	d.account(s, e.word)
	if e.origin != 0 && e.origin != s.id {
		buried[e.origin] += blobRecordSize(e.length)
	}
}

// loadSealed reads the index of a sealed segment, or makes it anew from the segment.
func (d *Disk) loadSealed(s *segment, buried map[uint32]int64) error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	s.size = info.Size()
	x, err := d.openIndex(s, buried)
	if err == nil {
		s.index = x
		return nil
	}
	if !errors.Is(err, errStale) {
		return err
	}
	d.log.Warn("the index of a segment is made anew", "segment", s.id, "reason", err)
	words, _, err := d.scanSegment(s)
	if err != nil {
		return err
	}
	d.damage.Indexes++
	list := entries(words)
	for _, e := range list {
		d.learn(s, e, buried)
	}
	s.index, err = d.sealIndex(s, list)
	return err
}

func (d *Disk) openIndex(s *segment, buried map[uint32]int64) (*index, error) {
	f, err := d.open(s.name+indexExt, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: it is missing", errStale)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	var entries []entry // of tombstones and moved blobs; those of damaged files must not count
	x, err := readIndex(f, info.Size(), d.stamp(s.id), s.size, func(e entry) {
		if e.origin != 0 {
			entries = append(entries, e)
		} else {
			s.live += e.size()
		}
	})
	if err != nil {
		s.live = 0
		return nil, errors.Join(err, f.Close())
	}
	for _, e := range entries {
		d.learn(s, e, buried)
	}
	return x, nil
}

// loadActive scans the active segment and cuts off its torn tail.
func (d *Disk) loadActive(s *segment, buried map[uint32]int64) error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	s.size = info.Size()
	if s.size < int64(preambleSize) {
		return d.restart(s)
	}
	words, end, err := d.scanSegment(s)
	if err != nil {
		return err
	}
	s.words = words
	for h, w := range words {
		d.learn(s, entry{h, w}, buried)
	}
	if end == s.size {
		return nil
	}
	d.log.Info("an unfinished write is cut off", "segment", s.id, "bytes", s.size-end)
	d.damage.Tail += s.size - end
	s.size = end
	return errors.Join(s.file.Truncate(end), s.file.Sync())
}

// restart gives a preamble to a segment that a crash left without one.
func (d *Disk) restart(s *segment) error {
	s.size = int64(preambleSize)
	s.words = make(map[bucket.Hash]word)
	_, err := s.file.WriteAt(preamble(d.salt), 0)
	return errors.Join(err, s.file.Sync())
}

// scanSegment returns the words of a segment and where its sound records end, and counts the damage before that.
func (d *Disk) scanSegment(s *segment) (map[bucket.Hash]word, int64, error) {
	words := make(map[bucket.Hash]word)
	found, err := scan(s.file, s.size, d.stamp(s.id), func(offset int64, r record) {
		words[r.hash] = word{offset: uint32(offset), length: r.length, origin: r.origin, gone: r.kind == kindTomb}
	})
	if err != nil {
		return nil, 0, err
	}
	if found.lost > 0 {
		d.damage.Small += found.records
		d.damage.Bytes += found.lost
		d.log.Warn("a segment is damaged; what lies around is kept", "segment", s.id, "bytes", found.lost)
	}
	return words, found.end, nil
}

// sweepIndexes removes index files whose segment a rewrite has removed.
func (d *Disk) sweepIndexes() error {
	names, err := os.ReadDir(d.path(dirSmall))
	if err != nil {
		return err
	}
	known := make(map[string]bool)
	for _, s := range d.segments {
		known[filepath.Base(s.name)+indexExt] = true
	}
	for _, e := range names {
		if strings.HasSuffix(e.Name(), indexExt) && !known[e.Name()] {
			if err := os.Remove(d.path(dirSmall, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
