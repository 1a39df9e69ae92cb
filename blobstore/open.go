package blobstore

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"

	"headwater/bucket"
	"headwater/durable"
)

// Names in the directory of a store.
const (
	fileLock     = "lock"
	fileFormat   = "format"
	dirTemporary = "tmp"
	dirLarge     = "large"
	dirSmall     = "small"
	dirDamaged   = "damaged"
)

const formatVersion = "headwater-blobs 1"

// OpenDisk opens the store in a directory, or makes one. It returns [ErrLocked] while another Disk has it open, and repairs what
// a crash has left. It reads the active segment and the index of every other: a quarter of a second for a million small blobs.
func OpenDisk(cfg Config) (*Disk, error) { return openDisk(cfg, openFile) }

func openDisk(cfg Config, open opener) (*Disk, error) {
	d := &Disk{
		dir: cfg.Dir, limit: cfg.MaxBlobSize, segmentSize: cfg.SegmentSize, log: cfg.Logger, open: open,
		segments: make(map[uint32]*segment),
	}
	d.group = durable.NewGroup(durable.GroupConfig[*request]{Commit: d.commit})
	d.buffers.New = func() any { return new(make([]byte, 0, 128*entrySize)) }
	if d.limit == 0 {
		d.limit = DefaultMaxBlobSize
	}
	if d.segmentSize == 0 {
		d.segmentSize = DefaultSegmentSize
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.dir == "" || d.limit < 0 || d.segmentSize < 0 || d.segmentSize > maxSegmentSize {
		return nil, fmt.Errorf("open blob store %q: the configuration needs a Dir, sizes of zero or more, and a SegmentSize of "+
			"at most %d bytes", cfg.Dir, maxSegmentSize)
	}
	if err := d.begin(); err != nil {
		return nil, fmt.Errorf("open blob store %s: %w", d.dir, err)
	}
	return d, nil
}

// begin takes the lock and brings the directory in order.
func (d *Disk) begin() error {
	err := durable.MakeDir(d.dir)
	if err != nil {
		return err
	}
	d.lock, err = durable.Acquire(d.path(fileLock), durable.Self("blob store"))
	if errors.Is(err, durable.ErrHeld) {
		return fmt.Errorf("%w: %w; stop it first", ErrLocked, err)
	}
	if err != nil {
		return err
	}
	for _, step := range []func() error{d.makeDirs, d.sweep, d.readFormat, d.openSegments} {
		if err := step(); err != nil {
			return errors.Join(err, d.shut())
		}
	}
	return nil
}

// makeDirs makes the directories that are missing, and notes which shards there are. They are synced once more: the process
// that made them may have died before it synced them.
func (d *Disk) makeDirs() error {
	for _, dir := range []string{dirTemporary, dirLarge, dirSmall, dirDamaged} {
		if err := durable.MakeDir(d.path(dir)); err != nil {
			return err
		}
	}
	names, err := os.ReadDir(d.path(dirLarge))
	if err != nil {
		return err
	}
	for _, e := range names {
		if b, err := hex.DecodeString(e.Name()); err == nil && len(b) == 1 {
			d.shards[b[0]].made = true
		}
	}
	return durable.SyncDir(d.path(dirLarge))
}

// sweep removes the files that a crash has left half-written.
func (d *Disk) sweep() error {
	left, err := os.ReadDir(d.path(dirTemporary))
	if err != nil {
		return err
	}
	for _, e := range left {
		if err := os.RemoveAll(d.path(dirTemporary, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// readFormat reads the store's salt, from a segment if the format file is missing or damaged, and writes the file if it must.
func (d *Disk) readFormat() error {
	text, err := os.ReadFile(d.path(fileFormat))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lines := strings.Split(string(text), "\n")
	if lines[0] != formatVersion && strings.HasPrefix(lines[0], "headwater-blobs ") {
		return fmt.Errorf("it has format %q, this program reads %q", lines[0], formatVersion)
	}
	if len(lines) == 4 {
		salt, err := hex.DecodeString(lines[1])
		if err == nil && len(salt) == saltSize && d.formatText([saltSize]byte(salt)) == string(text) {
			d.salt = [saltSize]byte(salt)
			return nil
		}
	}
	if err := d.findSalt(); err != nil {
		return err
	}
	return durable.WriteFile(d.path(fileFormat), []byte(d.formatText(d.salt)))
}

// formatText is what the format file holds: version, salt, and a checksum of both.
func (d *Disk) formatText(salt [saltSize]byte) string {
	s := fmt.Sprintf("%s\n%x\n", formatVersion, salt)
	return s + bucket.Sum([]byte(s)).String() + "\n"
}

// findSalt takes the salt from the first segment that has a sound one; a store without segments gets a new one.
func (d *Disk) findSalt() error {
	ids, err := d.segmentIDs()
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		rand.Read(d.salt[:])
		return nil
	}
	for _, id := range ids {
		b := make([]byte, preambleSize)
		f, err := d.open(d.segmentName(id)+segmentExt, os.O_RDONLY)
		if err != nil {
			return err
		}
		_, err = f.ReadAt(b, 0)
		_ = f.Close()
		if salt, ok := parsePreamble(b); err == nil && ok {
			d.salt = salt
			return nil
		}
	}
	return fmt.Errorf("%w: neither %s nor any segment has a sound salt; restore that file from a backup, or remove small/ "+
		"to have the small blobs fetched again", ErrCorrupt, fileFormat)
}

// segmentIDs returns the numbers of the segments there are, in order.
func (d *Disk) segmentIDs() ([]uint32, error) {
	names, err := os.ReadDir(d.path(dirSmall))
	if err != nil {
		return nil, err
	}
	var ids []uint32
	for _, e := range names {
		id, isSegment := strings.CutSuffix(e.Name(), segmentExt)
		n, err := strconv.ParseUint(id, 10, 32)
		if isSegment && err == nil && n > 0 && d.segmentName(uint32(n)) == d.path(dirSmall, id) {
			ids = append(ids, uint32(n))
		}
	}
	slices.Sort(ids)
	return ids, nil
}
