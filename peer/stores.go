package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/consumer"
	"headwater/durable"
	"headwater/logstore"
)

// stores is what a peer keeps in its directory.
type stores struct {
	dir       string
	log       *logstore.Badger
	manifests *blobstore.Disk
	blobs     *blobstore.Disk
}

// openStores opens everything. A log that is damaged is set aside and made anew from the manifests. The caller holds the
// directory.
func openStores(ctx context.Context, me bucket.PublicKey, cfg Config) (s *stores, err error) {
	s = &stores{dir: cfg.Dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
			s = nil
		}
	}()
	if err := checkFormat(cfg.Dir); err != nil {
		return s, err
	}
	if err := s.openLog(cfg.Logger, cfg.Role, cfg.free); err != nil {
		return s, err
	}
	if s.manifests, err = openBlobs(cfg, "manifests", bucket.MaxManifestSize); err != nil {
		return s, err
	}
	if s.blobs, err = openBlobs(cfg, "blobs", cfg.Limits.MaxBlobSize); err != nil {
		return s, err
	}
	if err := s.finishRebuild(ctx, me, cfg.rules(), cfg.Logger); err != nil {
		return s, err
	}
	return s, writeFormat(cfg.Dir)
}

// format is the number of the directory's format. 1, which has no file, is a directory of a program that kept what commands
// had verified in buckets/, and versions made here only in the object stores.
const format = 2

func formatFile(dir string) string { return filepath.Join(dir, "format") }

// checkFormat refuses a directory that a newer program wrote.
func checkFormat(dir string) error {
	b, err := os.ReadFile(formatFile(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the directory's format: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || n > format {
		return fmt.Errorf("%s: %w: %.20q, and this program knows formats up to %d; use a newer one", dir, ErrFormat, b, format)
	}
	return nil
}

func writeFormat(dir string) error {
	if _, err := os.Stat(formatFile(dir)); err == nil {
		return nil
	}
	if err := durable.WriteFile(formatFile(dir), []byte(strconv.Itoa(format)+"\n")); err != nil {
		return fmt.Errorf("note the directory's format: %w", err)
	}
	return nil
}

func openBlobs(cfg Config, name string, limit int64) (*blobstore.Disk, error) {
	return blobstore.OpenDisk(blobstore.Config{
		Dir: filepath.Join(cfg.Dir, name), MaxBlobSize: limit, Logger: cfg.Logger.With("part", name),
	})
}

func (s *stores) logDir() string { return filepath.Join(s.dir, "log") }

// rebuildFile is there while the log is being made anew, so that a rebuild that is interrupted is not taken for done.
func (s *stores) rebuildFile() string { return filepath.Join(s.dir, "rebuild") }

func (s *stores) openLog(log *slog.Logger, role string, free func(string) (uint64, error)) (err error) {
	if err := s.noteLostLog(log); err != nil {
		return err
	}
	cfg := logstore.Config{Dir: s.logDir(), Logger: log.With("part", "log"), ReadIfFull: role != RoleRun, Free: free}
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

// noteLostLog asks for a rebuild if there are manifests, and no log: somebody removed it, or restored a copy without it.
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

func (s *stores) noteRebuild() error {
	if err := durable.WriteFile(s.rebuildFile(), nil); err != nil {
		return fmt.Errorf("note the rebuild: %w", err)
	}
	return nil
}

// finishRebuild makes the log anew if that was begun.
func (s *stores) finishRebuild(ctx context.Context, me bucket.PublicKey, rules bucket.Rules, log *slog.Logger) error {
	if _, err := os.Stat(s.rebuildFile()); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	versions, passedOver, err := consumer.Rebuild(ctx, s.log, s.manifests, rules, log)
	if err == nil {
		err = s.findAgain(ctx, me)
	}
	if err != nil {
		return err
	}
	log.Info("log made anew from the manifests", "versions", versions, "passed over", passedOver)
	return durable.Remove(s.rebuildFile())
}

// findAgain tells a log that was made anew what manifests do not: which ends of branches have all their pins here, and that those
// which this peer made are perhaps not announced.
func (s *stores) findAgain(ctx context.Context, me bucket.PublicKey) error {
	return s.eachTip(ctx, func(_ logstore.Tip, e logstore.Entry) (err error) {
		if e.Author == me {
			err = s.log.AddUpload(ctx, e.Bucket, e.Head())
		}
		if err == nil {
			err = s.completeHeld(ctx, e)
		}
		return err
	})
}

// eachTip calls f for every end of a branch of all buckets.
func (s *stores) eachTip(ctx context.Context, f func(logstore.Tip, logstore.Entry) error) error {
	for b, err := range s.log.Buckets(ctx, bucket.ID{}) {
		var tips []logstore.Tip
		if err == nil {
			tips, err = s.log.Tips(ctx, b.ID)
		}
		for _, t := range tips {
			var e logstore.Entry
			if e, err = s.log.Entry(ctx, b.ID, t.Head); err == nil {
				err = f(t, e)
			}
			if err != nil {
				break
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// completeHeld marks a version complete if all its pins are held.
func (s *stores) completeHeld(ctx context.Context, e logstore.Entry) error {
	count, lack, err := consumer.CountPins(ctx, s.blobs, s.manifests, e.Pins)
	if lack > 0 || blobstore.IsMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.log.Complete(ctx, e.Bucket, e.Head(), count, false)
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
