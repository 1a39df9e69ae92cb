package logstore

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// maxMapped is how many bytes of mapped files may be resident before those of tables are given back.
const maxMapped = 24 << 20

// madvPageout asks the kernel to take pages out of memory. It loses nothing, whatever lies there, but what is read again may have to
// be read from disk.
const madvPageout = 21

// giveBack takes what the process has touched of a directory's tables out of its memory. What it has of those that are held stays in
// the kernel's cache: they are not closed meanwhile, so that nothing else can be mapped in their place, which would be emptied.
// dir is without links. What goes wrong does no harm.
func giveBack(dir string, held map[uint64]bool) {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() { // 7f0c8000-7f0c9000 r--s 00000000 08:01 1234   /path/000001.sst
		at, name, ok := strings.Cut(lines.Text(), dir+string(filepath.Separator))
		number, isTable := strings.CutSuffix(name, ".sst")
		id, err := strconv.ParseUint(number, 10, 64)
		var from, to uintptr
		if n, _ := fmt.Sscanf(at, "%x-%x ", &from, &to); !ok || !isTable || err != nil || n != 2 || from >= to {
			continue
		}
		advice := uintptr(madvPageout)
		if held[id] {
			advice = syscall.MADV_DONTNEED
		}
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, from, to-from, advice)
	}
}

// residentFiles returns how many bytes of mapped files the process has resident.
func residentFiles() int {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident, shared int
	if _, err := fmt.Sscan(string(statm), &size, &resident, &shared); err != nil {
		return 0
	}
	return shared * os.Getpagesize()
}
