package worktree

import (
	"io/fs"
	"time"
)

// stamp is what changes on disk with each change of a file. The zero stamp is that of no file.
type stamp struct {
	Modified int64  // ns since 1970
	Changed  int64  // the same of the inode; 0 if the system has no such time
	Inode    uint64 // 0 if the system has none
}

// A little more than the steps in which the times of a file go on: the system's clock tick (10 ms at most), or whole
// seconds, of which FAT knows the even ones only.
const (
	fineTick   = 20 * time.Millisecond
	coarseTick = 2100 * time.Millisecond
)

// older reports whether a time of a file is so long before now that no change from now on can be given the same time.
func older(ns int64, now time.Time) bool {
	tick := fineTick
	if ns%int64(time.Millisecond) == 0 {
		tick = coarseTick
	}
	return time.Duration(now.UnixNano()-ns) > tick
}

// settled reports whether all changes from now on will show in the stamp.
func (s stamp) settled(now time.Time) bool { return older(s.Modified, now) && older(s.Changed, now) }

// is reports whether info is of the file f, with nothing changed since.
func (f *File) is(info fs.FileInfo) bool {
	return info.Mode().Type() == f.kind && f.size == info.Size() && f.stamp == stampOf(info)
}
