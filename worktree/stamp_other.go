//go:build !linux && !darwin && !freebsd && !netbsd

package worktree

import (
	"io/fs"
	"runtime"
)

const openFlags = 0

// hasPerms reports whether files have the permissions of Unix; Windows has nothing but a read-only flag.
const hasPerms = runtime.GOOS != "windows"

func stampOf(info fs.FileInfo) stamp { return stamp{Modified: info.ModTime().UnixNano()} }

func linksOf(fs.FileInfo) uint64 { return 1 }

func deviceOf(fs.FileInfo) uint64 { return 0 }
