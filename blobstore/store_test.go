package blobstore_test

import (
	"testing"

	"headwater/blobstore"
	"headwater/blobstore/blobtest"
)

const testLimit = 1 << 20

func TestMemory(t *testing.T) {
	blobtest.Run(t, func(testing.TB) (blobstore.Store, func() blobstore.Store) {
		return &blobstore.Memory{MaxBlobSize: testLimit}, nil
	}, blobtest.Options{MaxBlobSize: testLimit})
}

func TestDisk(t *testing.T) {
	for name, segment := range map[string]int64{"segments of the usual size": 0, "tiny segments": 4096} {
		t.Run(name, func(t *testing.T) {
			blobtest.Run(t, diskOpener(blobstore.Config{MaxBlobSize: testLimit, SegmentSize: segment}),
				blobtest.Options{MaxBlobSize: testLimit})
		})
	}
}

func TestFaultyWithoutFaultsIsTheStoreBehind(t *testing.T) {
	blobtest.Run(t, func(testing.TB) (blobstore.Store, func() blobstore.Store) {
		return blobtest.NewFaulty(&blobstore.Memory{MaxBlobSize: testLimit}), nil
	}, blobtest.Options{MaxBlobSize: testLimit})
}

func BenchmarkMemory(b *testing.B) {
	blobtest.Bench(b, func(testing.TB) (blobstore.Store, func() blobstore.Store) { return &blobstore.Memory{}, nil })
}

func BenchmarkDisk(b *testing.B) { blobtest.Bench(b, diskOpener(blobstore.Config{})) }

// diskOpener opens a Disk in a directory of its own.
func diskOpener(cfg blobstore.Config) blobtest.Opener {
	return func(tb testing.TB) (blobstore.Store, func() blobstore.Store) {
		cfg := cfg
		cfg.Dir = tb.TempDir()
		d := openDisk(tb, cfg)
		tb.Cleanup(func() { closeDisk(tb, d) })
		return d, func() blobstore.Store {
			closeDisk(tb, d)
			d = openDisk(tb, cfg)
			return d
		}
	}
}

func openDisk(tb testing.TB, cfg blobstore.Config) *blobstore.Disk {
	tb.Helper()
	d, err := blobstore.OpenDisk(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func closeDisk(tb testing.TB, d *blobstore.Disk) {
	tb.Helper()
	if err := d.Close(); err != nil {
		tb.Errorf("close: %v", err)
	}
}
