package logstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/dgraph-io/badger/v4"

	"headwater/bucket"
	"headwater/durable"
)

// Files of ours beside Badger's.
const (
	schemaFile  = "headwater.schema"  // the log was made, with rows of this version or a later one; its schema row must be there
	cleanFile   = "headwater.clean"   // the log was closed, with this MANIFEST; removed before it is opened
	openingFile = "headwater.opening" // how many starts in a row did not come back from Badger
)

// maxStarts is how many starts in a row may die inside Badger before a log counts as damaged: more commands than anybody kills at
// that moment without a single one getting through, which resets the count.
const maxStarts = 20

// OpenBadger opens the log in cfg.Dir, or makes one. [ErrLocked], [ErrDamaged], [ErrSchema], [ErrDiskFull].
//
// If the log was not closed the last time, the newest part of every bucket's chain is checked. A damaged log is left as it
// was found, as far as that can be told before it is opened; see [SetAside].
func OpenBadger(cfg Config) (*Badger, error) { return openBadger(cfg, production()) }

// openBadger opens a log with settings that tests choose.
func openBadger(cfg Config, set settings) (s *Badger, err error) {
	if cfg.Dir == "" {
		return nil, errors.New("open log: no directory given")
	}
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, failed(err, "open log %s", cfg.Dir)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MinFree == 0 {
		cfg.MinFree = DefaultMinFree
	}
	if cfg.Free == nil {
		cfg.Free = freeBytes
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, failed(err, "open log")
	}
	s = &Badger{cfg: cfg, set: set, lock: lock}
	s.turns.buckets = make(map[bucket.ID]*turn)
	if err := s.start(); err != nil {
		return nil, failed(errors.Join(err, lock.Release()), "open log %s", cfg.Dir)
	}
	return s, nil
}

// start looks the directory over, opens Badger and looks at what it found. The lock is held.
func (s *Badger) start() error {
	dir := s.cfg.Dir
	if err := durable.MakeDir(dir); err != nil {
		return err
	}
	full := s.guard() // before anything else: a full disk kills Badger at the start too
	if full != nil && (!s.cfg.ReadIfFull || !errors.Is(full, ErrDiskFull)) {
		return full
	}
	noted, err := checkSchemaFile(dir)
	if err != nil {
		return err
	}
	clean, err := checkFiles(dir, noted > 0)
	if err != nil {
		return err
	}
	if full != nil {
		if !clean || noted != schemaVersion {
			return full // opening it would have to write
		}
		s.cfg.Logger.Warn("the log can be read alone", "error", full)
		s.full = full
	} else if err := sweepEmpty(dir); err != nil {
		return err
	}
	if s.db, err = s.openDB(); err != nil {
		return err
	}
	if err = s.check(noted, clean); err != nil {
		s.log.snapshot.close()
		return errors.Join(err, s.db.Close())
	}
	return nil
}

// guard refuses if less is free than must be, now or when the log was opened.
func (s *Badger) guard() error {
	if s.full != nil {
		return s.full
	}
	free, err := s.cfg.Free(s.cfg.Dir)
	if err != nil {
		return fmt.Errorf("ask for the free space of %s: %w", s.cfg.Dir, err)
	}
	if free < s.cfg.MinFree {
		return fmt.Errorf("%w: %d bytes are free at %s, %d must be", ErrDiskFull, free, s.cfg.Dir, s.cfg.MinFree)
	}
	return nil
}

