package logstore

import (
	"bytes"
	"os"
	"syscall"
	"testing"
)

// What is mapped of tables goes out of memory, and comes back as it was when it is read again.
func TestMappedTablesAreGivenBack(t *testing.T) {
	const size = maxMapped + 16<<20
	dir := t.TempDir()
	f, err := os.Create(dir + "/000001.sst")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := bytes.Repeat([]byte("version!"), size/8)
	if _, err := f.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	mapped, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(mapped)
	if !bytes.Equal(mapped, want) {
		t.Fatal("the mapping is not the file")
	}
	before := residentFiles()
	releaseTables(dir + "/elsewhere")
	if got := residentFiles(); got < before-size/2 {
		t.Errorf("got %d bytes resident after releasing another log, want about %d", got, before)
	}
	releaseTables(dir)
	if got := residentFiles(); got > before-size/2 {
		t.Errorf("got %d bytes resident, want %d less than %d", got, size, before)
	}
	if !bytes.Equal(mapped, want) {
		t.Error("the mapping is not the file any more")
	}
}
