//go:build darwin || freebsd || netbsd

package worktree

import (
	"io/fs"
	"syscall"
)

// openFlags keeps an open from waiting for the other end of a named pipe, and spares the calls by which the runtime would
// make the file non-blocking and blocking again.
const openFlags = syscall.O_NONBLOCK

// hasPerms says that files have the permissions of Unix.
const hasPerms = true

func stampOf(info fs.FileInfo) stamp {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{Modified: info.ModTime().UnixNano()}
	}
	return stamp{Modified: info.ModTime().UnixNano(), Changed: st.Ctimespec.Nano(), Inode: uint64(st.Ino)}
}

// linksOf returns how many names a file has.
func linksOf(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 1
}

// deviceOf names the file system that a file is on.
func deviceOf(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev)
	}
	return 0
}
