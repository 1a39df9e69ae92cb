package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
	"headwater/durable"
	"headwater/logstore"
)

// stores is what a running peer keeps in its directory.
type stores struct {
	dir       string
	log       *logstore.Badger
	manifests *blobstore.Disk
	blobs     *blobstore.Disk
}

// openStores opens everything. The log comes first: it is what a second peer on the directory is refused by. One that is
// damaged is set aside and made anew from the manifests.
func openStores(ctx context.Context, dir string, o runOptions, log *slog.Logger) (s *stores, err error) {
	s = &stores{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
			s = nil
		}
	}()
	if err := s.openLog(log); err != nil {
		return s, err
	}
	if s.manifests, err = openBlobs(dir, "manifests", bucket.MaxManifestSize, log); err != nil {
		return s, err
	}
	if s.blobs, err = openBlobs(dir, "blobs", o.maxBlobSize, log); err != nil {
		return s, err
	}
	return s, s.finishRebuild(ctx, bucket.Rules{AllowUnsigned: o.allowUnsigned}, log)
}

func openBlobs(dir, name string, limit int64, log *slog.Logger) (*blobstore.Disk, error) {
	return blobstore.OpenDisk(blobstore.Config{Dir: filepath.Join(dir, name), MaxBlobSize: limit, Logger: log.With("part", name)})
}

func (s *stores) logDir() string { return filepath.Join(s.dir, "log") }

// rebuildFile is there while the log is being made anew, so that a rebuild that is interrupted is not taken for done.
func (s *stores) rebuildFile() string { return filepath.Join(s.dir, "rebuild") }

func (s *stores) openLog(log *slog.Logger) (err error) {
	if err := s.noteLostLog(log); err != nil {
		return err
	}
	cfg := logstore.Config{Dir: s.logDir(), Logger: log.With("part", "log")}
	s.log, err = logstore.OpenBadger(cfg)
	if !errors.Is(err, logstore.ErrDamaged) {
		return err
	}
	log.Error("the log is damaged; it is set aside and made anew from the manifests", "error", err)
	if err := s.noteRebuild(); err != nil {
		return err
	}
	movedTo, err := logstore.SetAside(s.logDir())
	if err != nil {
		return err
	}
	log.Warn("damaged log set aside", "to", movedTo)
	s.log, err = logstore.OpenBadger(cfg)
	return err
}

// noteLostLog asks for a rebuild where there are manifests, and no log: somebody removed it, or restored a copy without it.
func (s *stores) noteLostLog(log *slog.Logger) error {
	if _, err := os.Stat(s.logDir()); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(filepath.Join(s.dir, "manifests")); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	log.Warn("there are manifests and no log; it is made anew from them")
	return s.noteRebuild()
}

// noteRebuild leaves the note that a rebuild is to be finished, durably.
func (s *stores) noteRebuild() error {
	if err := os.WriteFile(s.rebuildFile(), nil, 0o600); err != nil {
		return fmt.Errorf("note the rebuild: %w", err)
	}
	if err := durable.SyncDir(s.dir); err != nil {
		return fmt.Errorf("note the rebuild: %w", err)
	}
	return nil
}

// finishRebuild makes the log anew where that was begun.
func (s *stores) finishRebuild(ctx context.Context, rules bucket.Rules, log *slog.Logger) error {
	if _, err := os.Stat(s.rebuildFile()); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	versions, passedOver, err := consumer.Rebuild(ctx, s.log, s.manifests, rules, log)
	if err != nil {
		return err
	}
	log.Info("log made anew from the manifests", "versions", versions, "passed over", passedOver)
	return errors.Join(os.Remove(s.rebuildFile()), durable.SyncDir(s.dir))
}

// Close closes what was opened, the log last.
func (s *stores) Close() error {
	var errs []error
	for _, d := range []*blobstore.Disk{s.blobs, s.manifests} {
		if d != nil {
			errs = append(errs, d.Close())
		}
	}
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	return errors.Join(errs...)
}
