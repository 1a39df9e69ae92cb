//go:build linux || darwin || freebsd

package logstore

import "syscall"

// freeBytes returns how many bytes we may still write where dir lies.
func freeBytes(dir string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return uint64(max(st.Bavail, 0)) * uint64(st.Bsize), nil
}
