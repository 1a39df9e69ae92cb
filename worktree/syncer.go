package worktree

import (
	"os"
)

// fewFiles is how many files are synced one by one: syncing everything makes them wait for what others have written.
const fewFiles = 16

// syncer makes files durable, all at once if it can.
type syncer struct {
	top    *os.File
	device uint64
	whole  bool // files of the top's device are synced by syncAll
}

func newSyncer(top *dir, files int) (*syncer, error) {
	f, err := top.root.OpenFile(".", os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, err
	}
	return &syncer{top: f, device: deviceOf(top.info), whole: canSyncAll && files > fewFiles}, nil
}

// each reports whether files and names in d are to be synced by themselves.
func (s *syncer) each(d *dir) bool { return !s.whole || deviceOf(d.info) != s.device }

// all syncs what is not synced by itself.
func (s *syncer) all() error {
	if !s.whole {
		return nil
	}
	return syncAll(s.top)
}

func (s *syncer) close() { _ = s.top.Close() }
