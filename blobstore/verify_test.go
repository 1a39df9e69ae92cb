package blobstore_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"testing"
	"testing/iotest"

	"headwater/blobstore"
	"headwater/bucket"
)

func TestVerifyLetsNobodyReachTheEndOfWrongBytes(t *testing.T) {
	right := []byte("the right bytes")
	h := bucket.Sum(right)
	n := int64(len(right))
	broken := errors.New("broken")
	wrong := append(bytes.Clone(right[:n-1]), 'X')
	for _, c := range []struct {
		name        string
		in          io.Reader
		size, limit int64
		want        []error // nil: all of it is right
	}{
		{"right, size known", bytes.NewReader(right), n, n, nil},
		{"right, size not known", bytes.NewReader(right), -1, n, nil},
		{"right, no limit to speak of", bytes.NewReader(right), -1, math.MaxInt64, nil},
		{"wrong, size known", bytes.NewReader(wrong), n, 100, []error{blobstore.ErrMismatch}},
		{"wrong, size not known", bytes.NewReader(wrong), -1, 100, []error{blobstore.ErrMismatch}},
		{"cut, size known", bytes.NewReader(right[:5]), n, 100, []error{blobstore.ErrMismatch, io.ErrUnexpectedEOF}},
		{"cut, size not known", bytes.NewReader(right[:5]), -1, 100, []error{blobstore.ErrMismatch}},
		{"empty, size known", bytes.NewReader(nil), n, 100, []error{blobstore.ErrMismatch, io.ErrUnexpectedEOF}},
		{"empty, size said to be 0", bytes.NewReader(nil), 0, 100, []error{blobstore.ErrMismatch}},
		{"surplus, size known", bytes.NewReader(append(bytes.Clone(right), '!')), n, 100, []error{blobstore.ErrMismatch}},
		{"surplus, size not known", bytes.NewReader(append(bytes.Clone(right), '!')), -1, 100, []error{blobstore.ErrMismatch}},
		{"above the limit", bytes.NewReader(right), -1, n - 1, []error{blobstore.ErrTooLarge}},
		{"size above the limit", iotest.ErrReader(broken), n, n - 1, []error{blobstore.ErrTooLarge}},
		{"source fails", iotest.ErrReader(broken), n, n, []error{broken}},
		{"source fails at the end", io.MultiReader(bytes.NewReader(right), iotest.ErrReader(broken)), -1, n, []error{broken}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := blobstore.Verify(c.in, h, c.size, c.limit)
			got, err := io.ReadAll(r)
			if len(c.want) == 0 && (err != nil || !bytes.Equal(got, right)) {
				t.Fatalf("got %q, %v", got, err)
			}
			for _, want := range c.want {
				if !errors.Is(err, want) {
					t.Errorf("got error %v, want %v", err, want)
				}
			}
			if _, again := r.Read(make([]byte, 1)); len(c.want) > 0 && !errors.Is(again, err) {
				t.Errorf("read after the error: got %v, want %v again", again, err)
			}
		})
	}
}

func TestVerifyHandsOutNoWrongByteToWhoStopsAtTheSize(t *testing.T) {
	wrong := []byte("wrong bytes")
	for _, wrap := range []func(io.Reader) io.Reader{
		func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader, iotest.HalfReader,
	} {
		r := blobstore.Verify(wrap(bytes.NewReader(wrong)), bucket.Sum([]byte("right")), int64(len(wrong)), 100)
		if _, err := io.ReadFull(r, make([]byte, len(wrong))); !errors.Is(err, blobstore.ErrMismatch) {
			t.Errorf("got %v, want %v", err, blobstore.ErrMismatch)
		}
	}
}

func TestVerifyPassesTheTestsOfReaders(t *testing.T) {
	b := bytes.Repeat([]byte("bytes "), 1000)
	for _, size := range []int64{-1, int64(len(b))} {
		for _, wrap := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.DataErrReader, iotest.HalfReader} {
			if err := iotest.TestReader(blobstore.Verify(wrap(bytes.NewReader(b)), bucket.Sum(b), size, 1<<20), b); err != nil {
				t.Error(err)
			}
		}
	}
}
