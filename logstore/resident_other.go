//go:build !linux

package logstore

const maxMapped = 0

// residentFiles returns 0: only Linux is asked to give mapped tables back before it runs short of memory.
func residentFiles() int { return 0 }

func giveBack(string, map[uint64]bool) {}