// checkSchemaFile returns the schema of the log in the directory, 0 if none was made there to the end. [ErrSchema], [ErrDamaged].
func checkSchemaFile(dir string) (noted uint32, err error) {
	b, err := os.ReadFile(filepath.Join(dir, schemaFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%w: %s holds %.20q", ErrDamaged, schemaFile, b)
	}
	return uint32(v), checkVersion(uint32(v))
}

// checkVersion refuses a schema that is not known here.
func checkVersion(v uint32) error {
	switch {
	case v > schemaVersion:
		return fmt.Errorf("%w: %d, newer than %d", ErrSchema, v, schemaVersion)
	case v == 0:
		return fmt.Errorf("%w: schema 0 never was", ErrDamaged)
	}
	return nil
}

// openDB opens Badger. A note of each start lies in the directory while Badger opens, since some damage makes it die where
// nobody can catch it: then a log would kill its process at every start.
func (s *Badger) openDB() (*badger.DB, error) {
	if s.full != nil {
		db, err := s.openRecovering()
		if err != nil { // not every system can read alone; a start that may write finds damage
			err = fmt.Errorf("%w; to read it alone: %s", s.full, err.Error())
		}
		return db, err
	}
	note := filepath.Join(s.cfg.Dir, openingFile)
	b, err := os.ReadFile(note)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	starts, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	if starts >= maxStarts {
		return nil, fmt.Errorf("%w: %d starts in a row died while it was opened; remove %s to try again", ErrDamaged, starts, note)
	}
	if err := durable.WriteFile(note, fmt.Appendf(nil, "%d\n", starts+1)); err != nil {
		return nil, err
	}
	if err := durable.Remove(filepath.Join(s.cfg.Dir, cleanFile)); err != nil {
		return nil, err
	}
	db, err := s.openRecovering()
	return db, errors.Join(err, durable.Remove(note))
}

// openRecovering opens Badger and says what its errors and panics mean.
func (s *Badger) openRecovering() (db *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("%w: %.500v", ErrDamaged, p)
		}
	}()
	db, err = s.set.open(badgerOptions(s.cfg, s.set).WithReadOnly(s.full != nil))
	switch {
	case err == nil:
		return db, nil
	case strings.Contains(err.Error(), "Cannot acquire directory lock"):
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	case isOfSystem(err):
		return nil, err
	default:
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
}

// isOfSystem reports whether the system refused something that it may grant another time. Badger keeps only the text of most
// causes.
func isOfSystem(err error) bool {
	for _, cause := range []error{
		syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOSPC,
		syscall.EIO, syscall.EINTR, syscall.EAGAIN, syscall.EBUSY, syscall.EDQUOT,
	} {
		if errors.Is(err, cause) || strings.Contains(err.Error(), cause.Error()) {
			return true
		}
	}
	return false
}

// check prepares the opened database for use: its schema, and what an unclean stop may have left.
func (s *Badger) check(noted uint32, clean bool) error {
	mapped, err := filepath.EvalSymlinks(s.cfg.Dir) // as the system names the files that it maps
	if err != nil {
		return err
	}
	s.log.guard, s.log.release = s.guard, func() { releaseTables(mapped) }
	s.log.start(s.db)
	if err := s.checkSchema(context.Background(), noted); err != nil {
		return err
	}
	return s.read(context.Background(), func(r reader) (err error) {
		if noted > 0 && !clean {
			s.cfg.Logger.Info("the log was not closed the last time; checking it", "dir", s.cfg.Dir)
			if err := checkChains(r, s.log.maxRows); err != nil { // twice as many as the versions of a transaction
				return err
			}
		}
		s.strangers, err = countStrangers(r)
		return err
	})
}

// checkSchema makes sure that the rows have our schema: it makes the schema row of a log that was never made to the end, and
// converts a log of an older schema. noted is what the schema file says.
func (s *Badger) checkSchema(ctx context.Context, noted uint32) error {
	version, err := s.schema(ctx)
	switch {
	case errors.Is(err, ErrNotFound) && noted > 0:
		return fmt.Errorf("%w: its schema row is gone", ErrDamaged)
	case errors.Is(err, ErrNotFound):
		version = schemaVersion
		err = s.log.commit(ctx, []row{{schemaKey(), encodeSchema(schemaVersion)}})
	case err == nil:
		err = checkVersion(version)
	}
	if err == nil && version < schemaVersion {
		err = s.convert(ctx, version)
	}
	if err != nil || noted == schemaVersion {
		return err
	}
	return durable.WriteFile(filepath.Join(s.cfg.Dir, schemaFile), fmt.Appendf(nil, "%d\n", schemaVersion))
}

// schema reads the schema row. [ErrNotFound].
func (s *Badger) schema(ctx context.Context) (version uint32, err error) {
	err = s.read(ctx, func(r reader) error {
		return r.get(schemaKey(), func(value []byte) (err error) {
			version, err = decodeSchema(value)
			return err
		})
	})
	return version, err
}
