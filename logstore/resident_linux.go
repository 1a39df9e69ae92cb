package logstore

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// madvPageout asks the kernel to take pages out of memory. It loses nothing, whatever lies there: what is written to a mapping
// stays, and what is read again is fetched again.
const madvPageout = 21

// maxMapped is how many bytes of mapped files may be resident before those of tables are given back.
const maxMapped = 48 << 20

// releaseTables gives back the memory that the mapped tables of a directory hold, if much is mapped. Badger reads and writes
// tables through mappings, so that all that it touches counts as resident until the kernel runs short. Errors do no harm.
func releaseTables(dir string) {
	if residentFiles() < maxMapped {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() { // 7f0c8000-7f0c9000 r--s 00000000 08:01 1234   /path/000001.sst
		line := lines.Text()
		if !strings.HasSuffix(line, ".sst") || !strings.Contains(line, dir+string(filepath.Separator)) {
			continue
		}
		var from, to uintptr
		if n, _ := fmt.Sscanf(line, "%x-%x ", &from, &to); n == 2 && from < to {
			_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, from, to-from, madvPageout)
		}
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
