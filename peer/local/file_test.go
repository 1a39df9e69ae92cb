package local_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"headwater/blobstore"
	"headwater/bucket"
	"headwater/peer/local"
	"headwater/peer/local/localtest"
)

// disk is a holder with blobs on disk.
type disk struct {
	localtest.Memory
	blobs       *blobstore.Disk
	gets        int
	before, got func() // called before a blob is opened, and after
}

func (d *disk) Get(ctx context.Context, h bucket.Hash) (*blobstore.Blob, error) {
	d.gets++
	d.before()
	defer d.got()
	return d.blobs.Get(ctx, h)
}

// serveDisk serves a holder of one large blob, which is in a file.
func serveDisk(t *testing.T) (d *disk, c *local.Client, h bucket.Hash, want []byte, file string) {
	t.Helper()
	blobs, err := blobstore.OpenDisk(blobstore.Config{Dir: filepath.Join(t.TempDir(), "blobs")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blobs.Close() })
	want = make([]byte, 3<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(want)
	h = bucket.Sum(want)
	if _, err := blobs.Put(t.Context(), h, bytes.NewReader(want)); err != nil {
		t.Fatal(err)
	}
	blob, err := blobs.Get(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	d = &disk{blobs: blobs, before: func() {}, got: func() {}}
	return d, dial(t, serve(t, d, nil)), h, want, blob.File()
}

func wantBlob(t *testing.T, r blobstore.Reader, h bucket.Hash, want []byte) {
	t.Helper()
	if got, err := blobstore.ReadAll(t.Context(), r, h, int64(len(want))); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, %v, want the %d of the blob", len(got), err, len(want))
	}
}

func TestALargeBlobIsReadFromTheHoldersFile(t *testing.T) {
	d, c, h, want, _ := serveDisk(t)
	wantBlob(t, c, h, want)
	if d.gets != 1 {
		t.Errorf("the holder was asked %d times, want once", d.gets)
	}
	ctx, cancel := context.WithCancel(t.Context())
	blob, err := c.Get(ctx, h)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	c.Close() // nothing crosses the socket any more
	if _, err := io.ReadFull(blob, make([]byte, 1<<20)); err != nil {
		t.Errorf("got %v, want bytes of the file", err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, blob); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the call was cancelled", err)
	}
}

func TestALargeBlobIsSentWhereTheHoldersFileCannotBeSeen(t *testing.T) {
	d, c, h, want, file := serveDisk(t)
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	d.got = func() { // for as long as the client looks for it
		if err := os.Rename(file, elsewhere); err != nil {
			t.Error(err)
		}
		file, elsewhere = elsewhere, file
	}
	d.before = func() {
		if d.gets == 2 {
			d.got()
			d.got = func() {}
		}
	}
	wantBlob(t, c, h, want)
	if d.gets != 2 {
		t.Errorf("the holder was asked %d times, want twice", d.gets)
	}
}

func TestDamageOfTheHoldersFileIsNoticedByTheHolder(t *testing.T) {
	d, c, h, want, file := serveDisk(t)
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte{want[1<<20] ^ 1}, 1<<20)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := blobstore.ReadAll(t.Context(), c, h, int64(len(want))); !errors.Is(err, blobstore.ErrCorrupt) {
		t.Errorf("got %v, want %v", err, blobstore.ErrCorrupt)
	}
	if held, err := d.blobs.Has(t.Context(), h); err != nil || held {
		t.Errorf("got held %v, %v, want the damaged blob to be held no more", held, err)
	}
}
