package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"

	"headwater/bucket"
	"headwater/durable"
)

// checkFiles looks at Badger's files before Badger does, for damage that it would hide or die of: a MANIFEST that was cut (it
// goes on with the tables that are left, and removes the others), and a table that was cut (it dies). It reports whether the log
// was closed the last time. [ErrDamaged].
func checkFiles(dir string, made bool) (clean bool, err error) {
	tables, err := readManifest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if made {
			return false, fmt.Errorf("%w: its MANIFEST is gone", ErrDamaged)
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for id, t := range tables {
		if err := checkTable(dir, id, t.Compression); err != nil {
			return false, err
		}
	}
	note, err := os.ReadFile(filepath.Join(dir, cleanFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	want, err := cleanNote(dir)
	if err == nil && string(note) != want {
		err = fmt.Errorf("%w: its MANIFEST is not the one it was closed with", ErrDamaged)
	}
	return err == nil, err
}

// readManifest returns the tables that the MANIFEST names. Badger appends a record with one write and syncs it, so one that is
// torn is either damage or the trace of a power failure in that very moment: what it said is lost either way. [ErrDamaged].
func readManifest(dir string) (map[uint64]badger.TableManifest, error) {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m, end, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions(dir).WithLogger(nil))
	if err != nil {
		return nil, fmt.Errorf("%w: its MANIFEST: %w", ErrDamaged, err)
	}
	if end != info.Size() {
		return nil, fmt.Errorf("%w: its MANIFEST was cut", ErrDamaged)
	}
	return m.Tables, nil
}

// cleanNote says with which MANIFEST a log was closed.
func cleanNote(dir string) (string, error) {
	manifest, err := os.ReadFile(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return "", err
	}
	// The word octets stands in the files of existing logs, which are compared with this.
	return fmt.Sprintf("closed with a MANIFEST of %d octets, blake3 %s\n", len(manifest), bucket.Sum(manifest)), nil
}

// writeClean notes that the log was closed. Without the note the next start checks more.
func writeClean(dir string) error {
	note, err := cleanNote(dir)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, cleanFile), []byte(note))
}

// checkTable verifies the checksums of a table. Badger would do that as well, but if a table was cut it ends the process, and
// it keeps what it has read mapped.
func checkTable(dir string, id uint64, compression options.CompressionType) (err error) {
	path := table.NewFilename(id, dir)
	damaged := func(why any) error { return fmt.Errorf("%w: table %s: %.500v", ErrDamaged, filepath.Base(path), why) }
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return damaged("it is gone")
	}
	if err != nil {
		return err
	}
	if !endsLikeTable(data) {
		return damaged("it was cut")
	}
	defer func() {
		if p := recover(); p != nil {
			err = damaged(p)
		}
	}()
	t, err := table.OpenInMemoryTable(data, id, &table.Options{
		ChkMode: options.OnTableRead, BlockSize: 4 << 10, Compression: compression,
	})
	if err == nil {
		err = t.VerifyChecksum()
	}
	if err != nil {
		return damaged(err)
	}
	return nil
}

// endsLikeTable reports whether the lengths at the end of a table lie within it: index, length of the index (4), checksum of the
// index, length of the checksum (4). If they do not, Badger ends the process.
func endsLikeTable(data []byte) bool {
	const checksumMax = 64
	number := func(at int) (n int, ok bool) {
		if at < 0 {
			return 0, false
		}
		return int(binary.BigEndian.Uint32(data[at:])), true
	}
	checksum, ok := number(len(data) - 4)
	if !ok || checksum <= 0 || checksum > checksumMax {
		return false
	}
	at := len(data) - 4 - checksum - 4
	index, ok := number(at)
	return ok && index > 0 && index <= at
}

// sweepEmpty removes memtable and value logs that a crash left without a single byte, and that Badger refuses.
func sweepEmpty(dir string) error {
	for _, suffix := range []string{".mem", ".vlog"} {
		err := eachFile(dir, suffix, func(path string, size int64) error {
			if size > 0 {
				return nil
			}
			return durable.Remove(path)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// eachFile calls f for every file in dir whose name ends in suffix.
func eachFile(dir, suffix string, f func(path string, size int64) error) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), suffix) {
			continue
		}
		info, err := file.Info()
		if err != nil {
			return err
		}
		if err := f(filepath.Join(dir, file.Name()), info.Size()); err != nil {
			return err
		}
	}
	return nil
}

// checkChains checks of every bucket that the heads of its row are in the log, and that the chain below the known head is
// unbroken for depth versions. [ErrDamaged].
func checkChains(r reader, depth int) error {
	return r.scanBuckets(bucket.ID{}, func(b Bucket) (bool, error) {
		for _, h := range []bucket.Head{b.Complete, b.Published, b.Announced, b.Known} {
			if h.IsZero() {
				continue
			}
			if _, err := r.linked(b.ID, h); err != nil {
				return false, err
			}
		}
		return true, checkChain(r, b, depth)
	})
}

// checkChain follows the chain down from the known head.
func checkChain(r reader, b Bucket, depth int) error {
	if b.Known.IsZero() {
		return nil
	}
	prefix, next, left := bucketKey(kindEntry, b.ID), b.Known, depth
	err := r.scan(prefix, headKey(kindEntry, b.ID, next), true, func(key []byte, item *badger.Item) (bool, error) {
		_, h, err := parseHeadKey(kindEntry, key)
		if err != nil || h.Height < next.Height {
			return false, err
		}
		if h != next {
			return true, nil // of another branch
		}
		err = valueOf(item, func(value []byte) error {
			e, err := decodeEntry(key, value)
			next = e.Before()
			return err
		})
		left--
		return err == nil && left > 0 && !next.IsZero(), err
	})
	if err == nil && left > 0 && !next.IsZero() {
		err = fmt.Errorf("%w: version %s at height %d of bucket %s is missing", ErrDamaged, next.Link, next.Height, b.ID)
	}
	return err
}
